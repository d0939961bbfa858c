"""Asterisk's control socket, which speaks what `asterisk -rx` itself speaks.

Read the banner, then send everything in ONE write; each command is followed by a sentinel. Nothing
is ever written before a valid banner came: until then a failure is certainly harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from shared.asterisk.commands import SHOW_SETTINGS, SHOW_UPTIME, WAIT_FULLY_BOOTED, checked
from shared.asterisk.console import (
    MAX_REPLY_BYTES,
    MAX_REPLY_LINES,
    TOO_LONG,
    Console,
    Exchange,
    Unacknowledged,
)
from shared.asterisk.models import Banner
from shared.asterisk.parsers import (
    count_sentinels,
    parse_banner,
    parse_entity_id,
    split_replies,
    text_of,
)
from shared.deadline import Deadline
from shared.errors import ConnectionLost, NoAnswer, SocketRefused, TooMuchSent

_PREFIX = b"cli quit after "
_MAX_WRITE_BYTES = 512
_MAX_BANNER_BYTES = 256
_MOST_STARTS = 3


class Stream(Protocol):
    """An open control socket."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionLost, TooMuchSent."""

    def write(self, data: bytes) -> None:
        """Send in one piece. Raises ConnectionLost, and sends nothing, if it is closed already."""

    def close(self) -> None:
        """Let go, without waiting."""


class SocketExchange(Exchange):
    """Commands that were written to a control socket."""

    def __init__(self, stream: Stream, commands: Sequence[str]) -> None:
        super().__init__()
        self._stream = stream
        self._commands = commands
        self._received = bytearray()
        self._whole = 0  # the bytes of its whole lines, whose sentinels are counted
        self._sentinels = 0
        self._lines = 0

    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """See `Exchange.replies`."""
        wanted = len(self._commands) if count is None else count
        async with deadline.enforce():
            while self._sentinels < wanted:
                try:
                    chunk = await self._stream.read()
                except ConnectionLost:
                    chunk = b""
                except TooMuchSent:
                    raise self._error(TOO_LONG, is_too_long=True) from None
                if not chunk:
                    raise self._error("Connection closed before Asterisk acknowledged the command")
                self._take(chunk)
                if len(self._received) > MAX_REPLY_BYTES or self._lines > MAX_REPLY_LINES:
                    raise self._error(TOO_LONG, is_too_long=True)
        return self._acknowledged()[:wanted]

    def _take(self, chunk: bytes) -> None:
        """Keep what came, and look once at each line of it, however it was cut."""
        begin = len(self._received)
        self._received += chunk
        self._lines += chunk.count(b"\n")
        newline = chunk.rfind(b"\n")
        if newline >= 0:
            self._sentinels += count_sentinels(self._received, self._whole)
            self._whole = begin + newline + 1

    def _acknowledged(self) -> tuple[str, ...]:
        return split_replies(text_of(self._received))

    def timed_out(self) -> Unacknowledged:
        """See `Exchange.timed_out`; it stays open, for the answer that comes late."""
        return self._error("Asterisk did not acknowledge the command in time", pending=self)

    def _error(
        self, reason: str, *, pending: Exchange | None = None, is_too_long: bool = False
    ) -> Unacknowledged:
        return Unacknowledged(
            reason,
            replies=self._acknowledged(),
            begun=len(self._commands),
            pending=pending,
            is_too_long=is_too_long,
        )

    def _end(self) -> None:
        self._stream.close()


class SocketConsole(Console):
    """The control socket, opened anew for each exchange: its banner is the proof of life."""

    is_gapless = True

    def __init__(self, open_stream: Callable[[Deadline], Awaitable[Stream]]) -> None:
        self._open_stream = open_stream
        self._booted_pid: int | None = None

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """See `Console.send`."""
        for _ in range(_MOST_STARTS):
            stream = await self._open_stream(deadline)
            try:
                banner = await _read_banner(stream, deadline)
                self.version = banner.version
                if banner.pid == self._booted_pid:
                    return _write(stream, commands, deadline)
                # Another Asterisk than before: for the first second of its life it accepts calls
                # and loses them, since its dialplan is not loaded yet.
                entity_id = await _wait_fully_booted(stream, deadline)
                self.identity = f"{entity_id} {banner.host}" if entity_id else None
                self._booted_pid = banner.pid
            except BaseException:
                stream.close()
                raise
            stream.close()
        raise SocketRefused("Asterisk is starting again and again")

    def takes(self, *commands: str) -> bool:
        """See `Console.takes`: as many as one write may have."""
        return next(in_writes(commands)) == commands


async def _read_banner(stream: Stream, deadline: Deadline) -> Banner:
    """Read the first line. Closing after a failure here is proven to execute nothing."""
    received = bytearray()
    try:
        async with deadline.enforce():
            while b"\n" not in received and len(received) <= _MAX_BANNER_BYTES:
                chunk = await stream.read()
                if not chunk:
                    raise SocketRefused("Asterisk closed its control socket")
                received += chunk
    except TimeoutError:
        raise NoAnswer("Asterisk does not answer on its control socket") from None
    line = text_of(received[: _MAX_BANNER_BYTES + 1])
    banner = parse_banner(line) if len(received) <= _MAX_BANNER_BYTES else None
    if banner is None:
        raise SocketRefused(f"Asterisk's control socket answered {line.splitlines()[0][:60]!r}")
    return banner


async def _wait_fully_booted(stream: Stream, deadline: Deadline) -> str | None:
    """Wait until a new Asterisk takes calls; its entity id."""
    try:
        asked = _write(stream, (WAIT_FULLY_BOOTED, SHOW_SETTINGS), deadline)
        reply, settings = await asked.replies(deadline)
    except Unacknowledged as error:
        if error.is_too_long:
            raise error.not_executed() from error
        raise NoAnswer("Asterisk went away while it was starting") from error
    except TimeoutError as error:
        raise NoAnswer("Asterisk is starting and did not finish in time") from error
    if "fully booted" not in reply:  # so early that not even this command is known
        raise SocketRefused("Asterisk is starting")
    return parse_entity_id(settings)


def _write(stream: Stream, commands: Sequence[str], deadline: Deadline) -> SocketExchange:
    text = _socket_text(commands)
    if deadline.remaining_s() <= 0:
        raise NoAnswer("No time was left to send the command")
    stream.write(text)
    return SocketExchange(stream, commands)


def _socket_text(commands: Sequence[str]) -> bytes:
    """Render the one write: every command and its sentinel, each ended by a NUL."""
    if SHOW_UPTIME in commands:
        raise ValueError("the sentinel itself cannot be asked")
    parts = [part for command in commands for part in (checked(command), SHOW_UPTIME)]
    text = _PREFIX + b"".join(part.encode("ascii") + b"\0" for part in parts)
    if len(text) > _MAX_WRITE_BYTES:
        raise ValueError(f"an exchange has at most {_MAX_WRITE_BYTES} bytes")
    return text


def in_writes(commands: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Split commands that change nothing into exchanges, each as long as one write may be."""
    batch: list[str] = []
    room = _MAX_WRITE_BYTES - len(_PREFIX)
    for command in commands:
        size = len(command) + len(SHOW_UPTIME) + 2  # the sentinel, and a NUL after each
        if batch and size > room:
            yield tuple(batch)
            batch, room = [], _MAX_WRITE_BYTES - len(_PREFIX)
        batch.append(command)
        room -= size
    if batch:
        yield tuple(batch)

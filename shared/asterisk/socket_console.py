"""Asterisk's control socket, which speaks what `asterisk -rx` itself speaks.

Read the banner, then send everything in ONE write; each command is followed by a sentinel. Nothing
is ever written before a valid banner came: until then a failure is certainly harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

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
from shared.asterisk.openings import Greeted, Openings, Socket, Stream
from shared.asterisk.parsers import (
    parse_entity_id,
    split_replies,
    text_of,
    uptime_at_end,
    uptimes_in,
)
from shared.asterisk.uptime import Uptime
from shared.deadline import Deadline
from shared.errors import ConnectionLost, NoAnswer, SocketRefused, TooMuchSent

_PREFIX = b"cli quit after "
_BOOT = (WAIT_FULLY_BOOTED, SHOW_SETTINGS)
_MAX_WRITE_BYTES = 512
_MOST_STARTS = 3
_Life: TypeAlias = tuple[Banner, int]


class SocketExchange(Exchange):
    """Commands that were written to a control socket of an Asterisk that has this uptime."""

    def __init__(
        self, stream: Stream, commands: Sequence[str], uptime: Uptime | None = None
    ) -> None:
        super().__init__()
        self._stream = stream
        self._commands = commands
        self._uptime = uptime or Uptime()
        self._begun_at = self._uptime.now()
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
                    is_whole = not chunk
                except ConnectionLost:
                    chunk, is_whole = b"", False
                except TooMuchSent:
                    raise self._error(TOO_LONG, is_too_long=True) from None
                if is_whole and self._learn_anew() >= wanted:
                    break
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
            self._sentinels += sum(map(self._is_true, uptimes_in(self._received, self._whole)))
            self._whole = begin + newline + 1

    def _learn_anew(self) -> int:
        """Count again where no sentinel was true: a clock was set, or Asterisk is another.

        What a conversation ends with is its own word, since behind a caller's a row goes on.
        """
        last = uptime_at_end(self._received)
        if last is not None and not self._sentinels:
            self._uptime.learn(last)
            self._sentinels = sum(map(self._is_true, uptimes_in(self._received, 0)))
        return self._sentinels

    def _is_true(self, seconds: int) -> bool:
        return self._uptime.may_be(seconds, self._begun_at)

    def _acknowledged(self) -> tuple[str, ...]:
        return split_replies(text_of(self._received), self._is_true)

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
    """The control socket, another for each exchange: its banner is the proof of life."""

    is_gapless = True

    def __init__(
        self,
        open_stream: Callable[[Deadline], Awaitable[Socket]],
        *,
        at_once: int = 3,
        ahead_s: float = 0.0,
    ) -> None:
        self._openings = Openings(open_stream, at_once=at_once, ahead_s=ahead_s)
        self._uptime = Uptime()
        self._booted: _Life | None = None

    async def send(
        self, *commands: str, deadline: Deadline, is_look: bool = False
    ) -> SocketExchange:
        """See `Console.send`."""
        for _ in range(_MOST_STARTS):
            greeted = await self._openings.take(deadline, is_look=is_look)
            try:
                self.version = greeted.banner.version
                if self._life(greeted) == self._booted and not self._uptime.is_younger:
                    return _write(greeted.stream, commands, deadline, self._uptime)
                await self._boot(greeted, (), deadline)
            except BaseException:
                greeted.stream.close()
                raise
            greeted.stream.close()
        raise SocketRefused("Asterisk is starting again and again")

    def takes(self, *commands: str) -> bool:
        """See `Console.takes`: as many as one write may have."""
        return _length(commands) <= _MAX_WRITE_BYTES

    async def read(
        self, *commands: str, deadline: Deadline, is_look: bool = False
    ) -> tuple[str, ...]:
        """See `Console.read`; the first time in the exchange that waits for Asterisk's boot."""
        if self._booted is not None or _length((*_BOOT, *commands)) > _MAX_WRITE_BYTES:
            console = self.for_looks() if is_look else self
            return await console.ask(*commands, deadline=deadline)
        greeted = await self._openings.take(deadline, is_look=is_look)
        try:
            self.version = greeted.banner.version
            return await self._boot(greeted, commands, deadline)
        finally:
            greeted.stream.close()

    async def _boot(
        self, greeted: Greeted, commands: Sequence[str], deadline: Deadline
    ) -> tuple[str, ...]:
        """Wait until another Asterisk than before takes calls, then ask what changes nothing.

        For the first second of its life it accepts calls and loses them, since its dialplan is not
        loaded yet.
        """
        life = self._life(greeted)
        try:
            uptime = Uptime()  # its first sentinel follows what no caller has words in
            asked = _write(greeted.stream, (*_BOOT, *commands), deadline, uptime)
            booted, settings, *replies = await asked.replies(deadline)
        except Unacknowledged as error:
            raise error.not_executed() from error
        except TimeoutError as error:
            raise NoAnswer("Asterisk is starting and did not finish in time") from error
        if "fully booted" not in booted:  # so early that not even this command is known
            raise SocketRefused("Asterisk is starting")
        entity_id = parse_entity_id(settings)
        self.identity = f"{entity_id} {greeted.banner.host}" if entity_id else None
        self._uptime, self._booted = uptime, life
        return tuple(replies)

    def _life(self, greeted: Greeted) -> _Life:
        """Tell Asterisk's life by whatever is another one's: in a container each has the pid 1."""
        return greeted.banner, self._openings.ended

    def for_looks(self) -> Console:
        """See `Console.for_looks`."""
        return _Looking(self)

    def expect(self, count: int, deadline: Deadline) -> None:
        """See `Console.expect`."""
        self._openings.expect(count, deadline)

    def open_ahead(self) -> None:
        """See `Console.open_ahead`."""
        self._openings.open_ahead()

    def close(self) -> None:
        """See `Console.close`."""
        self._openings.close()


class _Looking(Console):
    """A socket console that leaves the last socket that is ready."""

    is_gapless = True

    def __init__(self, console: SocketConsole) -> None:
        self._console = console
        self.version, self.identity = console.version, console.identity

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """See `Console.send`."""
        return await self._console.send(*commands, deadline=deadline, is_look=True)

    async def read(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """See `Console.read`."""
        return await self._console.read(*commands, deadline=deadline, is_look=True)


def _write(
    stream: Stream, commands: Sequence[str], deadline: Deadline, uptime: Uptime
) -> SocketExchange:
    text = _socket_text(commands)
    if deadline.remaining_s() <= 0:
        raise NoAnswer("No time was left to send the command")
    stream.write(text)
    return SocketExchange(stream, commands, uptime)


def _socket_text(commands: Sequence[str]) -> bytes:
    """Render the one write: every command and its sentinel, each ended by a NUL."""
    if SHOW_UPTIME in commands:
        raise ValueError("the sentinel itself cannot be asked")
    parts = [part for command in commands for part in (checked(command), SHOW_UPTIME)]
    if _length(commands) > _MAX_WRITE_BYTES:
        raise ValueError(f"an exchange has at most {_MAX_WRITE_BYTES} bytes")
    return _PREFIX + b"".join(part.encode("ascii") + b"\0" for part in parts)


def _length(commands: Sequence[str]) -> int:
    """Count the bytes of the one write: a sentinel for each command, and a NUL after each."""
    return len(_PREFIX) + sum(len(command) + len(SHOW_UPTIME) + 2 for command in commands)


def in_writes(commands: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Split commands that change nothing into exchanges, each as long as one write may be."""
    batch: list[str] = []
    for command in commands:
        if batch and _length((*batch, command)) > _MAX_WRITE_BYTES:
            yield tuple(batch)
            batch = []
        batch.append(command)
    if batch:
        yield tuple(batch)

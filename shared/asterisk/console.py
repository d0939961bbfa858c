"""Two ways to Asterisk's command line, one contract: ask commands, get acknowledged replies.

`SocketConsole` speaks what `asterisk -rx` itself speaks on the control socket: read the banner,
then send everything in ONE write. Each command is followed by a sentinel, whose output proves
that the command before it was executed; an empty reply alone proves nothing, since success, a
dead Asterisk and an over-long command look the same. `ExecConsole` runs `asterisk -rx` in a shell
of the host, with an echo after each command as the sentinel.

Nothing is ever written before a valid banner came: until then a failure is certainly harmless.
"""

from __future__ import annotations

import itertools
import secrets
import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from shared.asterisk.commands import SHOW_UPTIME, WAIT_FULLY_BOOTED, checked
from shared.asterisk.models import Banner
from shared.asterisk.parsers import parse_banner, split_replies
from shared.deadline import Deadline
from shared.errors import (
    AsteriskUnavailable,
    ConnectionLost,
    NoAnswer,
    NotExecuted,
    OutcomeUnknown,
    SocketRefused,
)

_PREFIX = b"cli quit after "
_SENTINEL = b"System uptime: "
_MAX_WRITE_BYTES = 512
_NOT_FOUND_STATUSES = (126, 127)


class Stream(Protocol):
    """An open control socket."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionLost."""

    def write(self, data: bytes) -> None:
        """Send in one piece. Raises ConnectionLost, and sends nothing, if it is closed already."""

    def close(self) -> None:
        """Let go, without waiting."""


class Completed(Protocol):
    """A finished command of the host's shell."""

    @property
    def exit_status(self) -> int | None:
        """None when the connection was lost or the time was up: it may still be running."""

    @property
    def output(self) -> str:
        """What it printed, standard error included."""


class Unacknowledged(OutcomeUnknown):
    """The exchange broke off; of the commands asked, the first `begun` may have been executed.

    After a time-out the socket is left open, `pending`: a frozen Asterisk answers there when it
    thaws, and only that answer tells for certain which call came up late.
    """

    def __init__(
        self, reason: str, *, replies: tuple[str, ...], begun: int, pending: Pending | None = None
    ) -> None:
        super().__init__(reason)
        self.replies = replies
        self.begun = begun
        self.pending = pending


class Pending:
    """A conversation whose time was up before its replies came; whoever takes it closes it.

    `on_close` is called once it is closed.
    """

    def __init__(self, stream: Stream, commands: Sequence[str]) -> None:
        self.on_close: Callable[[], None] | None = None
        self._stream = stream
        self._commands = commands
        self._received = bytearray()

    async def replies(self, deadline: Deadline) -> tuple[str, ...] | None:
        """Read until the last sentinel has come; None when the connection ended before.

        Raises:
            TimeoutError: not yet; it may be called again.
        """
        async with deadline.enforce():
            while True:
                if self._received.count(_SENTINEL) >= len(self._commands):
                    replies = self.replies_so_far()
                    if len(replies) == len(self._commands):
                        return replies
                try:
                    chunk = await self._stream.read()
                except ConnectionLost:
                    return None
                if not chunk:
                    return None
                self._received += chunk

    def replies_so_far(self) -> tuple[str, ...]:
        """The acknowledged replies."""
        return split_replies(self._received.decode("utf-8", errors="replace"))

    def close(self) -> None:
        """Let go of the socket."""
        self._stream.close()
        if self.on_close is not None:
            self.on_close()
            self.on_close = None


class Console(Protocol):
    """Asks Asterisk.

    `is_gapless` tells that commands of one `ask` follow each other so closely that no channel
    comes and goes unseen in between.
    """

    is_gapless: bool

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Run the commands in order and return the reply of each.

        Raises:
            NotExecuted: certainly none of them was executed.
            Unacknowledged: some may have been.
        """


class SocketConsole:
    """The control socket, opened anew for each exchange: its banner is the proof of life."""

    is_gapless = True

    def __init__(self, open_stream: Callable[[Deadline], Awaitable[Stream]]) -> None:
        self._open_stream = open_stream
        self._booted_pid: int | None = None

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """See `Console.ask`."""
        stream = await self._open_stream(deadline)
        kept = False
        try:
            banner = await _read_banner(stream, deadline)
            if banner.pid == self._booted_pid:
                return await _converse(stream, commands, deadline)
            # Another Asterisk than before: for the first second of its life it accepts calls and
            # loses them, since its dialplan is not loaded yet.
            await _wait_fully_booted(stream, deadline)
            self._booted_pid = banner.pid
        except Unacknowledged as error:
            kept = error.pending is not None
            raise
        finally:
            if not kept:
                stream.close()
        return await self.ask(*commands, deadline=deadline)


async def _read_banner(stream: Stream, deadline: Deadline) -> Banner:
    """Read the first line. Closing after a failure here is proven to execute nothing."""
    received = b""
    try:
        async with deadline.enforce():
            while b"\n" not in received:
                chunk = await stream.read()
                if not chunk:
                    raise SocketRefused("Asterisk closed its control socket")
                received += chunk
    except TimeoutError:
        raise NoAnswer("Asterisk does not answer on its control socket") from None
    line = received.decode("utf-8", errors="replace")
    banner = parse_banner(line)
    if banner is None:
        raise SocketRefused(f"Asterisk's control socket answered {line.splitlines()[0][:60]!r}")
    return banner


async def _wait_fully_booted(stream: Stream, deadline: Deadline) -> None:
    try:
        (reply,) = await _converse(stream, (WAIT_FULLY_BOOTED,), deadline)
    except Unacknowledged as error:  # the stream is closed by who opened it
        raise NoAnswer("Asterisk is starting and did not finish in time") from error
    if "fully booted" not in reply:  # so early that not even this command is known
        raise SocketRefused("Asterisk is starting")


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


async def _converse(stream: Stream, commands: Sequence[str], deadline: Deadline) -> tuple[str, ...]:
    """Write once and read until the last sentinel has come."""
    text = _socket_text(commands)
    if deadline.remaining_s() <= 0:
        raise NoAnswer("No time was left to send the command")
    stream.write(text)
    pending = Pending(stream, commands)
    try:
        replies = await pending.replies(deadline)
    except TimeoutError:
        raise Unacknowledged(
            "Asterisk did not acknowledge the command in time",
            replies=pending.replies_so_far(),
            begun=len(commands),
            pending=pending,
        ) from None
    if replies is None:
        raise Unacknowledged(
            "Connection closed before Asterisk acknowledged the command",
            replies=pending.replies_so_far(),
            begun=len(commands),
        )
    return replies


class ExecConsole:
    """`asterisk -rx` in the host's shell, as the specification has it: a process a command."""

    is_gapless = False

    def __init__(
        self, run: Callable[[str, Deadline], Awaitable[Completed]], *, asterisk_command: str
    ) -> None:
        self._run = run
        self._asterisk = asterisk_command

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """See `Console.ask`. Each command starts only when the one before it has succeeded."""
        mark = f"acknowledged-{secrets.token_hex(8)}"
        done = await self._run(self.shell_text(commands, mark), deadline)
        *replies, rest = done.output.split(f"{mark}\n")
        acknowledged = tuple(replies[1:])  # the first is the wait for Asterisk's boot
        if len(acknowledged) == len(commands) and not any(map(_is_broken, acknowledged)):
            return acknowledged
        if done.exit_status is None:
            raise Unacknowledged(
                "Connection lost before Asterisk acknowledged the command",
                replies=(),
                begun=len(commands),
            )
        if not replies and done.exit_status:
            raise _unavailable(self._asterisk, done.exit_status, rest)
        # A reply that broke off does not stop the shell: asterisk -rx exits 0 all the same. So
        # every marked command may have run, and the next one too unless it certainly could not;
        # with status 0 the shell got to its end, whatever we saw of it.
        never_ran = _is_unconnected(rest) or done.exit_status in _NOT_FOUND_STATUSES
        begun = len(acknowledged) + (not never_ran) if done.exit_status else len(commands)
        whole = itertools.takewhile(lambda text: not _is_broken(text), acknowledged)
        raise Unacknowledged(
            "Asterisk went away while the command was running",
            replies=tuple(whole),
            begun=min(begun, len(commands)),
        )

    def shell_text(self, commands: Sequence[str], mark: str) -> str:
        """Render the shell line; `asterisk_command` is the operator's own, checked setting."""
        return " && ".join(
            f"{self._asterisk} -rx {shlex.quote(checked(command))} && echo {mark}"
            for command in (WAIT_FULLY_BOOTED, *commands)
        )


def _is_broken(text: str) -> bool:
    """`asterisk -rx` exits 0 when Asterisk dies in mid-command; only this line tells."""
    return "read() failed: " in text


def _is_unconnected(text: str) -> bool:
    return "Unable to connect to remote asterisk" in text


def _unavailable(asterisk: str, status: int, output: str) -> NotExecuted:
    if status in _NOT_FOUND_STATUSES:
        return AsteriskUnavailable(f"The host cannot run `{asterisk}`: set ASTERISK_COMMAND")
    if _is_unconnected(output):
        return AsteriskUnavailable("Asterisk is stopped, or its socket is not ours to open")
    return AsteriskUnavailable(f"`{asterisk} -rx` failed with exit status {status}")

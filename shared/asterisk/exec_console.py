"""`asterisk -rx` in the host's shell, as the specification has it: a process a command."""

from __future__ import annotations

import itertools
import secrets
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from shared.asterisk.commands import WAIT_FULLY_BOOTED, checked
from shared.asterisk.console import (
    MAX_REPLY_LINES,
    TOO_LONG,
    Console,
    Exchange,
    Unacknowledged,
)
from shared.asterisk.parsers import text_of
from shared.deadline import Deadline
from shared.errors import AsteriskUnavailable, NotExecuted

_NOT_FOUND_STATUSES = (126, 127)
_BROKEN = "read() failed: "
NOBODY_LISTENS = "Asterisk is stopped, or its socket is not ours to open"


class Running(Protocol):
    """A command of the host's shell that may have begun."""

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and when the connection was lost: it may still be running."""

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more of it will come."""

    @property
    def output(self) -> bytearray:
        """What it printed so far, standard error left out."""

    @property
    def errors(self) -> bytearray:
        """What it printed to its standard error so far."""

    @property
    def is_cut(self) -> bool:
        """Whether it printed so much that it was let go of; it may still be running."""

    async def progress(self, deadline: Deadline) -> None:
        """Wait until it has printed more, or ended.

        Raises:
            TimeoutError: it has not.
            SocketRefused: it was certainly not started.
        """

    def close(self) -> None:
        """Let go, without waiting."""


class ExecExchange(Exchange):
    """Commands that a shell runs one after the other, each followed by an echo of `mark`."""

    def __init__(self, running: Running, commands: Sequence[str], mark: str, asterisk: str) -> None:
        super().__init__()
        self._running = running
        self._commands = commands
        self._mark = f"{mark}\n"
        self._asterisk = asterisk
        self._looked_at = 0  # bytes, whose marks are counted
        self._marks = 0
        self._lines = 0

    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """See `Exchange.replies`."""
        wanted = len(self._commands) if count is None else count
        while True:
            if self._count_marks() > wanted:  # the first is that of the wait for Asterisk's boot
                acknowledged, _ = self._split()
                first = acknowledged[:wanted]
                if not any(map(_is_broken, first)) and _BROKEN not in self._complaints:
                    return first
            if self._running.has_ended or self._is_too_long:
                raise self._error()
            await self._running.progress(deadline)

    def _count_marks(self) -> int:
        """Count those that came, and look once at each byte of what was printed."""
        output, mark = self._running.output, self._mark.encode()
        begin = max(0, self._looked_at - len(mark) + 1)
        self._marks += output.count(mark, begin)
        self._lines += output.count(b"\n", self._looked_at)
        self._looked_at = len(output)
        return self._marks

    @property
    def _is_too_long(self) -> bool:
        return self._running.is_cut or self._lines > MAX_REPLY_LINES

    @property
    def _complaints(self) -> str:
        """What was printed apart; nothing tells of which command."""
        return text_of(self._running.errors)

    def _split(self) -> tuple[tuple[str, ...], str]:
        """Return the replies, without that to the wait for Asterisk's boot, and what follows."""
        text = text_of(self._running.output)
        *replies, rest = text.split(self._mark)
        return tuple(replies[1:]), rest

    def _error(self) -> NotExecuted | Unacknowledged:
        """Return why its replies are not to be had."""
        (acknowledged, rest), status = self._split(), self._running.exit_status
        rest += self._complaints
        if self._is_too_long:
            self.close()
            return Unacknowledged(
                TOO_LONG, replies=acknowledged, begun=len(self._commands), is_too_long=True
            )
        if status is None:
            return self._lost()
        if not self._marks and status:
            return _unavailable(self._asterisk, status, rest)
        # A reply that broke off does not stop the shell: asterisk -rx exits 0 all the same. So
        # every marked command may have run, and the next one too unless it certainly could not;
        # with status 0 the shell got to its end, whatever we saw of it.
        never_ran = _is_unconnected(rest) or status in _NOT_FOUND_STATUSES
        begun = len(acknowledged) + (not never_ran) if status else len(self._commands)
        if _BROKEN in self._complaints:
            acknowledged = ()  # any of them may be what broke off
        whole = itertools.takewhile(lambda text: not _is_broken(text), acknowledged)
        return Unacknowledged(
            "Asterisk went away while the command was running",
            replies=tuple(whole),
            begun=min(begun, len(self._commands)),
        )

    def timed_out(self) -> Unacknowledged:
        """See `Exchange.timed_out`; it is closed, since it holds one of sshd's few sessions."""
        self.close()
        return self._lost()

    def _lost(self) -> Unacknowledged:
        reason = "Connection lost before Asterisk acknowledged the command"
        return Unacknowledged(reason, replies=(), begun=len(self._commands))

    def _end(self) -> None:
        self._running.close()


class ExecConsole(Console):
    """Runs `asterisk -rx`; `start` starts a line of the host's shell."""

    is_gapless = False

    def __init__(
        self, start: Callable[[str, Deadline], Awaitable[Running]], *, asterisk_command: str
    ) -> None:
        self._start = start
        self._asterisk = asterisk_command

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """See `Console.send`. Each command starts only when the one before it has succeeded."""
        mark = f"acknowledged-{secrets.token_hex(8)}"
        running = await self._start(self.shell_text(commands, mark), deadline)
        return ExecExchange(running, commands, mark, self._asterisk)

    def shell_text(self, commands: Sequence[str], mark: str) -> str:
        """Render the shell line; `asterisk_command` is the operator's own, checked setting."""
        return " && ".join(
            f"{self._asterisk} -rx {shlex.quote(checked(command))} && echo {mark}"
            for command in (WAIT_FULLY_BOOTED, *commands)
        )


def _is_broken(reply: str) -> bool:
    """`asterisk -rx` exits 0 when Asterisk dies in mid-command; only its last line tells.

    Any line before may be a caller's, in whose number a line may end.
    """
    return reply.rstrip("\n").rpartition("\n")[2].startswith(_BROKEN)


def _is_unconnected(text: str) -> bool:
    return "Unable to connect to remote asterisk" in text


def _unavailable(asterisk: str, status: int, output: str) -> NotExecuted:
    if status in _NOT_FOUND_STATUSES:
        return AsteriskUnavailable(f"The host cannot run `{asterisk}`: set ASTERISK_COMMAND")
    if _is_unconnected(output):
        return AsteriskUnavailable(NOBODY_LISTENS)
    return AsteriskUnavailable(f"`{asterisk} -rx` failed with exit status {status}")

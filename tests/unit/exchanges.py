"""Exchanges by script, in the place of a socket's or a shell's."""

from __future__ import annotations

import asyncio

from shared.asterisk import console
from shared.asterisk.console import Exchange, Unacknowledged
from shared.asterisk.socket_console import SocketExchange
from shared.deadline import Deadline
from shared.errors import ServiceError


class Told(Exchange):
    """One whose replies, or whose failure, are known beforehand; `closed` once it is."""

    def __init__(self, *replies: str, error: Exception | None = None) -> None:
        super().__init__()
        self._replies = replies
        self._error = error
        self.closed = False

    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """Tell them."""
        if self._error:
            raise self._error
        return self._replies if count is None else self._replies[:count]

    def timed_out(self) -> Unacknowledged:
        """It never is."""
        raise AssertionError

    def _end(self) -> None:
        self.closed = True


class Scripted(console.Console):
    """A console whose every exchange is answered by `answer`; `asked` are the commands of each."""

    is_gapless = True
    version: str | None = "16.28.0"

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def answer(self, commands: tuple[str, ...]) -> Exchange:
        """Say what comes back."""
        raise NotImplementedError

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """Record the commands."""
        self.asked.append(commands)
        return self.answer(commands)


class Console(Scripted):
    """Answers one exchange."""

    def __init__(self, *replies: str, error: ServiceError | None = None) -> None:
        super().__init__()
        self._replies = replies
        self._error = error

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Give the replies, or fail."""
        self.exchange = Told(*self._replies, error=self._error)
        return self.exchange


class OpenSocket:
    """A stream on which nothing ever comes."""

    closed = False

    async def read(self) -> bytes:
        """Never return."""
        await asyncio.Event().wait()
        raise AssertionError

    def write(self, data: bytes) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Note it."""
        self.closed = True


def broken_off(*replies: str, begun: int = 3) -> tuple[Unacknowledged, OpenSocket]:
    """Make an exchange whose time was up, with its socket still open."""
    stream = OpenSocket()
    pending = SocketExchange(stream, ("", "", ""))
    return Unacknowledged("in time", replies=replies, begun=begun, pending=pending), stream

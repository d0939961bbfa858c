"""What is asked of a host and given up while it opens: it is opened all the same, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncssh
import pytest

from shared.deadline import Deadline
from shared.ssh.connection import Connection
from tests.integration.service import until
from tests.integration.test_login import Host, logged_in

pytestmark = pytest.mark.anyio

LIMIT_S = 30.0
Opening = Callable[[Connection], Coroutine[Any, Any, object]]
OPENINGS: dict[str, Opening] = {
    # Asterisk has 128 consoles for all.
    "a control socket": lambda connection: connection.open_socket("/ctl", _deadline()),
    # sshd has ten sessions for a connection.
    "a file": lambda connection: connection.read_file("/file", 0, 1, _deadline()),
    "a command": lambda connection: connection.start("true", _deadline()),
}


def _deadline() -> Deadline:
    return Deadline.after(LIMIT_S)


class Channel(asyncssh.SSHUNIXSession[bytes], asyncssh.SSHServerSession[bytes]):
    """What the host has opened."""

    def __init__(self, host: Slow) -> None:
        self._host = host
        self._channel: Any = None

    def connection_made(self, chan: Any) -> None:
        """Take it."""
        self._channel = chan
        self._host.opened += 1
        self._host.open_.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give it back."""
        self._host.open_.discard(self)

    def answer(self, data: bytes) -> None:
        """Say this."""
        self._channel.write(data)

    def exec_requested(self, command: str) -> bool:
        """Begin to run it."""
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Begin to say nothing."""
        return True


class Slow(Host):
    """A host that takes its time to open what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.opened = 0
        self.open_: set[Channel] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep what makes channels."""
        self._connection = conn

    async def _opened(self) -> Channel:
        self.asked.set()
        await self.go_on.wait()
        return Channel(self)

    def unix_connection_requested(self, dest_path: str) -> Any:
        """Open it, later."""
        return self._opened()

    def session_requested(self) -> Any:
        """Open it, later."""
        return self._connection.create_server_channel(encoding=None), self._opened()


@pytest.mark.parametrize("what", OPENINGS)
async def test_what_nobody_waits_for_is_closed(what: str) -> None:
    """Each request that is given up would keep one for as long as its connection lives."""
    host = Slow()
    async with logged_in(host, process=None) as connection:
        opening = asyncio.ensure_future(OPENINGS[what](connection))
        async with asyncio.timeout(LIMIT_S):
            await host.asked.wait()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert opening.cancelled()
        host.go_on.set()
        await until(lambda: host.opened > 0 and not host.open_)
        await until(lambda: not connection._channels)


async def test_sftp_that_speaks_another_language_is_closed() -> None:
    """Its session would count among those that sshd has for a connection."""
    host = Slow()
    host.go_on.set()
    async with logged_in(host, process=None) as connection:
        reading = asyncio.ensure_future(OPENINGS["a file"](connection))
        await until(lambda: bool(host.open_))
        (channel,) = host.open_
        channel.answer(b"\x00\x00\x00\x05\xff\x00\x00\x00\x03")
        await asyncio.gather(reading, return_exceptions=True)
        assert reading.exception() is not None
        await until(lambda: not host.open_)

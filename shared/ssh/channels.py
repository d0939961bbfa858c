"""What the channels of a connection bring: a socket's bytes, a command's output and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh

# What a socket or a command may bring in all; what nobody has read yet is much less.
MAX_BYTES = 2**20
WINDOW_BYTES = 2**18


class Received:
    """What a channel has brought, of which `news` tells; among `open_` until the host closes it."""

    def __init__(self, open_: set[Received]) -> None:
        self.news = asyncio.Event()
        self.ended = False
        self.received = bytearray()
        self._open = open_
        self._channel: Any = None

    def connection_made(self, chan: Any) -> None:
        """Begin."""
        self._channel = chan
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whatever the cause."""
        del exc  # without an exit status the outcome is unknown
        self._open.discard(self)
        self.ended = True
        self.news.set()

    def close(self) -> None:
        """Let go, without waiting."""
        if self._channel is not None:
            self._channel.close()


class Socket(Received, asyncssh.SSHUNIXSession[bytes]):
    """Keeps what nobody has read yet, up to a window; then the host has to wait."""

    def __init__(self, open_: set[Received]) -> None:
        super().__init__(open_)
        self.is_lost = False
        self._is_paused = False

    @property
    def channel(self) -> asyncssh.SSHUNIXChannel[bytes]:
        """The channel, to be written to."""
        channel: asyncssh.SSHUNIXChannel[bytes] = self._channel
        return channel

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Keep it until it is read."""
        del datatype
        self.received += data
        if len(self.received) >= WINDOW_BYTES and not self._is_paused:
            self._is_paused = True
            self._channel.pause_reading()
        self.news.set()

    def eof_received(self) -> bool:
        """Note that no more will come."""
        self.ended = True
        self.news.set()
        return True  # it is ours to close

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end from a loss."""
        self.is_lost = exc is not None
        super().connection_lost(exc)

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while not (self.received or self.ended):
            self.news.clear()
            await self.news.wait()
        data = bytes(self.received)
        self.received.clear()
        if self._is_paused:
            self._is_paused = False
            self._channel.resume_reading()
        return data

    def close(self) -> None:
        """Let go of what nobody has read, too."""
        super().close()
        self.received.clear()


class Session(Received, asyncssh.SSHClientSession[bytes]):
    """Collects a command's output and notes how far it got.

    asyncssh asks for the session once the channel is open and right before it sends the command:
    from `begun` on, the command may run. `expected` ends the expectation of its output; `lost` is
    told once the host has closed it.
    """

    def __init__(
        self, open_: set[Received], expected: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        super().__init__(open_)
        self._lost = lost
        self.begun = asyncio.Event()
        self.expected = expected
        self.exit_status: int | None = None
        self.errors = bytearray()
        self.is_cut = False

    def started(self) -> Session:
        """Note that the command may run from now on."""
        self.begun.set()
        return self

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Keep it, up to a bound."""
        if self.is_cut:
            return
        # Apart: what sudo says of its own may come amidst a line of the output.
        kept = self.errors if datatype == asyncssh.EXTENDED_DATA_STDERR else self.received
        kept += data
        if len(self.received) + len(self.errors) > MAX_BYTES:
            self.is_cut = self.ended = True
            self.close()
        self.news.set()

    def exit_status_received(self, status: int) -> None:
        """Note how the command ended."""
        self.exit_status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was expected, too."""
        super().connection_lost(exc)
        self.expected()
        self._lost()

    def close(self) -> None:
        """Let go, and expect no more."""
        super().close()
        self.expected()

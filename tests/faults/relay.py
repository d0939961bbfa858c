"""A TCP relay before a server, which does to its links what a bad network does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Literal

Way = Literal["up", "down"]

_RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST


class Relay:
    """Relays to a port of this machine; `port` is where it listens.

    With `sources` each link comes from another address: OpenSSH 10 shuts an address out for 90 s
    once a log-in of it crashed.
    """

    def __init__(self, far_port: int, *, sources: bool = False) -> None:
        self.port = 0
        self.replies = 0
        self.accepted = 0
        self.on_accept: Callable[[int], bool] | None = None
        self._far_port = far_port
        self._links: set[asyncio.Task[None]] = set()
        self._cut_at: int | None = None
        self._mute = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._sent = asyncio.Condition()
        self._chunks_up = 0
        self._sources = (
            f"127.{n // 250 % 250}.1.{1 + n % 250}" if sources else "127.0.0.1"
            for n in itertools.count()
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def to(
        cls, far_port: int, *, sources: bool = False, listener: socket.socket | None = None
    ) -> AsyncIterator[Relay]:
        """Relay until the block ends; `listener` may be of another network namespace."""
        relay = cls(far_port, sources=sources)
        if listener is None:
            listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(relay._accept, sock=listener)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            await relay.reset()

    # --- harm ---------------------------------------------------------------------------

    async def reset(self) -> None:
        """Cut every link that there is; new ones are relayed."""
        self._mute = False
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def stall(self, seconds: float) -> None:
        """Hold everything back, in both directions, and let it go later."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    async def mute(self, seconds: float) -> None:
        """Let what clients send arrive, lose every reply, then cut the links."""
        self._mute = True
        await asyncio.sleep(seconds)
        await self.reset()

    def cut_at_reply(self, number: int) -> None:
        """Cut the link instead of relaying this reply of the server, counted from now."""
        self.replies, self._cut_at = 0, number

    @property
    def armed(self) -> bool:
        """Tell whether the reply that `cut_at_reply` waits for has not come."""
        return self._cut_at is not None

    async def sends(self, count: int) -> None:
        """Wait until clients have sent something so many times more."""
        until = self._chunks_up + count
        async with self._sent:
            await self._sent.wait_for(lambda: self._chunks_up >= until)

    # --- relaying -----------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        self.accepted += 1
        writers = [writer]
        try:
            if self.on_accept is not None and not self.on_accept(self.accepted):
                return
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(
                    "127.0.0.1", self._far_port, local_addr=(next(self._sources), 0)
                )
                writers.append(far_writer)
                ways = {
                    asyncio.create_task(self._relay(reader, far_writer, "up")),
                    asyncio.create_task(self._relay(far_reader, writer, "down")),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        except asyncio.CancelledError:
            pass  # a cut; the streams' own callback would log it as an error
        finally:
            self._links.discard(link)
            for end in writers:
                self._close(end)

    def _close(self, end: asyncio.StreamWriter) -> None:
        connection: socket.socket | None = end.get_extra_info("socket")
        with contextlib.suppress(OSError):
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if way == "up":
                    writer.write(data)
                    async with self._sent:
                        self._chunks_up += 1
                        self._sent.notify_all()
                elif not self._mute:
                    self.replies += 1
                    if self.replies == self._cut_at:
                        self._cut_at = None
                        return
                    writer.write(data)
                await writer.drain()

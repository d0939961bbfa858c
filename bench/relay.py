"""A relay on loopback that makes a PBX be far away: whatever passes it comes so much later."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _End(asyncio.Protocol):
    """One end of a link; what comes in here goes out at the other."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._waiting: deque[bytes] = deque()
        self._other: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def join(self, other: _End) -> None:
        """Be two ends of one link."""
        self._other.set_result(other)
        other._other.set_result(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Let it go on later, in order."""
        self._later(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Let the other end know, behind all that was sent."""
        self._later(b"")

    def _later(self, data: bytes) -> None:
        self._waiting.append(data)
        asyncio.get_running_loop().call_later(self._delay_s, self._pass_on)

    def _pass_on(self) -> None:
        if not self._other.done():  # the far end is being connected
            self._other.add_done_callback(lambda _: self._pass_on())
            return
        data, far = self._waiting.popleft(), self._other.result().transport
        if data:
            far.write(data)
        else:
            far.close()


@asynccontextmanager
async def delaying(far_port: int, delay_s: float) -> AsyncIterator[int]:
    """Relay to a port, each direction delayed, until the block ends; the port to connect to."""
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()
    ends: list[_End] = []

    async def connect(near: _End) -> None:
        _, far = await loop.create_connection(lambda: _End(delay_s), "127.0.0.1", far_port)
        near.join(far)
        ends.extend((near, far))

    def accept() -> _End:
        near = _End(delay_s)
        task = loop.create_task(connect(near))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for end in ends:
            end.transport.abort()
        await asyncio.sleep(0)  # they are told so

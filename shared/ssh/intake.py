"""What a host may send: as much as was asked for, and a little more; who sends more is cut off.

asyncssh reads whatever comes and answers much of it, before the log-in and after it. So every byte
is counted on its way to it, and it gets few at a time: each packet costs the event loop some
twentieth of a millisecond, and other hosts' calls wait meanwhile. Who costs much has to wait, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

# A log-in takes some 5 kB. After it a host speaks unasked too, of its keys or to keep alive.
_UNASKED_BYTES = 512 * 1024
_UNASKED_BYTES_PER_S = 4096
_READ_BYTES = 8 * 1024
# Nothing but small packets in great number costs as much at once; then others come first.
_LONG_S = 0.003
_OTHERS_SHARE = 3
# What SSH itself adds to each piece; a host that prints a line at a time sends small ones.
_WRAPPED = 2


class Intake:
    """How much one connection's host may still send; `is_exceeded` once it has sent more."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._asked = 0
        self._left = _UNASKED_BYTES
        self.is_exceeded = False

    def expect(self, count: int) -> Callable[[], None]:
        """Let `count` bytes of contents come, until the function that is returned is called."""
        count *= _WRAPPED
        self._refill()
        self._asked += count
        self._left += count

        def end() -> None:
            nonlocal count
            self._asked -= count
            count = 0
            self._left = min(self._left, self._most)

        return end

    def take(self, count: int) -> bool:
        """Count what came; tell whether it still was within the limit."""
        self._refill()
        self._left -= count
        self.is_exceeded = self.is_exceeded or self._left < 0
        return not self.is_exceeded

    @property
    def _most(self) -> int:
        return _UNASKED_BYTES + self._asked

    def _refill(self) -> None:
        now = self._clock()
        more = int((now - self._at) * _UNASKED_BYTES_PER_S)
        if more:
            self._at = now
            self._left = min(self._left + more, max(self._left, self._most))

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect as asyncssh does; it takes this for a tunnel."""
        loop = asyncio.get_running_loop()
        transport, counted = await loop.create_connection(
            lambda: _Counted(factory(), self), host, port
        )
        return transport, counted.protocol


class _Counted(asyncio.BufferedProtocol):
    """Counts what a protocol receives, and ends the connection where it is too much."""

    def __init__(self, protocol: asyncio.Protocol, intake: Intake) -> None:
        self.protocol = protocol
        self._intake = intake
        self._buffer = bytearray(_READ_BYTES)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._transport = cast("asyncio.Transport", transport)
        self.protocol.connection_made(transport)

    def get_buffer(self, sizehint: int) -> Any:
        """Give the place for the next bytes."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass them on, unless they are too many."""
        assert self._transport is not None  # noqa: S101 - nothing comes before it is there
        if not self._intake.take(nbytes):
            self._transport.abort()
            return
        began = time.thread_time()
        self.protocol.data_received(bytes(memoryview(self._buffer)[:nbytes]))
        took_s = time.thread_time() - began
        if took_s > _LONG_S and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(
                _OTHERS_SHARE * took_s, self._transport.resume_reading
            )

    def eof_received(self) -> bool:
        """Pass it on; asyncssh aborts by itself.

        asyncio's own closing, of a socket that is written to in the same turn, would leave a
        transport that cannot be aborted any more: an AttributeError, as of Python 3.11.
        """
        self.protocol.eof_received()
        return True

    def pause_writing(self) -> None:
        """Pass it on."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.protocol.connection_lost(exc)

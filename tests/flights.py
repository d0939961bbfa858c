"""Counts round trips to a PBX by what follows from what, not by a clock.

A relay between the service and an SSH server. Each chunk that it passes on carries a depth: one
more than the greatest that its sender had received when it sent it. How deep the last thing was
that the service received before it answered, divided by two, is how often it had to wait for the
PBX: a round trip each, however long the wire is. TCP's own handshake is not in it.

The relay holds every chunk for a moment, as a wire does, so that what is asked at once is at once:
without it an answer would overtake the next question. How long makes no difference to the count.
It counts that moment in turns of the event loop, not by a clock: a machine that stood still
meanwhile has still to give every task its turns before the answer comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_TICK_S = 0.02
_HOLD_TICKS = 5
_QUIET_TICKS = 15
_PIECE_BYTES = 2**16


@dataclass
class Side:
    """Who sends and receives: the greatest depth that it has received, over all connections."""

    received: int = 0


@dataclass
class Flights:
    """A relay on loopback; `service` and `pbx` are its two sides."""

    port: int = 0
    service: Side = field(default_factory=Side)
    pbx: Side = field(default_factory=Side)
    _on_the_way: int = 0
    _moved: int = 0
    _ticks: int = 0
    _ticked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def tick(self) -> None:
        """Count what passes for time here, without end."""
        while True:
            await asyncio.sleep(_TICK_S)
            async with self._ticked:
                self._ticks += 1
                self._ticked.notify_all()

    async def begin(self) -> None:
        """Wait until nothing is on the way, of what came before, and count from here."""
        moved, quiet = -1, 0
        while quiet < _QUIET_TICKS:
            await asyncio.sleep(_TICK_S)
            quiet = quiet + 1 if not self._on_the_way and moved == self._moved else 0
            moved = self._moved
        self.service.received = self.pbx.received = 0

    @property
    def round_trips(self) -> int:
        """How often the service has waited for the PBX so far, one after the other."""
        return (self.service.received + 1) // 2

    async def carry(
        self, port: int, near: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        """Carry one connection until either end closes it."""
        far, forth = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(
                self._pass_on(near, forth, self.service, self.pbx),
                self._pass_on(far, back, self.pbx, self.service),
            )
        finally:
            back.close()
            forth.close()

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, sender: Side, receiver: Side
    ) -> None:
        held: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(held, sink, receiver))
        data = b"-"
        while data:
            data = b""
            with suppress(OSError):
                data = await source.read(_PIECE_BYTES)
            self._on_the_way += 1
            self._moved += 1
            held.put_nowait((self._ticks + _HOLD_TICKS, sender.received + 1, data))
        await delivering

    async def _deliver(
        self,
        held: asyncio.Queue[tuple[int, int, bytes]],
        sink: asyncio.StreamWriter,
        receiver: Side,
    ) -> None:
        data = b"-"
        while data:
            due, depth, data = await held.get()
            async with self._ticked:
                while self._ticks < due:
                    await self._ticked.wait()
            self._on_the_way -= 1
            with suppress(OSError, RuntimeError):
                if data:
                    receiver.received = max(receiver.received, depth)
                    sink.write(data)
                else:
                    sink.write_eof()


@asynccontextmanager
async def counting(port: int) -> AsyncIterator[Flights]:
    """Run a relay to an SSH server of this machine."""
    flights = Flights()
    carried = {asyncio.ensure_future(flights.tick())}

    def accepted(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        carried.add(asyncio.ensure_future(flights.carry(port, near, back)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    flights.port = server.sockets[0].getsockname()[1]
    async with server:
        yield flights
    for task in carried:
        task.cancel()
    await asyncio.gather(*carried, return_exceptions=True)

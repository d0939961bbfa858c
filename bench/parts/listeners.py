"""What listeners cost one process: memory of each, and how late an event reaches all of them.

The whole service in a process of its own, real PostgreSQL, WebSockets of one enterprise over real
connections. The time runs from the writing of an event, as a tracker writes it, until the median
and the last listener have it.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from bench.machine import resident_bytes, versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Table
from bench.stage import database
from demo.postgres import free_port
from tests.integration.service import SECRET, environment, run_process, seed
from tests.integration.test_feed import tell

SUMMARY = "what listeners to events cost a process"
PARAMETERS = {
    "listeners": Parameter(10_000, 500, "WebSockets of one enterprise at once"),
    "rounds": Parameter(10, 3, "events that are told to all of them"),
}
HANDSHAKE = (
    "GET /api/events HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    f"Authorization: Bearer {SECRET}\r\n\r\n"
)
AT_ONCE = 50
PING, PONG = b"\x89\x04", b"\x8a\x84\0\0\0\0"  # of four bytes; masked by nothing


class Listener(asyncio.Protocol):
    """One that only notes when it was last told an event, and answers pings, or it is cut off.

    The first that it is told is a heartbeat.
    """

    def __init__(self) -> None:
        self.told_at = 0.0
        self.is_in = asyncio.get_running_loop().create_future()
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(HANDSHAKE.encode())

    def data_received(self, data: bytes) -> None:
        """Note it."""
        _, ping, rest = data.partition(PING)
        if ping:
            self._transport.write(PONG + rest[:4])
        if b'"seq"' in data:
            self.told_at = time.perf_counter()
        if not self.is_in.done():
            self._begun += data
            if b"heartbeat" in self._begun:
                self.is_in.set_result(None)
            elif b'"code"' in self._begun:  # a refusal, by HTTP or as a message
                self.is_in.set_exception(ConnectionError(self._begun.decode(errors="replace")))


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    return asyncio.run(measure(asked.listeners, asked.rounds, progress))


async def measure(count: int, rounds: int, progress: Progress) -> Found:
    """Run all."""
    files = count + 1000  # of each of the two processes
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with database() as postgres, tempfile.TemporaryDirectory() as folder:
        seed(postgres)
        settings = environment(postgres, free_port(), "") | {
            "MAX_CONNECTIONS": str(2 * count + 100),
            "WAITS_AT_ONCE": str(count),
            "RATE_LIMIT_READS": f"{2 * count}/1",
        }
        async with run_process(Path(folder), settings) as process:
            before = resident_bytes(process.process.pid)
            listeners: list[Listener] = []
            port = int(process.url.rpartition(":")[2])
            loop = asyncio.get_running_loop()
            begun = time.perf_counter()
            while len(listeners) < count:
                some = [
                    await loop.create_connection(Listener, "127.0.0.1", port)
                    for _ in range(min(AT_ONCE, count - len(listeners)))
                ]
                for _, listener in some:
                    await listener.is_in
                    listeners.append(listener)
                progress.show(f"{count} listeners", len(listeners) / count)
            in_s = time.perf_counter() - begun
            each = (resident_bytes(process.process.pid) - before) / count
            medians, lasts = [], []
            for _ in progress.over(range(rounds), "events"):
                await asyncio.sleep(1)
                told = time.perf_counter()
                await anyio.to_thread.run_sync(tell, postgres, "0367", 1)
                while any(listener.told_at < told for listener in listeners):  # noqa: ASYNC110 - they are thousands
                    await asyncio.sleep(0.005)
                delays = sorted(listener.told_at - told for listener in listeners)
                medians.append(statistics.median(delays))
                lasts.append(delays[-1])
            table = Table(
                f"{count} listeners of one process",
                ("", "value"),
                [
                    ("memory of the process before, MB", before / 1e6),
                    ("memory of each listener, kB", each / 1e3),
                    ("all are in after, s", in_s),
                    ("an event is with half of them after, s", statistics.median(medians)),
                    ("and with the last one after, s", statistics.median(lasts)),
                ],
                f"Medians of {rounds} events. The listeners are on the same machine.",
            )
            return Found([table], versions(postgres.version()))

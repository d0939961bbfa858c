"""What listeners cost one process: memory of each, and how late an event reaches all of them.

    python -m bench.listeners [--listeners 2000|10000] [--rounds 10]

The whole service in a process of its own, real PostgreSQL, WebSockets of one enterprise over real
connections. The time runs from the writing of an event, as a tracker writes it, until the median
and the last listener have it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from demo.postgres import free_port
from tests.integration.service import SECRET, environment, run_process, seed
from tests.integration.test_feed import tell
from tests.postgres import Postgres

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


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(count: int, rounds: int) -> None:
    """Run all, and print it."""
    files = count + 1000  # of each of the two processes
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with Postgres.running() as postgres, tempfile.TemporaryDirectory() as folder:
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
            print(f"{count} listeners, all in after {time.perf_counter() - begun:.1f} s")
            each = (resident_bytes(process.process.pid) - before) / count
            print(f"memory: {before / 1e6:.0f} MB before, {each / 1e3:.1f} kB each")
            medians, lasts = [], []
            for _ in range(rounds):
                await asyncio.sleep(1)
                told = time.perf_counter()
                await anyio.to_thread.run_sync(tell, postgres, "0367", 1)
                while any(listener.told_at < told for listener in listeners):  # noqa: ASYNC110 - they are thousands
                    await asyncio.sleep(0.005)
                delays = sorted(listener.told_at - told for listener in listeners)
                medians.append(statistics.median(delays))
                lasts.append(delays[-1])
            print(
                f"an event is with half of them after {statistics.median(medians):.3f} s,"
                f" with the last after {statistics.median(lasts):.3f} s (medians of {rounds})"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(measure(asked.listeners, asked.rounds))

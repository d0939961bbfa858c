"""What reading on in a PBX's growing file of call records costs, and whether it holds others up.

The file is in memory, so that nothing but this process is measured: four new rows, as of a call,
are read each time, of a file that had so many before. Meanwhile something else runs on the loop, as
a call that is placed would; the longest that it was held up is told.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

from bench.figures import percentile
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from shared.asterisk.models import CdrMode
from shared.deadline import Deadline
from shared.following.pace import Pace
from shared.following.records import Records
from shared.settings import Settings
from shared.ssh.files import FileSlice
from shared.turns import Turn
from tests.unit.cdr_rows import EPOCH, line

SUMMARY = "reading on in a growing file of call records"
PARAMETERS = {
    "rows": Parameter("100,1000,9000", "100,1000", "rows that were read before"),
    "rounds": Parameter(200, 20, "readings"),
}
_ROWS_A_CALL = 4


class _File:
    """A PBX that has one file."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.rows = 0

    def grow(self, count: int) -> None:
        """Write rows."""
        for number in range(self.rows, self.rows + count):
            at, uniqueid = number // 10, f"{EPOCH + number // 10}.{number}"
            row = line(f"SIP/150-{number:x}", f"SIP/t-{number:x}", at=at, uniqueid=uniqueid)
            self.data += row.encode()
        self.rows += count

    async def ask(self, *_: object, turn: Turn) -> CdrMode:
        """Say that records are written at once."""
        del turn
        return "simple"

    async def read_file(
        self, _host: str, _path: str, offset: int, length: int, _until: Deadline, *, turn: Turn
    ) -> FileSlice:
        """Read it."""
        del turn
        begin = max(0, len(self.data) + offset) if offset < 0 else offset
        return FileSlice(len(self.data), begin, bytes(self.data[begin : begin + length]), None)


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    rows = [
        asyncio.run(_measure(count, asked.rounds, progress))
        for count in map(int, asked.rows.split(","))
    ]
    table = Table(
        f"{_ROWS_A_CALL} new rows",
        ("rows before", "p50 ms", "p90 ms", "p99 ms", "CPU ms", "longest hold-up of the loop, ms"),
        rows,
        f"{asked.rounds} readings each. A tracker keeps up to ten thousand rows.",
    )
    return Found([table], versions())


async def _measure(before: int, rounds: int, progress: Progress) -> list[Cell]:
    file: Any = _File()
    reader = Records(file, "192.0.2.1", Settings.from_environment({}), Pace())
    await reader.read_on()
    for _ in range(0, before, 100):
        file.grow(100)
        await reader.read_on()
    held_up: list[float] = []

    async def go_on() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            held_up.append(time.perf_counter() - began - 0.001)

    other = asyncio.create_task(go_on())
    times, used = [], 0.0
    for _ in progress.over(range(rounds), f"{before} rows"):
        file.grow(_ROWS_A_CALL)
        cpu, began = time.process_time(), time.perf_counter()
        await reader.read_on()
        times.append(1000 * (time.perf_counter() - began))
        used += time.process_time() - cpu
        await asyncio.sleep(0.005)
    other.cancel()
    shares = (percentile(times, share) for share in (0.9, 0.99))
    return [before, statistics.median(times), *shares, 1000 * used / rounds, 1000 * max(held_up)]

"""Where the time of one warm call goes, hop by hop, by marks inside the process.

The marks are put in by bench/marks.py, in a process of its own; the service has none, and pays for
none. What a hop takes includes those that stand indented below it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
from collections import defaultdict

from bench.client import Client
from bench.figures import percentile
from bench.machine import versions
from bench.marks import FIRST, LAST, POINTS
from bench.part import PBX, Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import SERVER, serving, stage

SUMMARY = "one warm call, hop by hop"
PARAMETERS = {
    "pbx": PBX,
    "rounds": Parameter(200, 20, "calls"),
    # As long as a service waits for its turn where several are compared.
    "gap_ms": Parameter(350, 50, "between two calls"),
}
_WARM = 3
WHOLE = "the client has the answer"


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with (
        stage(asked.pbx) as on,
        serving("bench.marks:app", on.environment) as service,
    ):
        table = asyncio.run(_measure(service.port, asked, progress))
        return Found([table], versions(on.versions, SERVER))


async def _measure(port: int, asked: argparse.Namespace, progress: Progress) -> Table:
    numbers = itertools.count(1)
    begins: dict[str, list[float]] = defaultdict(list)
    lasts: dict[str, list[float]] = defaultdict(list)
    async with Client(port) as client:
        for _ in range(_WARM):
            (await client.place("900", f"+48{next(numbers):09}")).json()
        await asyncio.sleep(1)
        await client.get("/marks")
        for _ in progress.over(range(asked.rounds), "calls"):
            answer = await client.place("900", f"+48{next(numbers):09}")
            answer.json()
            begins[WHOLE].append(0.0)
            lasts[WHOLE].append(answer.ms)
            await asyncio.sleep(asked.gap_ms / 1000)
        told = (await client.get("/marks")).json()
    for request in told:
        for what, begin, end in request:
            begins[what].append(1000 * begin)
            lasts[what].append(1000 * (end - begin))
    names = [*((point.what, point.depth) for point in POINTS), (FIRST, 0), (LAST, 0), (WHOLE, 0)]
    rows: list[list[Cell]] = [
        [
            "\N{NO-BREAK SPACE}" * 4 * depth + what,
            statistics.median(begins[what]),
            statistics.median(lasts[what]),
            percentile(lasts[what], 0.9),
            len(lasts[what]) / asked.rounds,
        ]
        for what, depth in names
        if lasts[what]
    ]
    return Table(
        f"{asked.rounds} calls, {asked.gap_ms} ms between them",
        ("hop", "begins at, ms", "takes, p50 ms", "p90 ms", "times a call"),
        rows,
        "The process's own clock, from when its server hands the request on; the last row is the"
        " client's.",
    )

"""Many thousand calls through one process: memory, descriptors, rows and plans stay as they are.

The whole service and a stand-in PBX, whose calls are over soon. Told is what the service and the
database's sessions have after each tenth of them. A session's own memory grows by what it plans and
keeps; rows grow by the calls themselves, and by nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator

from bench.client import Client
from bench.machine import descriptors, processor_s, resident_bytes, threads, versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import Durable, Service, serving, stage
from shared.store.database import Database
from shared.store.expired import Kept, remove_expired

SUMMARY = "many thousand calls through one process"
PARAMETERS = {
    "calls": Parameter(50_000, 60, "calls"),
    "clients": Parameter(16, 8, "clients at once"),
    "steps": Parameter(10, 2, "how often it is looked at"),
}
# What must not grow with calls that are over.
_ROWS = """
SELECT (SELECT count(*) FROM callapi.calls WHERE ended_at IS NULL OR cdr = 'pending') AS open,
       (SELECT count(*) FROM callapi.claims) AS claims,
       (SELECT count(*) FROM callapi.rate_limits) AS limits,
       (SELECT count(*) FROM callapi.calls) AS calls,
       (SELECT count(*) FROM callapi.call_events) AS events
"""
_OVER_S = 60.0
_KEPT = Kept(events_days=7, calls_days=400, audit_days=400)
COLUMNS = (
    *("calls", "calls/s", "memory MB", "descriptors", "threads", "CPU ms a call"),
    *("a session's memory MB", "open calls", "claims", "limits", "events a call"),
)


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with (
        stage("standin", time_scale=0.002) as on,
        serving("asterisk:app", on.environment) as service,
    ):
        rows = asyncio.run(_soak(on.postgres, service, asked, progress))
        table = Table(
            f"{asked.calls:,} calls by {asked.clients} clients",
            COLUMNS,
            rows,
            "The first row is before any call; a session's memory is the mean of those of the"
            " database that are open. What has expired is swept at each step, as each hour.",
        )
        return Found([table], versions(on.versions))


async def _soak(
    postgres: Durable, service: Service, asked: argparse.Namespace, progress: Progress
) -> list[list[Cell]]:
    database = Database(postgres.settings())
    clients = [Client(service.port) for _ in range(asked.clients)]
    await asyncio.gather(*(client.get("/api/calls") for client in clients))
    rows = [_row(postgres, service, 0, None, None)]
    made = asked.calls // asked.steps
    for step in range(asked.steps):
        numbers = iter(range(step * made, (step + 1) * made))

        async def call(client: Client, numbers: Iterator[int] = numbers) -> None:
            for number in numbers:
                (await client.place(str(2000 + number % 500), f"+48{number:09}")).json()
                progress.show("calls", number / asked.calls)

        began, used = time.monotonic(), processor_s(service.pid)
        await asyncio.gather(*map(call, clients))
        seconds = time.monotonic() - began
        await _over(postgres)
        await remove_expired(database, _KEPT)
        used = processor_s(service.pid) - used
        told = (made / seconds, 1000 * used / made)
        rows.append(_row(postgres, service, (step + 1) * made, *told))
    for client in clients:
        client.close()
    database.close()
    return rows


async def _over(postgres: Durable) -> None:
    """Wait until every call has ended."""
    until = time.monotonic() + _OVER_S
    while postgres.execute(_ROWS)[0]["open"] and time.monotonic() < until:  # noqa: ASYNC110 - in the database
        await asyncio.sleep(0.2)


def _row(
    postgres: Durable, service: Service, calls: int, rate: float | None, used_ms: float | None
) -> list[Cell]:
    kept = postgres.execute(_ROWS)[0]
    _, *sessions = postgres.pids
    return [
        calls,
        rate,
        resident_bytes(service.pid) / 1e6,
        descriptors(service.pid),
        threads(service.pid),
        used_ms,
        resident_bytes(*sessions) / len(sessions) / 1e6,
        kept["open"],
        kept["claims"],
        kept["limits"],
        kept["events"] / kept["calls"] if kept["calls"] else 0.0,
    ]

"""What sweeping old calls costs the calls that are placed meanwhile: admission and settling.

Real PostgreSQL, default durability, in this process; no PBX. Orders are admitted one after another,
half of them while old calls and their notes are swept, in alternating blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from uuid import uuid4

from bench.figures import percentile, ratio_of
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import database as running_database
from shared.asterisk.models import CallOrder, Extension, Phone
from shared.auth.admission import Settlement, admit, settle
from shared.auth.caller import Caller
from shared.deadline import Deadline
from shared.settings import Settings
from shared.store.database import Database
from shared.store.expired import Kept, remove_expired

SUMMARY = "placing calls while old ones are swept"
PARAMETERS = {
    "old": Parameter(200_000, 5_000, "calls that are old enough"),
    "orders": Parameter(400, 80, "orders, half of them beside a sweep"),
}
SECRET = "bench-4b7d0c91e2f85a36"
BLOCKS = 8
QUIET_S = 1.0
KEPT = Kept(events_days=7, calls_days=400, audit_days=400)

FILL = """
WITH placed AS (
  INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, phase, reason, state,
                             created_at, ended_at)
  SELECT gen_random_uuid(), (n % 100)::text, '192.0.2.1', 'call', '150', '+37529' || n, 'ended',
         'answered', 'executed', clock_timestamp() - interval '500 days', clock_timestamp()
    FROM generate_series(1, CAST(:count AS int)) n
  RETURNING call_id, enterprise, phone, created_at)
SELECT count(*) AS n FROM placed p, LATERAL callapi.note(
  p.enterprise, 'call', p.call_id, '150', p.phone, p.created_at, '{"done_by": "client"}')
"""


async def place(database: Database, settings: Settings, orders: int, first: int) -> list[float]:
    """Admit and settle so many orders, each another number; how long each took, s."""
    took = []
    for n in range(first, first + orders):
        order = CallOrder(Extension("150"), Phone(f"+48{n:09d}"))
        caller = Caller(SECRET, None, Deadline.after(27))
        began = time.perf_counter()
        admitted = await admit(
            database, settings, caller, order, call_id=uuid4(), idempotency_key=None
        )
        await settle(database, settings, admitted.call_id, Settlement("executed"))
        took.append(time.perf_counter() - began)
    return took


async def sweep(database: Database, stop: asyncio.Event) -> int:
    """Remove what is old until it is all gone or nobody wants more; how much it was."""
    removed = 0
    while not stop.is_set() and (last := await remove_expired(database, KEPT)):
        removed += last
    return removed


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    return asyncio.run(measure(asked.old, asked.orders, progress))


async def measure(old: int, orders: int, progress: Progress) -> Found:
    """Run all."""
    with running_database() as postgres:
        postgres.seed_enterprise("0367", "bench", "192.0.2.10", SECRET)
        rates = dict.fromkeys(("rate_limit_extension", "rate_limit_enterprise"), "100000/1")
        settings = postgres.settings(**rates)
        database = Database(settings)
        postgres.execute(FILL, count=old)
        quiet: list[float] = []
        beside: list[float] = []
        removed = 0
        for block in progress.over(range(BLOCKS), "blocks"):
            first = block * orders
            await asyncio.sleep(QUIET_S)
            if block % 2 == 0:
                quiet += await place(database, settings, orders // BLOCKS, first)
                continue
            stop = asyncio.Event()
            sweeping = asyncio.create_task(sweep(database, stop))
            beside += await place(database, settings, orders // BLOCKS, first)
            stop.set()
            removed += await sweeping
        database.close()
        rows: list[list[Cell]] = [
            [name, *(1000 * percentile(took, share) for share in (0.5, 0.9, 0.99))]
            for name, took in (("nothing is swept", quiet), ("beside a sweep", beside))
        ]
        table = Table(
            "Admitting and settling an order",
            ("", "p50 ms", "p90 ms", "p99 ms"),
            rows,
            f"Beside a sweep it is {ratio_of(beside, quiet)} of it at the median;"
            f" {removed} rows were removed meanwhile.",
        )
        return Found([table], versions(postgres.version()))

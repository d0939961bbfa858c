"""What sweeping old calls costs the calls that are placed meanwhile: admission and settling.

    python -m bench.retention [--old 200000] [--orders 400]

Real PostgreSQL, default durability, in this process; no PBX. Orders are admitted one after another,
half of them while old calls and their notes are swept, in alternating blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from uuid import uuid4

from shared.asterisk.models import CallOrder, Extension, Phone
from shared.auth.admission import Settlement, admit, settle
from shared.auth.caller import Caller
from shared.deadline import Deadline
from shared.settings import Settings
from shared.store.database import Database
from shared.store.expired import Kept, remove_expired
from tests.postgres import Postgres

SECRET = "bench-4b7d0c91e2f85a36"
BLOCKS = 8
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


def told(name: str, took: list[float]) -> str:
    """One line of the table."""
    in_ms = sorted(1000 * each for each in took)
    p95 = in_ms[int(len(in_ms) * 0.95)]
    return f"{name:<24}{statistics.median(in_ms):>8.2f}{p95:>8.2f}{in_ms[-1]:>8.2f}"


async def measure(old: int, orders: int) -> None:
    """Run all, and print it."""
    with Postgres.running(durable=True) as postgres:
        postgres.seed_enterprise("0367", "bench", "192.0.2.10", SECRET)
        rates = dict.fromkeys(("rate_limit_extension", "rate_limit_enterprise"), "100000/1")
        settings = postgres.settings(**rates)
        database = Database(settings)
        print(f"{postgres.execute(FILL, count=old)[0]['n']} old calls, each with its note")
        quiet: list[float] = []
        beside: list[float] = []
        removed = 0
        for block in range(BLOCKS):
            first = block * orders
            if block % 2 == 0:
                quiet += await place(database, settings, orders // BLOCKS, first)
                continue
            stop = asyncio.Event()
            sweeping = asyncio.create_task(sweep(database, stop))
            beside += await place(database, settings, orders // BLOCKS, first)
            stop.set()
            removed += await sweeping
        database.close()
        print(f"{'':<24}{'p50':>8}{'p95':>8}{'max':>8}  ms")
        print(told("nothing is swept", quiet))
        print(told("beside a sweep", beside))
        ratio = statistics.median(beside) / statistics.median(quiet)
        print(f"{ratio:.2f} of it at the median; {removed} rows were removed meanwhile")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=int, default=200_000)
    parser.add_argument("--orders", type=int, default=400)
    asked = parser.parse_args()
    asyncio.run(measure(asked.old, asked.orders))

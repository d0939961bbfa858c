"""Whether calls are admitted and told as quickly where millions of older ones are kept.

The service over HTTP, one stand-in PBX, and a database that is filled with made-up calls of a
hundred enterprises and their audit, over a year; one of them asks. Beside the time stand the pages
that are touched, and large tables that are gone through. Where the disk has no room for so many,
fewer are made.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from bench.client import Answer, Client
from bench.figures import percentile
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import Durable, serving, stage

SUMMARY = "admitting and telling calls where millions are kept"
PARAMETERS = {
    "calls": Parameter("10000,10000000", "1000,20000", "how many are kept"),
    "rounds": Parameter(100, 10, "how often each is asked"),
}
_CHUNK = 100_000
# What a call, its audit and their indexes take, and what is written on the way.
_BYTES_A_CALL = 2_500
_LARGE = 1_000
_FLUSH_S = 1.2  # a session tells no more often what it has touched
_FILL = """
WITH made AS (
  INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase, reason,
    root_channel, root_uniqueid, created_at, settled_at, agent_ringing_at, agent_answered_at,
    customer_ringing_at, talking_at, ended_at, disposition, ring_s, talk_s, cdr)
  SELECT gen_random_uuid(), to_char(n % 100, 'FM0000'),
         CASE n % 100 WHEN 0 THEN '127.0.0.1' ELSE '192.0.2.' || n % 100 END, 'call',
         (150 + n / 100 % 50)::text, '+37529' || lpad((n / 7 % 5000000)::text, 7, '0'),
         'executed', 'ended', 'answered', 'Local/150@inoffice-' || lpad(to_hex(n), 8, '0') || ';1',
         (1700000000 + n) || '.' || n, at, at, at, at, at, at, at + interval '90 seconds',
         'ANSWERED', 8, 82, 'confirmed'
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n,
         LATERAL (SELECT clock_timestamp() - interval '1 hour' - interval '360 days'
                         * (1 - n::float8 / CAST(:total AS float8)) AS at) x
  RETURNING call_id, enterprise, code, phone, created_at)
INSERT INTO callapi.audit (at, enterprise, action, done_by, secret, address, call_id, code, whom)
SELECT created_at, enterprise, 'call', 'client', 'enterprises.secret', '192.0.2.9', call_id, code,
       phone FROM made
"""
_OTHERS = """
INSERT INTO enterprises
SELECT to_char(n, 'FM0000'), 'bench', '192.0.2.' || n, 'other-' || n, true
  FROM generate_series(1, 99) n
"""
_TOUCHED = """
SELECT blks_hit + blks_read AS pages FROM pg_stat_database WHERE datname = current_database()
"""
_SCANS = """
SELECT relname, seq_scan FROM pg_stat_user_tables
 WHERE schemaname = 'callapi' AND n_live_tup >= :large ORDER BY relname
"""
Ask: TypeAlias = Callable[[], Awaitable[Answer]]


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    rows: list[list[Cell]] = []
    with stage("standin") as on:
        on.postgres.execute(_OTHERS)
        on.postgres.execute(
            "INSERT INTO callapi.enterprise_rules (enterprise, audit) VALUES ('0000', true)"
        )
        kept = 0
        with serving("asterisk:app", on.environment | {"ROLE": "api"}) as service:
            for count in map(_fitting, asked.calls.split(",")):
                _fill(on.postgres, kept, count, progress)
                kept = count
                rows += asyncio.run(_measure(on.postgres, service.port, kept, asked, progress))
        size = on.postgres.execute("SELECT pg_database_size(current_database()) AS size")
        table = Table(
            "Over HTTP",
            ("what", "calls kept", "p50 ms", "p90 ms", "p99 ms", "pages", "gone through"),
            sorted(rows, key=lambda row: str(row[0])),
            f"{asked.rounds} times each. Pages: of 8 kB, that the database looked at; gone through:"
            f" large tables without an index. At the end it has {size[0]['size'] / 1e6:,.0f} MB.",
        )
        return Found([table], versions(on.versions))


def _fitting(count: str) -> int:
    """Tell how many of so many calls the disk has room for."""
    free = shutil.disk_usage(tempfile.gettempdir()).free // 2
    return min(int(count), free // _BYTES_A_CALL)


def _fill(postgres: Durable, first: int, last: int, progress: Progress) -> None:
    for begin in range(first, last, _CHUNK):
        progress.show(f"{last:,} calls are made up", (begin - first) / (last - first))
        end = min(begin + _CHUNK, last)
        postgres.execute(_FILL, first=begin, last=end - 1, total=last)
    for table in ("calls", "audit"):
        postgres.execute(f"ANALYZE callapi.{table}")  # as autovacuum does
    postgres.give_up_kept()  # a session tells what it has touched now and then, and at its end


async def _measure(
    postgres: Durable, port: int, kept: int, asked: argparse.Namespace, progress: Progress
) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    async with Client(port) as client:
        numbers = itertools.count(1)
        later: str | None = None
        for _ in range(10):
            page = (await client.get("/api/calls", limit=50, **_after(later))).json()
            later = page["next"] or later

        async def place() -> Answer:
            return await client.place("154", f"+48{kept % 1000:03}{next(numbers):06}")

        operations: dict[str, Ask] = {
            "place a call": place,
            "calls, first page": partial(client.get, "/api/calls", limit=50),
            "calls, a later page": partial(client.get, "/api/calls", limit=50, **_after(later)),
            "calls of an extension": partial(client.get, "/api/calls", extension="160"),
            "calls of a number": partial(client.get, "/api/calls", number="+375290000100"),
            "audit, first page": partial(client.get, "/api/audit", limit=50),
        }
        for name, ask in progress.over(list(operations.items()), f"{kept:,} calls kept"):
            rows.append(await _asked(postgres, name, kept, ask, asked.rounds))
    return rows


async def _asked(postgres: Durable, name: str, kept: int, ask: Ask, rounds: int) -> list[Cell]:
    for _ in range(3):
        (await ask()).json()
    await asyncio.sleep(_FLUSH_S)
    (await ask()).json()
    before, scans = _touched(postgres), _scans(postgres)
    times = []
    for _ in range(rounds):
        answer = await ask()
        answer.json()
        times.append(answer.ms)
    await asyncio.sleep(_FLUSH_S)
    (await ask()).json()
    pages = (_touched(postgres) - before) / (rounds + 1)
    through = [table for table, n in _scans(postgres).items() if n - scans.get(table, 0) >= rounds]
    return [
        name,
        kept,
        statistics.median(times),
        percentile(times, 0.9),
        percentile(times, 0.99),
        pages,
        ", ".join(through) or "none",
    ]


def _after(cursor: str | None) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


def _touched(postgres: Durable) -> int:
    return int(postgres.execute(_TOUCHED)[0]["pages"])


def _scans(postgres: Durable) -> dict[str, int]:
    return {row["relname"]: row["seq_scan"] for row in postgres.execute(_SCANS, large=_LARGE)}

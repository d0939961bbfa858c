"""What processes tell each other by the database: how each reaches PBXs, what it noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from shared.notices import Notice
from shared.store.database import Database

# In the order of their keys, as every process writes them: none waits for another in a ring.
# Whoever has seen a host last says whether it is up; it is so since that was first said.
_TELL = """
WITH told AS (
  SELECT x.* FROM jsonb_to_recordset(CAST(:states AS jsonb)) x
    (host text, state jsonb, is_up boolean, lasts_s float8, ago_s float8, error text,
     error_ago_s float8)),
states AS (
  INSERT INTO callapi.host_states AS s (host, process, told_at, state)
  SELECT t.host, :process, clock_timestamp(), t.state FROM told t ORDER BY t.host
  ON CONFLICT (host, process) DO UPDATE SET told_at = EXCLUDED.told_at, state = EXCLUDED.state),
reach AS (
  INSERT INTO callapi.host_reach AS r (host, is_up, since, seen_at, error_code, error_at)
  SELECT t.host, t.is_up, clock_timestamp() - make_interval(secs => t.lasts_s),
         clock_timestamp() - make_interval(secs => t.ago_s), t.error,
         clock_timestamp() - make_interval(secs => t.error_ago_s)
    FROM told t WHERE t.is_up IS NOT NULL ORDER BY t.host
  ON CONFLICT (host) DO UPDATE
     SET is_up = EXCLUDED.is_up, seen_at = EXCLUDED.seen_at,
         since = CASE WHEN r.is_up = EXCLUDED.is_up THEN r.since
                      ELSE greatest(EXCLUDED.since, r.seen_at) END,
         error_code = CASE WHEN EXCLUDED.error_at > coalesce(r.error_at, '-infinity')
                           THEN EXCLUDED.error_code ELSE r.error_code END,
         error_at = greatest(EXCLUDED.error_at, r.error_at)
   WHERE EXCLUDED.seen_at > r.seen_at)
INSERT INTO callapi.notices AS n (enterprise, what, times, first_at, last_at)
SELECT x.enterprise, x.what, x.times, clock_timestamp() - make_interval(secs => x.first_ago_s),
       clock_timestamp() - make_interval(secs => x.last_ago_s)
  FROM jsonb_to_recordset(CAST(:notices AS jsonb)) x
    (enterprise text, what text, times bigint, first_ago_s float8, last_ago_s float8)
 ORDER BY x.enterprise, x.what
ON CONFLICT (enterprise, what) DO UPDATE
   SET times = n.times + EXCLUDED.times, last_at = greatest(n.last_at, EXCLUDED.last_at)
"""

_STATES = """
SELECT s.host, s.state, extract(epoch FROM clock_timestamp() - s.told_at)::float8 AS ago_s
  FROM callapi.host_states s ORDER BY s.host, s.told_at DESC, s.process
"""

_NOTICES = """
SELECT n.enterprise, n.what, n.times, n.first_at, n.last_at FROM callapi.notices n
 WHERE CAST(:enterprise AS text) IS NULL OR n.enterprise = :enterprise
 ORDER BY n.enterprise, n.last_at DESC, n.what
"""


@dataclass(frozen=True, slots=True)
class ToldHost:
    """What one process says of a host: `state` is its own, the rest is everybody's to compare.

    `is_up` is None before anything was asked of it; the times are so many seconds ago.
    """

    host: str
    state: dict[str, Any]
    is_up: bool | None
    lasts_s: float
    ago_s: float
    error: str | None
    error_ago_s: float | None


@dataclass(frozen=True, slots=True)
class ToldState:
    """What a process has said of a host, so many seconds ago."""

    host: str
    state: dict[str, Any]
    ago_s: float


@dataclass(frozen=True, slots=True)
class Noticed:
    """What was noticed of an enterprise: how often, the first and the last time."""

    enterprise: str
    what: str
    times: int
    first_at: datetime
    last_at: datetime


async def tell(
    database: Database, process: str, hosts: Sequence[ToldHost], notices: Iterable[Notice]
) -> None:
    """Tell all of it at once. Raises DatabaseUnavailable: nothing was told, or it is not known."""
    await database.run(
        _TELL,
        process=process,
        states=json.dumps([asdict(one) for one in hosts]),
        notices=json.dumps([asdict(one) for one in notices]),
    )


async def load_states(database: Database) -> tuple[ToldState, ...]:
    """List what was told of all hosts, of each the newest first. Raises DatabaseUnavailable."""
    return tuple(ToldState(**row) for row in await database.reads.run(_STATES))


async def load_notices(database: Database, enterprise: str | None) -> tuple[Noticed, ...]:
    """List what was noticed of an enterprise, or of all, of each the newest first.

    Raises DatabaseUnavailable.
    """
    rows = await database.reads.run(_NOTICES, enterprise=enterprise)
    return tuple(Noticed(**row) for row in rows)

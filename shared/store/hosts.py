"""What is known of the PBX hosts, by their texts in `enterprises.ip`: which of them are one host.

A text is trimmed as every request reads it; an address is in the form of `pbx.addresses.canonical`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from shared.store.database import Database

# Those that were never looked up first: somebody may wait for them.
_UNRESOLVED = """
SELECT o.host FROM (SELECT DISTINCT x.host FROM callapi.enterprises() x WHERE x.active) o
  LEFT JOIN callapi.hosts h ON h.host = o.host
 WHERE o.host <> ''
   AND (h.due_at IS NULL OR (CAST(:due AS boolean) AND h.due_at <= clock_timestamp()))
 ORDER BY h.due_at NULLS FIRST LIMIT :most
"""

# A name that does not resolve for a while is still where it was; it is tried again soon.
_RESOLVED = """
INSERT INTO callapi.hosts AS h (host, target, addresses, resolved_at, due_at)
SELECT x.host, x.target, x.addresses,
       CASE WHEN x.addresses <> '{}' THEN clock_timestamp() END,
       clock_timestamp() + make_interval(
         secs => CASE WHEN x.addresses <> '{}' THEN CAST(:fresh_s AS float8)
                      ELSE CAST(:retry_s AS float8) END)
  FROM jsonb_to_recordset(CAST(:found AS jsonb)) x (host text, target text, addresses text[])
 ORDER BY x.host
ON CONFLICT (host) DO UPDATE
   SET target = EXCLUDED.target, due_at = EXCLUDED.due_at,
       resolved_at = coalesce(EXCLUDED.resolved_at, h.resolved_at),
       addresses = CASE WHEN EXCLUDED.addresses = '{}' THEN h.addresses ELSE EXCLUDED.addresses END
"""

_MET = """
INSERT INTO callapi.hosts AS h (host, target, peer, met_at)
VALUES (:host, :target, :peer, clock_timestamp())
ON CONFLICT (host) DO UPDATE
   SET target = EXCLUDED.target, peer = EXCLUDED.peer, met_at = EXCLUDED.met_at,
       asterisk = CASE WHEN h.peer = EXCLUDED.peer THEN h.asterisk END
"""

_IDENTIFIED = "UPDATE callapi.hosts SET asterisk = :asterisk WHERE host = :host"

# What rang there a moment ago may still be in play.
_FORGET = """
DELETE FROM callapi.hosts h
 WHERE coalesce(h.due_at, h.met_at) < clock_timestamp() - interval '1 day'
   AND NOT EXISTS (SELECT 1 FROM callapi.enterprises() x WHERE x.active AND x.host = h.host)
"""

_NEIGHBOURS = """
SELECT DISTINCT x.number, x.host
  FROM callapi.enterprises((SELECT callapi.spellings(:host))) x
 WHERE x.active AND x.number <> :enterprise
 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A text of `enterprises.ip` that was looked up.

    `target` is what is connected to; `addresses` are none where it does not resolve.
    """

    host: str
    target: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another active enterprise that has the same PBX, and how its `ip` spells that."""

    number: str
    host: str


async def load_unresolved(database: Database, *, due: bool, most: int) -> tuple[str, ...]:
    """List texts of active enterprises that were never looked up; with `due` also old ones."""
    rows = await database.run(_UNRESOLVED, due=due, most=most)
    return tuple(row["host"] for row in rows)


async def note_resolved(
    database: Database, found: Iterable[Resolved], *, fresh_s: float, retry_s: float
) -> None:
    """Keep what texts resolve to; due again after `fresh_s`, or `retry_s` if to nothing."""
    rows = json.dumps([asdict(one) for one in found])
    await database.run(_RESOLVED, found=rows, fresh_s=fresh_s, retry_s=retry_s)


async def note_met(database: Database, host: str, *, target: str, peer: str) -> None:
    """Keep which address answered when a host was connected to."""
    await database.run(_MET, host=host, target=target, peer=peer)


async def note_asterisk(database: Database, host: str, asterisk: str) -> None:
    """Keep who a host's Asterisk says it is."""
    await database.run(_IDENTIFIED, host=host, asterisk=asterisk)


async def forget_removed(database: Database) -> None:
    """Forget the texts that no active enterprise has had for a day."""
    await database.run(_FORGET)


async def load_neighbours(database: Database, enterprise: str, host: str) -> tuple[Neighbour, ...]:
    """List the other active enterprises that are treated as having this host's PBX."""
    rows = await database.run(_NEIGHBOURS, enterprise=enterprise, host=host)
    return tuple(Neighbour(**row) for row in rows)

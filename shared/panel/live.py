"""The open calls of all enterprises, and those that ended just now."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.store.database import Database

_MOST = 200
_ENDED_S = 12

# What ended just now is found by its event: no index leads to a call by its end. The ids come
# first, in an array that is made once: by either of the two the table would be read through.
_CALLS = """
WITH named AS MATERIALIZED (
  SELECT x.number, min(x.name) AS name FROM callapi.enterprises() x GROUP BY x.number)
SELECT c.call_id, c.enterprise, c.host, c.kind, c.code, c.phone, c.action, c.phase, c.reason,
       extract(epoch FROM coalesce(c.ended_at, clock_timestamp()) - c.created_at) AS age_s,
       n.name
  FROM callapi.calls c LEFT JOIN named n ON n.number = c.enterprise
 WHERE c.call_id = ANY (ARRAY(
         SELECT o.call_id FROM callapi.calls o WHERE o.ended_at IS NULL AND o.phase <> 'ended'
         UNION ALL
         SELECT v.call_id FROM callapi.call_events v
          WHERE v.at > clock_timestamp() - make_interval(secs => :ended_s) AND v.phase = 'ended'))
 ORDER BY c.created_at DESC, c.call_id LIMIT :most
"""
_FIND = "SELECT enterprise, code, phone FROM callapi.calls WHERE call_id = :call_id"

# The specification's codes of how a supervisor listens.
_MODES = {"09": "listen", "01": "whisper", "02": "barge"}


@dataclass(frozen=True, slots=True)
class Live:
    """A call, or a monitoring: then `code` is who listens, and `phone` to whom."""

    call_id: UUID
    enterprise: str
    host: str
    kind: str
    code: str
    phone: str
    action: str
    phase: str
    reason: str | None
    age_s: float
    name: str | None

    @property
    def mode(self) -> str:
        """How a supervisor listens."""
        return _MODES.get(self.action, "listen")


async def list_live(database: Database) -> tuple[Live, ...]:
    """List them, the newest first. Raises DatabaseUnavailable."""
    rows = await database.reads.run(_CALLS, ended_s=_ENDED_S, most=_MOST)
    return tuple(Live(**row | {"age_s": float(row["age_s"])}) for row in rows)


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose call it is, and between whom."""

    enterprise: str
    code: str
    phone: str


async def find_call(database: Database, call_id: UUID) -> Parties | None:
    """Find a call, of whichever enterprise. Raises DatabaseUnavailable."""
    rows = await database.run(_FIND, call_id=call_id)
    return Parties(**rows[0]) if rows else None

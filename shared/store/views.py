"""The calls that this service did not start, as a tracker sees them while somebody asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.asterisk.models import PbxCall
from shared.store.database import Door
from shared.store.jsonb import parse_pbx_call

# Whoever asks is told what a tracker has seen after that moment; a tracker asks as often as it may.
_WANT = """
INSERT INTO callapi.host_views AS v (host, wanted_until)
VALUES (:host, clock_timestamp() + make_interval(secs => :hold_s))
ON CONFLICT (host) DO UPDATE SET wanted_until = EXCLUDED.wanted_until
RETURNING clock_timestamp() AS now, EXISTS (
  SELECT 1 FROM callapi.trackers t
   WHERE t.host = v.host AND t.lease_until > clock_timestamp()) AS tracked
"""


# A view of the release before has no `beginning`: of such a call nothing but its root is compared.
_VIEW = """
SELECT v.taken_at, v.error_code, item AS call, v.taken_at > CAST(:asked_at AS timestamptz) AS fresh
  FROM callapi.host_views v
 CROSS JOIN LATERAL (SELECT callapi.spellings(v.host) AS hosts) s
  LEFT JOIN LATERAL jsonb_array_elements(v.calls) item ON callapi.may_be_ours(
    s.hosts, item->>'root_uniqueid', item->'beginning'->>'root_extension',
    ARRAY(SELECT jsonb_array_elements_text(
            coalesce(item->'beginning'->'extensions', '[]'::jsonb))),
    (item->>'duration_s')::float8) IS NULL
 WHERE v.host = :host
"""


@dataclass(frozen=True, slots=True)
class HostView:
    """The calls of a host that this service did not start, as a tracker saw them at `taken_at`.

    `is_fresh` tells that it is not older than the asking; `error_code` is why it may not be.
    """

    calls: tuple[PbxCall, ...]
    taken_at: datetime | None
    is_fresh: bool
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """When somebody asked for a view of a host, and whether a tracker is live there."""

    at: datetime
    tracked: bool


async def ask_for_view(database: Door, host: str, *, hold_s: float) -> Asked:
    """Have a host's tracker look at all of its calls, for `hold_s` seconds."""
    rows = await database.run(_WANT, host=host, hold_s=hold_s)
    return Asked(rows[0]["now"], rows[0]["tracked"])


async def read_view(database: Door, host: str, asked_at: datetime) -> HostView:
    """Read what a tracker saw last. Raises Malformed."""
    rows = await database.run(_VIEW, host=host, asked_at=asked_at)
    return HostView(
        calls=tuple(
            parse_pbx_call(row["call"], f"callapi.host_views {host}")
            for row in rows
            if row["call"] is not None
        ),
        taken_at=rows[0]["taken_at"] if rows else None,
        is_fresh=bool(rows and rows[0]["fresh"]),
        error_code=rows[0]["error_code"] if rows else None,
    )

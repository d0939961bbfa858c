"""Who listens to all calls of a PBX, until when."""

from __future__ import annotations

from typing import NamedTuple

from shared.store.database import Door

_RENEW = """
INSERT INTO callapi.watches AS w (enterprise, host, until)
VALUES (:enterprise, :host, clock_timestamp() + make_interval(secs => :hold_s))
ON CONFLICT (enterprise, host) DO UPDATE SET until = greatest(w.until, EXCLUDED.until)
RETURNING xmax = 0 AS begun, EXISTS (
  SELECT 1 FROM callapi.trackers t
   WHERE t.host = w.host AND t.lease_until > clock_timestamp()) AS tracked
"""


class Renewed(NamedTuple):
    """Whether it did not listen before, and whether a tracker is live at its PBX."""

    begun: bool
    tracked: bool


async def renew(database: Door, enterprise: str, host: str, *, hold_s: float) -> Renewed:
    """Let an enterprise listen for so long. Raises DatabaseUnavailable."""
    rows = await database.run(_RENEW, enterprise=enterprise, host=host, hold_s=hold_s)
    return Renewed(rows[0]["begun"], rows[0]["tracked"])

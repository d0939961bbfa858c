"""What the database knows of calls that came up late."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.store.database import Database

_SETTLE_LATE = """
SELECT callapi.settle_late(
  p_call => :call_id, p_root_channel => :root_channel, p_root_uniqueid => :root_uniqueid,
  p_hung_up => :hung_up)
"""


# A call that is being placed has its row, and not yet its root: while one of the same extension is
# under way, or ended without a root that is known, no root is certainly an orphan. Calls of every
# text that may be this host's count: what rings there may be one of theirs.
_ORPHANS = """
WITH one AS MATERIALIZED (SELECT unnest(callapi.spellings(:host)) AS host)
SELECT u.uniqueid FROM unnest(CAST(:uniqueids AS text[])) u (uniqueid)
WHERE NOT EXISTS (SELECT 1 FROM callapi.calls c JOIN one USING (host)
                   WHERE c.root_uniqueid = u.uniqueid)
  AND NOT EXISTS (SELECT 1 FROM callapi.calls c JOIN one USING (host)
                   WHERE c.code = :code AND c.call_id <> :call_id
                     AND c.root_uniqueid IS NULL AND c.state <> 'not_executed'
                     AND c.created_at > clock_timestamp() - interval '1 hour')
"""

# Of the roots that an answer to the call's own command shows: another unknown call is answered on a
# socket of its own, so here it takes nothing.
_NOT_OWNED = """
WITH one AS MATERIALIZED (SELECT unnest(callapi.spellings(:host)) AS host)
SELECT u.uniqueid FROM unnest(CAST(:uniqueids AS text[])) u (uniqueid)
WHERE NOT EXISTS (SELECT 1 FROM callapi.calls c JOIN one USING (host)
                   WHERE c.root_uniqueid = u.uniqueid AND c.call_id <> :call_id)
"""


async def settle_late(
    database: Database, call_id: UUID, *, root_channel: str, root_uniqueid: str, hung_up: bool
) -> None:
    """Record that a call of unknown outcome came up after all, and whether it was hung up."""
    await database.run(
        _SETTLE_LATE,
        call_id=call_id,
        root_channel=root_channel,
        root_uniqueid=root_uniqueid,
        hung_up=hung_up,
    )


async def load_orphans(
    database: Database, call_id: UUID, *, host: str, code: str, uniqueids: Sequence[str]
) -> frozenset[str]:
    """Tell which of these roots of an extension can be no other call's than this one's.

    Ask it after the channels were listed: a call is recorded before its root appears.
    """
    rows = await database.run(
        _ORPHANS, call_id=call_id, host=host, code=code, uniqueids=list(uniqueids)
    )
    return frozenset(row["uniqueid"] for row in rows)


async def load_not_owned(
    database: Database, call_id: UUID, *, host: str, uniqueids: Sequence[str]
) -> frozenset[str]:
    """Tell which of these roots no other call is known to own."""
    rows = await database.run(_NOT_OWNED, call_id=call_id, host=host, uniqueids=list(uniqueids))
    return frozenset(row["uniqueid"] for row in rows)

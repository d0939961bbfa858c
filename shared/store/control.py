"""Call control: hang-ups and transfers, noted before they are sent, settled after."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.store.audit import Doer
from shared.store.database import Database

# Who comes while so many have not been taken back, is sure of the end without being noted.
_CANCEL = """
WITH noted AS (
  UPDATE callapi.calls
     SET cancelled_at = coalesce(cancelled_at, :now),
         hang_ups = CASE WHEN :now = ANY (hang_ups) OR cardinality(hang_ups) >= 20 THEN hang_ups
                         ELSE array_append(hang_ups, CAST(:now AS timestamptz)) END
   WHERE call_id = :call_id AND ended_at IS NULL
  RETURNING enterprise, code, phone, transferred_to)
SELECT n.transferred_to,
       callapi.note(n.enterprise, 'hang-up', :call_id, n.code, n.phone, :now, CAST(:who AS jsonb))
  FROM noted n
"""
_CANCEL_NOT = """
WITH taken_back AS (
  UPDATE callapi.calls
     SET cancelled_at = CASE WHEN cancelled_at = :now
                             THEN (SELECT min(h) FROM unnest(hang_ups) h WHERE h <> :now)
                             ELSE cancelled_at END,
         hang_ups = array_remove(hang_ups, CAST(:now AS timestamptz))
   WHERE call_id = :call_id AND ended_at IS NULL)
SELECT callapi.note_end(:call_id, 'hang-up', :now, 'not_executed')
"""
_SETTLE_TRANSFER = """
SELECT callapi.settle_transfer(
         p_call => :call_id, p_to => :target, p_at => :now, p_state => :state, p_hold_s => :hold_s),
       callapi.note_end(:call_id, 'transfer', :now, :outcome)
"""
_RELEASE = """
WITH released AS (
  DELETE FROM callapi.claims WHERE call_id = :call_id AND key LIKE 'same:%')
SELECT callapi.note_end(:call_id, 'hang-up', :at, 'executed')
"""


async def cancel(database: Database, call_id: UUID, at: datetime, doer: Doer) -> bool:
    """Note that the API was asked to end a call, before it is ended: why, is known then.

    From now on no transfer of it is admitted for a while; tell whether one was before.
    """
    rows = await database.run(_CANCEL, call_id=call_id, now=at, who=doer.render())
    return any(row["transferred_to"] is not None for row in rows)


async def cancel_not(database: Database, call_id: UUID, at: datetime) -> None:
    """Take that back: nothing was sent. What other requests have noted stays."""
    await database.run(_CANCEL_NOT, call_id=call_id, now=at)


async def settle_transfer(
    database: Database,
    call_id: UUID,
    target: str,
    at: datetime,
    *,
    state: Literal["executed", "unknown"],
    hold_s: float,
) -> None:
    """Note what became of an admitted transfer; for `hold_s` from now the same is its repeat."""
    await database.run(
        _SETTLE_TRANSFER,
        call_id=call_id,
        target=target,
        now=at,
        state=state,
        hold_s=hold_s,
        outcome="executed" if state == "executed" else None,
    )


async def release(database: Database, call_id: UUID, at: datetime) -> None:
    """Note that a call was hung up, as it was asked for then; the same order is a call of its own.

    An Idempotency-Key still leads to this one.
    """
    await database.run(_RELEASE, call_id=call_id, at=at)


async def transfer_not(database: Database, call_id: UUID, target: str, at: datetime) -> None:
    """Take an admitted transfer back: nothing was sent, and the one before it is the newest."""
    await database.run(
        _SETTLE_TRANSFER,
        call_id=call_id,
        target=target,
        now=at,
        state=None,
        hold_s=0.0,
        outcome="not_executed",
    )

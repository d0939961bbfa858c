"""Waiting for another phase of one call: its enterprise's news, then one question of its own."""

from __future__ import annotations

from uuid import UUID

from shared.asterisk.models import Phase
from shared.deadline import Deadline
from shared.events.hub import Hub
from shared.store.calls import Call, get_call_and_newest
from shared.store.database import Door
from shared.store.settled import get_settled
from shared.telemetry import CALL_ID

# Longer than that it is being placed, or its process has died: a poller is told so.
_SETTLING_S = 2.0


async def wait_for_change(
    database: Door, hub: Hub, enterprise: str, call_id: UUID, *, known: Phase | None, wait: Deadline
) -> Call:
    """Read a call; answer once its phase is another than `known`, by default the present one.

    One that is being placed is waited for first, for a moment: that it is placed may have been
    answered already, and is not to be news.

    Each phase is an event, so whoever waits asks nothing while his enterprise has no news: however
    many do, one question is asked for all of them. In the end the call is read once more.

    Raises NoSuchCall.
    """
    call, newest = await get_call_and_newest(database, enterprise, call_id)
    CALL_ID.set(str(call_id))
    if call.phase == "placing" and known != "placing":
        await get_settled(database, enterprise, call_id, Deadline.after(_SETTLING_S))
        call, newest = await get_call_and_newest(database, enterprise, call_id)
    known = known or call.phase
    has_news = True
    while has_news and call.phase == known and not call.is_over and wait.remaining_s():
        has_news = await hub.wait_beyond(enterprise, newest, wait)
        call, newest = await get_call_and_newest(database, enterprise, call_id)
    return call

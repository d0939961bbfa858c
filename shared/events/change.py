"""Waiting for another phase of one call: its enterprise's news, then one question of its own."""

from __future__ import annotations

from uuid import UUID

from shared.asterisk.models import Phase
from shared.deadline import Deadline
from shared.events.hub import Hub
from shared.store.calls import Call, get_call_and_newest
from shared.store.database import Door
from shared.telemetry import CALL_ID


async def wait_for_change(
    database: Door, hub: Hub, enterprise: str, call_id: UUID, *, known: Phase | None, wait: Deadline
) -> Call:
    """Read a call; answer once its phase is another than `known`, by default the present one.

    Each phase is an event, so whoever waits asks nothing while his enterprise has no news: however
    many do, one question is asked for all of them. In the end the call is read once more.

    Raises NoSuchCall.
    """
    call, newest = await get_call_and_newest(database, enterprise, call_id)
    CALL_ID.set(str(call_id))
    known = known or call.phase
    has_news = True
    while has_news and call.phase == known and not call.is_over and wait.remaining_s():
        has_news = await hub.wait_beyond(enterprise, newest, wait)
        call, newest = await get_call_and_newest(database, enterprise, call_id)
    return call

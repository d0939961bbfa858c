"""Ending a call by its id, in any phase."""

from __future__ import annotations

from uuid import UUID

from shared import calls
from shared.calls import Call
from shared.database import load_database
from shared.deadline import Deadline
from shared.errors import CallEnded, CallNotReady, PbxError
from shared.identity import Enterprise
from shared.pbx import load_pbx
from shared.telemetry import LOG
from shared.wake import wake_tracker


async def hang_up(enterprise: Enterprise, call_id: UUID, deadline: Deadline) -> Call:
    """End a call, whoever rings or talks. Doing it twice is harmless.

    Raises:
        NoSuchCall, CallEnded, CallNotReady: there is nothing to end.
        PbxError: it may go on; asking again is harmless.
    """
    database = load_database()
    call = await calls.get_call(database, enterprise.number, call_id)
    if call.is_over:
        raise CallEnded("The call is over")
    if call.root is None:
        raise CallNotReady("Which channel is the call's own is not known yet; try again")
    # Noted first: a tracker that sees the end at once must know whose wish it was.
    await calls.cancel(database, call.call_id)
    try:
        known = frozenset(leg.uniqueid for leg in call.legs)
        hung_up = await load_pbx().hang_up(call.host, call.root, known, deadline)
    except PbxError as error:
        error.during = "Hanging up failed"
        raise
    if not hung_up:
        await calls.cancel_not(database, call.call_id)
        raise CallEnded("The call is over")
    LOG.info("📴 Звонок завершён через API: %s на %s", call.call_id, call.host)
    await wake_tracker(call.host, tracked=True)
    return call

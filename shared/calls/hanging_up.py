"""Ending a call by its id, in any phase."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

from shared.asterisk.ending import Ending
from shared.auth.enterprise import Enterprise
from shared.deadline import Deadline
from shared.errors import (
    CallEnded,
    CallNotReady,
    DatabaseUnavailable,
    OutcomeUnknown,
    PbxError,
)
from shared.following.wake import Waker
from shared.pbx.hosts import Pbx
from shared.store import control
from shared.store.audit import Doer
from shared.store.calls import Call
from shared.store.database import Database
from shared.store.settled import get_settled
from shared.telemetry import CALL_ID, LOG, of_pbx

_FAILED = "Hanging up failed"
_UNKNOWN = "The hang-up was sent and not acknowledged; asking again is harmless"


async def hang_up(
    enterprise: Enterprise,
    call_id: UUID,
    deadline: Deadline,
    *,
    doer: Doer,
    database: Database,
    pbx: Pbx,
    waker: Waker,
) -> Call:
    """End a call, whoever rings or talks. Doing it twice is harmless; the same order rings again.

    Raises:
        NoSuchCall, CallEnded, CallNotReady: there is nothing to end.
        OutcomeUnknown: it may be over, or go on; asking again is harmless.
        PbxError: it goes on: nothing was sent.
    """
    call = await get_settled(database, enterprise.number, call_id, deadline)
    CALL_ID.set(str(call_id))
    if call.is_over:
        raise CallEnded("The call is over")
    if call.root is None:
        raise CallNotReady("Which channel is the call's own is not known yet; try again")
    end = Ending(call.root, call.legs)
    at = datetime.now(UTC)
    try:
        # Noted first: a tracker that sees the end at once must know whose wish it was.
        end.is_handed_over = await control.cancel(database, call.call_id, at, doer)
        await pbx.ask(call.host, end, deadline, then=1)
    except BaseException as error:
        if not end.may_be_sent:
            await _take_back(database, call, at)
            if isinstance(error, PbxError):
                error.during = _FAILED
            raise
        if not isinstance(error, Exception):
            raise
        if not end.is_done:
            unknown = OutcomeUnknown(_UNKNOWN)
            unknown.during = _FAILED
            raise unknown from error
        LOG.exception("❌ Звонок %s завершён, соединение не отпущено", call.call_id)
    if not end.may_be_sent:
        await _take_back(database, call, at)
        raise CallEnded("The call is over")
    LOG.info(
        "📴 Звонок завершён через API: %s на %s", call.call_id, call.host, extra=of_pbx(call.host)
    )
    with suppress(DatabaseUnavailable):  # it is ended: its repeats end a little later
        await control.release(database, call.call_id, at)
    waker.tell(call.host)
    return call


async def _take_back(database: Database, call: Call, at: datetime) -> None:
    """Note that the end was not asked for, since nothing was sent."""
    try:
        await control.cancel_not(database, call.call_id, at)
    except DatabaseUnavailable:
        LOG.error("⚠️ Завершение звонка %s не отправлено, но записано", call.call_id)

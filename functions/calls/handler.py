"""Tell of calls: `GET /api/calls` and `GET /api/calls/{call_id}`; from the database, no SSH."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from shared.admission import Kind
from shared.asterisk.phases import Leg, Reason
from shared.auth import ReaderOf
from shared.caller import Caller
from shared.calls import Call, Filter, Phase, ask_for_view, get_call, list_calls, read_view
from shared.database import load_database
from shared.errors import FieldError, InvalidParameter, ViewUnavailable
from shared.fields import ExtensionText, PhoneText
from shared.following import CdrState
from shared.identity import Enterprise, identify
from shared.wake import wake_tracker
from shared.web import FOLLOWS_CALLS, create_app, lambda_handler, status_url

router = APIRouter(tags=[FOLLOWS_CALLS])

# As often as another process's tracker may write.
_POLL_S = 0.2
# How long a host is looked at for one who asked; a page that shows it asks again before.
_VIEW_HOLD_S = 15.0
_VIEW_WAIT_S = 5.0


class LegOfCall(BaseModel):
    """A phone's channel; `state` is Asterisk's word, null once it has left."""

    channel: str
    party: Literal["agent", "customer"]
    state: str | None


class Times(BaseModel):
    """When each phase began; null for one that was not seen."""

    placed: datetime
    accepted: datetime | None
    agent_ringing: datetime | None
    agent_answered: datetime | None
    customer_ringing: datetime | None
    talking: datetime | None
    ended: datetime | None


class CallState(BaseModel):
    """How far a call is, or why it ended.

    `to` is the customer's number; of a monitoring, the tapped extension. `ring_s`, `talk_s` and
    `disposition` are the PBX's own record's, once `cdr` is `confirmed`.
    """

    call_id: UUID
    call_status_url: str
    kind: Kind
    from_: str = Field(serialization_alias="from")
    to: str
    action: str | None
    phase: Phase
    reason: Reason | None
    error_code: str | None
    host_ip: str
    times: Times
    ring_s: int | None
    talk_s: int | None
    disposition: str | None
    cdr: CdrState | None
    cancelled: bool
    transferred_to: str | None
    legs: list[LegOfCall]


class CallList(BaseModel):
    """Calls, newest first; `next` is the cursor of those that follow."""

    calls: list[CallState]
    next: str | None


class ChannelOnPbx(BaseModel):
    """A phone's or trunk's channel, in Asterisk's own words."""

    channel: str
    state: str
    extension: str
    caller: str
    application: str


class CallOnPbx(BaseModel):
    """A call that this service did not start."""

    root_uniqueid: str
    phase: Literal["waiting", "ringing", "talking"]
    duration_s: int
    channels: list[ChannelOnPbx]


class PbxCallList(BaseModel):
    """All such calls at one moment, the oldest first."""

    calls: list[CallOnPbx]
    taken_at: datetime


class Listing(BaseModel):
    """What to list; all that is given must hold."""

    source: Literal["api", "pbx"] = Field(
        "api", description="`pbx`: the calls that are on the PBX now and were not started here"
    )
    kind: Kind | None = None
    phase: Phase | None = None
    reason: Reason | None = None
    extension: ExtensionText | None = Field(None, description="the extension that rings first")
    number: PhoneText | None = Field(None, description="whom it is connected with")
    open: bool | None = Field(None, description="true: under way; false: over")
    since: AwareDatetime | None = Field(None, description="placed then or later, RFC 3339")
    until: AwareDatetime | None = Field(None, description="placed before, RFC 3339")
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=200, description="`next` of the page before")


@router.get("/api/calls", summary="List calls")
async def list_(wanted: Annotated[Listing, Query()], caller: ReaderOf) -> CallList | PbxCallList:
    """List the enterprise's own calls, or with `source=pbx` those that began elsewhere."""
    enterprise = await identify(caller)
    if wanted.source == "pbx":
        return await _on_pbx(enterprise, wanted, caller)
    page = await list_calls(
        load_database(),
        enterprise.number,
        Filter(
            kind=wanted.kind,
            phase=wanted.phase,
            reason=wanted.reason,
            extension=wanted.extension,
            number=wanted.number,
            is_open=wanted.open,
            since=wanted.since,
            until=wanted.until,
        ),
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    return CallList(calls=[_state(call) for call in page.calls], next=page.next)


@router.get("/api/calls/{call_id}", summary="How far is a call?")
async def get(
    call_id: UUID,
    caller: ReaderOf,
    wait: Annotated[
        float, Query(ge=0, le=25, description="seconds to wait for another phase")
    ] = 0.0,
    phase: Annotated[
        Phase | None, Query(description="the phase that the caller knows; default: the present one")
    ] = None,
) -> CallState:
    """Answer at once, or with `wait` as soon as the phase is another than the caller knows."""
    enterprise = await identify(caller)
    call = await get_call(load_database(), enterprise.number, call_id)
    known = phase or call.phase
    deadline = caller.deadline.sooner(wait)
    while call.phase == known and not call.is_over and deadline.remaining_s():
        await asyncio.sleep(min(_POLL_S, deadline.remaining_s()))
        call = await get_call(load_database(), enterprise.number, call_id)
    return _state(call)


async def _on_pbx(enterprise: Enterprise, wanted: Listing, caller: Caller) -> PbxCallList:
    """Have the host's tracker look, and tell what it saw."""
    others = wanted.model_fields_set - {"source"}
    if others:
        field = min(others)
        raise InvalidParameter(FieldError(field, "is not possible with source=pbx"))
    enterprise.check_whole_host()
    asked = await ask_for_view(load_database(), enterprise.host, hold_s=_VIEW_HOLD_S)
    await wake_tracker(enterprise.host, tracked=asked.tracked)
    deadline = caller.deadline.sooner(_VIEW_WAIT_S)
    view = await read_view(load_database(), enterprise.host, asked.at)
    while not view.is_fresh and deadline.remaining_s():
        await asyncio.sleep(_POLL_S)
        view = await read_view(load_database(), enterprise.host, asked.at)
    if not view.is_fresh or view.taken_at is None:
        cause = f": {view.error_code}" if view.error_code else ""
        raise ViewUnavailable(f"The PBX could not be looked at in time{cause}")
    calls = [CallOnPbx.model_validate(call) for call in view.calls]
    return PbxCallList(
        calls=[call for call in calls if _takes_part(call, enterprise.extensions)],
        taken_at=view.taken_at,
    )


def _takes_part(call: CallOnPbx, extensions: frozenset[str] | None) -> bool:
    """Tell whether a call is one of the extensions' own, by the names of its channels."""
    if extensions is None:
        return True
    devices = {leg.channel.partition("/")[2].rpartition("-")[0] for leg in call.channels}
    return not extensions.isdisjoint(devices)


def _state(call: Call) -> CallState:
    return CallState(
        call_id=call.call_id,
        call_status_url=status_url(call.call_id),
        kind=call.kind,
        from_=call.code,
        to=call.phone,
        action=call.action or None,
        phase=call.phase,
        reason=call.reason,
        error_code=call.error_code,
        host_ip=call.host,
        times=Times(
            placed=call.created_at,
            accepted=call.accepted_at,
            agent_ringing=call.agent_ringing_at,
            agent_answered=call.agent_answered_at,
            customer_ringing=call.customer_ringing_at,
            talking=call.talking_at,
            ended=call.ended_at,
        ),
        ring_s=call.ring_s,
        talk_s=call.talk_s,
        disposition=call.disposition,
        cdr=call.cdr,
        cancelled=call.cancelled_at is not None,
        transferred_to=call.transferred_to,
        legs=[_leg(leg) for leg in call.legs],
    )


def _leg(leg: Leg) -> LegOfCall:
    return LegOfCall(channel=leg.channel, party=leg.party, state=leg.state)


app = create_app(router)
handler = lambda_handler(app)

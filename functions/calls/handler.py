"""Tell of calls: `GET /api/calls` and `GET /api/calls/{call_id}`; from the database, no SSH."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.models import Kind, PbxCall, PbxPhase, Phase, Reason
from shared.auth.caller import Caller
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import Enterprise, Reading, identify
from shared.auth.under_way import granted_wait_s, waiting
from shared.calls.reading import load_page, look_at_pbx
from shared.calls.telling import CallState, tell
from shared.errors import (
    FieldError,
    HostUnverified,
    InvalidParameter,
    NoSuchCall,
    SharedHost,
    ViewUnavailable,
)
from shared.events.change import wait_for_change
from shared.events.hub import the_hub
from shared.following.wake import the_waker
from shared.http.failures import ASKING, QUOTA, answering, failing
from shared.http.fields import CallInPath, ExtensionText, Moment, PhoneInUrl
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.numbering import spellings
from shared.settings import the_settings
from shared.store.calls import Filter
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=Route)


class CallList(BaseModel):
    """A page of calls."""

    calls: list[CallState] = Field(description="the newest first")
    next: str | None = Field(
        description="`cursor` of the page that follows; null: this is the last", examples=["eJwr"]
    )


class ChannelOnPbx(BaseModel):
    """A phone's or trunk's channel, in Asterisk's own words."""

    channel: str = Field(description="its name", examples=["SIP/trunk-0000002b"])
    state: str = Field(description="what it does", examples=["Up"])
    extension: str = Field(description="where in the dialplan it is", examples=["150"])
    caller: str = Field(description="the number that it shows", examples=["+375291234567"])
    application: str = Field(description="what the dialplan has it do", examples=["Dial"])


class CallOnPbx(BaseModel):
    """A call that this service did not start."""

    root_uniqueid: str = Field(
        description="Asterisk's id of its first channel", examples=["1795424579.1"]
    )
    phase: PbxPhase = Field(description="what it does now", examples=["talking"])
    duration_s: int = Field(description="seconds since it began", examples=[41])
    channels: list[ChannelOnPbx] = Field(description="of phones and trunks")


class PbxCallList(BaseModel):
    """All such calls at one moment, the oldest first."""

    calls: list[CallOnPbx] = Field(description="the oldest first")
    taken_at: datetime = Field(
        description="the moment, in UTC", examples=["2026-11-26T09:00:02.310000Z"]
    )


class Listing(BaseModel):
    """What to list; all that is given must hold."""

    source: Literal["api", "pbx"] = Field(
        "api", description="`pbx`: the calls that are on the PBX now and were not started here"
    )
    kind: Kind | None = Field(None, description="calls, or supervisors who listen")
    phase: Phase | None = Field(None, description="the phase in which they are")
    reason: Reason | None = Field(None, description="why they have ended")
    extension: ExtensionText | None = Field(None, description="the extension that rings first")
    number: PhoneInUrl | None = Field(None, description="whom it is connected with")
    open: bool | None = Field(None, description="true: under way; false: over")
    since: Moment | None = Field(None, description="placed then or later")
    until: Moment | None = Field(None, description="placed before")
    limit: int = Field(50, ge=1, le=200, description="calls of a page at most")
    cursor: str | None = Field(None, description="`next` of the page before")


@router.get(
    "/api/calls",
    operation_id="list_calls",
    summary="List calls",
    responses=answering(200, *QUOTA, description="A page; with `source=pbx` all there are")
    | failing(*ASKING, SharedHost, HostUnverified, ViewUnavailable),
)
async def list_(
    wanted: Annotated[Listing, Query()], caller: CallerOf, response: Response
) -> CallList | PbxCallList:
    """List the enterprise's own calls, or with `source=pbx` those that began elsewhere."""
    reading: Reading = "pbx_reads" if wanted.source == "pbx" else "reads"
    enterprise = await identify(the_database().reads, the_settings(), caller, reading)
    response.headers.update(quota_headers(enterprise.quota))
    if wanted.source == "pbx":
        return await _on_pbx(enterprise, wanted, caller)
    numbers = None
    if wanted.number is not None:
        numbers = spellings(wanted.number, the_settings().region)
    page = await load_page(
        the_database().reads,
        enterprise,
        Filter(
            kind=wanted.kind,
            phase=wanted.phase,
            reason=wanted.reason,
            extension=wanted.extension,
            numbers=numbers,
            is_open=wanted.open,
            since=wanted.since,
            until=wanted.until,
        ),
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    return CallList(calls=[tell(call) for call in page.calls], next=page.next)


@router.get(
    "/api/calls/{call_id}",
    operation_id="get_call",
    summary="How far is a call?",
    responses=answering(200, *QUOTA, description="The call") | failing(*ASKING, NoSuchCall),
)
async def get(
    call_id: CallInPath,
    caller: CallerOf,
    response: Response,
    wait: Annotated[
        float,
        Query(ge=0, le=25, description="seconds to wait for another phase, on AWS at most 5"),
    ] = 0.0,
    phase: Annotated[
        Phase | None, Query(description="the phase that the caller knows; default: the present one")
    ] = None,
) -> CallState:
    """Answer at once, or with `wait` as soon as the phase is another than the caller knows."""
    database = the_database().reads
    enterprise = await identify(database, the_settings(), caller, "reads")
    response.headers.update(quota_headers(enterprise.quota))
    deadline = caller.deadline.sooner(granted_wait_s(wait))
    async with waiting(enterprise) if wait else nullcontext():
        number = enterprise.number
        call = await wait_for_change(
            database, the_hub(), number, call_id, known=phase, wait=deadline
        )
    return tell(call)


async def _on_pbx(enterprise: Enterprise, wanted: Listing, caller: Caller) -> PbxCallList:
    usual = Listing()
    others = {name for name, value in wanted if value != getattr(usual, name)} - {"source"}
    if others:
        raise InvalidParameter(FieldError(min(others), "is not possible with source=pbx"))
    seen = await look_at_pbx(the_database().reads, the_waker(), enterprise, caller.deadline)
    return PbxCallList(calls=list(map(_on_pbx_now, seen.calls)), taken_at=seen.taken_at)


def _on_pbx_now(call: PbxCall) -> CallOnPbx:
    return CallOnPbx.model_validate(call, from_attributes=True)


handler = lambda_handler(router)

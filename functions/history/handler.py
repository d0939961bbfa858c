"""Tell the PBX's own call history, all calls of the host: `GET /api/history`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.cdr.pastcalls import Disposition
from shared.asterisk.cdr.whose import Direction
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import identify
from shared.auth.under_way import the_histories
from shared.calls.fields import KindOfCall
from shared.calls.telling import SideOfCall, tell_side
from shared.errors import CdrUnreadable, ExtensionNotOwned, HostUnverified, Quota, SharedHost
from shared.history.ours import Entry
from shared.history.page import Page, Wanted, load_page
from shared.http.failures import ASKING, PBX, QUOTA, answering, failing
from shared.http.fields import ExtensionText, Moment, PhoneInUrl
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.http.sheet import render_sheet
from shared.numbering import spellings
from shared.pbx.hosts import the_pbx
from shared.pbx.neighbours import the_neighbours
from shared.settings import the_settings
from shared.store.database import the_database

_FILE = "history.csv"

router = APIRouter(tags=["records"], route_class=Route)


class HistoryCall(BaseModel):
    """A call, whatever the number of its legs; `call_id` if this service placed it for you.

    The customer is who called from outside, else who was called; the agent is the other one.
    """

    started_at: datetime = Field(
        description="when it began, in UTC", examples=["2026-11-23T09:02:59Z"]
    )
    answered_at: datetime | None = Field(
        description="when a phone answered, in UTC; null: none did",
        examples=["2026-11-23T09:03:01Z"],
    )
    ended_at: datetime = Field(
        description="when it ended, in UTC", examples=["2026-11-23T09:03:03Z"]
    )
    from_: str = Field(
        serialization_alias="from",
        description="who called: a number or an extension; empty: he withheld it",
        examples=["150"],
    )
    to: str = Field(description="who was called", examples=["+375291234567"])
    disposition: Disposition = Field(
        description="what became of it; only a phone answers", examples=["answered"]
    )
    duration_s: int = Field(description="seconds from its begin to its end", examples=[4])
    talk_s: int = Field(description="seconds of talk", examples=[2])
    legs: int = Field(description="how many rows of the PBX's file it has", examples=[4])
    uniqueid: str = Field(
        description="Asterisk's id of its first channel", examples=["1795424579.1"]
    )
    channel: str = Field(
        description="that channel's name", examples=["Local/150@inoffice-00000000;1"]
    )
    call_id: str | None = Field(
        description="the call, if this service placed it for you; else null",
        examples=["7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"],
    )
    kind: KindOfCall
    direction: Direction = Field(
        description="out to a number, in from one, or between extensions", examples=["out"]
    )
    agent: SideOfCall = Field(description="what became of the extension")
    customer: SideOfCall = Field(
        description="what became of who called from outside, else of who was called"
    )


class CallRecords(BaseModel):
    """What was read: the PBX's file and its size in bytes."""

    file: str = Field(
        description="its path on the PBX", examples=["/var/log/asterisk/cdr-csv/Master.csv"]
    )
    size: int = Field(description="how long it is, in bytes", examples=[52341])


class History(BaseModel):
    """A page by the calls' begin, the newest first; `next` is the cursor of the page before it."""

    calls: list[HistoryCall] = Field(description="the newest first; may be none, with a `next`")
    next: str | None = Field(
        description="`cursor` of the page before it in time; null: there is none",
        examples=["eJwr"],
    )
    cdr: CallRecords = Field(description="what was read")


@router.get(
    "/api/history",
    operation_id="list_history",
    summary="The PBX's own call history",
    response_model=History,
    responses=answering(
        200,
        *(*QUOTA, "X-Next-Cursor", "Content-Disposition"),
        description="A page, as JSON or as a table with a column for each field",
        content={"text/csv": {"schema": {"type": "string"}}},
    )
    | failing(*ASKING, *PBX, ExtensionNotOwned, SharedHost, HostUnverified, CdrUnreadable),
)
async def get_history(
    caller: CallerOf,
    response: Response,
    *,
    since: Annotated[Moment | None, Query(description="begun then or later")] = None,
    until: Annotated[Moment | None, Query(description="begun before")] = None,
    extension: Annotated[ExtensionText | None, Query(description="that took part")] = None,
    number: Annotated[
        PhoneInUrl | None, Query(description="anybody's in it, with or without its +")
    ] = None,
    disposition: Annotated[
        Disposition | None, Query(description="what became of them; only a phone answers")
    ] = None,
    direction: Annotated[
        Direction | None, Query(description="out to a number, in from one, between extensions")
    ] = None,
    missed: Annotated[
        bool | None, Query(description="`true`: came in, and no phone answered")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="calls of a page at most")] = 100,
    cursor: Annotated[str | None, Query(description="`next` of an earlier answer")] = None,
    format_: Annotated[
        Literal["json", "csv", "excel"] | None,
        Query(alias="format", description="`excel`: CSV as Excel opens it, to be saved as a file"),
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> History | Response:
    """Tell calls that are over, one entry each; those that this service did not place too."""
    settings, database = the_settings(), the_database().reads
    learn = partial(the_neighbours().learn, deadline=caller.deadline)
    enterprise = await identify(database, settings, caller, "pbx_reads", learn=learn)
    response.headers.update(quota_headers(enterprise.quota))
    wanted = Wanted(
        *(since, until, extension, _spellings(number), disposition, limit),
        *(enterprise.extensions, direction, missed, settings.extension_digits),
    )
    async with the_histories().one_more(enterprise, settings.pbx_queue_s):
        page = await load_page(
            the_pbx(),
            database,
            enterprise,
            wanted,
            cursor,
            path=settings.cdr_file,
            deadline=caller.deadline,
        )
    calls = [_call(entry) for entry in page.entries]
    form = format_ or ("csv" if accept.startswith("text/csv") else "json")
    if form != "json":
        return _sheet(calls, page, enterprise.quota, for_excel=form == "excel")
    return History(
        calls=calls, next=page.next, cdr=CallRecords(file=settings.cdr_file, size=page.size)
    )


def _spellings(number: str | None) -> frozenset[str] | None:
    """List what a record may have of a number: as it was dialled, or as a caller's phone says."""
    if number is None:
        return None
    every = spellings(number, the_settings().region)
    return frozenset(spelling.removeprefix("+") for spelling in every)


def _call(entry: Entry) -> HistoryCall:
    call = entry.call
    return HistoryCall(
        started_at=call.started_at,
        answered_at=call.answered_at,
        ended_at=call.ended_at,
        from_=call.from_,
        to=entry.to,
        disposition=call.disposition,
        duration_s=call.duration_s,
        talk_s=call.talk_s,
        legs=call.legs,
        uniqueid=call.uniqueid,
        channel=call.channel,
        call_id=entry.call_id and str(entry.call_id),
        kind=call.kind,
        direction=entry.direction,
        agent=tell_side(call.agent),
        customer=tell_side(call.customer),
    )


def _sheet(
    calls: list[HistoryCall], page: Page, quota: Quota | None, *, for_excel: bool
) -> Response:
    rows = (_flat(call.model_dump(mode="json", by_alias=True)) for call in calls)
    text = render_sheet(
        _columns(), ([value for _, value in row] for row in rows), for_excel=for_excel
    )
    headers = quota_headers(quota) | ({"X-Next-Cursor": page.next} if page.next else {})
    if for_excel:
        headers["Content-Disposition"] = f'attachment; filename="{_FILE}"'
    return Response(text, media_type="text/csv", headers=headers)


def _flat(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give what has parts a column for each: `agent_ring_s`."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{part}", each) for part, each in value.items())
        else:
            yield name, value


def _columns() -> list[str]:
    """Name the columns of a sheet, also of one without a call."""
    sides = dict.fromkeys(SideOfCall.model_fields)
    fields = HistoryCall.model_fields.items()
    names = {
        field.serialization_alias or name: sides if field.annotation is SideOfCall else None
        for name, field in fields
    }
    return [name for name, _ in _flat(names)]


handler = lambda_handler(router)

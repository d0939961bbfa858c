"""Tell the PBX's own call history, all calls of the host: `GET /api/history`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.pastcalls import Disposition
from shared.auth import ReaderOf
from shared.fields import ExtensionText, Moment, PhoneText
from shared.history import Entry, Page, Wanted, load_page
from shared.identity import identify
from shared.settings import load_settings
from shared.sheet import render_sheet
from shared.web import FOLLOWS_CALLS, create_app, lambda_handler

router = APIRouter(tags=[FOLLOWS_CALLS])


class HistoryCall(BaseModel):
    """A call, whatever the number of its legs; `call_id` if this service placed it for you."""

    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    from_: str = Field(serialization_alias="from")
    to: str
    disposition: Disposition
    duration_s: int
    talk_s: int
    legs: int
    uniqueid: str
    channel: str
    call_id: str | None


class CallRecords(BaseModel):
    """What was read: the PBX's file and its size in bytes."""

    file: str
    size: int


class History(BaseModel):
    """A page, the newest call first; `next` is the cursor of the page before it in time."""

    calls: list[HistoryCall]
    next: str | None
    cdr: CallRecords


@router.get(
    "/api/history",
    summary="The PBX's own call history",
    response_model=History,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def get_history(
    reader: ReaderOf,
    *,
    since: Annotated[Moment | None, Query()] = None,
    until: Annotated[Moment | None, Query()] = None,
    extension: Annotated[ExtensionText | None, Query()] = None,
    number: Annotated[PhoneText | None, Query()] = None,
    disposition: Annotated[Disposition | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(description="`next` of an earlier answer")] = None,
    format_: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None,
    accept: Annotated[str, Header(description="`text/csv` is `format=csv`")] = "",
) -> History | Response:
    """Tell calls that are over, one entry each; those that this service did not place too."""
    enterprise = await identify(reader)
    wanted = Wanted(since, until, extension, number, disposition, limit, enterprise.extensions)
    page = await load_page(enterprise, wanted, cursor, reader.deadline)
    calls = [_call(entry) for entry in page.entries]
    if (format_ or ("csv" if accept.startswith("text/csv") else "json")) == "csv":
        return _sheet(calls, page)
    records = CallRecords(file=load_settings().cdr_file, size=page.size)
    return History(calls=calls, next=page.next, cdr=records)


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
        call_id=entry.call_id,
    )


def _sheet(calls: list[HistoryCall], page: Page) -> Response:
    rows = [call.model_dump(mode="json", by_alias=True) for call in calls]
    head = [field.serialization_alias or name for name, field in HistoryCall.model_fields.items()]
    text = render_sheet(head, (list(row.values()) for row in rows))
    headers = {"X-Next-Cursor": page.next} if page.next else {}
    return Response(text, media_type="text/csv", headers=headers)


app = create_app(router)
handler = lambda_handler(app)

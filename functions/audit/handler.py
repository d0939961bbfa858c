"""Tell who did what: `GET /api/audit`; from the database, no SSH."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.models import PHASES, Reason
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import identify
from shared.errors import AuditOff
from shared.http.failures import ASKING, QUOTA, answering, failing
from shared.http.fields import ActorInUrl, CallId, ExtensionText, Moment, PhoneInUrl
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.numbering import spellings
from shared.settings import the_settings
from shared.store import audit
from shared.store.audit import Action, Note, Noted, Place
from shared.store.database import the_database

router = APIRouter(tags=["records"], route_class=Route)


class AuditEntry(BaseModel):
    """Somebody did something; null is not known, or not so."""

    at: datetime = Field(description="when, in UTC", examples=["2026-11-26T09:00:00.120000Z"])
    action: str = Field(
        description="what was done",
        examples=["call"],
        json_schema_extra={"x-extensible-enum": list(get_args(Action))},
    )
    done_by: Literal["client", "operator"] = Field(
        description="`client`, whoever had the enterprise's secret; `operator`, whoever runs the"
        " service, of whom there is no name, address or request_id",
        examples=["client"],
    )
    actor: str | None = Field(
        description="what the client sent as X-Actor", examples=["anna.petrova"]
    )
    secret: str | None = Field(
        description="which secret: its name and fingerprint", examples=["crm 5f3a09c1"]
    )
    address: str | None = Field(description="the client's address", examples=["192.0.2.7"])
    request_id: str | None = Field(
        description="the request, as in `X-Request-Id`",
        examples=["72b6584cc4b846f59e9b5652d3fb2122"],
    )
    call_id: UUID | None = Field(
        description="the call that it was about",
        examples=["7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"],
    )
    code: str | None = Field(description="the extension that rang first", examples=["150"])
    whom: str = Field(
        description="whom it was about: a number, an extension, a rule",
        examples=["+375291234567"],
    )
    outcome: str | None = Field(
        description="whether it was done; null: nobody knows, or not yet",
        examples=["executed"],
        json_schema_extra={"x-extensible-enum": ["executed", "not_executed", "unknown"]},
    )
    phase: str | None = Field(
        description="of a call: how far it is",
        examples=["ended"],
        json_schema_extra={"x-extensible-enum": list(PHASES)},
    )
    reason: str | None = Field(
        description="of a call: why it has ended",
        examples=["answered"],
        json_schema_extra={"x-extensible-enum": list(get_args(Reason))},
    )
    error_code: str | None = Field(description="of a call: the `code` with which placing it failed")
    talk_s: int | None = Field(description="of a call: seconds of talk", examples=[34])


class Audit(BaseModel):
    """A page of what was done."""

    entries: list[AuditEntry] = Field(description="the newest first")
    next: str | None = Field(
        description="`cursor` of the page that follows; null: this is the last", examples=["eJwr"]
    )


class Wanted(BaseModel):
    """What to list; all that is given must hold."""

    action: Action | None = Field(None, description="what was done")
    actor: ActorInUrl | None = Field(None, description="X-Actor, as it was sent")
    call_id: CallId | None = Field(None, description="the call that it was about")
    extension: ExtensionText | None = Field(None, description="the extension that rang first")
    number: PhoneInUrl | None = Field(None, description="whom it was about")
    since: Moment | None = Field(None, description="done then or later")
    until: Moment | None = Field(None, description="done before")
    limit: int = Field(50, ge=1, le=200, description="entries of a page at most")
    cursor: str | None = Field(None, description="`next` of the page before")


@router.get(
    "/api/audit",
    operation_id="list_audit",
    summary="Who did what?",
    responses=answering(200, *QUOTA, description="A page") | failing(*ASKING, AuditOff),
)
async def get(wanted: Annotated[Wanted, Query()], caller: CallerOf, response: Response) -> Audit:
    """List what was done with the enterprise's secrets, and to it; 403 unless it may read that."""
    database, settings = the_database().reads, the_settings()
    enterprise = await identify(database, settings, caller, "reads")
    response.headers.update(quota_headers(enterprise.quota))
    if not await audit.may_read(database, enterprise.number):
        raise AuditOff
    seal = enterprise.seal("audit")
    page = await audit.list_notes(
        database,
        enterprise.number,
        Noted(
            action=wanted.action,
            actor=wanted.actor,
            call_id=wanted.call_id,
            extension=wanted.extension,
            numbers=spellings(wanted.number, settings.region) if wanted.number else None,
            since=wanted.since,
            until=wanted.until,
        ),
        limit=wanted.limit,
        before=None if wanted.cursor is None else Place.parse(seal.open(wanted.cursor)),
    )
    return Audit(
        entries=list(map(_told, page.notes)),
        next=seal.sign(page.next.render()) if page.next else None,
    )


def _told(note: Note) -> AuditEntry:
    return AuditEntry.model_validate(note, from_attributes=True)


handler = lambda_handler(router)

"""Tell who did what: `GET /api/audit`; from the database, no SSH."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.auth.credentials import CallerOf
from shared.auth.enterprise import identify
from shared.errors import AuditOff
from shared.http.fields import ActorInUrl, CallId, ExtensionText, Moment, PhoneInUrl
from shared.http.gateway import lambda_handler
from shared.http.problems import TellingRoute, quota_headers
from shared.numbering import spellings
from shared.settings import the_settings
from shared.store import audit
from shared.store.audit import Action, Note, Noted, Place
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=TellingRoute)


class AuditEntry(BaseModel):
    """Somebody did something; null is not known, or not so.

    `done_by` is `client`, whoever had the enterprise's secret, or `operator`, whoever runs the
    service: of him there is no name, address or request_id. `secret` names the secret and has its
    fingerprint. `actor` is what the client sent as X-Actor. `outcome` is `executed`,
    `not_executed`, `unknown`, null: nobody knows, or not yet; of a call `phase`, `reason` and
    `talk_s` are its own.
    """

    at: datetime
    action: str
    done_by: Literal["client", "operator"]
    actor: str | None
    secret: str | None
    address: str | None
    request_id: str | None
    call_id: UUID | None
    code: str | None
    whom: str
    outcome: str | None
    phase: str | None
    reason: str | None
    error_code: str | None
    talk_s: int | None


class Audit(BaseModel):
    """What was done, the newest first; `next` is the cursor of what follows."""

    entries: list[AuditEntry]
    next: str | None


class Wanted(BaseModel):
    """What to list; all that is given must hold."""

    action: Action | None = None
    actor: ActorInUrl | None = None
    call_id: CallId | None = None
    extension: ExtensionText | None = Field(None, description="the extension that rang first")
    number: PhoneInUrl | None = Field(None, description="whom it was about")
    since: Moment | None = Field(None, description="done then or later")
    until: Moment | None = Field(None, description="done before")
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, description="`next` of the page before")


@router.get("/api/audit", summary="Who did what?")
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

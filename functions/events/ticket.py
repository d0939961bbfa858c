"""Give out a ticket, which opens one stream of events: `POST /api/events/ticket`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Body, Response
from pydantic import BaseModel, Field

from functions.events.doors import come_in
from shared.auth.credentials import CallerOf
from shared.events.filters import Filters
from shared.events.tickets import grant_of, issue_ticket
from shared.http.problems import quota_headers
from shared.store.database import the_database

_ANY = Filters()


class Ticket(BaseModel):
    """What opens one stream in the place of a secret, until then and once."""

    ticket: str = Field(
        description="43 characters, as `ticket=` of `/api/events`",
        examples=["kSn1uvWq0vXgSkD2wQ3tGJmYbHq8cTz5LrPe7NfAaBo"],
    )
    expires_at: datetime = Field(
        description="until when, in UTC", examples=["2026-11-26T09:00:32.310000Z"]
    )


async def create_ticket(
    caller: CallerOf,
    response: Response,
    filters: Annotated[Filters, Body(description="what the stream tells")] = _ANY,
) -> Ticket:
    """Give out a ticket of 30 s for one stream of `GET /api/events`, or one WebSocket there.

    It is for these filters alone, which the stream's URL cannot change, and ends with the secret
    that it was asked for with. A page that has to connect again asks for another one.
    """
    enterprise = await come_in(caller, filters)
    response.headers.update(quota_headers(enterprise.quota))
    grant = grant_of(enterprise, caller.secret)
    ticket, until = await issue_ticket(the_database().reads, grant, filters)
    return Ticket(ticket=ticket, expires_at=until)

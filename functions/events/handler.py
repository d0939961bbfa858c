"""Tell what happened to calls after a moment that the reader knows: `/api/events`, by any door."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from functions.events.doors import come_in, number_in, refuse_filters, refuse_secrets
from functions.events.socket import serve_socket
from functions.events.stream import EventStream, open_stream
from functions.events.ticket import create_ticket
from shared.auth.caller import Caller
from shared.auth.credentials import ListenerOf
from shared.auth.under_way import granted_wait_s, waiting
from shared.errors import (
    EventsGone,
    FieldError,
    HostUnverified,
    InvalidClientId,
    InvalidParameter,
    SharedHost,
    StreamUnavailable,
    TicketExpired,
)
from shared.events.feed import Scope, Told
from shared.events.filters import Filters
from shared.events.hub import the_hub
from shared.events.listening import Listener
from shared.events.messages import Message, message_of, open_types
from shared.events.tickets import TICKET_PATTERN, grant_of, use_ticket
from shared.http.accepting import EVENT_STREAM, prefers_stream
from shared.http.failures import ASKING, QUOTA, answering, failing
from shared.http.fields import CallId, ExtensionText
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.http.request import until_gone
from shared.measures import being_there
from shared.settings import on_lambda
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=Route)


class Events(BaseModel):
    """Events in the order of their numbers; ask again with `next` as `after`."""

    events: list[Message] = Field(
        description="the oldest first; leave out types that you do not know",
        json_schema_extra=open_types,
    )
    next: int = Field(description="`after` of the next request", examples=[4711])


@router.get(
    "/api/events",
    operation_id="list_events",
    summary="What happened to my calls since?",
    response_model=Events,
    responses=answering(
        200,
        *QUOTA,
        description="What has happened; with `Accept: text/event-stream` as it does",
        content={EVENT_STREAM: {"schema": {"type": "string"}}},
    )
    | failing(
        *(*ASKING, TicketExpired, SharedHost, HostUnverified, StreamUnavailable, EventsGone),
    ),
    openapi_extra={"security": [{}]},  # or by a ticket
)
async def get_events(
    request: Request,
    caller: ListenerOf,
    response: Response,
    *,
    after: Annotated[
        int | None,
        Query(ge=0, lt=2**63, description="`next` of the answer before; without it: begin now"),
    ] = None,
    wait: Annotated[
        float, Query(ge=0, le=25, description="seconds to wait for an event, on AWS at most 5")
    ] = 0.0,
    scope: Annotated[
        Scope | None,
        Query(description="`all`: also calls on the PBX that were not started here; else `mine`"),
    ] = None,
    extension: Annotated[ExtensionText | None, Query(description="that took part")] = None,
    call_id: Annotated[CallId | None, Query(description="of this call alone")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="events at most")] = 100,
    ticket: Annotated[
        str | None,
        Query(pattern=TICKET_PATTERN, description="instead of a secret, of a stream alone"),
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="of a stream: `after`, which it overrides")
    ] = None,
) -> Events | EventStream:
    """Answer with what was told after a number, with `wait` as soon as there is something.

    Nothing is missed between two requests, however long the second one takes to come, as long as
    events are kept (EVENTS_KEEP_DAYS); beyond that it is 410 `events-gone`. `next` grows by what
    the filters leave out too.

    With `scope=all` the PBX is followed for 90 s from each such request on, and what happens there
    is told too: `pbx.watched` says from which number on nothing is missed.

    With `Accept: text/event-stream` events come as they happen (server-sent events): `id` is the
    number, `event` the type, `data` the event. The same over a WebSocket: see docs/api.md.
    """
    filters = Filters.model_construct(
        after=after, scope=scope, extension=extension, call_id=call_id
    )
    if prefers_stream(",".join(request.headers.getlist("accept"))):
        return await _stream(request, caller, ticket, last_event_id, filters)
    if ticket:
        raise InvalidParameter(FieldError("ticket", f"needs `Accept: {EVENT_STREAM}`"))
    if caller is None:
        raise InvalidClientId
    enterprise = await come_in(caller, filters)
    response.headers.update(quota_headers(enterprise.quota))
    until = caller.deadline.sooner(granted_wait_s(wait))
    hub, number, wanted = the_hub(), enterprise.number, filters.wanted
    if after is None:
        return Events(events=[], next=(await Listener.begin(hub, number, wanted, None)).after)
    listener = Listener(hub, number, wanted, after)
    told = await listener.look(limit)
    if wait and told.is_all and not told.events:
        # One token has paid for looks at what is new: older events are gone through for one each.
        async with waiting(enterprise), listener:
            with being_there("Listeners", kind="poll"):
                told = await _unless_gone(request, listener.wait(until, limit)) or told
    return Events(events=list(map(message_of, told.events)), next=listener.after)


async def _stream(
    request: Request,
    caller: Caller | None,
    ticket: str | None,
    last_event_id: str | None,
    filters: Filters,
) -> EventStream:
    if on_lambda():
        raise StreamUnavailable
    refuse_secrets(request.query_params)
    if ticket:
        refuse_filters(filters)
        grant, filters = await use_ticket(the_database().reads, ticket)
    elif caller is None:
        raise InvalidClientId
    else:
        enterprise = await come_in(caller, filters)
        grant = grant_of(enterprise, caller.secret)
    if last_event_id:
        after = number_in("Last-Event-ID", last_event_id)
        filters = filters.model_copy(update={"after": after})
    return await open_stream(request, grant, filters)


async def _unless_gone(request: Request, waiting: Coroutine[Any, Any, Told]) -> Told | None:
    """Wait, but for nobody; None: the client has gone."""
    told, gone = asyncio.create_task(waiting), asyncio.create_task(until_gone(request))
    try:
        await asyncio.wait({told, gone}, return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else None
    finally:
        told.cancel()
        gone.cancel()
        await asyncio.gather(told, gone, return_exceptions=True)


router.post(
    "/api/events/ticket",
    operation_id="create_event_ticket",
    summary="Let a page listen without the secret",
    responses=answering(200, *QUOTA, description="The ticket")
    | failing(*ASKING, SharedHost, HostUnverified, has_body=True),
)(create_ticket)


# Without FastAPI's own frames around it, which each listener would hold.
router.add_websocket_route("/api/events", serve_socket)

handler = lambda_handler(router)

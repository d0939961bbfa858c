"""Events over a WebSocket, as they come. The local service's alone: AWS has no such request."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from functions.events.doors import come_in, filters_in, listening, refuse_filters, refuse_secrets
from shared.auth.credentials import socket_caller
from shared.deadline import Deadline
from shared.errors import (
    DatabaseUnavailable,
    EventsGone,
    FieldError,
    HostUnverified,
    InvalidClientId,
    InvalidParameter,
    LimitExceeded,
    ServiceError,
    SharedHost,
    TicketExpired,
)
from shared.events.filters import Filters, parse_filters
from shared.events.hub import the_hub
from shared.events.tickets import Grant, grant_of, use_ticket
from shared.http.problems import note_defect, on_service_error
from shared.store.database import the_database

_LOG_IN_S = 10.0
_MOST_REASON_BYTES = 123  # what a close frame can carry

_NO_TOKEN, _REFUSED, _EXPIRED, _PROTOCOL, _GONE = 4001, 4002, 4003, 4004, 4010
_GOING_AWAY, _DEFECT, _TRY_AGAIN = 1001, 1011, 1013
_CODES: tuple[tuple[type[ServiceError], int], ...] = (
    (TicketExpired, _EXPIRED),
    (InvalidClientId, _REFUSED),
    (SharedHost, _REFUSED),
    (InvalidParameter, _PROTOCOL),
    (EventsGone, _GONE),
    (LimitExceeded, _TRY_AGAIN),
    (HostUnverified, _TRY_AGAIN),
    (DatabaseUnavailable, _TRY_AGAIN),
)


class _Closed(Exception):
    """The socket is to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def serve_socket(socket: WebSocket) -> None:
    """Tell events until either side ends it."""
    await socket.accept()
    try:
        await _serve(socket)
    except WebSocketDisconnect:
        return
    except _Closed as closed:
        end = closed
    except Exception as error:  # noqa: BLE001 - told to the log, and that it is ours to the client
        note_defect(error)
        end = _Closed(_DEFECT, "internal error")
    with suppress(WebSocketDisconnect, RuntimeError):  # it may be closed by now
        reason = end.reason.encode()[:_MOST_REASON_BYTES].decode(errors="ignore")
        await socket.close(end.code, reason)


async def _serve(socket: WebSocket) -> None:
    """Raises _Closed, WebSocketDisconnect."""
    is_in = False
    try:
        grant, filters = await _log_in(socket)
        async with listening(grant, filters, "websocket") as (listener, look_after):
            is_in = True
            telling = asyncio.create_task(_tell(socket, grant, listener.stream(look_after)))
            hearing = asyncio.create_task(_hear(socket))
            both = {telling, hearing}
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
    except ServiceError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), _DEFECT)
        if is_in and isinstance(error, InvalidClientId):
            code = _EXPIRED
        problem = await on_service_error(socket, error)  # type: ignore[arg-type] # of it the scope
        await socket.send_json({"type": "error", **json.loads(bytes(problem.body))})
        raise _Closed(code, error.detail) from None
    raise _Closed(_GOING_AWAY, "the service stops")


async def _tell(socket: WebSocket, grant: Grant, stream: Any) -> None:
    async with aclosing(stream) as all_told:
        async for told in all_told:
            for event in told.events:
                await socket.send_text(the_hub().text_of(grant.number, event))
            if not told.events:
                await socket.send_json({"type": "heartbeat", "newest": told.next})


async def _hear(socket: WebSocket) -> None:
    """Wait for its end; there is nothing to be said any more."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    raise _Closed(_PROTOCOL, "nothing is to be sent after the log-in")


async def _log_in(socket: WebSocket) -> tuple[Grant, Filters]:
    """Find out who listens: by a ticket in the URL, a secret in a header, or the first message.

    Raises:
        _Closed: nobody told, in time.
        ServiceError: whoever it is may not.
    """
    query = dict(socket.query_params)
    refuse_secrets(query)
    database = the_database().reads
    deadline = Deadline.after(_LOG_IN_S)
    ticket, secret = query.pop("ticket", ""), ""
    filters = filters_in(query)
    if not ticket and socket_caller(socket, "", deadline) is None:
        if query:
            raise InvalidParameter(FieldError(next(iter(query)), "belongs into the first message"))
        first = await _first_message(socket, deadline)
        ticket, secret = _text(first, "ticket"), _text(first, "secret")
        filters = parse_filters(first)
    if ticket:
        refuse_filters(filters)
        return await use_ticket(database, ticket)
    caller = socket_caller(socket, secret, deadline)
    if caller is None:
        raise _Closed(_NO_TOKEN, "the first message must have a ticket or a secret")
    enterprise = await come_in(caller, filters)
    return grant_of(enterprise, caller.secret), filters


async def _first_message(socket: WebSocket, deadline: Deadline) -> dict[str, Any]:
    try:
        async with deadline.enforce():
            message = await socket.receive()
    except TimeoutError:
        raise _Closed(_NO_TOKEN, f"no log-in within {_LOG_IN_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    try:
        first = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict):
        raise _Closed(_PROTOCOL, "the first message must be a JSON object")
    return first


def _text(message: dict[str, Any], name: str) -> str:
    """Take a text out of the first message; empty: there is none."""
    text = message.pop(name, "")
    if not isinstance(text, str):
        raise InvalidParameter(FieldError(name, "must be a text"))
    return text

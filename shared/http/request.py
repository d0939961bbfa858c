"""One request at the edge: its id, its client, its limits, its deadline."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from urllib.parse import quote

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.aws.logins import SecretUnreadable
from shared.deadline import Deadline
from shared.http.addresses import client_address
from shared.http.edge import client_of, the_edge
from shared.http.ending import Answer, telling_of_end
from shared.http.origins import Origins, shown
from shared.http.problems import EDGE_HEADERS, note_defect, render_problem
from shared.settings import Network
from shared.telemetry import in_request

_MAX_BODY_BYTES = 16_384
_BODY_S = 20.0
# The longest of ours is a page of the history, whose cursor has up to 6 kB.
MAX_TARGET_BYTES = 8_192
TARGET_RULE = f"The path and query must not exceed {MAX_TARGET_BYTES} bytes"
NOT_THROUGH_EDGE = "The API is asked by its own name, not by the gateway's"
# What a handler needs after its deadline to settle and to answer, on Lambda.
_LAMBDA_RESERVE_S = 1.0


# How an answer begins.
_BEGINNINGS = {
    "http": ("http.response.start",),
    "websocket": ("websocket.http.response.start", "websocket.accept"),
}


class RequestContext:
    """Gives each request an id, its client's address and limits, each answer its headers.

    Whatever crashes is the one error body.
    """

    def __init__(self, app: ASGIApp, origins: Origins, trusted: Sequence[Network]) -> None:
        self._app = app
        self._origins = origins
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or a WebSocket, whose answer is the same until it is accepted."""
        if scope["type"] not in _BEGINNINGS:
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        with in_request(request_id) as ending, telling_of_end(scope, ending) as answer:
            await self._serve(scope, receive, send, request_id, answer)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, answer: Answer
    ) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in _BEGINNINGS[scope["type"]]:
                MutableHeaders(scope=message).update(EDGE_HEADERS | {"X-Request-Id": request_id})
            answer.see(message)
            await send(message)

        try:
            refusal = await self._see_edge(scope)
            self._see_client(scope)
            refusal = refusal or self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            else:
                limited = _limited(receive) if scope["type"] == "http" else receive
                await self._app(scope, limited, send_with_headers)
        except Exception as error:
            note_defect(error)
            if answer.status:
                raise
            # Nobody knows how far a crashed request had got.
            body = render_problem(scope, 500, "internal-error", "Internal error", dialled="unknown")
            await body(scope, receive, send_with_headers)

    async def _see_edge(self, scope: Scope) -> Response | None:
        """Refuse what did not come by the edge, where one is known; else believe whom it names."""
        edge = the_edge()
        if edge is None:
            return None
        headers = Headers(scope=scope)
        try:
            if await edge.has_sent(headers):
                client = client_of(headers)
                if client is not None:
                    scope["client"] = (client, 0)
                return None
        except SecretUnreadable as error:
            return render_problem(
                scope, 503, "origin-secret-unreadable", str(error), is_routed=False
            )
        return render_problem(scope, 403, "not-through-edge", NOT_THROUGH_EDGE, is_routed=False)

    def _see_client(self, scope: Scope) -> None:
        """Have the scope tell the client that a trusted proxy names, to uvicorn's log as well."""
        if self._trusted and scope.get("client"):
            peer, port = scope["client"]
            forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
            address = str(client_address(peer, forwarded, self._trusted) or peer)
            scope["client"] = (address, port if address == peer else 0)

    def _refusal(self, scope: Scope) -> Response | None:
        """Refuse what no endpoint has to see."""
        if _target_bytes(scope) > MAX_TARGET_BYTES:
            return render_problem(scope, 414, "target-too-long", TARGET_RULE, is_routed=False)
        origin = self._origins.refuses(Headers(scope=scope))
        if origin is not None:
            detail = f"CORS_ORIGINS does not name {shown(origin)}: its pages may not call the API"
            return render_problem(scope, 403, "origin-not-allowed", detail, is_routed=False)
        return None


def render_refusal(status: int, code: str, detail: str) -> Response:
    """Render the answer to what never became a request; its connection is closed."""
    request_id = uuid.uuid4().hex
    headers = EDGE_HEADERS | {"X-Request-Id": request_id, "Connection": "close"}
    with in_request(request_id):
        return render_problem({}, status, code, detail, headers=headers, is_routed=False)


def _target_bytes(scope: Scope) -> int:
    """Measure what the client asked for; Mangum tells the path only as it is decoded."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope["query_string"]
    return len(path + b"?" + query if query else path)


def _limited(receive: Receive) -> Receive:
    """Stop reading a body that is longer than any of ours, or comes too slowly."""
    received = 0
    until: float | None = None
    is_whole = False

    async def receive_some() -> Message:
        nonlocal received, until, is_whole
        if is_whole:  # what comes is that the client has gone
            return await receive()
        until = until or asyncio.get_running_loop().time() + _BODY_S
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            detail = f"The body did not arrive within {_BODY_S:g} s"
            raise HTTPException(408, detail, headers={"Connection": "close"}) from None
        received += len(message.get("body", b""))
        if received > _MAX_BODY_BYTES:
            raise HTTPException(413, f"The body must not exceed {_MAX_BODY_BYTES} bytes")
        is_whole = not message.get("more_body", False)
        return message

    return receive_some


def _request_id(scope: Scope) -> str:
    event = scope.get("aws.event", {})
    given = event.get("requestContext", {}).get("requestId")
    given = given or Headers(scope=scope).get("x-request-id") or ""
    return given if re.fullmatch(r"[A-Za-z0-9._=+/-]{1,128}", given) else uuid.uuid4().hex


async def until_gone(request: Request) -> None:
    """Wait until the client has gone; its body was read, or there is none to read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def request_deadline(request: Request) -> Deadline:
    """Return the moment by which this request is answered."""
    seconds: float = request.app.state.request_timeout_s
    context = request.scope.get("aws.context")
    if context is not None:
        left_s = context.get_remaining_time_in_millis() / 1000 - _LAMBDA_RESERVE_S
        seconds = max(0.0, min(seconds, left_s))
    return Deadline.after(seconds)

"""Who asks, as a request tells it: the enterprise's secret, an idempotency key, a deadline."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer

from shared.auth.caller import Caller, Wishes
from shared.auth.under_way import granted_wait_s
from shared.deadline import Deadline
from shared.errors import InvalidClientId, PrefetchRefused, Quota
from shared.http.addresses import limited_as
from shared.http.ahead import is_prefetch, is_preview
from shared.http.fields import ActorText, IdempotencyKey
from shared.http.problems import quota_headers
from shared.http.request import RequestDeadline
from shared.telemetry import note_secret_in_url

_MAX_SECRET_CHARACTERS = 255
_BEARER = HTTPBearer(
    scheme_name="Bearer",
    description="`Authorization: Bearer SECRET`, the enterprise's secret: the preferred way",
    auto_error=False,
)
_HEADER = APIKeyHeader(
    name="X-Client-Id",
    scheme_name="ClientIdHeader",
    description="the enterprise's secret alone",
    auto_error=False,
)
_QUERY = APIKeyQuery(
    name="clientId",
    scheme_name="ClientIdQuery",
    description="Deprecated: the enterprise's secret as in the specification. URLs end up in other"
    " people's logs; prefer a header",
    auto_error=False,
)


async def given_secret(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    x_client_id: Annotated[str | None, Security(_HEADER)],
    client_id: Annotated[str | None, Security(_QUERY)],
) -> str:
    """Return the secret that the request carries: header first, then the query; empty: none."""
    token = bearer.credentials.strip() if bearer else ""
    if secret := token or x_client_id:
        return secret
    if client_id:
        note_secret_in_url()
    return client_id or ""


async def secret_of(secret: Annotated[str, Depends(given_secret)]) -> str:
    """Return the secret that the request carries.

    Raises:
        InvalidClientId: there is none, or no enterprise could have it.
    """
    check_form(secret)
    return secret


def _in_header(authorization: str | None, x_client_id: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or x_client_id or ""


async def refuse_prefetch(request: Request) -> None:
    """Refuse what was asked before anybody clicked.

    A link in a chat carries its secret in the query; a program that sends it in a header means it,
    whatever it calls itself.

    Raises:
        PrefetchRefused: it is a browser's prefetch, or a chat's preview of such a link.
    """
    headers = request.headers
    is_link = not _in_header(headers.get("authorization"), headers.get("x-client-id"))
    if is_prefetch(headers) or (is_link and is_preview(headers)):
        raise PrefetchRefused


async def collect_caller(
    request: Request, secret: Annotated[str, Depends(secret_of)], deadline: RequestDeadline
) -> Caller:
    """Collect who asks; the secret is checked later, in a round trip that does more."""
    return Caller(secret, _address(request), deadline)


async def collect_doer(
    request: Request,
    secret: Annotated[str, Depends(secret_of)],
    deadline: RequestDeadline,
    x_actor: ActorText = None,
) -> Caller:
    """Collect who asks for what is noted: a phone rings by it, or a call ends."""
    client = request.client.host if request.client else None
    return Caller(secret, _address(request), deadline, client, x_actor)


def socket_caller(socket: HTTPConnection, secret: str, deadline: Deadline) -> Caller | None:
    """Collect who opens a WebSocket, by a secret that came in a message, or else in a header.

    None: there is none. Raises InvalidClientId: no enterprise could have it.
    """
    headers = socket.headers
    secret = secret or _in_header(headers.get("authorization"), headers.get("x-client-id"))
    if not secret:
        return None
    check_form(secret)
    return Caller(secret, _address(socket), deadline)


def check_form(secret: str) -> None:
    """Refuse what can be no secret. Raises InvalidClientId."""
    if not 0 < len(secret) <= _MAX_SECRET_CHARACTERS or not secret.isprintable():
        raise InvalidClientId


async def collect_listener(
    request: Request, secret: Annotated[str, Depends(given_secret)], deadline: RequestDeadline
) -> Caller | None:
    """Collect who listens, as `collect_caller`; None: there is no secret, perhaps a ticket."""
    if not secret:
        return None
    check_form(secret)
    return Caller(secret, _address(request), deadline)


async def collect_wishes(
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: answer when the phone rings or the call failed, or after N s,"
            " on AWS at most 5"
        ),
    ] = None,
) -> Wishes:
    """Collect what the headers ask for."""
    return Wishes(idempotency_key, granted_wait_s(_wait_s(prefer)))


def _address(request: HTTPConnection) -> str | None:
    """The client's, as wrong secrets are limited by it; a trusted proxy or API Gateway told it."""
    return limited_as(request.client.host) if request.client else None


def _wait_s(prefer: str | None) -> float:
    """Parse `Prefer: wait=N` (RFC 7240); what is not understood is ignored, as it demands."""
    pattern = r"(?:^|[,;\s])wait\s*=\s*(\"?)([0-9]{1,4})\1\s*(?:$|[,;])"
    match = re.search(pattern, prefer or "", re.IGNORECASE | re.ASCII)
    return float(match[2]) if match else 0.0


def placed_headers(quota: Quota | None, wishes: Wishes) -> dict[str, str]:
    """Tell what is left of the rate limit, and that a wait was honoured (RFC 7240)."""
    headers = quota_headers(quota)
    if wishes.wait_s:
        headers["Preference-Applied"] = f"wait={wishes.wait_s:g}"
    return headers


CallerOf = Annotated[Caller, Depends(collect_caller)]
DoerOf = Annotated[Caller, Depends(collect_doer)]
WishesOf = Annotated[Wishes, Depends(collect_wishes)]
ListenerOf = Annotated[Caller | None, Depends(collect_listener)]
NoPrefetch = Depends(refuse_prefetch)

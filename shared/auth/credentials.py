"""Who asks, as a request tells it: the enterprise's secret, an idempotency key, a deadline."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.openapi.models import SecurityBase as SecurityScheme
from fastapi.openapi.models import SecuritySchemeType
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from shared.auth.caller import Caller, Dialler, Wishes
from shared.auth.under_way import granted_wait_s
from shared.deadline import Deadline
from shared.errors import InvalidClientId, PrefetchRefused, Quota
from shared.http.addresses import limited_as
from shared.http.ahead import is_prefetch, is_preview
from shared.http.fields import ActorText, IdempotencyKey
from shared.http.problems import quota_headers
from shared.http.request import request_deadline
from shared.telemetry import note_secret_in_url

_MAX_SECRET_CHARACTERS = 255


class _Secret(SecurityBase):
    """Finds the secret that a request carries: in a header first, then in the query; empty: none.

    One dependency of its route, for each costs a call the time of a query; all three places are
    described in `shared/description/texts.py`.
    """

    scheme_name = "Secret"
    model = SecurityScheme(type=SecuritySchemeType.apiKey)

    def __init__(self, *, is_needed: bool = True, rings: bool = False) -> None:
        self._is_needed = is_needed
        self._rings = rings

    async def __call__(self, request: Request) -> str:
        """Return it.

        Raises:
            InvalidClientId: there is none and it is needed, or no enterprise could have it.
            PrefetchRefused: a phone would ring by it, before anybody clicked.
        """
        in_header = _in_header(request)
        if self._rings:
            _refuse_prefetch(request, is_link=not in_header)
        secret = in_header or request.query_params.get("clientId") or ""
        if secret and not in_header:
            note_secret_in_url()
        if secret or self._is_needed:
            check_form(secret)
        return secret


_SECRET = _Secret()
_PERHAPS = _Secret(is_needed=False)
_RINGS = _Secret(rings=True)


def _in_header(request: HTTPConnection) -> str:
    """Return the secret of a request's headers; Bearer comes first."""
    headers = request.headers
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-client-id", "")


def _refuse_prefetch(request: Request, *, is_link: bool) -> None:
    """Refuse what was asked before anybody clicked.

    A link in a chat carries its secret in the query; a program that sends it in a header means it,
    whatever it calls itself.

    Raises:
        PrefetchRefused: it is a browser's prefetch, or a chat's preview of such a link.
    """
    if is_prefetch(request.headers) or (is_link and is_preview(request.headers)):
        raise PrefetchRefused


async def collect_caller(request: Request, secret: Annotated[str, Security(_SECRET)]) -> Caller:
    """Collect who asks; the secret is checked later, in a round trip that does more."""
    return Caller(secret, _address(request), request_deadline(request))


async def collect_doer(
    request: Request, secret: Annotated[str, Security(_SECRET)], x_actor: ActorText = None
) -> Caller:
    """Collect who asks for what is noted: a call ends by it."""
    return _doer(request, secret, x_actor)


async def collect_redialler(
    request: Request, secret: Annotated[str, Security(_RINGS)], x_actor: ActorText = None
) -> Caller:
    """Collect likewise who asks for what rings a phone, in a call that there is."""
    return _doer(request, secret, x_actor)


async def collect_dialler(
    request: Request,
    secret: Annotated[str, Security(_RINGS)],
    x_actor: ActorText = None,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: answer when the phone rings or the call failed, or after N s,"
            " on AWS at most 5"
        ),
    ] = None,
) -> Dialler:
    """Collect who places a call, and what the headers ask for beside it."""
    wishes = Wishes(idempotency_key, granted_wait_s(_wait_s(prefer)))
    return Dialler(_doer(request, secret, x_actor), wishes)


def _doer(request: Request, secret: str, actor: str | None) -> Caller:
    client = request.client.host if request.client else None
    return Caller(secret, _address(request), request_deadline(request), client, actor)


def socket_caller(socket: HTTPConnection, secret: str, deadline: Deadline) -> Caller | None:
    """Collect who opens a WebSocket, by a secret that came in a message, or else in a header.

    None: there is none. Raises InvalidClientId: no enterprise could have it.
    """
    secret = secret or _in_header(socket)
    if not secret:
        return None
    check_form(secret)
    return Caller(secret, _address(socket), deadline)


def check_form(secret: str) -> None:
    """Refuse what can be no secret. Raises InvalidClientId."""
    if not 0 < len(secret) <= _MAX_SECRET_CHARACTERS or not secret.isprintable():
        raise InvalidClientId


async def collect_listener(
    request: Request, secret: Annotated[str, Security(_PERHAPS)]
) -> Caller | None:
    """Collect who listens, as `collect_caller`; None: there is no secret, perhaps a ticket."""
    return Caller(secret, _address(request), request_deadline(request)) if secret else None


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
RediallerOf = Annotated[Caller, Depends(collect_redialler)]
DiallerOf = Annotated[Dialler, Depends(collect_dialler)]
ListenerOf = Annotated[Caller | None, Depends(collect_listener)]

"""Who asks, as a request tells it: the enterprise's secret, an idempotency key, a deadline."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from shared.caller import Caller
from shared.errors import InvalidClientId, Quota
from shared.fields import IdempotencyKey
from shared.web import RequestDeadline, quota_headers, refuse_prefetch

_MAX_SECRET_CHARACTERS = 255


async def find_secret(
    authorization: Annotated[
        str | None, Header(description="`Bearer SECRET`: the preferred way")
    ] = None,
    x_client_id: Annotated[str | None, Header(description="the secret alone")] = None,
    client_id: Annotated[
        str | None,
        Query(alias="clientId", description="the secret, as in the specification; avoid in URLs"),
    ] = None,
) -> str:
    """Return the secret that the request carries: header first, then the query.

    Raises:
        InvalidClientId: there is none, or no enterprise could have it.
    """
    scheme, _, token = (authorization or "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    secret = bearer or x_client_id or client_id or ""
    if not 0 < len(secret) <= _MAX_SECRET_CHARACTERS or not secret.isprintable():
        raise InvalidClientId
    return secret


async def identify_caller(
    request: Request,
    secret: Annotated[str, Depends(find_secret)],
    deadline: RequestDeadline,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: answer when the phone rings or the call failed, or after N s"
        ),
    ] = None,
) -> Caller:
    """Collect it; the secret is checked later, in the round trip that admits the call."""
    return Caller(secret, _address(request), idempotency_key, _wait_s(prefer), deadline)


async def identify_reader(
    request: Request, secret: Annotated[str, Depends(find_secret)], deadline: RequestDeadline
) -> Caller:
    """Collect who asks where no phone is rung."""
    return Caller(secret, _address(request), None, 0.0, deadline)


def _address(request: Request) -> str | None:
    """The client's own: uvicorn takes it from nginx, API Gateway from its event."""
    return request.client.host if request.client else None


def _wait_s(prefer: str | None) -> float:
    """Parse `Prefer: wait=N` (RFC 7240); what is not understood is ignored, as it demands."""
    pattern = r"(?:^|[,;\s])wait\s*=\s*(\"?)([0-9]{1,4})\1\s*(?:$|[,;])"
    match = re.search(pattern, prefer or "", re.IGNORECASE | re.ASCII)
    return float(match[2]) if match else 0.0


def placed_headers(quota: Quota | None, caller: Caller) -> dict[str, str]:
    """Tell what is left of the rate limit, and that a wait was honoured (RFC 7240)."""
    headers = quota_headers(quota) if quota is not None else {}
    if caller.wait_s:
        headers["Preference-Applied"] = f"wait={caller.wait_s:g}"
    return headers


CallerOf = Annotated[Caller, Depends(identify_caller)]
ReaderOf = Annotated[Caller, Depends(identify_reader)]
NoPrefetch = Depends(refuse_prefetch)

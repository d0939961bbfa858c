"""Who asks, as a request tells it: the enterprise's secret, an idempotency key, a deadline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Query

from shared.deadline import Deadline
from shared.errors import InvalidClientId
from shared.fields import IdempotencyKey
from shared.web import RequestDeadline, refuse_prefetch

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


@dataclass(frozen=True, slots=True)
class Caller:
    """What every request that rings a phone carries beside its parameters."""

    secret: str = field(repr=False)
    idempotency_key: str | None
    deadline: Deadline


async def identify_caller(
    secret: Annotated[str, Depends(find_secret)],
    deadline: RequestDeadline,
    idempotency_key: IdempotencyKey = None,
) -> Caller:
    """Collect it; the secret is checked later, in the round trip that admits the call."""
    return Caller(secret, idempotency_key, deadline)


CallerOf = Annotated[Caller, Depends(identify_caller)]
NoPrefetch = Depends(refuse_prefetch)

"""A failure's body as OpenAPI has it: its fields, and an example for each code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from shared import errors
from shared.description.schemas import OPEN
from shared.errors import Dialled, ServiceError
from shared.http.problems import phrase

_CALL_ID = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
_REQUEST_ID = "72b6584cc4b846f59e9b5652d3fb2122"


class OfHttp(NamedTuple):
    """A code that no error of the tree stands for.

    `example` is a `detail`; None: no operation answers so, but what is before all of them.
    """

    status: int
    example: str | None
    meaning: str


# Refused by HTTP's own rules or by the edge, before there is an error of the tree.
OF_HTTP = {
    "malformed-request": OfHttp(
        400, None, "No HTTP/1.1 that can be read in one way only; nothing was dialled."
    ),
    "origin-not-allowed": OfHttp(
        403,
        "CORS_ORIGINS does not name https://crm.example.test: its pages may not call the API",
        "`CORS_ORIGINS` names other pages than this one; nothing was dialled.",
    ),
    "not-through-edge": OfHttp(
        403,
        "The API is asked by its own name, not by the gateway's",
        "On AWS: the request went round the CloudFront before the API; nothing was dialled.",
    ),
    "not-found": OfHttp(404, None, "There is no such endpoint."),
    "method-not-allowed": OfHttp(
        405, None, "`Allow` says which method is; HEAD places no calls either."
    ),
    "request-timeout": OfHttp(
        408,
        "The body did not arrive within 20 s",
        "Head or body came too slowly; nothing was dialled.",
    ),
    "body-too-large": OfHttp(
        413, "The body must not exceed 16384 bytes", "A body has at most 16 kB."
    ),
    "target-too-long": OfHttp(
        414,
        "The path and query must not exceed 8192 bytes",
        "Path and query have at most 8,192 bytes; nothing was dialled.",
    ),
    "head-too-large": OfHttp(431, None, "A request's line and headers have at most 32 kB."),
    "origin-secret-unreadable": OfHttp(
        503,
        "ORIGIN_SECRET_ARN: the secret cannot be read",
        "`ORIGIN_SECRET_ARN` cannot be read, or is malformed: an operator must look.",
    ),
}
_FROM_HTTP = {code for code, one in OF_HTTP.items() if one.example is not None}


def kinds_below(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Yield every error of the tree that has a code of its own."""
    for below in kind.__subclasses__():
        if "code" in vars(below) and below.__module__ == errors.__name__:
            yield below
        yield from kinds_below(below)


KINDS = {kind.code: kind for kind in kinds_below()}
# A PBX that could not be connected is not tried again for a while.
_SAY_WHEN = (
    *(errors.LimitExceeded, errors.PbxBusy, errors.ConnectTimeout, errors.ConnectFailed),
    *(errors.AuthenticationFailed, errors.HostKeyChanged),
)
_CODES: dict[str, Any] = {OPEN: sorted({*KINDS, *_FROM_HTTP})}


class WrongField(BaseModel):
    """A parameter that is wrong."""

    field: str = Field(description="its name, as the caller wrote it", examples=["phone"])
    message: str = Field(description="what it must be, in words", examples=["is required"])


class Problem(BaseModel):
    """Every failure's body: RFC 9457, with a `code` for programs and a `detail` for people."""

    title: str = Field(description="the status's name", examples=["Not Found"])
    status: int = Field(description="the answer's HTTP status", examples=[404])
    detail: str = Field(
        description="one sentence for whoever reads it; its words may change",
        examples=["No such call"],
    )
    code: str = Field(
        description="what is wrong, for programs: stable",
        examples=["no-such-call"],
        json_schema_extra=_CODES,
    )
    request_id: str = Field(
        description="the request's own id, as in `X-Request-Id`, by which the log finds it",
        examples=[_REQUEST_ID],
    )
    dialled: Dialled | None = Field(
        None,
        description="where the operation rings phones: `no`, safe to ask again; `unknown`, a phone"
        " may be ringing",
        examples=["no"],
    )
    call_id: str | None = Field(
        None, description="the call, once it was admitted", examples=[_CALL_ID]
    )
    repeated: bool | None = Field(
        None, description="true: the failure is that of the request that this one repeats"
    )
    sandbox: bool | None = Field(
        None, description="true: the enterprise has a sandbox, where no phone rings; else absent"
    )
    errors: list[WrongField] | None = Field(
        None, description="of `invalid-parameter` and its like: each parameter that is wrong"
    )
    oldest: int | None = Field(
        None, description="of `events-gone`: the number of the oldest event that is kept"
    )
    newest: int | None = Field(
        None, description="of `events-gone`: the number of the newest event; go on after it"
    )


def example_of(code: str, status: int, *, rings: bool) -> dict[str, Any]:
    """Make a body that has this code; `rings`: of an operation that rings phones."""
    kind = KINDS.get(code)
    body: dict[str, Any] = {
        "title": phrase(status),
        "status": status,
        "detail": OF_HTTP[code].example if kind is None else kind.example,
        "code": code,
        "request_id": _REQUEST_ID,
    }
    if kind is not None and issubclass(kind, errors.InvalidParameter):
        field, _, message = body["detail"].partition(": ")
        body["errors"] = [{"field": field, "message": message}]
    if kind is errors.EventsGone:
        body |= {"oldest": 4000, "newest": 4711}
    if kind is not None and rings:
        # Of a crash nobody knows how far it had got.
        body["dialled"] = "unknown" if kind is errors.InternalError else kind.dialled
        if issubclass(kind, errors.PbxError):
            body["call_id"] = _CALL_ID
    return body


def may_say_when(code: str) -> bool:
    """Tell whether an error of this code may come with `Retry-After`."""
    kind = KINDS.get(code)
    if kind is None or kind is errors.TooManyOpen:
        return False
    return kind.usual_retry_after_s is not None or issubclass(kind, _SAY_WHEN)

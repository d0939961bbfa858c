"""A failure's body as OpenAPI has it: its fields, and an example for each code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from shared import errors
from shared.description.schemas import OPEN
from shared.errors import Dialled, ServiceError
from shared.http.problems import phrase

_CALL_ID = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
_REQUEST_ID = "72b6584cc4b846f59e9b5652d3fb2122"
# Refused by HTTP's own rules, before there is an error of the tree: status, and an example.
FROM_HTTP = {
    "origin-not-allowed": (
        403,
        "CORS_ORIGINS does not name https://crm.example.test: its pages may not call the API",
    ),
    "not-through-edge": (403, "The API is asked by its own name, not by the gateway's"),
    "origin-secret-unreadable": (503, "ORIGIN_SECRET_ARN: the secret cannot be read"),
    "request-timeout": (408, "The body did not arrive within 20 s"),
    "body-too-large": (413, "The body must not exceed 16384 bytes"),
    "target-too-long": (414, "The path and query must not exceed 8192 bytes"),
}


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
_CODES: dict[str, Any] = {OPEN: sorted({*KINDS, *FROM_HTTP})}


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
        "detail": FROM_HTTP[code][1] if kind is None else kind.example,
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

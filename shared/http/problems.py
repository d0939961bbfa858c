"""Every failure as its one body (RFC 9457), and which ways of failing a route has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Scope

from shared.errors import (
    Dialled,
    EventsGone,
    FieldError,
    InternalError,
    InvalidParameter,
    LimitExceeded,
    Quota,
    ServiceError,
)
from shared.measures import observe
from shared.settings import release
from shared.telemetry import LOG, REQUEST_ID, count, note_refusal

PROBLEM_TYPE = "application/problem+json"
# On every answer: no browser guesses another type, no cache keeps what tells of calls.
EDGE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
# Python 3.13 renamed these; what a caller reads is the same under each.
_PHRASES = {
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    422: "Unprocessable Entity",
}


# What pydantic says of a body that is no object.
_NO_OBJECT = frozenset({"json_invalid", "model_attributes_type", "dict_type"})


class Route(APIRoute):
    """A route by how it may fail; `says_dialled`: errors say whether a phone may be ringing."""

    failures: ClassVar[tuple[int, ...]] = (403, 414, 500)
    says_dialled: ClassVar[bool] = False


class ReadyRoute(Route):
    """Asks the database, whoever asks."""

    failures = (403, 414, 500, 503)


class TellingRoute(Route):
    """Tells of calls, or ends them; rings nobody."""

    failures: ClassVar[tuple[int, ...]] = (401, 403, 404, 409, 414, 422, 429, 500, 503)


class FeedRoute(TellingRoute):
    """Tells what happened after a moment that may be too long ago."""

    failures = (401, 403, 406, 408, 410, 413, 414, 422, 429, 500, 503)


class ChangingRoute(TellingRoute):
    """Changes what is kept, and rings nobody."""

    failures = (401, 403, 404, 408, 409, 410, 413, 414, 422, 429, 500, 503)


class RingingRoute(TellingRoute):
    """Rings phones."""

    failures = (401, 403, 404, 408, 409, 413, 414, 422, 429, 500, 503)
    says_dialled = True


class Problem(BaseModel):
    """Every failure's body: RFC 9457, whose `detail` is one sentence for whoever reads it.

    `code` is stable. Where a request rings phones, `dialled` says whether one may be ringing, and
    `call_id` names the call once it was admitted, `repeated` tells that it is another request's;
    `errors` lists the parameters that are wrong; `oldest` and `newest` are the events that there
    are.
    """

    title: str
    status: int
    detail: str
    code: str
    request_id: str
    dialled: Dialled | None = None
    call_id: str | None = None
    repeated: bool | None = None
    errors: list[FieldError] | None = None
    oldest: int | None = None
    newest: int | None = None


def described(router: APIRouter) -> dict[int | str, dict[str, Any]]:
    """Describe how requests to a router may fail."""
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    kind = router.route_class if issubclass(router.route_class, Route) else Route
    return {
        status: {"description": _phrase(status), "content": {PROBLEM_TYPE: problem}}
        for status in kind.failures
    }


def _phrase(status: int) -> str:
    """Return a status's name."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def render_problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    dialled: str = "no",
    headers: dict[str, str] | None = None,
    is_routed: bool = True,
    **more: object,
) -> JSONResponse:
    """Render the one error body: RFC 9457, whose `detail` is the specification's.

    What is refused before it is known whose it is (not `is_routed`) has dialled nothing.
    """
    body = {
        "title": _phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID.get(),
        **more,
    }
    if not is_routed or getattr(scope.get("route"), "says_dialled", False):
        body["dialled"] = dialled
        if dialled == "unknown" and not more.get("repeated"):
            count("UnknownOutcomes")
    observe("Refusals", code=code)
    note_refusal(code, is_unknown=body.get("dialled") == "unknown")
    return JSONResponse(body, status_code=status, media_type=PROBLEM_TYPE, headers=headers)


def note_defect(error: Exception) -> None:
    """Log a defect of ours, and count it."""
    LOG.error("❌ Внутренняя ошибка", exc_info=error)
    count("InternalErrors")
    count("ReleaseDefects", release=release())


async def on_service_error(request: Request, error: Exception) -> JSONResponse:
    """Render an error of the tree."""
    if not isinstance(error, ServiceError):
        raise TypeError from error
    if isinstance(error, InternalError):
        note_defect(error)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, LimitExceeded):
        headers |= quota_headers(error.quota)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    more: dict[str, Any] = {}
    if isinstance(error, InvalidParameter):
        more["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    if isinstance(error, EventsGone):
        more |= {"oldest": error.oldest, "newest": error.newest}
    if error.call_id is not None:
        more["call_id"] = str(error.call_id)
    if error.repeated:
        more["repeated"] = True
    return render_problem(
        request.scope,
        error.status,
        error.code,
        error.detail,
        dialled=error.dialled,
        headers=headers,
        **more,
    )


def quota_headers(quota: Quota | None) -> dict[str, str]:
    """Render the IETF's RateLimit fields; `t` is when the whole quota would be there again."""
    if quota is None:
        return {}
    full_s = math.ceil((quota.count - quota.remaining) * quota.per_s / quota.count)
    return {
        "RateLimit-Policy": f'"{quota.name}";q={quota.count};w={quota.per_s}',
        "RateLimit": f'"{quota.name}";r={quota.remaining};t={full_s}',
    }


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Render what FastAPI found wrong with the parameters."""
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    wrong = InvalidParameter(*(_field_error(request, item) for item in error.errors()))
    return await on_service_error(request, wrong)


def _field_error(request: Request, item: dict[str, Any]) -> FieldError:
    """Name the field as the caller wrote it, and say what it must be."""
    location: Sequence[str | int] = item["loc"]
    field = str(location[1]) if len(location) > 1 else str(location[0])
    if item["type"] in _NO_OBJECT and not _is_json(request):
        return FieldError("Content-Type", "must be application/json, for the body is JSON")
    if item["type"] in _NO_OBJECT:
        return FieldError("body", "must be a JSON object")
    if item["type"] == "missing":
        return FieldError(field, f"is required: {_rule(request, field)}".removesuffix(": "))
    cause = item.get("ctx", {}).get("error")
    return FieldError(field, str(cause) if cause else item["msg"])


def _is_json(request: Request) -> bool:
    """Tell whether a body is said to be JSON: what is not is not read as such."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _rule(request: Request, field: str) -> str:
    """Find a parameter's rule in the API's own description."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = operations.get(request.method.lower(), {})
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == field:
            return str(parameter["schema"].get("description", ""))
    return ""


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Render what HTTP itself refuses: no such path, method or body."""
    if not isinstance(error, HTTPException):
        raise TypeError from error
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's only use of it: bytes that are no UTF-8, or nested too deeply to be parsed.
        wrong = FieldError("body", "must be a JSON object")
        return await on_service_error(request, InvalidParameter(wrong))
    kebab = _phrase(error.status_code).lower().replace(" ", "-")
    code = "body-too-large" if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else kebab
    headers = dict(error.headers or {})
    return render_problem(
        request.scope, error.status_code, code, str(error.detail), headers=headers
    )

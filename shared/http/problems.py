"""Every failure as its one body (RFC 9457); which routes ring phones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Scope

from shared.errors import (
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
from shared.telemetry import LOG, REQUEST_ID, count, in_sandbox, note_limit, note_refusal

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
    """A route; `says_dialled`: its errors say whether a phone may be ringing.

    What it answers an enterprise that has a sandbox says so.
    """

    says_dialled: ClassVar[bool] = False

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Serve as FastAPI does, and say of a sandbox that it is one."""
        serve = super().get_route_handler()

        async def served(request: Request) -> Response:
            response = await serve(request)
            if in_sandbox():
                response.headers["X-Sandbox"] = "true"
                _say_sandbox(response)
            return response

        return served


class RingingRoute(Route):
    """Rings phones."""

    says_dialled = True


def _say_sandbox(response: Response) -> None:
    """Say so in the body as well, if that is an object; a call of its own may say otherwise."""
    if not response.headers.get("content-type", "").startswith("application/json"):
        return
    body = json.loads(bytes(response.body))
    if isinstance(body, dict):
        response.body = json.dumps(
            {**body, "sandbox": body.get("sandbox", True)}, ensure_ascii=False
        ).encode()
        response.headers["Content-Length"] = str(len(response.body))


def phrase(status: int) -> str:
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
        "title": phrase(status),
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
    if in_sandbox():
        body["sandbox"] = True
        headers = {**(headers or {}), "X-Sandbox": "true"}
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
        note_limit(error.quota.name if error.quota else error.code)
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
    kebab = phrase(error.status_code).lower().replace(" ", "-")
    code = "body-too-large" if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else kebab
    headers = dict(error.headers or {})
    return render_problem(
        request.scope, error.status_code, code, str(error.detail), headers=headers
    )

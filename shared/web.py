"""HTTP around the handlers: the app, one error body, the request's id, the Lambda entry."""

from __future__ import annotations

import asyncio
import math
import re
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.deadline import Deadline
from shared.errors import (
    Dialled,
    FieldError,
    InvalidParameter,
    LimitExceeded,
    PrefetchRefused,
    Quota,
    ServiceError,
)
from shared.secrets import import_early
from shared.settings import VERSION, load_settings
from shared.snapstart import register_hooks
from shared.telemetry import LOG, REQUEST_ID, configure_logging, count

# Routes with this tag ring phones: every error of theirs says whether one may be ringing.
PLACES_CALLS = "calls"
# These only tell of calls, or end them.
FOLLOWS_CALLS = "following"
_MAX_BODY_BYTES = 16_384
_PROBLEM = "application/problem+json"
_FAILURES: dict[str, tuple[int, ...]] = {
    PLACES_CALLS: (401, 403, 404, 409, 413, 422, 429, 500, 503),
    FOLLOWS_CALLS: (401, 403, 404, 409, 422, 429, 500, 503),
}
# Python 3.13 renamed these; what a caller reads is the same under each.
_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
# What a handler needs after its deadline to settle and to answer, on Lambda.
_LAMBDA_RESERVE_S = 1.0

T = TypeVar("T")
LambdaHandler: TypeAlias = Callable[[dict[str, Any], Any], dict[str, Any]]


class Problem(BaseModel):
    """Every failure's body: RFC 9457, whose `detail` is one sentence for whoever reads it.

    `code` is stable. Where a request rings phones, `dialled` says whether one may be ringing, and
    `call_id` names the call once it was admitted; `errors` lists the parameters that are wrong.
    """

    title: str
    status: int
    detail: str
    code: str
    request_id: str
    dialled: Dialled | None = None
    call_id: str | None = None
    errors: list[FieldError] | None = None


class _App(FastAPI):
    """Describes the one error body once, where each operation's failures refer to it."""

    def openapi(self) -> dict[str, Any]:
        """Return the API's description."""
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs") | {"Problem": problem}
        return super().openapi()


def _described(router: APIRouter) -> dict[int | str, dict[str, Any]]:
    """Describe how requests to a router may fail."""
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    (tag,) = router.tags
    statuses = _FAILURES.get(str(tag), (HTTPStatus.INTERNAL_SERVER_ERROR,))
    return {
        status: {"description": _phrase(status), "content": {_PROBLEM: problem}}
        for status in statuses
    }


def create_app(
    *routers: APIRouter,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Compose routers into an app with our error body, request ids and CORS."""
    settings = load_settings()
    configure_logging(settings)
    app = _App(
        title="Asterisk Call Management API",
        version=VERSION,
        description="Click-to-call and call supervision on many Asterisk hosts over SSH.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    for router in routers:
        app.include_router(router, responses=_described(router))
    app.add_middleware(RequestContext)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-Client-Id"),
            ],
            expose_headers=[
                *("Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After"),
                *("X-Next-Cursor", "X-Request-Id"),
            ],
        )
    return app


def lambda_handler(app: FastAPI) -> LambdaHandler:
    """Make the function that AWS Lambda calls with an API Gateway event.

    Every invocation runs on one loop that lives as long as the process, so that a connection of
    one serves the next; with `lifespan` off, nothing is opened or closed in between.
    """
    begin_environment()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        asyncio.set_event_loop(_pinned_loop())
        return _adapter(app)(event, context)

    return handler


def begin_environment() -> None:
    """Do in INIT what each handler's environment needs; nothing of it uses the network."""
    import_early(load_settings())
    register_hooks(run_pinned)


def run_pinned(work: Coroutine[Any, Any, T]) -> T:
    """Run what no HTTP request asked for on that same loop."""
    asyncio.set_event_loop(_pinned_loop())
    return _pinned_loop().run_until_complete(work)


@cache
def _pinned_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _adapter(app: FastAPI) -> Mangum:
    # Mangum sends a type that it does not know as text in base64.
    return Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, _PROBLEM])


class RequestContext:
    """Gives each request an id, its body a limit, a crash the same error as any other failure."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = REQUEST_ID.set(request_id)
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, _limited(receive), send_with_id)
        except Exception:
            LOG.exception("❌ Внутренняя ошибка")
            count("InternalErrors")
            if started:
                raise
            # Nobody knows how far a crashed request had got.
            body = _problem(scope, 500, "internal-error", "Internal error", dialled="unknown")
            await body(scope, receive, send_with_id)
        finally:
            REQUEST_ID.reset(token)


def _limited(receive: Receive) -> Receive:
    """Stop reading a body that is longer than any of ours."""
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > _MAX_BODY_BYTES:
            raise HTTPException(413, f"The body must not exceed {_MAX_BODY_BYTES} bytes")
        return message

    return receive_some


def _request_id(scope: Scope) -> str:
    event = scope.get("aws.event", {})
    given = event.get("requestContext", {}).get("requestId")
    given = given or Headers(scope=scope).get("x-request-id") or ""
    return given if re.fullmatch(r"[A-Za-z0-9._=+/-]{1,128}", given) else uuid.uuid4().hex


def _phrase(status: int) -> str:
    """Return a status's name."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def _problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    dialled: str = "no",
    headers: dict[str, str] | None = None,
    **more: object,
) -> JSONResponse:
    """Render the one error body: RFC 9457, whose `detail` is the specification's."""
    body = {
        "title": _phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID.get(),
        **more,
    }
    if PLACES_CALLS in getattr(scope.get("route"), "tags", ()):
        body["dialled"] = dialled
        if dialled == "unknown":
            count("UnknownOutcomes")
    return JSONResponse(body, status_code=status, media_type=_PROBLEM, headers=headers)


async def _on_service_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ServiceError):
        raise TypeError from error
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, LimitExceeded) and error.quota is not None:
        headers |= quota_headers(error.quota)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    more: dict[str, object] = {}
    if isinstance(error, InvalidParameter):
        more["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    if error.call_id is not None:
        more["call_id"] = error.call_id
    return _problem(
        request.scope,
        error.status,
        error.code,
        error.detail,
        dialled=error.dialled,
        headers=headers,
        **more,
    )


def quota_headers(quota: Quota) -> dict[str, str]:
    """Render the IETF's RateLimit fields; `t` is when the whole quota would be there again."""
    full_s = math.ceil((quota.count - quota.remaining) * quota.per_s / quota.count)
    return {
        "RateLimit-Policy": f'"{quota.name}";q={quota.count};w={quota.per_s}',
        "RateLimit": f'"{quota.name}";r={quota.remaining};t={full_s}',
    }


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    wrong = InvalidParameter(*(_field_error(request, item) for item in error.errors()))
    return await _on_service_error(request, wrong)


def _field_error(request: Request, item: dict[str, Any]) -> FieldError:
    """Name the field as the caller wrote it, and say what it must be."""
    location: Sequence[str | int] = item["loc"]
    field = str(location[1]) if len(location) > 1 else str(location[0])
    if item["type"] in {"json_invalid", "model_attributes_type", "dict_type"}:
        return FieldError("body", "must be a JSON object")
    if item["type"] == "missing":
        return FieldError(field, f"is required: {_rule(request, field)}".removesuffix(": "))
    cause = item.get("ctx", {}).get("error")
    return FieldError(field, str(cause) if cause else item["msg"])


def _rule(request: Request, field: str) -> str:
    """Find a parameter's rule in the API's own description."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = operations.get(request.method.lower(), {})
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == field:
            return str(parameter["schema"].get("description", ""))
    return ""


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's only use of it: bytes that are no UTF-8, or nested too deeply to be parsed.
        wrong = FieldError("body", "must be a JSON object")
        return await _on_service_error(request, InvalidParameter(wrong))
    kebab = _phrase(error.status_code).lower().replace(" ", "-")
    code = "body-too-large" if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else kebab
    headers = dict(error.headers or {})
    return _problem(request.scope, error.status_code, code, str(error.detail), headers=headers)


def status_url(call_id: uuid.UUID) -> str:
    """Where a call's phase is told: a path, since a proxy's own address is not known here."""
    return f"/api/calls/{call_id}"


async def request_deadline(request: Request) -> Deadline:
    """Return the moment by which this request is answered."""
    seconds = load_settings().request_timeout_s
    context = request.scope.get("aws.context")
    if context is not None:
        left_s = context.get_remaining_time_in_millis() / 1000 - _LAMBDA_RESERVE_S
        seconds = max(0.0, min(seconds, left_s))
    return Deadline.after(seconds)


async def refuse_prefetch(request: Request) -> None:
    """Refuse a request that a browser made before anybody clicked."""
    purposes = (request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz"))
    if any("prefetch" in purpose.lower() for purpose in purposes):
        raise PrefetchRefused


RequestDeadline = Annotated[Deadline, Depends(request_deadline)]

"""The app: routers composed, with our error body, request ids and CORS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.errors import ServiceError
from shared.http.origins import Origins, ReadableRefusals
from shared.http.problems import (
    Problem,
    described,
    on_http_error,
    on_service_error,
    on_validation_error,
)
from shared.http.request import RequestContext
from shared.settings import VERSION, Settings
from shared.telemetry import configure_logging


class _App(FastAPI):
    """Describes the one error body once, where each operation's failures refer to it."""

    def openapi(self) -> dict[str, Any]:
        """Return the API's description."""
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs") | {"Problem": problem}
        return super().openapi()


def create_app(
    *routers: APIRouter,
    settings: Settings,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    is_described: bool = True,
) -> FastAPI:
    """Compose routers into an app with our error body, request ids and CORS.

    `is_described`: it serves its own description, and pages that show it.
    """
    configure_logging(settings)
    app = _App(
        title="Asterisk Call Management API",
        version=VERSION,
        description="Click-to-call and call supervision on many Asterisk hosts over SSH.",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url="/openapi.json" if is_described else None,
    )
    app.state.request_timeout_s = settings.request_timeout_s
    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
    for router in routers:
        app.include_router(router, responses=described(router))
    # Not the settings themselves: the app outlives them, and they hold passwords.
    app.add_middleware(
        RequestContext, origins=Origins(settings.cors_origins), trusted=settings.trusted_proxies
    )
    if settings.cors_origins:
        app.add_middleware(
            ReadableRefusals,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"),
                *("X-Actor", "X-Client-Id"),
            ],
            expose_headers=[
                *("Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After"),
                *("X-Next-Cursor", "X-Request-Id"),
            ],
        )
    return app

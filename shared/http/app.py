"""The app: routers composed, with our error body, request ids and CORS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.errors import ServiceError
from shared.http.origins import Origins, ReadableRefusals
from shared.http.problems import on_http_error, on_service_error, on_validation_error
from shared.http.request import RequestContext
from shared.settings import VERSION, Settings
from shared.telemetry import configure_logging

Describe: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


class _App(FastAPI):
    """Has what FastAPI says of the API made whole by `describe`, once somebody asks."""

    describe: Describe | None = None

    def openapi(self) -> dict[str, Any]:
        """Return the API's description."""
        if self.openapi_schema is None and self.describe is not None:
            self.openapi_schema = self.describe(super().openapi())
        return super().openapi()


def create_app(
    *routers: APIRouter,
    settings: Settings,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    describe: Describe | None = None,
) -> FastAPI:
    """Compose routers into an app with our error body, request ids and CORS.

    `describe` makes its description whole, which it then serves.
    """
    configure_logging(settings)
    app = _App(
        title="Asterisk Call Management API",
        version=VERSION,
        description="Click-to-call and call supervision on many Asterisk hosts over SSH.",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url="/openapi.json" if describe else None,
        docs_url=None,
        redoc_url=None,
    )
    app.describe = describe
    app.state.request_timeout_s = settings.request_timeout_s
    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
    for router in routers:
        app.include_router(router)
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
                *("X-Next-Cursor", "X-Request-Id", "X-Sandbox"),
            ],
        )
    return app

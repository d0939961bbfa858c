"""The way in from API Gateway: an event becomes a request of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from fastapi import APIRouter
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from shared.aws.environment import begin_environment, pinned_loop, run_pinned
from shared.http.app import create_app
from shared.http.problems import PROBLEM_TYPE
from shared.process import once
from shared.settings import on_lambda, the_settings

LambdaHandler: TypeAlias = Callable[[dict[str, Any], Any], dict[str, Any]]
Afterwards: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]
"""What is done between a request and its answer, by Lambda's context; it raises nothing."""


def lambda_handler(router: APIRouter, afterwards: Afterwards | None = None) -> LambdaHandler:
    """Make the function that AWS Lambda calls with an API Gateway event.

    Every invocation runs on one loop that lives as long as the process, so that a connection of
    one serves the next; with `lifespan` off, nothing is opened or closed in between. On Lambda the
    app is made at once, in INIT, where there is more CPU and nobody waits; elsewhere by the first
    event, so that importing a handler configures nothing. It exists once a process, like the
    settings of which it is made: neither is in a snapshot.
    """

    @once
    def adapter() -> Mangum:
        app = create_app(router, settings=the_settings())
        # Mangum sends a type that it does not know as text in base64.
        text = [*DEFAULT_TEXT_MIME_TYPES, PROBLEM_TYPE]
        return Mangum(app, lifespan="off", text_mime_types=text)

    if on_lambda():
        begin_environment()
        adapter()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        asyncio.set_event_loop(pinned_loop())
        answer: dict[str, Any] = adapter()(event, context)
        if afterwards is not None:
            run_pinned(afterwards(context))
        return answer

    return handler

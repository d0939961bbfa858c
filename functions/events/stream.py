"""Events as server-sent events, as they come: what an EventSource of a browser reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from functions.events.doors import listening
from shared.errors import ServiceError
from shared.events.filters import Filters
from shared.events.hub import the_hub
from shared.events.listening import Listener, LookAfter
from shared.events.tickets import Grant
from shared.http.accepting import EVENT_STREAM
from shared.http.problems import on_service_error

_RETRY_MS = 2_000
# Or nginx would keep what it gets until it has 4 kB of it.
_UNBUFFERED = {"X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """The answer; what `held` holds is let go of however it ends."""

    media_type = EVENT_STREAM

    def __init__(self, blocks: AsyncGenerator[str], held: AsyncExitStack) -> None:
        super().__init__(blocks, headers=_UNBUFFERED)
        self._blocks = blocks
        self._held = held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        async with self._held, aclosing(self._blocks):
            await super().__call__(scope, receive, send)


async def open_stream(request: Request, grant: Grant, filters: Filters) -> EventStream:
    """Begin to stream. Raises as `listening` does: once it has begun, an error is an event."""
    async with AsyncExitStack() as stack:
        listener, look_after = await stack.enter_async_context(listening(grant, filters, "sse"))
        return EventStream(_blocks(request, grant, listener, look_after), stack.pop_all())


async def _blocks(
    request: Request, grant: Grant, listener: Listener, look_after: LookAfter
) -> AsyncGenerator[str]:
    yield f"retry: {_RETRY_MS}\n\n"
    try:
        async with aclosing(listener.stream(look_after)) as all_told:
            async for told in all_told:
                for event in told.events:
                    text = the_hub().text_of(grant.number, event)
                    yield f"id: {event.seq}\nevent: {event.type}\ndata: {text}\n\n"
                if not told.events:  # a browser goes on after this number, too
                    yield f": {told.next}\nid: {told.next}\n\n"
    except ServiceError as error:
        problem = await on_service_error(request, error)
        yield f"event: error\ndata: {bytes(problem.body).decode()}\n\n"

"""The service with marks: `uvicorn bench.marks:app` notes when each hop of a request happens.

Nothing of it is in the service itself, which knows of no marks: functions are wrapped here, by
name. `GET /marks` tells them of all requests since it was asked last.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from starlette.types import Message, Receive, Scope, Send


class Point(NamedTuple):
    """A function that is marked: where it is, and what it does in words; `depth` is the table's."""

    module: str
    name: str
    what: str
    depth: int = 0

    def holder(self) -> tuple[Any, str]:
        """Find the module or class that has it. Raises AttributeError where nobody does."""
        holder: Any = importlib.import_module(self.module)
        *parents, name = self.name.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        getattr(holder, name)
        return holder, name


# In the order in which a call meets them.
POINTS = (
    Point("fastapi.routing", "solve_dependencies", "its fields and headers are read"),
    Point("shared.calls.placing", "Placing.place", "the call is placed"),
    Point("shared.auth.admission", "admit", "it is admitted: one statement", 1),
    Point("shared.pbx.hosts", "Pbx.check_extension", "its extension is checked, if not known", 1),
    Point("shared.pbx.hosts", "Pbx.originate", "the PBX is asked to originate", 1),
    Point("shared.asterisk.openings", "Openings.take", "an open control socket is taken", 2),
    Point("shared.asterisk.socket_console", "_write", "the command is encrypted and sent", 2),
    Point("shared.asterisk.socket_console", "SocketExchange.replies", "the replies come", 2),
    Point("shared.auth.admission", "settle", "it is settled: one statement"),
    Point("shared.ssh.connection", "Connection.open_socket", "a socket is opened, maybe ahead"),
)
FIRST, LAST = "the answer begins", "the answer has gone out"

Mark = tuple[str, float, float]
_marks: ContextVar[list[Mark] | None] = ContextVar("marks", default=None)
_requests: list[tuple[float, list[Mark]]] = []


@contextmanager
def _noting(what: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        marks = _marks.get()
        if marks is not None:
            marks.append((what, began, time.perf_counter()))


def _marked(point: Point, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: object, **kwargs: object) -> object:
        with _noting(point.what):
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def timed_to_its_end(*args: object, **kwargs: object) -> object:
        with _noting(point.what):
            return await function(*args, **kwargs)

    return timed_to_its_end if inspect.iscoroutinefunction(function) else timed


def wrap() -> None:
    """Mark every point in this process."""
    for point in POINTS:
        holder, name = point.holder()
        setattr(holder, name, _marked(point, getattr(holder, name)))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the service's own app, and tell the marks."""
    service = importlib.import_module("asterisk").app
    if scope["type"] == "lifespan":
        wrap()
    if scope["type"] != "http":
        await service(scope, receive, send)
        return
    if scope["path"] == "/marks":
        told = [
            [(what, begin - first, end - first) for what, begin, end in marks]
            for first, marks in _requests
        ]
        body = json.dumps(told).encode()
        _requests.clear()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    marks: list[Mark] = []
    _marks.set(marks)
    began = time.perf_counter()

    async def noted(message: Message) -> None:
        await send(message)
        what = FIRST if message["type"] == "http.response.start" else LAST
        marks.append((what, began, time.perf_counter()))

    await service(scope, receive, noted)
    _requests.append((began, marks))  # what goes on after the answer is yet to be marked

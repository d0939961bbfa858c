"""How a request ended: one line, with its time, in the place of uvicorn's access line.

Of an operation, which is what has a path under /api, it begins with the outcome and is kept: in the
log's file, on Lambda with what it tells as fields. Of what comes without anybody's secret, or too
often, one line a minute of each kind is; of all others the console alone has a hundred a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from starlette.types import Message, Scope

from shared.measures import observe
from shared.notices import SECRET_IN_URL, the_notices
from shared.process import once
from shared.settings import on_lambda
from shared.telemetry import CONSOLE_ONLY, LOG, REQUEST_ID, Ending, Sparing, hide_secrets

_OPERATIONS = "/api/"
_LINES_S = 60.0
# An operation's errors are a few, and an enterprise that asks too often is one more.
_MOST_KINDS = 500
# A flood of strangers' requests fills no disk to which somebody writes the console.
_MOST_A_SECOND = 100
# What a target may have as it is; the rest is written as a client has to write it.
_PRINTED = "".join(map(chr, range(0x21, 0x7F)))
_SWITCHED, _LIMITED, _FAILED = 101, 429, 500
# Refusals that an operator should see; what failed has a line of its own that says why.
_WARNED = frozenset({401, 403, _LIMITED})
# What a client may write as a method, or as a path that is none, is no label.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_OTHER = "other"
_CLOSED_WELL = frozenset({1000, 1001})


@once
def the_spared() -> Sparing:
    """The kinds of ends that may come by the thousand, whose line was kept just now."""
    return Sparing(window_s=_LINES_S, most=_MOST_KINDS)


@once
def the_console() -> Sparing:
    """The requests whose line the console alone has had within the last second."""
    return Sparing(window_s=1.0, most=_MOST_A_SECOND)


@dataclass(slots=True)
class Answer:
    """What was answered so far; a `status` of 0: nothing. `began` is when, by the clock."""

    status: int = 0
    closed: int = 0
    began: float = 0.0

    def see(self, message: Message) -> None:
        """Note what is sent."""
        if "status" in message:
            self.status, self.began = message["status"], time.perf_counter()
        elif message["type"] == "websocket.accept":
            self.status, self.began = _SWITCHED, time.perf_counter()
        elif message["type"] == "websocket.close":
            self.closed = message.get("code", 1000)


@contextmanager
def telling_of_end(scope: Scope, ending: Ending) -> Iterator[Answer]:
    """Log the end of the request that is served within the block."""
    started = time.perf_counter()
    answer = Answer()
    try:
        yield answer
    finally:
        ended = time.perf_counter()
        _measure(scope, answer, (answer.began or ended) - started)
        _log(scope, ending, answer, (ended - started) * 1000)
        _notice(ending)


def _measure(scope: Scope, answer: Answer, seconds: float) -> None:
    """Have it counted; whoever asked has chosen no label."""
    route, method = _route(scope) or _OTHER, _method(scope)
    method = method if method in _METHODS else _OTHER
    observe("Requests", route=route, method=method, status=str(answer.status))
    observe("RequestSeconds", seconds, route=route, method=method)


def _notice(ending: Ending) -> None:
    """Have it noticed of whose right secret it came with; what strangers send is nobody's."""
    if not ending.enterprise or on_lambda():
        return
    if ending.is_secret_in_url:
        the_notices().note(ending.enterprise, SECRET_IN_URL)
    if ending.limit:
        the_notices().note(ending.enterprise, ending.limit)


def _log(scope: Scope, ending: Ending, answer: Answer, duration_ms: float) -> None:
    path = _template(scope)
    outcome = _outcome(ending, answer)
    left_out = _left_out(path, outcome, ending, answer) if path else None
    is_kept = left_out is not None
    if not is_kept:
        left_out = None if on_lambda() else the_console().left_out(REQUEST_ID.get())
    if left_out is None:
        return
    line = f'{_client(scope)} "{_target(scope)}" {answer.status or "-"}, {duration_ms:.1f} мс'
    if is_kept:
        whose = f", предприятие {ending.enterprise}" if ending.enterprise else ""
        whose += ", песочница" if ending.is_sandbox else ""
        line = f"🏁 {_in_words(ending, outcome)}: {line}{whose}"
    if left_out:
        line += f"; до этого без записи: {left_out}"
    fields: dict[str, object] = {
        "operation": f"{_method(scope)} {path}" if path else None,
        "outcome": outcome,
        "status": answer.status,
        "duration_ms": round(duration_ms, 1),
        "enterprise": ending.enterprise or None,
        "host": ending.host or None,
        "sandbox": ending.is_sandbox or None,
    }
    LOG.log(_level(answer.status), "%s", line, extra=fields | ({} if is_kept else CONSOLE_ONLY))


def _left_out(path: str, outcome: str, ending: Ending, answer: Answer) -> int | None:
    """Tell how many ends of this kind were not kept before this one; None: it is not, either."""
    if ending.enterprise and answer.status != _LIMITED:
        return 0
    return the_spared().left_out(f"{path} {outcome} {ending.enterprise}")


def _template(scope: Scope) -> str:
    """Return the path of an operation as its route has it; empty: it is none."""
    template = _route(scope)
    return template if template.startswith(_OPERATIONS) else ""


def _route(scope: Scope) -> str:
    """Return a route's path as it was declared; empty: there is no such route."""
    # That of a WebSocket has no parameters, and names itself nowhere.
    path: str = scope["path"] if scope["type"] == "websocket" and "endpoint" in scope else ""
    template: str = getattr(scope.get("route"), "path", path)
    return template


def _outcome(ending: Ending, answer: Answer) -> str:
    if ending.refusal:
        return ending.refusal
    if answer.closed and answer.closed not in _CLOSED_WELL:
        return f"closed-{answer.closed}"
    if not answer.status:
        return "given-up"
    return "repeated" if ending.is_repeat else "ok"


def _in_words(ending: Ending, outcome: str) -> str:
    match outcome:
        case "ok":
            return "Успех"
        case "repeated":
            return "Повтор"
        case "given-up":
            return "Прервано без ответа"
    return f"{'Исход неизвестен' if ending.is_unknown else 'Отказ'} {outcome}"


def _level(status: int) -> int:
    return logging.WARNING if status in _WARNED or status >= _FAILED else logging.INFO


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "-"


def _method(scope: Scope) -> str:
    return "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]


def _target(scope: Scope) -> str:
    """Write the request's line; of what a stranger chose no space is left in it."""
    path = quote(scope["path"], errors="replace")
    query = quote(scope["query_string"], safe=_PRINTED)
    return f"{_method(scope)} {hide_secrets(f'{path}?{query}' if query else path)}"

"""A client of the Asterisk Call Management API, sync and async, on httpx alone.

    with Calls("http://127.0.0.1:8018", "demo-secret-0001") as api:
        placed = api.create_call("154", "+375290000001")
        for call in api.watch(placed["call_id"]):
            print(call["phase"], call["reason"])

`AsyncCalls` has the same. Methods have the names of the API's operations, answers its fields, and
more of those may come; `watch`, `follow` and `request` are the client's own. All raise CallsError.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, NotRequired, ParamSpec, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx

VERSION = "1.0.0"  # of the API that this was made for
_TIMEOUT_S = 30.0  # an answer takes 27 s at most
_WAIT_S, _RETRIES, _LONGEST_PAUSE_S = 25, 3, 30.0  # who is to wait for longer is told so instead

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

P = ParamSpec("P")
T = TypeVar("T")
Soon = Coroutine[Any, Any, T]
Fields = dict[str, Any]
Method = Callable[Concatenate[Any, P], T]
_From = TypedDict("_From", {"from": str})  # a word of Python's own


class Side(TypedDict):
    """One party of a call."""

    answered_by: str | None
    ring_s: int | None
    talk_s: int | None


class Call(_From):
    """A call of ours, as it is at a moment."""

    call_id: str
    kind: str
    to: str
    phase: str
    reason: str | None
    ring_s: int | None
    talk_s: int | None
    agent: Side
    customer: Side


class Placed(TypedDict):
    """A call or monitoring that was accepted, or the one that it repeats."""

    success: bool
    message: str
    call_id: str
    phase: str
    repeated: bool
    detail: NotRequired[str | None]


class Click(TypedDict, total=False):
    """Which click it is, and whose: the same `key` rings once, without it each is another click."""

    key: str  # 1 to 255 characters, e.g. the name of a message that may come twice
    actor: str


class Event(TypedDict):
    """What happened. `events.gone`: all after `gone["after"]` up to `seq` is missing."""

    seq: int
    type: str
    at: str
    call: NotRequired[Call]
    pbx_call: NotRequired[dict[str, Any]]
    gone: NotRequired[dict[str, int]]


class CallsError(Exception):
    """A request failed; `code` says how, None where it was not the API that answered.

    `dialled` is "no" where certainly nothing rings, "unknown" where something may. `request_id` is
    the one in the service's log. `status` is 0 without an answer. `may_pass`: later, it may work.
    """

    def __init__(self, status: int, told: dict[str, Any], retry_after: str = "") -> None:
        self.status, self.told = status, told
        self.code: str | None = told.get("code")
        self.detail = str(told.get("detail") or told.get("message") or f"HTTP {status}")
        self.dialled: str | None = told.get("dialled")
        self.request_id: str | None = told.get("request_id")
        self.call_id: str | None = told.get("call_id")
        self.retry_after_s = min(float(retry_after), 3600) if retry_after.isdecimal() else None
        self.may_pass = status in {0, 429} or httpx.codes.is_server_error(status)
        super().__init__(f"{self.code or status}: {self.detail}")


class OutcomeUnknown(CallsError):
    """A phone may be ringing, so it was not tried again; `call_id`, if there is one, will tell."""


def _error_of(answer: httpx.Response | Exception, *, rings: bool) -> CallsError:
    status, after, told = 0, "", dict[str, Any](detail=repr(answer))
    never_came = isinstance(answer, _UNSENT)
    if isinstance(answer, httpx.Response):
        status, after = answer.status_code, answer.headers.get("Retry-After", "")
        never_came, told = answer.is_client_error, {}
        with contextlib.suppress(ValueError, TypeError):  # not JSON, or no object
            told = dict(answer.json())
    if rings and "dialled" not in told:  # of a gateway, or of nobody
        told |= {"code": None, "dialled": "no" if never_came else "unknown"}
    return (OutcomeUnknown if told.get("dialled") == "unknown" else CallsError)(status, told, after)


def _pause_s(error: CallsError, attempt: int, *, is_safe: bool) -> float | None:
    """Seconds until the same may be asked again; None: never.

    The API's own `dialled: unknown` is final. An answer that was lost, or that a gateway made up,
    is not: by the key of the first attempt the API tells what became of that, and rings nobody.
    """
    is_final = not error.may_pass or not (is_safe or error.dialled == "no")
    if error.code:
        says_when = error.retry_after_s or error.status == httpx.codes.SERVICE_UNAVAILABLE
        is_final = error.dialled == "unknown" or not says_when
    # API Gateway's {"message": "Too Many Requests"} says nothing of when.
    again_s = 1.0 if error.status == httpx.codes.TOO_MANY_REQUESTS else 0.5 * 2**attempt
    return None if is_final else error.retry_after_s or again_s


class AsyncCalls:
    """The API; `options` are httpx's, e.g. `verify`."""

    def __init__(self, url: str, secret: str, **options: Any) -> None:
        self._http = httpx.AsyncClient(**_options(url, secret, options))
        self._send, self._sleep = self._http.request, asyncio.sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def create_call(self, from_: str, to: str, **click: Unpack[Click]) -> Soon[Placed]:
        """Ring extension `from_`; once it answers, call `to`."""
        click.setdefault("key", str(uuid.uuid4()))
        return self._ask("POST", "/api/calls", rings=True, json={"from": from_, "to": to}, **click)

    def monitor_call(
        self, action: str, target: str, monitor_from: str, **click: Unpack[Click]
    ) -> Soon[Placed]:
        """Let `monitor_from` into `target`'s call: "09" listen, "01" whisper, "02" barge."""
        click.setdefault("key", str(uuid.uuid4()))
        params = {"action": action, "target": target, "monitor_from": monitor_from}
        return self._ask("GET", "/api/monitor", rings=True, params=params, **click)

    def hang_up_call(self, call_id: str, actor: str | None = None) -> Soon[Fields]:
        """End a call, whoever rings or talks."""
        return self._ask("DELETE", f"/api/calls/{quote(call_id, '')}", actor=actor)

    def transfer_call(self, call_id: str, to: str, actor: str | None = None) -> Soon[Fields]:
        """Hand the customer over to another extension."""
        path = f"/api/calls/{quote(call_id, '')}/transfer"
        return self._ask("POST", path, rings=True, json={"to": to}, actor=actor)

    def get_call(self, call_id: str) -> Soon[Call]:
        """Tell how far a call is, or why it has ended."""
        return self._ask("GET", f"/api/calls/{quote(call_id, '')}")

    async def list_calls(self, /, **filters: Any) -> AsyncIterator[Call]:
        """List the calls that the filters let through, of all pages."""
        while True:
            page = await self._ask("GET", "/api/calls", params=filters)
            for call in page["calls"]:
                yield call
            if page["next"] is None:
                return
            filters["cursor"] = page["next"]

    async def watch(self, call_id: str) -> AsyncIterator[Call]:
        """Tell a call as it is, in each further phase to its end, whatever breaks meanwhile."""
        path, known = f"/api/calls/{quote(call_id, '')}", dict[str, Any]()
        while known.get("phase") != "ended":
            call = await self._ask("GET", path, outlasts=True, params=known)
            if call["phase"] != known.get("phase"):
                yield call
            known = {"phase": call["phase"], "wait": _WAIT_S}

    async def follow(self, /, after: int | None = None, **filters: Any) -> AsyncIterator[Event]:
        """Tell what happens, for ever: after the `seq` that was handled last, by default from now.

        Nothing is missed, whatever breaks meanwhile: what may pass is waited for, and where events
        are not kept any more an `events.gone` says so. Filters: scope, extension, call_id.
        """
        while True:
            params = {**filters, "after": after, "wait": None if after is None else _WAIT_S}
            try:
                told = await self._ask("GET", "/api/events", outlasts=True, params=params)
            except CallsError as error:
                if error.code != "events-gone":
                    raise
                gone = {"after": after or 0} | {n: error.told[n] for n in ("oldest", "newest")}
                is_ahead = gone["after"] > gone["newest"]  # of a database that was restored
                after = gone["newest"] if is_ahead else gone["oldest"] - 1
                at = datetime.now(UTC).isoformat()
                yield {"seq": after, "type": "events.gone", "at": at, "gone": gone}
            else:
                for event in told["events"]:
                    yield event
                after = told["next"]

    async def _ask(self, /, method: str, path: str, *, rings: bool = False, **options: Any) -> Any:
        """Ask until an answer counts; with `outlasts` for as long as what fails may pass."""
        outlasts, attempt = options.pop("outlasts", False), 0
        named = {"Idempotency-Key": options.pop("key", None), "X-Actor": options.pop("actor", None)}
        headers = {name: text.encode() for name, text in named.items() if text is not None}
        for name, given in options.items():  # what is None is left out
            options[name] = {field: value for field, value in given.items() if value is not None}
        while True:
            try:
                answer = await self._send(method, path, headers=headers, **options)
                if answer.is_success:
                    return answer.json()
                error = _error_of(answer, rings=rings)
            except (httpx.RequestError, json.JSONDecodeError, UnicodeDecodeError) as failed:
                error = _error_of(failed, rings=rings)
            pause_s = _pause_s(error, attempt, is_safe=not rings or "Idempotency-Key" in headers)
            if outlasts and error.may_pass:
                pause_s = error.retry_after_s or min(2.0 ** min(attempt, 5), _LONGEST_PAUSE_S)
            elif attempt == _RETRIES or pause_s is None or pause_s > _LONGEST_PAUSE_S:
                raise error
            await self._sleep(pause_s)
            attempt += 1

    request = _ask  # for what has no method of its own; `options` are httpx's `params` and `json`


def _options(url: str, secret: str, options: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {secret}", "User-Agent": f"asterisk-calls/{VERSION}"}
    return {"timeout": _TIMEOUT_S, **options, "base_url": url, "headers": headers}


def _once(method: Method[P, Soon[T]]) -> Method[P, T]:
    return wraps(method)(lambda self, /, *args, **options: _now(method(self, *args, **options)))


def _each(method: Method[P, AsyncIterator[T]]) -> Method[P, Iterator[T]]:
    return wraps(method)(lambda self, /, *args, **options: _all(method(self, *args, **options)))


def _all(told: AsyncIterator[T]) -> Iterator[T]:
    return iter(lambda: _now(anext(told, None)), None)


def _now(waiting: Any) -> Any:
    """Have the result of what awaits only what does not suspend."""
    try:
        waiting.__await__().send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


class Calls:
    """As AsyncCalls, for code that is not async: each method waits until it is done."""

    def __init__(self, url: str, secret: str, **options: Any) -> None:
        self._http = httpx.Client(**_options(url, secret, options))

    async def _send(self, *what: Any, **options: Any) -> httpx.Response:
        return self._http.request(*what, **options)

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - nobody else has this thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    create_call, monitor_call = _once(AsyncCalls.create_call), _once(AsyncCalls.monitor_call)
    hang_up_call, transfer_call = _once(AsyncCalls.hang_up_call), _once(AsyncCalls.transfer_call)
    get_call, request = _once(AsyncCalls.get_call), _once(AsyncCalls.request)
    list_calls, watch = _each(AsyncCalls.list_calls), _each(AsyncCalls.watch)
    follow = _each(AsyncCalls.follow)
    _ask = AsyncCalls._ask  # noqa: SLF001 - the same class, but for who waits

"""A client of the Asterisk Call Management API, sync and async, on httpx alone.

    with Calls("http://127.0.0.1:8018", "demo-secret-0001") as api:
        placed = api.create_call("154", "+375290000001")
        for call in api.watch(placed["call_id"]):
            print(call["phase"], call["reason"])

Methods have the names of the API's operations, their answers its fields (docs/openapi.json), and
more of those may come; `watch` and `follow` are this client's own. All of them raise CallsError.

`AsyncCalls` is the client; `Calls` is the same for code that is not async.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from asterisk_calls.answers import (
    TOO_MANY,
    UNAVAILABLE,
    VERSION,
    Call,
    CallsError,
    Click,
    Event,
    EventsGone,
    OutcomeUnknown,
    Placed,
)

__all__ = [
    "AsyncCalls",
    "Call",
    "Calls",
    "CallsError",
    "Click",
    "Event",
    "EventsGone",
    "OutcomeUnknown",
    "Placed",
]

_TIMEOUT_S = 30.0  # an answer takes 27 s at most
_WAIT_S = 25
_RETRIES = 3
_LONGEST_PAUSE_S = 30.0  # whoever is to wait for longer is told so instead

P = ParamSpec("P")
T = TypeVar("T")


def _error_of(answer: httpx.Response | httpx.TransportError, *, rings: bool) -> CallsError:
    status, told, after = 0, {"detail": repr(answer)}, ""
    never_came = isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout)
    if isinstance(answer, httpx.Response):
        status, after = answer.status_code, answer.headers.get("Retry-After", "")
        never_came = answer.is_client_error
        told = {}
        with contextlib.suppress(ValueError, TypeError):  # not JSON, or no object
            told = dict(answer.json())
    if rings and "code" not in told:  # of a gateway, or of nobody
        told["dialled"] = "no" if never_came else "unknown"
    kind = OutcomeUnknown if told.get("dialled") == "unknown" else CallsError
    return (EventsGone if told.get("code") == "events-gone" else kind)(status, told, after)


def _pause_s(error: CallsError, attempt: int, *, is_safe: bool) -> float | None:
    """Seconds until the same may be asked again; None: never.

    The API's own `dialled: unknown` is final. An answer that was lost, or that a gateway made up,
    is not: by the key of the first attempt the API tells what became of that, and rings nobody.
    """
    again_s = 0.5 * 2**attempt
    if error.code:
        is_final = error.dialled == "unknown"
        later_s = error.retry_after_s or (again_s if error.status == UNAVAILABLE else None)
        return None if is_final else later_s
    if error.status == TOO_MANY:  # API Gateway's {"message": "Too Many Requests"}
        return error.retry_after_s or 1.0
    return again_s if error.may_pass and (is_safe or error.dialled == "no") else None


def _headers(click: Click) -> dict[str, str | None]:
    return {"Idempotency-Key": click.get("key", str(uuid.uuid4())), "X-Actor": click.get("actor")}


class AsyncCalls:
    """The API; `options` are httpx's, e.g. `verify`."""

    def __init__(self, url: str, secret: str, **options: Any) -> None:
        self._http = httpx.AsyncClient(**_options(url, secret, options))
        self._send, self._sleep = self._http.request, asyncio.sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def create_call(self, from_: str, to: str, **click: Unpack[Click]) -> Placed:
        """Ring extension `from_`; once it answers, call `to`."""
        asked: dict[str, Any] = {"json": {"from": from_, "to": to}, "headers": _headers(click)}
        placed: Placed = await self._ask("POST", "/api/calls", rings=True, **asked)
        return placed

    async def monitor_call(
        self, action: str, target: str, monitor_from: str, **click: Unpack[Click]
    ) -> Placed:
        """Let `monitor_from` into `target`'s call: "09" listen, "01" whisper, "02" barge."""
        params = {"action": action, "target": target, "monitor_from": monitor_from}
        asked: dict[str, Any] = {"params": params, "headers": _headers(click)}
        placed: Placed = await self._ask("GET", "/api/monitor", rings=True, **asked)
        return placed

    async def hang_up_call(self, call_id: str, actor: str | None = None) -> dict[str, Any]:
        """End a call, whoever rings or talks."""
        headers = {"X-Actor": actor}
        return dict(await self._ask("DELETE", f"/api/calls/{call_id}", headers=headers))

    async def transfer_call(
        self, call_id: str, to: str, actor: str | None = None
    ) -> dict[str, Any]:
        """Hand the customer over to another extension."""
        path, headers = f"/api/calls/{call_id}/transfer", {"X-Actor": actor}
        return dict(await self._ask("POST", path, rings=True, json={"to": to}, headers=headers))

    async def get_call(self, call_id: str) -> Call:
        """Tell how far a call is, or why it has ended."""
        call: Call = await self._ask("GET", f"/api/calls/{call_id}")
        return call

    async def request(self, /, method: str, path: str, **options: Any) -> Any:
        """Ask for anything else that rings nobody; `options` are httpx's `params` and `json`."""
        return await self._ask(method, path, **options)

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
        """Tell a call as it is, then in each further phase, until it has ended."""
        known: dict[str, Any] = {}
        while known.get("phase") != "ended":
            call = await self._ask("GET", f"/api/calls/{call_id}", params=known)
            if call["phase"] != known.get("phase"):
                yield call
            known = {"phase": call["phase"], "wait": _WAIT_S}

    async def follow(self, /, after: int | None = None, **filters: Any) -> AsyncIterator[Event]:
        """Tell what happens, for ever: after the `seq` that was handled last, by default from now.

        Nothing is missed, whatever breaks meanwhile: what may pass is waited for, and where events
        are not kept any more an `events.gone` says so. Filters: scope, extension, call_id.
        """
        failures = 0
        while True:
            params = {**filters, "after": after, "wait": None if after is None else _WAIT_S}
            try:
                told = await self._ask("GET", "/api/events", params=params)
            except EventsGone as error:
                gone = {"after": after or 0} | {n: error.told[n] for n in ("oldest", "newest")}
                is_ahead = gone["after"] > gone["newest"]  # of a database that was restored
                after = gone["newest"] if is_ahead else gone["oldest"] - 1
                at = datetime.now(UTC).isoformat()
                yield {"seq": after, "type": "events.gone", "at": at, "gone": gone}
            except CallsError as error:
                if not error.may_pass:
                    raise
                await self._sleep(error.retry_after_s or min(30.0, 2.0**failures))
                failures += 1
            else:
                for event in told["events"]:
                    yield event
                after, failures = told["next"], 0

    async def _ask(self, method: str, path: str, *, rings: bool = False, **options: Any) -> Any:
        """Ask until there is an answer that counts; what is None is left out."""
        for name, given in options.items():
            options[name] = {key: value for key, value in given.items() if value is not None}
        headers = options.get("headers", {})
        options["headers"] = {name: text.encode() for name, text in headers.items()}
        is_safe = not rings or "Idempotency-Key" in headers
        for attempt in range(_RETRIES + 1):
            answer: httpx.Response | httpx.TransportError
            try:
                answer = await self._send(method, path, **options)
            except httpx.TransportError as failed:
                answer = failed
            else:
                if answer.is_success:
                    return answer.json()
            error = _error_of(answer, rings=rings)
            pause_s = _pause_s(error, attempt, is_safe=is_safe)
            if attempt == _RETRIES or pause_s is None or pause_s > _LONGEST_PAUSE_S:
                raise error
            await self._sleep(pause_s)
        raise AssertionError


def _options(url: str, secret: str, options: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {secret}", "User-Agent": f"asterisk-calls/{VERSION}"}
    return {"timeout": _TIMEOUT_S, **options, "base_url": url, "headers": headers}


def _once(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Calls, P], T]:
    @wraps(method)
    def operation(self: Calls, /, *args: P.args, **options: P.kwargs) -> T:
        done: T = _now(method(self, *args, **options))
        return done

    return operation


def _each(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[Calls, P], Iterator[T]]:
    @wraps(method)
    def operation(self: Calls, /, *args: P.args, **options: P.kwargs) -> Iterator[T]:
        told = method(self, *args, **options)
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield _now(anext(told))

    return operation


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

"""Each request ends in one line: its outcome, its milliseconds, whose it was; and no secret."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import httpx
import pytest

from shared.http.ending import the_console, the_spared
from tests.integration.doors import BEARER, serving
from tests.integration.followed import (
    TALKS_ON,
    WEBHOOK,
    allow_audit,
    allow_webhooks,
    follow,
    place,
    reach,
)
from tests.integration.records import Record, assert_no_secret, recording
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    SSH_PASSWORD,
    TIME_SCALE,
    FreezesAfterBanner,
    Service,
    Services,
    until,
)
from tests.postgres import PASSWORD

pytestmark = pytest.mark.anyio

WRONG = "somebody-else-s-secret"
NOBODY = "00000000-0000-4000-8000-000000000000"


class Asked(NamedTuple):
    """A request that is none too many; `path` has what it is about."""

    method: str
    path: str
    params: dict[str, str] = {}  # noqa: RUF012 - of a tuple, which nobody changes
    json: dict[str, Any] | None = None


OPERATIONS = {
    "GET /api/makecallexternal": Asked(
        "GET", "/api/makecallexternal", {"code": "150", "phone": PHONE}
    ),
    "POST /api/calls": Asked("POST", "/api/calls", json={"from": "154", "to": PHONE}),
    "GET /api/monitor": Asked(
        "GET", "/api/monitor", {"action": "09", "target": "150", "monitor_from": "151"}
    ),
    "GET /api/calls": Asked("GET", "/api/calls", {"limit": "3"}),
    "GET /api/calls/{call_id}": Asked("GET", "/api/calls/{call_id}"),
    "DELETE /api/calls/{call_id}": Asked("DELETE", "/api/calls/{call_id}"),
    "POST /api/calls/{call_id}/transfer": Asked(
        "POST", "/api/calls/{call_id}/transfer", json={"to": "151"}
    ),
    "GET /api/events": Asked("GET", "/api/events", {"after": "0"}),
    "POST /api/events/ticket": Asked("POST", "/api/events/ticket", json={}),
    "GET /api/history": Asked("GET", "/api/history"),
    "GET /api/audit": Asked("GET", "/api/audit"),
    "POST /api/webhooks": Asked("POST", "/api/webhooks", json={"url": "http://127.0.0.1:9/"}),
    "GET /api/webhooks": Asked("GET", "/api/webhooks"),
    "GET /api/webhooks/{webhook_id}": Asked("GET", f"/api/webhooks/{WEBHOOK}"),
    "PATCH /api/webhooks/{webhook_id}": Asked(
        "PATCH", f"/api/webhooks/{WEBHOOK}", json={"types": ["call.phase"]}
    ),
    "POST /api/webhooks/{webhook_id}/rotate": Asked("POST", f"/api/webhooks/{WEBHOOK}/rotate"),
    "POST /api/webhooks/{webhook_id}/test": Asked("POST", f"/api/webhooks/{WEBHOOK}/test"),
    "POST /api/webhooks/{webhook_id}/resend": Asked(
        "POST", f"/api/webhooks/{WEBHOOK}/resend", json={"since": "2026-11-26T09:00:00Z"}
    ),
    "GET /api/webhooks/{webhook_id}/deliveries": Asked(
        "GET", f"/api/webhooks/{WEBHOOK}/deliveries"
    ),
    "DELETE /api/webhooks/{webhook_id}": Asked("DELETE", f"/api/webhooks/{WEBHOOK}"),
    "GET /api/extensions/{extension}": Asked("GET", "/api/extensions/150"),
    "GET /api/status": Asked("GET", "/api/status"),
}
OPEN = "GET /api/status"  # asks for no secret
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


async def ask(
    service: Service, operation: str, call_id: str = NOBODY, *, secret: str = SECRET
) -> httpx.Response:
    """Ask for an operation."""
    asked = OPERATIONS[operation]
    headers = {"Authorization": f"Bearer {secret}"}
    path = asked.path.format(call_id=call_id)
    return await service.http.request(
        asked.method, path, params=asked.params, json=asked.json, headers=headers
    )


def end_of(records: list[Record], answer: httpx.Response) -> dict[str, Any]:
    """Find the one end of a request; it has the answer's status, and the milliseconds."""
    request_id = answer.headers["X-Request-Id"]
    (end,) = (one.fields for one in records if one.fields.get("request_id") == request_id)
    assert end["status"] == answer.status_code
    assert isinstance(end["duration_ms"], float)
    return end


def line_of(service: Service, answer: httpx.Response) -> str:
    """Find the end of a request in the log's file; it is there once."""
    lines = (line for line in service.log().splitlines() if "🏁" in line)
    (line,) = (line for line in lines if answer.headers["X-Request-Id"] in line)
    return line


def test_every_operation_is_here() -> None:
    """Whoever adds an endpoint has its end told, or learns here that it is not."""
    paths = importlib.import_module("asterisk").app.openapi()["paths"]
    operations = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/api/")
    }
    assert operations == set(OPERATIONS)


async def test_a_success_has_one_end(start: Services) -> None:
    """Of each operation: whose, how long, the call's id where there is a call."""
    service = await follow(start, WEBHOOKS_ALLOW_PRIVATE="127.0.0.0/8")
    allow_audit(service)
    allow_webhooks(service)
    call_id = await place(service, "156", TALKS_ON)
    await reach(service, call_id, "talking")
    ends_call = "DELETE /api/calls/{call_id}"
    for operation in [one for one in OPERATIONS if one != ends_call] + [ends_call]:
        with recording() as records:
            answer = await ask(service, operation, call_id)
        assert answer.is_success, (operation, answer.text)
        end = end_of(records, answer)
        assert (end["operation"], end["outcome"]) == (operation, "ok")
        assert end["enterprise"] == (None if operation == OPEN else "0367")
        if "{call_id}" in operation:
            assert end["call_id"] == call_id
        elif operation in {"GET /api/makecallexternal", "POST /api/calls", "GET /api/monitor"}:
            assert end["call_id"] == answer.json()["call_id"]
        assert "INFO - 🏁 Успех: 127.0.0.1 " in line_of(service, answer)
        secret = answer.json().get("ticket", answer.json().get("secret", SECRET))
        assert_no_secret(records, secret, SECRET, SSH_PASSWORD, PASSWORD)
        if operation.endswith("/transfer"):
            with recording() as records:
                answer = await ask(service, operation, call_id)
            assert end_of(records, answer)["outcome"] == "repeated"


@every_operation
async def test_a_wrong_secret_has_one_end(service: Service, operation: str) -> None:
    """Also none at all; it is nobody's request."""
    for secret in (WRONG, ""):
        with recording() as records:
            answer = await ask(service, operation, secret=secret)
        end = end_of(records, answer)
        expected = "ok" if operation == OPEN else "invalid-client-id"
        assert (end["operation"], end["outcome"]) == (operation, expected)
        assert end["enterprise"] is None
        assert_no_secret(records, WRONG, SSH_PASSWORD, PASSWORD)
    assert service.calls() == []


@every_operation
async def test_a_wrong_parameter_has_one_end(service: Service, operation: str) -> None:
    """Its outcome is the code of the answer; the parameter may be a secret."""
    asked = OPERATIONS[operation]
    hidden = "a-secret-that-somebody-mistyped"
    params = {**asked.params, "code": hidden, "action": hidden, "limit": hidden, "clientid": hidden}
    path = asked.path.format(call_id=NOBODY)
    with recording() as records:
        answer = await service.http.request(asked.method, path, params=params, json=[hidden])
    end = end_of(records, answer)
    assert end["outcome"] == answer.json().get("code", "ok")
    told = [record for record in records if "clientid=" in record.text and record.fields]
    assert told
    assert not [record for record in told if f"clientid={hidden}" in record.text]
    assert_no_secret(records, SECRET, SSH_PASSWORD, PASSWORD)


@every_operation
async def test_a_database_that_is_away_has_one_end(start: Services, operation: str) -> None:
    """It is a warning by itself: what is wrong has a line that says so."""
    service = await start(POSTGRES_PORT=1)
    with recording() as records:
        answer = await ask(service, operation)
    end = end_of(records, answer)
    if operation != OPEN:
        assert (end["outcome"], end["status"]) == ("database-unavailable", 503)
        assert " - WARNING - 🏁 Отказ database-unavailable: " in line_of(service, answer)
    assert_no_secret(records, SECRET, SSH_PASSWORD, PASSWORD)


async def test_a_pbx_that_is_away_has_one_end(service: Service) -> None:
    """The cause is an error's line, the end tells its code; the call's id is on both."""
    service.pbx.asterisk_down = True
    for operation in ("GET /api/makecallexternal", "POST /api/calls", "GET /api/monitor"):
        with recording() as records:
            answer = await ask(service, operation)
        assert answer.status_code == 500
        end = end_of(records, answer)
        assert end["outcome"] == answer.json()["code"]
        assert end["call_id"] == answer.json()["call_id"]
        assert [one.level for one in records].count("ERROR") == 1
        assert_no_secret(records, SECRET, SSH_PASSWORD, PASSWORD)
    assert service.pbx.invites.total() == 0


async def test_repeats_and_refusals_have_their_own_outcomes(service: Service) -> None:
    """What a caller has to do otherwise is no error, nor a warning, of the operator's."""
    placed = await service.call()
    call_id = placed.json()["call_id"]
    with recording() as records:
        repeat = await service.call()
    assert end_of(records, repeat)["outcome"] == "repeated"
    assert end_of(records, repeat)["call_id"] == call_id
    assert " - INFO - 🏁 Повтор: " in line_of(service, repeat)
    refusals = [
        ("GET", f"/api/calls/{NOBODY}", "no-such-call"),
        ("DELETE", f"/api/calls/{NOBODY}", "no-such-call"),
        ("GET", "/api/extensions/999", "no-such-extension"),
        ("GET", "/api/events?after=99", "events-gone"),
        ("GET", "/api/calls?cursor=eJwx", "invalid-parameter"),
        ("GET", "/api/makecallexternal?code=9&phone=1", "unknown-extension"),
    ]
    for method, path, code in refusals:
        with recording() as records:
            answer = await service.http.request(method, path)
        assert (answer.json()["code"], end_of(records, answer)["outcome"]) == (code, code)
        assert f" - INFO - 🏁 Отказ {code}: " in line_of(service, answer)
        assert "ERROR" not in [one.level for one in records]
    assert await service.rung("150") == 1


async def test_an_unknown_outcome_is_said_to_be_one(start: Services) -> None:
    """A phone may be ringing: it is no refusal."""
    pbx = FreezesAfterBanner(password=SSH_PASSWORD, time_scale=TIME_SCALE)
    await start.stack.enter_async_context(pbx)
    service = await start.on(pbx, COMMAND_TIMEOUT_S=1, LATE_CALL="keep")
    assert (await service.call(phone=OTHER_PHONE)).is_success
    await service.rung(OTHER_PHONE)
    pbx.armed = True
    with recording() as records:
        answer = await service.call()
    assert answer.json()["dialled"] == "unknown"
    assert end_of(records, answer)["outcome"] == answer.json()["code"]
    assert f" - WARNING - 🏁 Исход неизвестен {answer.json()['code']}: " in line_of(service, answer)
    pbx.thaw()
    late = f"⏰ Звонок дошёл с опозданием: {answer.json()['call_id']}"
    await until(lambda: late in service.log())
    (line,) = (line for line in service.log().splitlines() if late in line)
    assert f"call_id={answer.json()['call_id']}]" in line


async def test_too_many_requests_of_an_enterprise_cost_one_line(start: Services) -> None:
    """One a minute and operation, which says how many there were; those let through have theirs."""
    service = await start(RATE_LIMIT_READS="3/60")
    answers = [await service.http.get("/api/calls") for _ in range(10)]
    assert [one.status_code for one in answers] == [200] * 3 + [429] * 7
    ends = [line for line in service.log().splitlines() if "🏁" in line]
    assert len([line for line in ends if "🏁 Успех: " in line]) == 3
    assert len([line for line in ends if "WARNING - 🏁 Отказ rate-limited: " in line]) == 1
    assert len(ends) == 4


async def test_strangers_fill_no_file(start: Services) -> None:
    """Of 200 wrong requests of each kind one line a minute is kept; then the count is told.

    The console has a hundred lines a second of them all, and of what is left out the count.
    """
    service = await start(RATE_LIMIT_ADDRESS="100000/60")
    paths = (
        *("/api/status", "/api/calls?limit=x", "/api/calls?clientId={}", "/api/nosuch/{}"),
        *("/health", "/{}", "/api/extensions/{}?clientId={}", "/api/monitor?clientId={}"),
    )
    at_once = the_console()._clock()
    the_console()._clock = lambda: at_once
    async with service.from_address("192.0.2.1") as stranger:
        with recording() as records:
            for path in paths:
                for number in range(200):
                    await stranger.get(path.format(f"wrong-{number}", f"wrong-{number}"))
        lines = service.log().splitlines()
        assert len(lines) <= len(paths)
        ends = [one for one in records if one.fields]
        assert len(ends) == 100 + len([line for line in lines if "🏁" in line])
        the_console()._clock = lambda: at_once + 1
        with recording() as records:
            await stranger.get("/nosuch")
        left_out = len(paths) * 200 - len(ends)
        assert f"; до этого без записи: {left_out} " in "".join(one.text for one in records)
        clock = the_spared()._clock
        the_spared()._clock = lambda: clock() + 61
        await stranger.get("/api/status")
    assert service.log().splitlines()[-1].partition(" [")[0].endswith("; до этого без записи: 199")


async def test_what_is_no_operation_is_on_the_console_alone(service: Service) -> None:
    """Health probes, pages, wrong paths: with their time, as uvicorn's access lines were."""
    paths = ("/health", "/ready", "/docs", "/nosuch?clientId=hidden-one", "/api/nosuch")
    for path in paths:
        with recording() as records:
            answer = await service.http.get(path)
        end = end_of(records, answer)
        assert end["operation"] is None
        shown = f'127.0.0.1 "GET {path.replace("hidden-one", "***")}" {answer.status_code}, '
        assert [one for one in records if one.text.startswith(shown) and one.fields == end]
    assert service.log() == ""


@asynccontextmanager
async def ended(service: Service, operation: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Wait, after the block, for the one end of a stream; it is in the list then."""
    told: list[dict[str, Any]] = []
    with recording() as records:
        yield told
        await until(lambda: any(one.fields.get("operation") == operation for one in records))
        told += [one.fields for one in records if one.fields.get("operation") == operation]
    assert len(told) == 1
    assert service.log()
    assert_no_secret(records, SECRET, SSH_PASSWORD, PASSWORD)


async def test_streams_have_one_end_and_heartbeats_none(service: Service) -> None:
    """It is told once it is over; who comes with a ticket is known too, and it is in no line."""
    async with serving(service) as served:
        ticket = await served.ticket()
        async with ended(service, "GET /api/events") as ends:
            async with (
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as page,
                page.stream(
                    "GET",
                    "/api/events",
                    params={"ticket": ticket},
                    headers={"Accept": "text/event-stream"},
                ) as stream,
            ):
                assert stream.status_code == 200
            request_id = stream.headers["X-Request-Id"]
        assert (ends[0]["outcome"], ends[0]["status"]) == ("ok", 200)
        assert (ends[0]["request_id"], ends[0]["enterprise"]) == (request_id, "0367")
        async with (
            ended(service, "WEBSOCKET /api/events") as ends,
            served.socket(additional_headers=BEARER) as socket,
        ):
            await socket.send("nothing is to be sent")
            await socket.wait_closed()
        assert (ends[0]["outcome"], ends[0]["status"]) == ("closed-4004", 101)
        assert ends[0]["enterprise"] == "0367"
        async with (
            ended(service, "WEBSOCKET /api/events") as ends,
            served.socket(additional_headers={"X-Client-Id": WRONG}) as socket,
        ):
            told = json.loads(await socket.recv())
        assert (ends[0]["outcome"], ends[0]["enterprise"]) == (told["code"], None)
    assert ticket not in service.log()
    assert WRONG not in service.log()


async def test_no_stranger_writes_a_line_of_his_own(service: Service) -> None:
    """What he asks for is written as it was sent, and no character of it is unseen."""
    numbers = count()
    for text in ("%0A2026-11-27 - forged", "%E2%80%AE", "a%20b", "%1B[2J", "%00", "%ED%A0%80"):
        with recording() as records:
            answer = await service.http.get(f"/api/calls/{text}?since={text}&n={next(numbers)}")
        assert end_of(records, answer)["outcome"] == "invalid-parameter"
    assert all(line.isprintable() for line in service.log().splitlines())
    assert "forged" not in "".join(
        line for line in service.log().splitlines() if line.startswith("2026-11-27 - forged")
    )

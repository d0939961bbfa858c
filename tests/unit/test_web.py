"""HTTP as the callers see it: the specification's answers, and one error body for every failure."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from functions.health import handler as health
from functions.makecallexternal import handler as makecallexternal
from functions.monitor import handler as monitor
from functions.status import handler as status
from shared.asterisk.models import CallOrder, MonitorOrder, Order, Phase, Reason, Technology
from shared.auth import credentials as auth
from shared.auth.caller import Caller, Wishes
from shared.calls.placing import Placed
from shared.deadline import Deadline
from shared.description.document import describing
from shared.description.page import router as docs
from shared.errors import (
    AsteriskUnavailable,
    AuditOff,
    AuthenticationFailed,
    CallElsewhere,
    CallEnded,
    CallNotReady,
    CdrUnreadable,
    ChannelAmbiguous,
    ChannelUnaskable,
    CommandRejected,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    ContextMissing,
    DatabaseUnavailable,
    DestinationDenied,
    DiallingStopped,
    EventsGone,
    ExtensionNotOwned,
    FieldError,
    Forbidden,
    HostKeyChanged,
    HostUnverified,
    InternalError,
    InvalidClientId,
    InvalidParameter,
    KeyReused,
    LimitExceeded,
    NoAnswer,
    NobodyToHear,
    NoChannel,
    NoSuchCall,
    NoSuchExtension,
    NoSuchWebhook,
    NotExecuted,
    NoWebhookSender,
    OutcomeUnknown,
    PbxBusy,
    PbxError,
    PostgresSecretUnreadable,
    PrefetchRefused,
    Quota,
    SchemaMissing,
    ServiceError,
    SharedHost,
    SocketRefused,
    SshSecretUnreadable,
    StreamUnavailable,
    TicketExpired,
    TooManyOpen,
    TooManyWebhooks,
    TooMuchSent,
    UnknownExtension,
    ViewUnavailable,
    WebhooksOff,
)
from shared.http.app import create_app
from shared.http.origins import Origins
from shared.http.problems import quota_headers
from shared.process import forget_all
from shared.settings import VERSION, the_settings
from shared.telemetry import LOG
from tests.orders import admitted

pytestmark = pytest.mark.anyio

SECRET = "d68409d6-1b1c-4f0e-9a53-8e1f0a6f7c11"
CALL_ID = UUID("5b0f3e7e-3c8e-4a9c-9f0e-0d7f5a1c2b3d")
CALL = "/api/makecallexternal"
MONITOR = "/api/monitor"
CALL_PARAMS = {"code": "150", "phone": "+375296254070", "clientId": SECRET}
MONITOR_PARAMS = {"action": "09", "target": "150", "monitor_from": "151", "clientId": SECRET}

GET_CALL = (CALL, CALL_PARAMS)
GET_MONITOR = (MONITOR, MONITOR_PARAMS)


class Place:
    """Stands for `Placing`: records what it was asked, and does as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Order, Caller, Wishes, str]] = []
        self.error: Exception | None = None
        self.phase: Phase = "accepted"
        self.reason: Reason | None = None
        self.repeated = False
        self.technology: Technology | None = None
        self.quota: Quota | None = None

    async def place(self, order: Order, caller: Caller, wishes: Wishes, *, field: str) -> Placed:
        """Place nothing."""
        self.asked.append((order, caller, wishes, field))
        if self.error:
            raise self.error
        placed = admitted(
            CALL_ID,
            host="10.88.10.19",
            repeated=self.repeated,
            phase=self.phase,
            reason=self.reason,
            quota=self.quota,
        )
        return Placed(placed, self.phase, self.technology, self.reason)


class Database:
    """Stands for the database in `/api/status`."""

    def __init__(self) -> None:
        self.up = True

    async def connected(self) -> bool:
        """Tell it."""
        return self.up


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Put the fake in both handlers that ring phones."""
    fake = Place()
    monkeypatch.setattr(makecallexternal, "the_placing", lambda: fake)
    monkeypatch.setattr(monitor, "the_placing", lambda: fake)
    return fake


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    """Put the fake behind `/api/status`."""
    fake = Database()
    monkeypatch.setattr(status, "the_database", lambda: fake)
    return fake


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Make a client that calls an app directly."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@cache
def service() -> FastAPI:
    """Compose the whole service as asterisk.py does."""
    return create_app(
        *(makecallexternal.router, monitor.router, health.router, status.router, docs),
        settings=the_settings(),
        describe=describing(""),
    )


@pytest.fixture
async def client(place: Place, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Call the whole service."""
    async with client_of(service()) as client:
        yield client


def ordered(response: httpx.Response) -> list[tuple[str, Any]]:
    """Read the body's fields in the order in which they came."""
    pairs: list[tuple[str, Any]] = json.loads(response.text, object_pairs_hook=list)
    return pairs


def problem(response: httpx.Response, status_code: int, code: str) -> dict[str, Any]:
    """Read an error body, whose shape is the same for every failure."""
    assert response.status_code == status_code, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert list(body)[:5] == ["title", "status", "detail", "code", "request_id"]
    assert set(body) <= {
        *("title", "status", "detail", "code", "request_id", "errors", "call_id", "dialled"),
        *("oldest", "newest"),
    }
    assert body["status"] == status_code
    assert body["code"] == code
    assert isinstance(body["detail"], str)
    assert body["title"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert_edge(response)
    return body


def assert_edge(response: httpx.Response) -> None:
    """Insist on the headers that every answer has, once each."""
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("cache-control") == ["no-store"]


# The specification's answers


async def test_call_answers_as_in_the_specification(
    client: httpx.AsyncClient, place: Place
) -> None:
    """The specification's fields in its order, and then ours."""
    response = await client.get(CALL, params=CALL_PARAMS)
    assert response.status_code == 200
    body = ordered(response)
    spent = dict(body)["response_time_ms"]
    assert isinstance(spent, float)
    assert body == [
        ("success", True),
        ("message", "Call initiated successfully: 150 -> +375296254070"),
        ("enterprise", "june"),
        ("enterprise_number", "0367"),
        ("from_ext", "150"),
        ("to_phone", "+375296254070"),
        ("host_ip", "10.88.10.19"),
        ("response_time_ms", spent),
        ("call_id", str(CALL_ID)),
        ("call_status_url", f"/api/calls/{CALL_ID}"),
        ("phase", "accepted"),
        ("repeated", False),
    ]
    ((order, caller, wishes, field),) = place.asked
    assert isinstance(order, CallOrder)
    assert (order.extension.number, order.phone.number) == ("150", "+375296254070")
    assert (caller.secret, wishes.idempotency_key, field) == (SECRET, None, "code")


@pytest.mark.parametrize(
    ("action", "name"),
    [("09", "подслушивание"), ("01", "суфлирование"), ("02", "вмешательство")],
)
async def test_monitoring_answers_as_in_the_specification(
    client: httpx.AsyncClient, place: Place, action: str, name: str
) -> None:
    """Each mode has its Russian name; the channel is named without the dash that is sent."""
    response = await client.get(MONITOR, params={**MONITOR_PARAMS, "action": action})
    assert response.status_code == 200
    body = ordered(response)
    assert body == [
        ("success", True),
        ("message", f"Monitoring initiated successfully: {name} for SIP/150"),
        ("action", action),
        ("action_name", name),
        ("target", "150"),
        ("monitor_from", "151"),
        ("target_channel", "SIP/150"),
        ("enterprise", "june"),
        ("enterprise_number", "0367"),
        ("host_ip", "10.88.10.19"),
        ("response_time_ms", dict(body)["response_time_ms"]),
        ("call_id", str(CALL_ID)),
        ("call_status_url", f"/api/calls/{CALL_ID}"),
        ("phase", "accepted"),
        ("repeated", False),
    ]
    ((order, *_),) = place.asked
    assert isinstance(order, MonitorOrder)
    assert (order.extension.number, order.target.number) == ("151", "150")
    assert order.mode.value == action


async def test_monitoring_names_the_hosts_own_technology(
    client: httpx.AsyncClient, place: Place
) -> None:
    """On a PJSIP host the tapped channel is called so."""
    place.technology = Technology.PJSIP
    body = (await client.get(MONITOR, params=MONITOR_PARAMS)).json()
    assert body["target_channel"] == "PJSIP/150"
    assert body["message"].endswith("for PJSIP/150")


async def test_health_answers_as_in_the_specification(client: httpx.AsyncClient) -> None:
    """Exactly the specification's three fields."""
    response = await client.get("/health")
    assert ordered(response) == [
        ("status", "healthy"),
        ("service", "asterisk-call-management"),
        ("port", 8018),
    ]


@pytest.mark.parametrize(("up", "word"), [(True, "connected"), (False, "disconnected")])
async def test_status_answers_as_in_the_specification(
    client: httpx.AsyncClient, database: Database, *, up: bool, word: str
) -> None:
    """Exactly the specification's fields; a database that is away is told with 200."""
    database.up = up
    response = await client.get("/api/status")
    assert response.status_code == 200
    body = ordered(response)
    assert body == [
        ("service", "asterisk-call-management"),
        ("version", VERSION),
        ("database", word),
        ("asterisk_config", [("method", "SSH CLI"), ("ssh_port", 5059), ("ssh_user", "root")]),
    ]


# Our additions


async def test_modern_call_answers_the_same(client: httpx.AsyncClient, place: Place) -> None:
    """`POST /api/calls` is the same call: 201 when it is new, 200 when it repeats one."""
    call = {"from": "150", "to": "+375296254070"}
    headers = {"Authorization": f"Bearer {SECRET}", "Idempotency-Key": "click-1"}
    response = await client.post("/api/calls", json=call, headers=headers)
    assert response.status_code == 201
    assert response.json()["call_id"] == str(CALL_ID)
    place.repeated = True
    response = await client.post("/api/calls", json=call, headers=headers)
    assert response.status_code == 200
    assert response.json()["repeated"] is True
    for order, caller, wishes, field in place.asked:
        assert str(order) == "150 -> +375296254070"
        assert (caller.secret, wishes.idempotency_key) == (SECRET, "click-1")
        assert field == "from"


@pytest.mark.parametrize(
    ("phase", "reason", "success", "said"),
    [
        ("accepted", None, True, "initiated successfully"),
        ("agent_ringing", None, True, "initiated successfully"),
        ("agent_answered", None, True, "initiated successfully"),
        ("customer_ringing", None, True, "initiated successfully"),
        ("talking", None, True, "initiated successfully"),
        ("placing", None, False, "is already being placed, whether it will ring is not known yet"),
        ("unknown", None, False, "was sent before, whether it rings is unknown"),
        ("ended", None, False, "ended before the extension answered"),
        ("ended", "answered", True, "ended, it was answered"),
        ("ended", "busy", False, "ended, the number was busy"),
        ("ended", "no_answer", False, "ended, the number did not answer"),
        ("ended", "agent_busy", False, "ended, the extension was busy"),
        ("ended", "agent_no_answer", False, "ended, the extension did not answer"),
        ("ended", "cancelled", False, "ended, it was cancelled"),
        ("ended", "rejected", False, "was refused before anything rang"),
        ("ended", "failed", False, "ended, nobody could be rung"),
        ("ended", "unknown", False, "ended, nobody can know how"),
    ],
)
async def test_repeat_tells_how_far_the_first_one_is(
    client: httpx.AsyncClient,
    place: Place,
    phase: Phase,
    reason: Reason | None,
    said: str,
    *,
    success: bool,
) -> None:
    """200 with the phase and reason; what is no success, as far as is known, has a `detail`."""
    place.phase, place.reason, place.repeated = phase, reason, True
    for (path, params), what in ((GET_CALL, "Call"), (GET_MONITOR, "Monitoring")):
        response = await client.get(path, params=params)
        body = response.json()
        assert response.status_code == 200
        assert body["message"].startswith(f"{what} {said}: ")
        assert (body["success"], body["phase"], body["repeated"]) == (success, phase, True)
        assert (body.get("reason"), body.get("detail")) == (
            reason,
            None if success else f"{what} {said}",
        )


# Who asks


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({"Authorization": "Bearer a", "X-Client-Id": "b"}, "c", "a"),
        ({"Authorization": "bearer  a "}, "c", "a"),
        ({"X-Client-Id": "b"}, "c", "b"),
        ({"Authorization": "Bearer a"}, None, "a"),
        ({}, "c", "c"),
        ({"Authorization": "Bearer "}, "c", "c"),
        ({"Authorization": "Basic dTpw", "X-Client-Id": ""}, "c", "c"),
    ],
)
async def test_secret_in_a_header_goes_before_the_query(
    client: httpx.AsyncClient,
    place: Place,
    headers: dict[str, str],
    query: str | None,
    expected: str,
) -> None:
    """Bearer, then X-Client-Id, then clientId; what is empty or of another scheme is passed by."""
    params = {"code": "150", "phone": "1"} | ({"clientId": query} if query else {})
    response = await client.get(CALL, params=params, headers=headers)
    assert response.status_code == 200
    assert [caller.secret for _, caller, _, _ in place.asked] == [expected]


@pytest.mark.parametrize("secret", [None, "", "a" * 256, "a\0b", "a\nb", "a\x7f"])
@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_secret_that_no_enterprise_can_have_is_refused(
    client: httpx.AsyncClient, place: Place, path: str, params: dict[str, str], secret: str | None
) -> None:
    """A missing, over-long or unprintable secret is 401 without asking anybody."""
    asked = {name: value for name, value in params.items() if name != "clientId"}
    response = await client.get(
        path, params=asked if secret is None else asked | {"clientId": secret}
    )
    body = problem(response, 401, "invalid-client-id")
    assert body["detail"] == "Invalid clientId"
    assert response.headers["www-authenticate"] == "Bearer"
    assert place.asked == []


_ODD_HEADERS = {"X-Actor": "", "Idempotency-Key": ""}


@pytest.mark.parametrize(
    ("headers", "secret", "status", "code"),
    [
        (_ODD_HEADERS | {"Purpose": "prefetch"}, "", 403, "prefetch-refused"),
        (_ODD_HEADERS, "", 401, "invalid-client-id"),
        (_ODD_HEADERS, SECRET, 422, "invalid-parameter"),
    ],
)
async def test_one_refusal_comes_before_another(
    client: httpx.AsyncClient, headers: dict[str, str], secret: str, status: int, code: str
) -> None:
    """Nobody's click, then nobody's secret, then what is wrong: headers first, fields next."""
    params = {"code": "x", "phone": "", "clientId": secret}
    response = await client.get(CALL, params=params, headers=headers)
    body = problem(response, status, code)
    if status == 422:
        fields = [error["field"] for error in body["errors"]]
        assert fields == ["X-Actor", "idempotency-key", "code", "phone"]
    posted = await client.post(
        "/api/calls", params={"clientId": secret}, json={"from": "x"}, headers=headers
    )
    body = problem(posted, status, code)
    if status == 422:
        fields = [error["field"] for error in body["errors"]]
        assert fields == ["X-Actor", "idempotency-key", "from", "to"]


async def test_a_body_is_read_before_a_secret(client: httpx.AsyncClient, place: Place) -> None:
    """What is no JSON is 422, whoever sends it."""
    response = await client.post(
        "/api/calls", content=b"{", headers={"Content-Type": "application/json"}
    )
    problem(response, 422, "invalid-parameter")
    assert place.asked == []


async def test_caller_is_told_by_its_address(client: httpx.AsyncClient, place: Place) -> None:
    """Where the request comes from is what wrong secrets are limited by."""
    await client.get(CALL, params=CALL_PARAMS)
    transport = httpx.ASGITransport(service(), client=("192.0.2.7", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as other:
        await other.get(MONITOR, params=MONITOR_PARAMS)
    assert [caller.address for _, caller, _, _ in place.asked] == ["127.0.0.1", "192.0.2.7"]


async def test_caller_without_an_address_is_served(place: Place) -> None:
    """A server behind a Unix socket knows none."""
    transport = httpx.ASGITransport(service(), client=None)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(CALL, params=CALL_PARAMS)).status_code == 200
    assert [caller.address for _, caller, _, _ in place.asked] == [None]


def test_caller_does_not_show_its_secret() -> None:
    """A caller in a traceback or a log line has no secret in it."""
    assert SECRET not in repr(Caller(SECRET, None, Deadline(0)))


# How long to wait


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5),
        ("wait=05", 5),
        ("WAIT=5", 5),
        ("wait = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ("wait=5, respond-async", 5),
        ("wait=5;handling=lenient", 5),
        ("wait=9999", 9999),
        *((text, 0) for text in ("", "wait", "wait=", "wait=-1", "wait=x", "wait=5x", "wait=1.5")),
        *((text, 0) for text in ("wait=0", "await=5", "wait=99999", 'wait="5', "wait=5 6")),
        *((text, 0) for text in ("respond-async", "wait=1e3", "wait==5", "x-wait=5")),
    ],
)
async def test_waiting_is_what_the_header_prefers(
    client: httpx.AsyncClient, place: Place, prefer: str, seconds: float
) -> None:
    """`Prefer: wait=N` as RFC 7240 has it; anything else is ignored, and not said to be applied."""
    for path, params in (GET_CALL, GET_MONITOR):
        response = await client.get(path, params=params, headers={"Prefer": prefer})
        assert response.status_code == 200
        expected = f"wait={seconds}" if seconds else None
        assert expected == response.headers.get("preference-applied")
    assert [wishes.wait_s for _, _, wishes, _ in place.asked] == [seconds] * 2


@given(text=st.text(max_size=40))
@example("wait=\u0665")  # an Arabic five, which str.isdigit accepts
@example("wa\u0131t=5")  # a dotless i, which some upper cases take for an i
def test_any_preference_is_a_wait_or_nothing(text: str) -> None:
    """No text of that header breaks a request or makes anybody wait for ever."""
    assert 0 <= auth._wait_s(text) <= 9999
    if "wait" not in text.lower():
        assert auth._wait_s(text) == 0


@given(
    seconds=st.integers(0, 9999),
    before=st.lists(st.sampled_from(["respond-async", "handling=lenient", "x"]), max_size=2),
    after=st.lists(st.sampled_from(["return=minimal", "y=1"]), max_size=2),
    quote=st.sampled_from(["", '"']),
)
def test_wait_is_found_among_other_preferences(
    seconds: int, before: list[str], after: list[str], quote: str
) -> None:
    """Wherever it stands in the list."""
    text = ", ".join([*before, f"wait={quote}{seconds}{quote}", *after])
    assert auth._wait_s(text) == seconds


async def test_nobody_waits_who_did_not_ask(client: httpx.AsyncClient, place: Place) -> None:
    """Without the header the answer comes at once, and speaks of no preference."""
    response = await client.get(CALL, params=CALL_PARAMS)
    assert "preference-applied" not in response.headers
    assert [wishes.wait_s for _, _, wishes, _ in place.asked] == [0]


# What is left of a limit

STRUCTURED = re.compile(r'"([a-z]+)"((?:;[a-z]+=(?:0|[1-9][0-9]*))+)')


def structured(text: str) -> tuple[str, dict[str, int]]:
    """Read an item of RFC 9651: a string with parameters that are integers."""
    match = STRUCTURED.fullmatch(text)
    assert match is not None, text
    pairs = (pair.split("=") for pair in match[2].removeprefix(";").split(";"))
    return match[1], {name: int(value) for name, value in pairs}


@pytest.mark.parametrize(
    ("quota", "policy", "limit"),
    [
        (Quota("extension", 20, 60, 19), '"extension";q=20;w=60', '"extension";r=19;t=3'),
        (Quota("enterprise", 300, 60, 0), '"enterprise";q=300;w=60', '"enterprise";r=0;t=60'),
        (Quota("address", 1, 3600, 1), '"address";q=1;w=3600', '"address";r=1;t=0'),
    ],
)
async def test_quota_is_told_on_success_and_on_refusal(
    client: httpx.AsyncClient, place: Place, quota: Quota, policy: str, limit: str
) -> None:
    """The IETF draft's RateLimit-Policy and RateLimit, letter by letter."""
    place.quota = quota
    for error, status_code in (
        (None, 200),
        (LimitExceeded("Too many", quota=quota, retry_after_s=2), 429),
    ):
        place.error = error
        for path, params in (GET_CALL, GET_MONITOR):
            response = await client.get(path, params=params)
            assert response.status_code == status_code
            assert response.headers["ratelimit-policy"] == policy
            assert response.headers["ratelimit"] == limit


@given(count=st.integers(1, 1_000_000), per_s=st.integers(1, 86_400), share=st.floats(0, 1))
def test_quota_headers_are_structured_fields(count: int, per_s: int, share: float) -> None:
    """Names as strings, whole numbers, the same policy in both, a reset within the window."""
    remaining = int(count * share)
    headers = quota_headers(Quota("extension", count, per_s, remaining))
    policy, limit = structured(headers["RateLimit-Policy"]), structured(headers["RateLimit"])
    assert policy == ("extension", {"q": count, "w": per_s})
    assert limit[0] == "extension"
    assert limit[1]["r"] == remaining
    assert 0 <= limit[1]["t"] <= per_s
    assert (limit[1]["t"] == 0) is (remaining == count)


async def test_repeat_speaks_of_no_quota(client: httpx.AsyncClient, place: Place) -> None:
    """It took no token, and there is none to tell of."""
    place.repeated = True
    response = await client.get(CALL, params=CALL_PARAMS)
    assert not {"ratelimit", "ratelimit-policy"} & set(response.headers)


# Every way of failing


def failures() -> list[ServiceError]:
    """Make one of each error of the tree."""
    pbx: list[type[PbxError]] = [
        *(ConnectTimeout, ConnectFailed, AuthenticationFailed, HostKeyChanged),
        *(ConnectionLost, SocketRefused, NoAnswer, AsteriskUnavailable, CommandRejected),
        TooMuchSent,
        *(
            ContextMissing,
            ChannelUnaskable,
            CdrUnreadable,
            SshSecretUnreadable,
            OutcomeUnknown,
            NoChannel,
        ),
    ]
    wrong = FieldError("code", "must be another")
    return [
        *(
            InvalidParameter(wrong),
            KeyReused(wrong),
            UnknownExtension("must be another", field="code"),
        ),
        *(NoSuchCall(), NoSuchExtension("No phone"), CallEnded("Over"), CallNotReady("Not yet")),
        *(NobodyToHear("150 is on no call"), ChannelAmbiguous("150 talks by another's name")),
        *(CallElsewhere("On another PBX"), ViewUnavailable("Not in time"), HostUnverified()),
        *(EventsGone(oldest=5, newest=10), InternalError()),
        *(InvalidClientId(), PrefetchRefused(), LimitExceeded("Too many", retry_after_s=2.1)),
        TooManyOpen("Too many are open"),
        *(
            DiallingStopped("Stopped"),
            DestinationDenied("Denied"),
            SharedHost("Shared"),
            AuditOff(),
        ),
        ExtensionNotOwned("Not yours"),
        *(StreamUnavailable(), TicketExpired(), WebhooksOff(), NoSuchWebhook()),
        *(NoWebhookSender("Nobody sends"), TooManyWebhooks("Remove one first")),
        *(DatabaseUnavailable("Database is away"), SchemaMissing("Schema is missing")),
        PostgresSecretUnreadable("POSTGRES_SECRET_ARN: the secret cannot be read"),
        PbxBusy("Too many", retry_after_s=0.01),
        *(error("Reason") for error in pbx),
    ]


@pytest.mark.parametrize("error", failures(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_every_failure_has_the_same_body(
    client: httpx.AsyncClient, place: Place, path: str, params: dict[str, str], error: ServiceError
) -> None:
    """The error's own status, code, detail and `dialled`, in one shape, from both endpoints."""
    place.error = error
    error.call_id = None
    response = await client.get(path, params=params)
    body = problem(response, error.status, error.code)
    assert body["detail"] == error.detail
    assert body["dialled"] == error.dialled
    assert ("errors" in body) is isinstance(error, InvalidParameter)
    assert "call_id" not in body


async def test_every_raised_error_of_the_tree_is_among_them() -> None:
    """The list above forgets no class."""
    listed = {type(error) for error in failures()}
    waiting: list[type[ServiceError]] = [ServiceError]
    while waiting:
        error = waiting.pop()
        waiting += [c for c in error.__subclasses__() if c.__module__ == "shared.errors"]
        assert error in listed | {ServiceError, PbxError, Forbidden, NotExecuted}


async def test_failed_call_reads_as_in_the_specification(
    client: httpx.AsyncClient, place: Place
) -> None:
    """500 with the specification's sentence, and the id of the call that failed."""
    place.error = error = ConnectTimeout("Connection timeout")
    error.during = "Call initiation failed"
    error.call_id = CALL_ID
    body = problem(await client.get(CALL, params=CALL_PARAMS), 500, "ssh-connect-timeout")
    assert body["detail"] == "Call initiation failed: SSH command failed: Connection timeout"
    assert body["call_id"] == str(CALL_ID)
    assert body["dialled"] == "no"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (LimitExceeded("Too many", retry_after_s=2.1), "3"),
        (LimitExceeded("Too many", retry_after_s=0), "1"),
        (PbxBusy("Too many", retry_after_s=5), "5"),
    ],
)
async def test_refusal_for_now_says_when_to_come_back(
    client: httpx.AsyncClient, place: Place, error: ServiceError, seconds: str
) -> None:
    """Retry-After is in whole seconds, at least one."""
    place.error = error
    response = await client.get(CALL, params=CALL_PARAMS)
    assert seconds == response.headers["retry-after"]


async def test_every_temporary_refusal_says_when_to_come_back(
    client: httpx.AsyncClient, place: Place
) -> None:
    """429 and 503 carry Retry-After; but when one of the open calls will end, nobody knows."""
    without = []
    for error in (e for e in failures() if e.status in (429, 503)):
        place.error = error
        response = await client.get(CALL, params=CALL_PARAMS)
        if "retry-after" not in response.headers:
            without.append(error.code)
    assert without == ["too-many-open-calls"]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (OutcomeUnknown("Not acknowledged"), ["UnknownOutcomes"]),
        (ConnectionLost("Lost"), []),
        (RuntimeError("A defect"), ["InternalErrors", "ReleaseDefects", "UnknownOutcomes"]),
    ],
)
async def test_whoever_is_told_unknown_is_counted(
    client: httpx.AsyncClient,
    place: Place,
    metrics: Callable[[], list[str]],
    error: Exception,
    counted: list[str],
) -> None:
    """An alarm is made of it; a defect is one more."""
    place.error = error
    await client.get(CALL, params=CALL_PARAMS)
    assert metrics() == counted


@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_crash_tells_nothing_and_claims_nothing(
    client: httpx.AsyncClient, place: Place, path: str, params: dict[str, str]
) -> None:
    """Nobody knows how far a crashed request had got; its text stays in the log."""
    place.error = RuntimeError("password hunter2")
    response = await client.get(path, params=params)
    body = problem(response, 500, "internal-error")
    assert body["detail"] == "Internal error"
    assert body["dialled"] == "unknown"
    assert "hunter2" not in response.text


async def test_other_endpoints_never_speak_of_dialling(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dialled` stands in the errors of endpoints that ring phones, and only there."""

    def crash() -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(status, "the_database", crash)
    response = await client.get("/api/status")
    assert "dialled" not in problem(response, 500, "internal-error")
    assert "hunter2" not in response.text
    assert "dialled" not in problem(await client.get("/nowhere"), 404, "not-found")
    assert "dialled" not in problem(await client.post("/health"), 405, "method-not-allowed")


# Wrong parameters


@pytest.mark.parametrize(
    ("path", "params", "field", "text"),
    [
        (CALL, {"code": "15a"}, "code", "must be an internal extension: 1 to 10 digits 0-9"),
        (CALL, {"code": ""}, "code", "must be an internal extension: 1 to 10 digits 0-9"),
        (CALL, {"code": None}, "code", "is required: an internal extension: 1 to 10 digits 0-9"),
        (CALL, {"phone": "1;2"}, "phone", "must be a phone number: 1 to 20 digits 0-9, with at"),
        (CALL, {"phone": None}, "phone", "is required: a phone number: 1 to 20 digits 0-9"),
        (MONITOR, {"action": "9"}, "action", "must be 09 (listen), 01 (whisper) or 02 (barge)"),
        (MONITOR, {"action": None}, "action", "is required"),
        (MONITOR, {"target": "SIP/150"}, "target", "must be an internal extension"),
        (MONITOR, {"target": None}, "target", "is required: an internal extension"),
        (MONITOR, {"monitor_from": "+1"}, "monitor_from", "must be an internal extension"),
        (MONITOR, {"monitor_from": None}, "monitor_from", "is required: an internal extension"),
        (MONITOR, {"monitor_from": "150"}, "monitor_from", "must be another extension than target"),
    ],
)
async def test_wrong_parameter_is_named_as_it_was_sent(
    client: httpx.AsyncClient,
    place: Place,
    path: str,
    params: dict[str, str | None],
    *,
    field: str,
    text: str,
) -> None:
    """The field as the caller wrote it, and what it must be; the detail says both."""
    asked = {**(CALL_PARAMS if path == CALL else MONITOR_PARAMS), **params}
    sent = {name: value for name, value in asked.items() if value is not None}
    body = problem(await client.get(path, params=sent), 422, "invalid-parameter")
    (wrong,) = body["errors"]
    assert list(wrong) == ["field", "message"]
    assert wrong["field"] == field
    assert wrong["message"].startswith(text)
    assert body["detail"] == f"{field}: {wrong['message']}"
    assert body["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize(
    ("content", "field", "text"),
    [
        ('{"from": "15a", "to": "1"}', "from", "must be an internal extension"),
        ('{"from": "150", "to": "++1"}', "to", "must be a phone number"),
        ('{"to": "1"}', "from", "is required"),
        ('{"from": "150"}', "to", "is required"),
        ('{"from": 150, "to": "1"}', "from", "Input should be a valid string"),
        ('{"from": "150", "to": null}', "to", "Input should be a valid string"),
        ("", "body", "is required"),
        ("{", "body", "must be a JSON object"),
        ("[]", "body", ""),
        ("null", "body", ""),
    ],
)
async def test_wrong_body_is_named_by_its_field(
    client: httpx.AsyncClient, place: Place, content: str, field: str, text: str
) -> None:
    """`from` and `to` are named as sent, a body that is none is called the body."""
    headers = {"X-Client-Id": SECRET, "Content-Type": "application/json"}
    response = await client.post("/api/calls", content=content, headers=headers)
    body = problem(response, 422, "invalid-parameter")
    (wrong,) = body["errors"]
    assert wrong["field"] == field
    assert wrong["message"].startswith(text)
    assert wrong["message"]
    assert body["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"],
)
@pytest.mark.parametrize("content", ['{"from": "150", "to": "150"}', "[]", "{"])
async def test_a_body_that_is_not_said_to_be_json_names_its_header(
    client: httpx.AsyncClient, place: Place, kind: str | None, content: str
) -> None:
    """A form's is what `curl -d` sends: the answer says what to write instead."""
    headers = {"X-Client-Id": SECRET} | ({} if kind is None else {"Content-Type": kind})
    response = await client.post("/api/calls", content=content.encode(), headers=headers)
    body = problem(response, 422, "invalid-parameter")
    (wrong,) = body["errors"]
    assert wrong["field"] == "Content-Type"
    assert wrong["message"] == "must be application/json, for the body is JSON"
    assert body["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize("key", [b"", b"a" * 256, b"schl\xfcssel", b"a\tb"])
async def test_wrong_idempotency_key_is_named_as_it_was_sent(
    client: httpx.AsyncClient, place: Place, key: bytes
) -> None:
    """A key is 1 to 255 visible ASCII characters; its header is called by its own name."""
    response = await client.get(CALL, params=CALL_PARAMS, headers=[(b"Idempotency-Key", key)])
    body = problem(response, 422, "invalid-parameter")
    (wrong,) = body["errors"]
    assert wrong["field"].lower() == "idempotency-key"
    assert wrong["message"] == "must be 1 to 255 visible ASCII characters"
    assert place.asked == []


async def test_every_wrong_parameter_is_told_at_once(client: httpx.AsyncClient) -> None:
    """A caller sees all mistakes together."""
    params = {"code": "x", "phone": "y", "clientId": SECRET}
    body = problem(await client.get(CALL, params=params), 422, "invalid-parameter")
    assert [error["field"] for error in body["errors"]] == ["code", "phone"]
    assert body["detail"].count("; ") == 1


async def test_plus_that_arrived_as_a_space_is_explained(
    client: httpx.AsyncClient, place: Place
) -> None:
    """The commonest mistake, a bare + in a URL, is answered with its cure."""
    response = await client.get(f"{CALL}?code=150&phone=+375296254070&clientId={SECRET}")
    body = problem(response, 422, "invalid-parameter")
    assert body["detail"].endswith("encode + as %2B in a URL")
    assert place.asked == []


@pytest.mark.parametrize(
    "text", ["150&1501", "150\0core stop now", "150\n", "１５０", "9" * 5_000, "$(id)", "150,bq"]
)
@pytest.mark.parametrize("name", ["code", "phone"])
async def test_hostile_parameter_is_refused(
    client: httpx.AsyncClient, place: Place, name: str, text: str
) -> None:
    """Nothing that is no number goes any further, and it is not sent back either."""
    response = await client.get(CALL, params={**CALL_PARAMS, name: text})
    problem(response, 422, "invalid-parameter")
    assert text not in response.text
    assert place.asked == []


# What must never ring a phone


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "Prefetch"},
        {"X-Moz": "prefetch"},
        {"Purpose": "preview"},
        {"X-Purpose": "preview"},
        {"X-Purpose": ": preview, prefetch"},
        {"User-Agent": "TelegramBot (like TwitterBot)"},
        {"User-Agent": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)"},
    ],
)
@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_prefetch_rings_nobody(
    client: httpx.AsyncClient,
    place: Place,
    path: str,
    params: dict[str, str],
    headers: dict[str, str],
) -> None:
    """A browser or a chat that asks ahead of the click is refused."""
    response = await client.get(path, params=params, headers=headers)
    assert problem(response, 403, "prefetch-refused")["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize("secret", [{"Authorization": f"Bearer {SECRET}"}, {"X-Client-Id": SECRET}])
@pytest.mark.parametrize(
    "headers", [{"User-Agent": "TelegramBot"}, {"X-Purpose": "preview"}, {"Purpose": "preview"}]
)
async def test_a_program_that_sends_its_secret_in_a_header_means_it(
    client: httpx.AsyncClient, place: Place, headers: dict[str, str], secret: dict[str, str]
) -> None:
    """A bot's own program may call itself what it likes; what it has in the query says nothing."""
    for params in (CALL_PARAMS, CALL_PARAMS | {"clientId": ""}):
        response = await client.get(CALL, params=params, headers=headers | secret)
        assert response.status_code == 200
    assert len(place.asked) == 2


@pytest.mark.parametrize("secret", [{"Authorization": "Basic YTpi"}, {"X-Client-Id": ""}])
async def test_a_header_without_a_secret_does_not_make_a_preview_a_request(
    client: httpx.AsyncClient, place: Place, secret: dict[str, str]
) -> None:
    """The secret came in the link all the same."""
    headers = {"User-Agent": "TelegramBot"} | secret
    response = await client.get(CALL, params=CALL_PARAMS, headers=headers)
    problem(response, 403, "prefetch-refused")
    assert place.asked == []


@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_head_rings_nobody(
    client: httpx.AsyncClient, place: Place, path: str, params: dict[str, str]
) -> None:
    """A link checker's HEAD is 405."""
    response = await client.head(path, params=params)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"
    assert place.asked == []


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(("path", "params"), [GET_CALL, GET_MONITOR])
async def test_only_get_rings_a_phone(
    client: httpx.AsyncClient, place: Place, method: str, path: str, params: dict[str, str]
) -> None:
    """Any other method is 405, in the shape of every error, and tells what is allowed."""
    response = await client.request(method, path, params=params)
    body = problem(response, 405, "method-not-allowed")
    assert body["dialled"] == "no"
    assert response.headers["allow"] == "GET"
    assert place.asked == []


async def test_trailing_slash_is_no_redirect(client: httpx.AsyncClient, place: Place) -> None:
    """A redirect would carry the secret to a second log; another path is 404."""
    response = await client.get(f"{CALL}/", params=CALL_PARAMS)
    problem(response, 404, "not-found")
    assert place.asked == []


async def test_body_that_is_too_large_is_refused(client: httpx.AsyncClient, place: Place) -> None:
    """A call's body has a few dozen bytes; over 16 kB are not read."""
    call = {"from": "150", "to": "1", "note": "x" * 20_000}
    response = await client.post("/api/calls", json=call, headers={"X-Client-Id": SECRET})
    assert problem(response, 413, "body-too-large")["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("begin", [f"{CALL}?code=", "/health?", "/nowhere/", "/api/status?x="])
async def test_target_that_is_too_long_is_refused(
    client: httpx.AsyncClient, place: Place, method: str, begin: str
) -> None:
    """Over 8,192 bytes of path and query nobody looks for an endpoint: certainly nothing rings."""
    for longer in (0, 1):
        response = await client.request(method, begin.ljust(8_192 + longer, "1"))
        assert (response.status_code == 414) is bool(longer)
    body = problem(response, 414, "target-too-long")
    assert (body["title"], body["dialled"]) == ("Request-URI Too Long", "no")
    assert place.asked == []


async def test_target_is_measured_as_it_was_sent(client: httpx.AsyncClient) -> None:
    """Three bytes for each that is encoded, in the path too."""
    response = await client.get(f"/{'%20' * 2_731}")
    problem(response, 414, "target-too-long")
    problem(await client.get(f"/{'%20' * 2_700}"), 404, "not-found")


@pytest.mark.parametrize("size", [8_192, 8_193])
def test_target_on_lambda_is_measured_likewise(size: int) -> None:
    """There the path comes decoded; the answer is the same."""
    path = Path(__file__).parents[1] / "events" / "health.json"
    event = json.loads(path.read_text("utf-8"))
    event["rawQueryString"] = "1" * (size - len("/health?"))
    answer = health.handler(event, None)
    assert (answer["statusCode"] == 414) is (size > 8_192)
    assert answer["headers"]["x-request-id"] == event["requestContext"]["requestId"]


def test_every_operation_tells_of_too_long_a_target() -> None:
    """Whatever is asked for, that may be the answer."""
    for path in service().openapi()["paths"].values():
        for operation in path.values():
            told = operation["responses"]["414"]["description"]
            assert told == "Request-URI Too Long: `target-too-long`"


@pytest.mark.parametrize(
    ("method", "path", "status_code"),
    [
        *(("GET", "/health", 200), ("HEAD", "/health", 405), ("GET", "/nowhere", 404)),
        *(("GET", "/docs", 200), ("GET", "/openapi.json", 200), ("OPTIONS", "/health", 405)),
        *(("GET", CALL, 401), ("POST", "/api/calls", 401), ("GET", "/x" * 5_000, 414)),
    ],
)
async def test_every_answer_has_the_headers_of_all(
    client: httpx.AsyncClient, method: str, path: str, status_code: int
) -> None:
    """Whatever is asked: no browser guesses a type, no cache keeps an answer."""
    response = await client.request(method, path)
    assert response.status_code == status_code
    assert_edge(response)


def test_every_answer_of_lambda_has_them() -> None:
    """There too, errors included."""
    path = Path(__file__).parents[1] / "events" / "health.json"
    for target, status_code in (("/health", 200), ("/nowhere", 404)):
        event = json.loads(path.read_text("utf-8"))
        event["rawPath"] = event["requestContext"]["http"]["path"] = target
        answer = health.handler(event, None)
        assert answer["statusCode"] == status_code
        assert answer["headers"]["x-content-type-options"] == "nosniff"
        assert answer["headers"]["cache-control"] == "no-store"


# The request's id


@pytest.mark.parametrize("given", ["a", "click-1", "Root=1-67891233-abcdef012345678912345678"])
@pytest.mark.parametrize("path", ["/health", "/nowhere", CALL])
async def test_well_formed_request_id_is_kept(
    client: httpx.AsyncClient, given: str, path: str
) -> None:
    """The id that a proxy gave comes back in every answer, errors included."""
    response = await client.get(path, headers={"X-Request-Id": given})
    assert given == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "given", [b"", b"a" * 129, b"a b", b'a"b', b"<script>", b"a\tb", b"\xe9", b"a;b"]
)
async def test_hostile_request_id_is_replaced(client: httpx.AsyncClient, given: bytes) -> None:
    """Text that could forge a log line is answered with an id of our own."""
    response = await client.get("/health", headers=[(b"X-Request-Id", given)])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_request_has_another_id(client: httpx.AsyncClient) -> None:
    """Without a given one, ids do not repeat."""
    ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


# Pages of other origins


def known_to(origins: str, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """Make a client of a service with these CORS_ORIGINS."""
    monkeypatch.setenv("CORS_ORIGINS", origins)
    forget_all()
    return client_of(create_app(makecallexternal.router, health.router, settings=the_settings()))


async def test_a_listed_origin_may_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORS_ORIGINS names the pages whose scripts may read our answers, errors included."""
    origin = "https://crm.example"
    async with known_to(origin, monkeypatch) as client:
        for error in (None, ConnectTimeout("Connection timeout"), RuntimeError("crash")):
            place.error = error
            response = await client.get(CALL, params=CALL_PARAMS, headers={"Origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
    assert len(place.asked) == 3


FOREIGN = [
    *("https://evil.example", "https://crm.example.evil.example", "http://crm.example", "null"),
    *("https://crm.example:8443", "file://", "chrome-extension://abcdefgh"),
]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", [CALL, MONITOR, "/health", "/nowhere"])
async def test_another_origin_reads_why_it_may_not_call(
    place: Place, monkeypatch: pytest.MonkeyPatch, origin: str, site: str | None, path: str
) -> None:
    """403 before anything rings, and its page may read the answer; the id and `dialled` with it."""
    headers = {"Origin": origin} | ({"Sec-Fetch-Site": site} if site else {})
    async with known_to("https://crm.example", monkeypatch) as client:
        response = await client.get(path, params=CALL_PARAMS, headers=headers)
        body = problem(response, 403, "origin-not-allowed")
        assert body["dialled"] == "no"
        assert "CORS_ORIGINS" in body["detail"]
        readable = response.headers.get("access-control-allow-origin")
        assert readable == (None if origin == "file://" else origin)
        assert "Origin" in response.headers["vary"]
    assert place.asked == []


async def test_another_origin_s_preflight_lets_it_read_the_refusal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the browser would say `Failed to fetch`: the question is granted, the request is not."""
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-client-id",
    }
    async with known_to("https://crm.example", monkeypatch) as client:
        response = await client.options("/api/calls", headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://evil.example"
        assert_edge(response)
        order = {"from": "150", "to": "+375296254070"}
        sent = {"Origin": "https://evil.example", "X-Client-Id": SECRET}
        response = await client.post("/api/calls", json=order, headers=sent)
        assert problem(response, 403, "origin-not-allowed")["dialled"] == "no"
    assert place.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://pbx.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://test"},
        {"Origin": "https://TEST"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_our_own_pages_and_programs_pass(
    place: Place, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    """Without `Origin`, or from the address that is asked: whatever CORS_ORIGINS names."""
    async with known_to("https://crm.example", monkeypatch) as client:
        response = await client.get(CALL, params=CALL_PARAMS, headers=headers)
    assert response.status_code == 200
    assert len(place.asked) == 1


@pytest.mark.parametrize("listed", ["*", "https://crm.example,null"])
async def test_null_is_an_origin_that_may_be_listed(
    place: Place, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    """As any other, or with all of them."""
    async with known_to(listed, monkeypatch) as client:
        response = await client.get(CALL, params=CALL_PARAMS, headers={"Origin": "null"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] in {"*", "null"}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *((f"http://localhost{port}", 200) for port in ("", ":3000", ":80")),
        ("http://[::1]:5173", 200),
        *((f"http://localhost{end}", 403) for end in (".evil.example", ":1x", ":123456", "x:1")),
        ("https://localhost:3000", 403),
        ("http://[::1", 403),
    ],
)
async def test_a_listed_host_may_have_any_port(
    place: Place, monkeypatch: pytest.MonkeyPatch, origin: str, status: int
) -> None:
    """`http://localhost:*` is each page that this machine serves, and no other scheme or host."""
    async with known_to("http://localhost:*,http://[::1]:*", monkeypatch) as client:
        response = await client.get(CALL, params=CALL_PARAMS, headers={"Origin": origin})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == origin


async def test_an_origin_without_a_setting_is_told_in_the_log_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is served, since a proxy may know it; one escaped line an origin, ten a minute at most."""
    lines: list[str] = []
    monkeypatch.setattr(LOG, "warning", lambda text, *args: lines.append(text % args))
    nasty = [b"https://\xd0\xb0.example/" + b"x" * 9_000, b"\x1b[2J\t'"]
    async with known_to("", monkeypatch) as client:
        for origin in (b"https://crm.example", b"https://crm.example", *nasty):
            await client.get(CALL, params=CALL_PARAMS, headers=[(b"Origin", origin)])
        assert len(place.asked) == 4
        assert len(lines) == 3
        assert all("CORS_ORIGINS" in line for line in lines)
        assert "'https://crm.example'" in lines[0]
        assert not set("\x1b\t\xd0") & set("".join(lines))
        assert max(map(len, lines)) < 300
        for number in range(1_000):
            await client.get("/health", headers={"Origin": f"https://{number}.example"})
    assert len(lines) == 10


def test_invented_origins_neither_fill_the_log_nor_silence_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten lines a minute, the next of which counts those left out; then a real one has its own.

    It has one a day, also while others are invented, as long as it is seen among a hundred told.
    """
    lines: list[str] = []
    monkeypatch.setattr(LOG, "warning", lambda text, *args: lines.append(text % args))
    now = 0.0
    origins = Origins((), clock=lambda: now)

    def ask(origin: str) -> None:
        assert origins.refuses(Headers({"origin": origin})) is None

    for number in range(1_000):
        ask(f"https://{number}.example")
    ask("https://crm.example")
    assert len(lines) == 10
    now = 61.0
    ask("https://crm.example")
    assert "'https://crm.example'" in lines[10]
    assert lines[10].endswith(": 991")
    for minute in range(2, 60):
        now = 61.0 * minute
        for number in range(20):
            ask(f"https://{minute}-{number}.example")
        ask("https://crm.example")
    assert len(lines) <= 600
    assert sum("'https://crm.example'" in line for line in lines) == 1
    now += 86_400
    ask("https://crm.example")
    assert "'https://crm.example'" in lines[-1]


@pytest.mark.parametrize(("origin", "status_code"), [("evil", 403), ("crm", 200), (None, 200)])
def test_a_foreign_page_is_refused_on_lambda_too(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, status_code: int
) -> None:
    """By the function itself; API Gateway answers preflights alone."""
    monkeypatch.setenv("CORS_ORIGINS", "https://crm.example")
    forget_all()
    path = Path(__file__).parents[1] / "events" / "health.json"
    event = json.loads(path.read_text("utf-8"))
    if origin:
        event["headers"]["origin"] = f"https://{origin}.example"
    answer = health.handler(event, None)
    forget_all()
    assert answer["statusCode"] == status_code
    assert ("origin-not-allowed" in answer["body"]) == (status_code == 403)


async def test_listed_origin_may_send_and_read_every_header_of_ours(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request may carry passes the browser's question, and what an answer tells is read."""
    monkeypatch.setenv("CORS_ORIGINS", "https://crm.example")
    forget_all()
    ours = "authorization, content-type, idempotency-key, prefer, x-client-id"
    place.quota = Quota("extension", 20, 60, 19)
    async with client_of(create_app(makecallexternal.router, settings=the_settings())) as client:
        asked = {
            "Origin": "https://crm.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ours,
        }
        assert (await client.options("/api/calls", headers=asked)).status_code == 200
        response = await client.get(
            CALL, params=CALL_PARAMS, headers={"Origin": "https://crm.example", "Prefer": "wait=1"}
        )
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    assert {"retry-after", *exposed} == set(exposed)
    safe = {"cache-control", "content-length", "content-type", "x-content-type-options"}
    told = {name for name in response.headers if not name.startswith("access-control-")}
    assert told - safe - {"vary"} <= set(exposed)


async def test_without_a_setting_no_origin_may_read(client: httpx.AsyncClient) -> None:
    """By default no other page's script reads an answer."""
    response = await client.get("/health", headers={"Origin": "https://crm.example"})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("module", "path"),
    [(health, "/health"), (makecallexternal, CALL), (monitor, MONITOR), (status, "/api/status")],
)
async def test_every_function_is_an_app_of_its_own(
    place: Place, database: Database, module: Any, path: str
) -> None:
    """Each folder's `app` answers its own path, and not the others'."""
    async with client_of(create_app(module.router, settings=the_settings())) as client:
        for other in ("/health", CALL, MONITOR, "/api/status"):
            response = await client.get(other)
            assert (response.status_code != 404) is (other == path)

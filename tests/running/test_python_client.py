"""clients/python against a real process of the service: what is tried again rings once."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import get_type_hints

import httpx
import pytest
from anyio import to_thread
from asterisk_calls import AsyncCalls, Call, Calls, CallsError, Event, OutcomeUnknown, Placed

from tests.describe import WRITTEN
from tests.integration.playing import AGENT, IS_BUSY, NO_ANSWER, TALKS, TALKS_ON, Play
from tests.integration.service import PHONE, SECRET, until

pytestmark = pytest.mark.anyio

TOO_MANY = httpx.Response(429, json={"message": "Too Many Requests"})  # API Gateway's own
UNKNOWN = {
    "title": "Internal Server Error",
    "status": 500,
    "detail": "Call initiation failed: sent and not acknowledged",
    "code": "outcome-unknown",
    "request_id": "72b6584cc4b846f59e9b5652d3fb2122",
    "dialled": "unknown",
    "call_id": "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11",
}


class Between(httpx.AsyncBaseTransport):
    """Stands between client and service, and does what it is told to with each next request.

    An answer is given in the service's place; an error is raised once the service has answered.
    """

    def __init__(self, *next_: httpx.Response | httpx.TransportError | None) -> None:
        self.next = list(next_)
        self.asked: list[httpx.Request] = []
        self._service = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass it on, or not."""
        self.asked.append(request)
        told = self.next.pop(0) if self.next else None
        if isinstance(told, httpx.Response):
            return told
        answer = await self._service.handle_async_request(request)
        if told is not None:
            await answer.aread()
            raise told
        return answer

    async def aclose(self) -> None:
        """Close what it has opened."""
        await self._service.aclose()


def impatient(api: AsyncCalls, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let its pauses be over at once; the list has how long they would have been."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(api, "_sleep", note)
    return pauses


def check_phases(calls: list[Call]) -> None:
    """No phase twice, and the whole way of a call that is answered."""
    phases = [call["phase"] for call in calls]
    assert phases[-3:] == ["customer_ringing", "talking", "ended"]
    assert all(one != other for one, other in pairwise(phases))
    assert calls[-1]["reason"] == "answered"
    assert (calls[-1]["from"], calls[-1]["to"]) == (AGENT, TALKS)
    assert calls[-1]["customer"]["answered_by"] == "phone"


async def test_a_call_is_placed_watched_and_found(play: Play) -> None:
    """By the async client; of several pages each call once; the feed tells the same phases."""
    async with AsyncCalls(play.url, SECRET) as api:
        placed = await api.create_call(AGENT, TALKS, actor="Юля")
        assert (placed["success"], placed["repeated"]) == (True, False)
        check_phases([call async for call in api.watch(placed["call_id"])])
        for number in (IS_BUSY, NO_ANSWER):
            await api.create_call("150", number)
        listed = [call["to"] async for call in api.list_calls(limit=1)]
        assert listed == [NO_ANSWER, IS_BUSY, TALKS]
        assert [call["to"] async for call in api.list_calls(extension=AGENT)] == [TALKS]
        told: list[Call] = []
        async for event in api.follow(after=0, call_id=placed["call_id"]):
            told.append(event["call"])
            if event["call"]["phase"] == "ended":
                break
        check_phases(told)
    rows = play.postgres.execute("SELECT actor FROM callapi.audit WHERE actor IS NOT NULL")
    assert rows == [{"actor": "Юля"}]


async def test_code_that_is_not_async_has_the_same(play: Play) -> None:
    """A call, its phases, its place in the list, a supervisor, the end."""

    def work() -> None:
        with Calls(play.url, SECRET) as api:
            placed = api.create_call(AGENT, TALKS)
            check_phases(list(api.watch(placed["call_id"])))
            assert [call["to"] for call in api.list_calls()] == [TALKS]
            event = next(iter(api.follow(after=0)))
            assert event["call"]["call_id"] == placed["call_id"]
            talk = api.create_call("150", TALKS_ON)["call_id"]
            for call in api.watch(talk):
                if call["phase"] == "talking":
                    api.monitor_call("09", "150", "151")
                    api.transfer_call(talk, "156")
                    api.hang_up_call(talk, actor="Юля")
            assert call["reason"] == "answered"
            assert dict(api.get_call(talk))["ended_by"] == "api"
            state = api.request("GET", "/api/extensions/150")
            assert state["extension"] == "150"

    await to_thread.run_sync(work)


async def test_an_answer_that_was_lost_rings_once(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same is asked again with the same key, and is told what became of the first."""
    page = httpx.Response(200, text="<html>")  # a network's own, say: who answered is not known
    between = Between(httpx.ReadTimeout("lost"), httpx.Response(502, text="<html>"), page)
    async with AsyncCalls(play.url, SECRET, transport=between) as api:
        assert impatient(api, monkeypatch) == []
        placed = await api.create_call("150", PHONE)
    assert placed["repeated"]
    keys = {request.headers["Idempotency-Key"] for request in between.asked}
    assert (len(between.asked), len(keys)) == (4, 1)
    await until(lambda: play.pbx.invites[PHONE] == 1)
    assert len(play.postgres.execute("SELECT FROM callapi.calls")) == 1


async def test_a_call_is_watched_to_its_end_while_things_break(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than one request is tried again, with pauses that grow to half a minute."""
    async with AsyncCalls(play.url, SECRET, transport=(between := Between())) as api:
        pauses = impatient(api, monkeypatch)
        placed = await api.create_call(AGENT, TALKS)
        between.next = [httpx.ReadError("cut"), httpx.Response(503, text="later")] * 4
        check_phases([call async for call in api.watch(placed["call_id"])])
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("calls.example.test", None),  # which is no URL
        ("http://calls.example.test", httpx.PoolTimeout("all connections are taken")),
    ],
)
async def test_what_was_not_sent_rings_nothing(
    url: str, failure: httpx.PoolTimeout | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that a phone may be ringing where no connection was had."""

    async def fail(request: httpx.Request) -> httpx.Response:
        raise failure or httpx.UnsupportedProtocol("no http")

    async with AsyncCalls(url, SECRET, transport=httpx.MockTransport(fail)) as api:
        impatient(api, monkeypatch)
        with pytest.raises(CallsError) as caught:
            await api.create_call("150", PHONE)
    assert caught.value.dialled == "no"


async def test_each_click_is_another_one_unless_it_has_a_name(play: Play) -> None:
    """Two clicks with one key are one call; without a key they have two."""
    between = Between()
    async with AsyncCalls(play.url, SECRET, transport=between) as api:
        first = await api.create_call("150", IS_BUSY, key="update-1")
        again = await api.create_call("150", IS_BUSY, key="update-1")
        await api.create_call("150", NO_ANSWER)
    assert (again["call_id"], again["repeated"]) == (first["call_id"], True)
    keys = [request.headers["Idempotency-Key"] for request in between.asked]
    assert keys[:2] == ["update-1"] * 2
    assert keys[2] != "update-1"


async def test_the_gateways_429_is_waited_out(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the API's body, and nothing was dialled: a second later it is asked again."""
    async with AsyncCalls(play.url, SECRET, transport=Between(TOO_MANY, TOO_MANY)) as api:
        pauses = impatient(api, monkeypatch)
        placed = await api.create_call("150", PHONE)
    assert (placed["repeated"], pauses) == (False, [1.0, 1.0])


async def test_the_apis_429_is_waited_out_as_it_says(play: Play) -> None:
    """By Retry-After; one that has none is not tried again."""
    told = {"code": "rate-limited", "detail": "Too many calls", "dialled": "no", "request_id": "a"}
    later = httpx.Response(429, json=told, headers={"Retry-After": "3"})
    full = httpx.Response(429, json=told | {"code": "too-many-open-calls"})
    between = Between(later, full)
    async with AsyncCalls(play.url, SECRET, transport=between) as api:
        with pytest.MonkeyPatch.context() as monkeypatch:
            pauses = impatient(api, monkeypatch)
            with pytest.raises(CallsError) as caught:
                await api.create_call("150", PHONE)
    assert (caught.value.code, caught.value.dialled) == ("too-many-open-calls", "no")
    assert (pauses, len(between.asked)) == ([3.0], 2)


async def test_what_may_ring_is_never_asked_again(play: Play) -> None:
    """`dialled: unknown` is told as it came, with the ids by which to ask what became of it."""
    between = Between(httpx.Response(500, json=UNKNOWN, headers={"Retry-After": "1"}))
    async with AsyncCalls(play.url, SECRET, transport=between) as api:
        with pytest.raises(OutcomeUnknown) as caught:
            await api.create_call("150", PHONE)
    error = caught.value
    assert (error.code, error.dialled, error.status) == ("outcome-unknown", "unknown", 500)
    assert (error.request_id, error.call_id) == (UNKNOWN["request_id"], UNKNOWN["call_id"])
    assert len(between.asked) == 1


async def test_a_transfer_whose_answer_was_lost_is_not_asked_again(play: Play) -> None:
    """It has no key: a second one might ring once more."""
    between = Between(httpx.ReadError("cut"))
    async with AsyncCalls(play.url, SECRET, transport=between) as api:
        with pytest.raises(OutcomeUnknown) as caught:
            await api.transfer_call(str(UNKNOWN["call_id"]), "151")
    assert (caught.value.code, caught.value.status, len(between.asked)) == (None, 0, 1)


@pytest.mark.parametrize(
    "told",
    [
        httpx.Response(503, json={"code": 503}),
        httpx.Response(503, json={"code": "busy", "detail": "try again"}),
        httpx.Response(502, json="Bad Gateway"),
        httpx.Response(200, text="<html>log in</html>"),
        httpx.Response(200, text=""),
    ],
)
async def test_what_a_gateway_says_is_not_taken_for_the_apis(told: httpx.Response) -> None:
    """Whatever it is: what may ring, and has no key, is not asked again."""
    between = Between(told)
    async with AsyncCalls("http://calls.example.test", SECRET, transport=between) as api:
        with pytest.raises(OutcomeUnknown) as caught:
            await api.transfer_call("7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", "151")
    assert (caught.value.code, len(between.asked)) == (None, 1)


async def test_a_page_in_the_place_of_an_answer_is_asked_again_by_the_same_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway's 200 that is no JSON tells nothing of the click."""
    between = Between(
        httpx.Response(200, text="<html>"), httpx.Response(200, json={"call_id": "1"})
    )
    async with AsyncCalls("http://calls.example.test", SECRET, transport=between) as api:
        impatient(api, monkeypatch)
        assert (await api.create_call("150", PHONE))["call_id"] == "1"
    first, second = (request.headers["Idempotency-Key"] for request in between.asked)
    assert first == second


async def test_no_id_leads_to_another_path() -> None:
    """Not even one that somebody else has made up."""
    between = Between(httpx.Response(200, json={}))
    async with AsyncCalls("http://calls.example.test", SECRET, transport=between) as api:
        await api.hang_up_call("../webhooks/1")
    assert between.asked[0].url.raw_path == b"/api/calls/..%2Fwebhooks%2F1"


async def test_who_is_not_there_is_asked_again_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, so nothing rings."""
    async with AsyncCalls("http://127.0.0.1:9", SECRET) as api:
        pauses = impatient(api, monkeypatch)
        with pytest.raises(CallsError) as caught:
            await api.transfer_call(str(UNKNOWN["call_id"]), "151")
    assert (caught.value.dialled, caught.value.status) == ("no", 0)
    assert pauses == [0.5, 1.0, 2.0]


async def test_a_refusal_is_told_by_its_code(play: Play) -> None:
    """At once, with the id that the log has."""
    async with AsyncCalls(play.url, "nobody", transport=(between := Between())) as api:
        with pytest.raises(CallsError) as caught:
            await api.create_call("150", PHONE)
    assert (caught.value.code, caught.value.dialled) == ("invalid-client-id", "no")
    assert caught.value.request_id
    assert len(between.asked) == 1


async def test_the_feed_misses_nothing_while_things_break(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that were lost, a gateway's own, more of them than one request is tried again."""
    later = httpx.Response(503, text="later")
    log_in = httpx.Response(200, text="<html>Whose Wi-Fi this is</html>")
    async with AsyncCalls(play.url, SECRET) as caller:
        await caller.create_call(AGENT, TALKS)
    async with AsyncCalls(play.url, SECRET, transport=(between := Between())) as api:
        impatient(api, monkeypatch)
        numbers = []
        async for event in api.follow(after=0):
            numbers.append(event["seq"])
            if event["seq"] == 1:
                between.next = [httpx.ReadError("cut"), later, TOO_MANY, log_in] * 3
            if event["call"]["phase"] == "ended":
                break
    assert numbers == list(range(1, len(numbers) + 1))
    assert between.next == []


async def test_a_gap_is_an_event(play: Play) -> None:
    """What is not kept is said once, and what is kept follows; so is a number of the future."""
    async with AsyncCalls(play.url, SECRET) as api:
        placed = await api.create_call("150", IS_BUSY)
        _ = [call async for call in api.watch(placed["call_id"])]
        newest = (await api.request("GET", "/api/events"))["next"]
        play.postgres.execute("DELETE FROM callapi.call_events WHERE seq <= 2")
        told = api.follow(after=0)
        gap, event = await anext(told), await anext(told)
        assert (gap["type"], gap["seq"]) == ("events.gone", 2)
        assert gap["gone"] == {"after": 0, "oldest": 3, "newest": newest}
        assert event["seq"] == 3
        ahead = await anext(api.follow(after=99))
        assert (ahead["type"], ahead["seq"]) == ("events.gone", newest)


async def test_the_feed_ends_with_the_right_to_it() -> None:
    """A refusal does not pass by waiting."""

    async def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"code": "invalid-client-id", "request_id": "a"})

    async with AsyncCalls("http://calls", "x", transport=httpx.MockTransport(refuse)) as api:
        with pytest.raises(CallsError) as caught:
            await anext(api.follow(after=0))
    assert caught.value.code == "invalid-client-id"


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (Call, ["CallState"]),
        (Placed, ["CallPlaced", "MonitoringPlaced"]),
        (Event, ["CallEvent", "PbxCallEvent"]),
    ],
)
def test_its_fields_are_the_apis(shape: type, names: list[str]) -> None:
    """Each field that is named here is one of the description's, but for what tells a gap."""
    schemas = json.loads(WRITTEN.read_text("utf-8"))["components"]["schemas"]
    described = {field for name in names for field in schemas[name]["properties"]}
    assert set(get_type_hints(shape)) - described <= {"gone"}

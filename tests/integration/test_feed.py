"""`GET /api/events`: what happened to calls, in order, without a gap, whenever one comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from shared.auth import under_way
from shared.deadline import Deadline
from shared.events.feed import Wanted, read_feed
from shared.events.hub import Hub
from shared.store.connection import Rows
from shared.store.database import Database, Door
from shared.store.expired import Kept, remove_expired
from tests.integration.followed import BUSY, TALKS_ON, follow, place, reach
from tests.integration.service import SECRET, Service, Services
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OTHER_SECRET = "july-4c1d7e90b2a35f68"
NOBODY = UUID(int=0)
KEPT = Kept(events_days=7, calls_days=400, audit_days=400)


async def ask(service: Service, secret: str = SECRET, **params: Any) -> dict[str, Any]:
    """Ask the feed, which answers."""
    answer = await service.http.get(
        "/api/events", params=params, headers={"Authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def listen(
    service: Service, after: int, *, until_ended: int = 1, **params: Any
) -> list[dict[str, Any]]:
    """Poll as a client does, until so many calls have ended; the events in the order they came."""
    events: list[dict[str, Any]] = []
    with anyio.fail_after(30):
        while sum(event["call"]["phase"] == "ended" for event in events) < until_ended:
            body = await ask(service, after=after, wait=5, **params)
            events += body["events"]
            after = body["next"]
    return events


def in_short(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The phases and reasons."""
    return [(event["call"]["phase"], event["call"]["reason"]) for event in events]


def tell(postgres: Postgres, enterprise: str, count: int, *, days_ago: float = 0.0) -> None:
    """Tell of so many calls of an enterprise, which nobody placed."""
    postgres.execute(
        "WITH placed AS (INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone)"
        " SELECT gen_random_uuid(), :enterprise, '192.0.2.1', 'call', '150', '+375290000001'"
        " FROM generate_series(1, CAST(:count AS integer)) RETURNING call_id)"
        " SELECT callapi.tell(:enterprise, call_id, 'accepted', NULL,"
        " clock_timestamp() - make_interval(secs => :ago_s)) FROM placed",
        enterprise=enterprise,
        count=count,
        ago_s=days_ago * 86400,
    )


@pytest.fixture
async def service(start: Services) -> Service:
    """A service that follows its calls."""
    return await follow(start)


@pytest.fixture
async def quiet(start: Services) -> Service:
    """A service that follows nothing, and so removes nothing either."""
    return await start()


async def test_without_a_number_one_begins_now(service: Service) -> None:
    """The newest number alone: 0 before anything was told, and never what was told before."""
    assert await ask(service) == {"events": [], "next": 0}
    call_id = await place(service, "155", BUSY)
    await reach(service, call_id, "ended")
    begun = await ask(service)
    assert (begun["events"], begun["next"] > 1) == ([], True)
    assert await ask(service, after=begun["next"]) == {"events": [], "next": begun["next"]}


async def test_a_call_is_told_phase_by_phase(service: Service) -> None:
    """Each phase once, in order, from the placing to the end, numbered without a gap."""
    call_id = await place(service, "150", BUSY)
    events = await listen(service, 0)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["call"]["call_id"] for event in events} == {call_id}
    assert {event["type"] for event in events} == {"call.phase"}
    phases = [phase for phase, _ in in_short(events)]
    assert phases[0] == "accepted"
    assert in_short(events)[-1] == ("ended", "busy")
    assert "agent_answered" in phases
    assert len(set(phases)) == len(phases)


async def test_an_event_tells_the_call_as_it_was_then(service: Service) -> None:
    """The body is that of GET /api/calls/{call_id} at that moment, and stays so."""
    call_id = await place(service, "150", TALKS_ON)
    now = await reach(service, call_id, "talking")
    told = {e["call"]["phase"]: e["call"] for e in (await ask(service, after=0))["events"]}
    assert told["talking"] == now | {"legs": told["talking"]["legs"]}
    await service.http.delete(f"/api/calls/{call_id}")
    end = await reach(service, call_id, "ended")
    later = {e["call"]["phase"]: e["call"] for e in (await ask(service, after=0))["events"]}
    assert later["ended"] == end
    assert later["talking"] == told["talking"]
    assert (later["talking"]["times"]["ended"], later["talking"]["cancelled"]) == (None, False)


async def test_who_waits_is_answered_when_something_happens(service: Service) -> None:
    """The answer comes with the first event, long before the time that was asked for."""
    begun = await ask(service)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask(service, after=begun["next"], wait=25))
        call_id = await place(service, "150", TALKS_ON)
    body = waiting.result()
    assert body["events"][0]["call"]["call_id"] == call_id
    assert body["next"] == body["events"][-1]["seq"]


async def test_a_wait_without_news_ends_empty(service: Service) -> None:
    """The same number again, to go on with; no error."""
    tell(service.postgres, "0367", 3)
    assert await ask(service, after=3, wait=0.3) == {"events": [], "next": 3}


async def test_filters_leave_out_and_go_on(service: Service) -> None:
    """By extension and by call; `next` grows by what was left out, so that it is not read again."""
    busy = await place(service, "155", BUSY)
    other = await place(service, "150", BUSY)
    for call_id in (busy, other):
        await reach(service, call_id, "ended")
    everything = await ask(service, after=0)
    of_155 = await ask(service, after=0, extension="155")
    assert {event["call"]["call_id"] for event in of_155["events"]} == {busy}
    of_other = await ask(service, after=0, call_id=other)
    assert {event["call"]["from"] for event in of_other["events"]} == {"150"}
    nobody = await ask(service, after=0, extension="199")
    assert nobody == {"events": [], "next": everything["next"]}
    assert len(of_155["events"]) + len(of_other["events"]) == len(everything["events"])


async def test_a_tapped_extension_hears_of_its_monitoring(service: Service) -> None:
    """Of a monitoring the filter takes who listens and who is listened to."""
    await place(service, "150", TALKS_ON)
    answer = await service.monitor(target="150", monitor_from="151")
    call_id = answer.json()["call_id"]
    for extension in ("150", "151"):
        events = (await ask(service, after=0, extension=extension))["events"]
        assert call_id in {event["call"]["call_id"] for event in events}


async def test_pages_are_as_long_as_asked(service: Service) -> None:
    """`limit` events at most; what follows is on the next page, and nothing comes twice."""
    tell(service.postgres, "0367", 7)
    after, pages = 0, []
    for _ in range(4):
        body = await ask(service, after=after, limit=3)
        pages.append([event["seq"] for event in body["events"]])
        after = body["next"]
    assert pages == [[1, 2, 3], [4, 5, 6], [7], []]


async def test_a_long_stretch_without_a_match_is_gone_through(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look goes through so many events and no more, also of who waits: each costs a token."""
    monkeypatch.setattr("shared.events.feed._SCANNED", 10)
    tell(service.postgres, "0367", 25)
    call_id = await place(service, "155", BUSY)
    for after in (0, 10):
        looked = await ask(service, after=after, call_id=call_id, wait=20)
        assert looked == {"events": [], "next": after + 10}
    assert (await ask(service, after=20, call_id=call_id))["events"][0]["seq"] == 26


async def test_an_enterprise_is_told_its_own_calls_alone(service: Service) -> None:
    """Numbers are each enterprise's own, and another's call is never told, not by its id either."""
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", OTHER_SECRET)
    call_id = await place(service, "155", BUSY)
    await reach(service, call_id, "ended")
    assert await ask(service, OTHER_SECRET, after=0) == {"events": [], "next": 0}
    assert await ask(service, OTHER_SECRET, after=0, call_id=call_id) == {"events": [], "next": 0}


@pytest.mark.parametrize(
    ("after", "is_gone"), [(0, True), (3, True), (4, False), (10, False), (11, True)]
)
async def test_what_is_not_kept_is_gone(quiet: Service, *, after: int, is_gone: bool) -> None:
    """410 with what is left: for too old a number, and for one that was never told."""
    tell(quiet.postgres, "0367", 4, days_ago=8)
    tell(quiet.postgres, "0367", 6)
    database = Database(quiet.postgres.settings())
    assert await remove_expired(database, KEPT) == 4
    database.close()
    answer = await quiet.http.get("/api/events", params={"after": after})
    body = answer.json()
    if is_gone:
        assert (answer.status_code, body["code"]) == (410, "events-gone")
        assert (body["oldest"], body["newest"]) == (5, 10)
    else:
        assert [event["seq"] for event in body["events"]] == list(range(after + 1, 11))


async def test_when_all_is_removed_the_newest_number_still_holds(quiet: Service) -> None:
    """Who has read everything goes on; who has not is told that it is gone."""
    tell(quiet.postgres, "0367", 5, days_ago=30)
    database = Database(quiet.postgres.settings())
    await remove_expired(database, KEPT)
    database.close()
    assert await ask(quiet, after=5) == {"events": [], "next": 5}
    answer = await quiet.http.get("/api/events", params={"after": 4})
    assert (answer.status_code, answer.json()["oldest"]) == (410, 6)


async def test_removal_leaves_no_gap(quiet: Service) -> None:
    """An event that is told with an older moment than its neighbour goes with all before it."""
    for days_ago in (8, 6, 8, 6):
        tell(quiet.postgres, "0367", 1, days_ago=days_ago)
    tell(quiet.postgres, "0368", 1, days_ago=6)
    database = Database(quiet.postgres.settings())
    assert await remove_expired(database, KEPT) == 3
    database.close()
    left = quiet.postgres.execute("SELECT enterprise, seq FROM callapi.call_events ORDER BY 1")
    assert [(row["enterprise"], row["seq"]) for row in left] == [("0367", 4), ("0368", 1)]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"after": "-1"}, "after"),
        ({"after": "x"}, "after"),
        ({"after": str(2**63)}, "after"),
        ({"after": "0", "wait": "26"}, "wait"),
        ({"after": "0", "limit": "0"}, "limit"),
        ({"after": "0", "limit": "501"}, "limit"),
        ({"after": "0", "extension": "15a"}, "extension"),
        ({"after": "0", "call_id": "7"}, "call_id"),
    ],
)
async def test_a_wrong_parameter_is_named(
    service: Service, params: dict[str, str], field: str
) -> None:
    """422, and which it is."""
    answer = await service.http.get("/api/events", params=params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_an_end_that_a_late_record_corrects_is_told_again(service: Service) -> None:
    """`call.corrected` carries the call as it is now; the end is not told a second time."""
    call_id = await place(service, "150", BUSY)
    await reach(service, call_id, "ended")
    before = await ask(service)
    service.postgres.execute(
        "UPDATE callapi.calls SET reason = 'unknown', disposition = NULL, cdr = 'pending',"
        " ring_s = NULL"
    )
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask(service, after=before["next"], wait=20))
        await place(service, "155", BUSY)  # so that somebody looks again
    events = waiting.result()["events"]
    with anyio.fail_after(20):
        while not (of_it := [e for e in events if e["call"]["call_id"] == call_id]):
            events += (await ask(service, after=events[-1]["seq"], wait=5))["events"]
    assert [event["type"] for event in of_it] == ["call.corrected"]
    assert (of_it[0]["call"]["reason"], of_it[0]["call"]["cdr"]) == ("busy", "confirmed")


async def test_what_was_told_before_an_upgrade_is_told_still(service: Service) -> None:
    """Events of before say which call and when; the call is told as it is now."""
    call_id = await place(service, "155", BUSY)
    await reach(service, call_id, "ended")
    service.postgres.execute("UPDATE callapi.call_events SET call = NULL")
    events = (await ask(service, after=0, extension="155"))["events"]
    assert {event["call"]["phase"] for event in events} == {"ended"}
    assert {event["call"]["call_id"] for event in events} == {call_id}


async def test_a_call_that_is_not_kept_any_more_ends_no_reading(service: Service) -> None:
    """An operator deleted it: what was told of it before an upgrade cannot be told, the rest is."""
    tell(service.postgres, "0367", 3)
    service.postgres.execute(
        "UPDATE callapi.call_events SET call = NULL, call_id = :nobody WHERE seq = 2",
        nobody=NOBODY,
    )
    body = await ask(service, after=0)
    assert ([event["seq"] for event in body["events"]], body["next"]) == ([1, 3], 3)


async def test_an_event_that_cannot_be_read_stops_nobody(service: Service) -> None:
    """The log and a metric tell of it; those before and after it are told."""
    tell(service.postgres, "0367", 3)
    service.postgres.execute(
        "UPDATE callapi.call_events SET call = jsonb_set(call, '{legs}', '7') WHERE seq = 2"
    )
    body = await ask(service, after=0)
    assert ([event["seq"] for event in body["events"]], body["next"]) == ([1, 3], 3)
    assert "Событие 2 не читается" in service.log()


async def test_who_waits_leaves_connections_to_those_who_call(start: Services) -> None:
    """Of all enterprises as many wait as half the connections that there may be."""
    service = await follow(start, WAITS_AT_ONCE=10, MAX_CONNECTIONS=10)
    tell(service.postgres, "0367", 1)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(ask(service, after=1, wait=25)) for _ in range(5)]
        await anyio.sleep(1)
        third = await service.http.get("/api/events?after=1&wait=1")
        tell(service.postgres, "0367", 1)
    assert (third.status_code, third.json()["code"]) == (429, "rate-limited")
    assert "in all" in third.json()["detail"]
    assert all(task.result()["next"] == 2 for task in waiting)


async def test_many_writers_leave_no_gap_for_a_reader(service: Service) -> None:
    """While calls are settled all at once, a reader misses none and gets each once."""
    database = Database(service.postgres.settings())
    stop = asyncio.Event()
    seen: list[int] = []

    async def read() -> None:
        after = 0
        while not (stop.is_set() and after == 120):
            told = await read_feed(database, "0367", after, Wanted(), most=7)
            seen.extend(event.seq for event in told.events)
            after = told.next

    async def write() -> None:
        for _ in range(10):
            await anyio.to_thread.run_sync(tell, service.postgres, "0367", 2)

    with anyio.fail_after(60):
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            async with asyncio.TaskGroup() as writers:
                for _ in range(6):
                    writers.create_task(write())
            stop.set()
    database.close()
    assert seen == list(range(1, 121))


async def test_the_database_away_loses_nothing(start: Services, own_postgres: Postgres) -> None:
    """Who waits meanwhile is told 503, comes again with the same number, and has everything."""
    start.follow = True
    service = await start.beside(own_postgres)
    tell(own_postgres, "0367", 2)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(service.http.get("/api/events?after=2&wait=1"))
        await anyio.sleep(0.3)
        await anyio.to_thread.run_sync(own_postgres.halt)
    refused = await service.http.get("/api/events?after=2&wait=1")
    await anyio.to_thread.run_sync(own_postgres.restart)
    assert waiting.result().status_code in {200, 503}
    assert (refused.status_code, refused.json()["code"]) == (503, "database-unavailable")
    tell(own_postgres, "0367", 1)
    assert [event["seq"] for event in (await ask(service, after=2))["events"]] == [3]


async def test_who_waits_has_his_own_limit(start: Services) -> None:
    """As for one call's change: WAITS_AT_ONCE, and who is beyond it is told so."""
    service = await follow(start, WAITS_AT_ONCE=1)
    tell(service.postgres, "0367", 1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask(service, after=1, wait=25))
        await anyio.sleep(0.5)
        second = await service.http.get("/api/events?after=1&wait=1")
        at_once = await ask(service, after=0, wait=25)
        tell(service.postgres, "0367", 1)
    assert (second.status_code, second.json()["code"]) == (429, "rate-limited")
    assert [event["seq"] for event in at_once["events"]] == [1]
    assert [event["seq"] for event in waiting.result()["events"]] == [2]


async def test_on_aws_a_wait_is_shorter(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that waits serves nobody else: the answer is empty, sooner."""
    monkeypatch.setattr(under_way, "on_lambda", lambda: True)
    monkeypatch.setattr(under_way, "_LONGEST_WAIT_ON_LAMBDA_S", 0.3)
    tell(service.postgres, "0367", 1)
    with anyio.fail_after(15):
        assert await ask(service, after=1, wait=25) == {"events": [], "next": 1}


# The hub


class Asked(Door):
    """A database of which is known how often it was asked, and that can be away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.times = 0

    async def run(self, sql: str, **parameters: object) -> Rows:
        """Ask it."""
        self.times += 1
        return await self._database.run(sql, **parameters)


@asynccontextmanager
async def hub_on(postgres: Postgres) -> AsyncIterator[tuple[Hub, Asked]]:
    """A hub that asks often."""
    database = Database(postgres.settings())
    asked = Asked(database)
    yield Hub(asked, poll_s=0.02), asked
    database.close()


async def test_thousands_who_wait_are_one_question(postgres: Postgres) -> None:
    """However many wait, of however many enterprises; each is woken by its own's news."""
    postgres.clear()
    tell(postgres, "1", 1)
    async with hub_on(postgres) as (hub, asked):
        until = Deadline.after(30)
        async with asyncio.TaskGroup() as group:
            woken = [group.create_task(hub.wait_beyond("1", 1, until)) for _ in range(1000)]
            others = [
                group.create_task(hub.wait_beyond(str(n), 0, Deadline.after(2)))
                for n in range(2, 502)
            ]
            await anyio.sleep(0.1)
            tell(postgres, "1", 1)
        assert all(task.result() for task in woken)
        assert not any(task.result() for task in others)
        assert asked.times <= 110


async def test_nobody_asks_when_nobody_waits(postgres: Postgres) -> None:
    """The last who leaves ends it, by news, by time or cancelled; the next one begins it again."""
    postgres.clear()
    async with hub_on(postgres) as (hub, asked):
        assert not await hub.wait_beyond("1", 0, Deadline.after(0.1))
        waiting = asyncio.create_task(hub.wait_beyond("1", 0, Deadline.after(30)))
        await anyio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
        times = asked.times
        await anyio.sleep(0.2)
        assert asked.times == times > 0
        tell(postgres, "1", 1)
        with anyio.fail_after(20):
            assert await hub.wait_beyond("1", 0, Deadline.after(20))


async def test_an_unknown_call_matches_nothing(postgres: Postgres, database: Database) -> None:
    """An id that is nobody's is no error: its events may be yet to come."""
    postgres.clear()
    tell(postgres, "1", 2)
    told = await read_feed(database, "1", 0, Wanted(call_id=uuid4()), most=10)
    assert (told.events, told.next) == ((), 2)

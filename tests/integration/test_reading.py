"""`GET /api/calls`: an enterprise reads its own calls, by filters and pages; no SSH is asked."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from shared.events import change
from shared.store.calls import Call, Filter, get_call_and_newest, list_calls
from shared.store.connection import Rows
from shared.store.database import Database
from tests.integration.service import OTHER_PHONE, PHONE, SECRET, Service, until
from tests.integration.test_feed import tell

pytestmark = pytest.mark.anyio

JULY = {"Authorization": "Bearer july-secret"}


def add(service: Service, count: int, **columns: Any) -> list[str]:
    """Record calls of the past, a minute apart, and give their ids, the newest first."""
    usual = {
        "enterprise": "0367",
        "host": "127.0.0.1",
        "kind": "call",
        "code": "150",
        "phone": PHONE,
        "state": "executed",
        "phase": "ended",
        "reason": "answered",
    }
    values = usual | columns
    ids = [str(uuid4()) for _ in range(count)]
    names = ", ".join(values)
    for age, call_id in enumerate(ids):
        service.postgres.execute(
            f"INSERT INTO callapi.calls (call_id, created_at, ended_at, {names}) VALUES ("
            " CAST(:call_id AS uuid), clock_timestamp() - :age * interval '1 minute',"
            " CASE WHEN :phase = 'ended' THEN clock_timestamp() END,"
            f" {', '.join(f':{name}' for name in values)})",
            call_id=call_id,
            age=age,
            **values,
        )
    return ids


async def listed(service: Service, query: str = "") -> list[str]:
    """The ids of one page."""
    answer = await service.http.get(f"/api/calls{query}")
    assert answer.status_code == 200, answer.text
    return [call["call_id"] for call in answer.json()["calls"]]


async def test_pages_have_each_call_once_whatever_is_placed_meanwhile(service: Service) -> None:
    """By the cursors all calls come, newest first; a call placed between two pages shifts none."""
    ids = add(service, 23)
    seen: list[str] = []
    query = "?limit=5"
    while True:
        answer = (await service.http.get(f"/api/calls{query}")).json()
        seen += [call["call_id"] for call in answer["calls"]]
        if answer["next"] is None:
            break
        query = f"?limit=5&cursor={answer['next']}"
        await service.call(phone=f"+37529{len(seen)}")
    assert seen == ids


async def test_calls_of_one_moment_are_paged_too(service: Service) -> None:
    """The order is complete: equal moments are told apart by their ids."""
    ids = add(service, 7)
    service.postgres.execute("UPDATE callapi.calls SET created_at = '2026-11-23T10:00:00Z'")
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = (await service.http.get(f"/api/calls?limit=2{cursor}")).json()
        seen += [call["call_id"] for call in answer["calls"]]
        cursor = answer["next"] and f"&cursor={answer['next']}"
    assert sorted(seen) == sorted(ids)
    assert len(seen) == len(ids)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("kind=monitor", {"kind": "monitor", "phone": "150", "code": "151", "action": "09"}),
        ("phase=talking", {"phase": "talking", "reason": None}),
        ("open=true", {"phase": "talking", "reason": None}),
        ("reason=busy", {"reason": "busy"}),
        ("extension=159", {"code": "159"}),
        (f"number={quote(OTHER_PHONE)}", {"phone": OTHER_PHONE}),
    ],
)
async def test_a_filter_finds_what_it_names(
    service: Service, query: str, columns: dict[str, Any]
) -> None:
    """That call, and no other."""
    add(service, 3)
    assert await listed(service, f"?{query}") == []
    ids = add(service, 2, **columns)
    assert await listed(service, f"?{query}") == ids


async def test_times_are_filters(service: Service) -> None:
    """`since` is included, `until` is not; both carry their offset."""
    ids = add(service, 3)
    moments = [
        (await service.http.get(f"/api/calls/{call_id}")).json()["times"]["placed"]
        for call_id in ids
    ]
    assert await listed(service, f"?since={quote(moments[1])}") == ids[:2]
    assert await listed(service, f"?until={quote(moments[1])}") == ids[2:]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("kind=fax", "kind"),
        ("phase=busy", "phase"),
        ("reason=because", "reason"),
        ("open=perhaps", "open"),
        ("extension=15x", "extension"),
        ("number=hello", "number"),
        ("since=yesterday", "since"),
        ("until=2026-11-23T10:00:00", "until"),
        ("cursor=!", "cursor"),
        ("cursor=aGVsbG8", "cursor"),
        ("source=trunk", "source"),
        ("source=pbx&limit=5", "limit"),
    ],
)
async def test_a_wrong_filter_is_named(service: Service, query: str, field: str) -> None:
    """422 with the field's name; the PBX is not asked."""
    answer = await service.http.get(f"/api/calls?{query}")
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert service.pbx.commands == []


async def test_another_enterprise_reads_none_of_them(service: Service) -> None:
    """Its list is empty, and the call is not there: 404, as of an id that never was."""
    (call_id,) = add(service, 1)
    service.postgres.seed_enterprise("0368", "july", "192.0.2.9", "july-secret")
    assert (await service.http.get("/api/calls", headers=JULY)).json()["calls"] == []
    answers = [
        await service.http.get(f"/api/calls/{one}", headers=JULY) for one in (call_id, uuid4())
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.json()["code"] for answer in answers} == {"no-such-call"}


async def test_a_secret_is_asked_for_and_wrong_ones_are_limited(service: Service) -> None:
    """401 as everywhere; guessing through a reading endpoint costs the same tokens."""
    async with service.from_address("192.0.2.77") as stranger:
        assert (await stranger.get("/api/calls")).status_code == 401
        service.postgres.execute(
            "INSERT INTO callapi.rate_limits VALUES"
            " ('a:192.0.2.77', clock_timestamp() + interval '1 hour')"
        )
        wrong = await stranger.get("/api/calls", params={"clientId": "guess"})
        assert (wrong.status_code, wrong.json()["code"]) == (429, "rate-limited")
        assert int(wrong.headers["retry-after"]) > 0
        right = await stranger.get("/api/calls", params={"clientId": SECRET})
        assert right.status_code == 200


@pytest.mark.parametrize("call_id", ["1", "not-a-uuid", "0" * 33, "%00"])
async def test_an_id_that_is_none_is_named(service: Service, call_id: str) -> None:
    """422 for what cannot be an id."""
    answer = await service.http.get(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "call_id")


# Waiting for a change


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phases that were read of calls, in order."""
    seen: list[str] = []

    async def get_and_note(*about: Any) -> tuple[Call, int]:
        call, newest = await get_call_and_newest(*about)
        seen.append(call.phase)
        return call, newest

    monkeypatch.setattr(change, "get_call_and_newest", get_and_note)
    return seen


async def wait(service: Service, call_id: str, query: str) -> httpx.Response:
    """Ask with a wait."""
    return await service.http.get(f"/api/calls/{call_id}?{query}")


async def test_a_wait_ends_with_the_change(service: Service, reads: list[str]) -> None:
    """The answer comes with the new phase; news of another call wakes, and ends no wait."""
    (call_id,) = add(service, 1, phase="accepted", reason=None)
    waiting = asyncio.create_task(wait(service, call_id, "wait=20"))
    await until(lambda: len(reads) == 1)
    tell(service.postgres, "0367", 1)
    await until(lambda: len(reads) == 2)
    assert not waiting.done()
    service.postgres.execute("UPDATE callapi.calls SET phase = 'agent_ringing'")
    tell(service.postgres, "0367", 1)
    answer = await waiting
    assert answer.json()["phase"] == "agent_ringing"
    assert reads == ["accepted", "accepted", "agent_ringing"]


async def test_a_change_that_came_before_the_wait_is_not_missed(
    service: Service, reads: list[str]
) -> None:
    """Who says which phase they know is answered at once if it is another."""
    (call_id,) = add(service, 1, phase="talking", reason=None)
    answer = await wait(service, call_id, "wait=20&phase=customer_ringing")
    assert answer.json()["phase"] == "talking"
    assert reads == ["talking"]


async def test_nobody_waits_for_a_call_that_is_over(service: Service, reads: list[str]) -> None:
    """Nothing will change any more."""
    (call_id,) = add(service, 1)
    answer = await wait(service, call_id, "wait=20&phase=ended")
    assert answer.json()["phase"] == "ended"
    assert reads == ["ended"]


async def test_a_wait_without_a_change_is_no_error(service: Service, reads: list[str]) -> None:
    """When the time is up the answer is the call as it is, which was read again meanwhile."""
    (call_id,) = add(service, 1, phase="talking", reason=None)
    answer = await wait(service, call_id, "wait=1")
    assert (answer.status_code, answer.json()["phase"]) == (200, "talking")
    assert reads == ["talking", "talking"]


@pytest.mark.parametrize("query", ["wait=-1", "wait=26", "wait=nan", "wait=soon", "phase=x&wait=1"])
async def test_a_wrong_wait_is_named(service: Service, query: str) -> None:
    """422 with the field's name."""
    answer = await wait(service, str(uuid4()), query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


async def test_the_database_away_is_said(service: Service) -> None:
    """503, never 404: nobody knows whether there is such a call."""
    service.postgres.execute("ALTER TABLE callapi.calls RENAME TO calls_away")
    try:
        answer = await service.http.get(f"/api/calls/{uuid4()}")
    finally:
        service.postgres.execute("ALTER TABLE callapi.calls_away RENAME TO calls")
    assert (answer.status_code, answer.json()["code"]) == (503, "schema-missing")


async def test_the_answer_to_a_placing_leads_to_the_call(service: Service) -> None:
    """`call_status_url` of the specification's endpoints and `Location` of the modern one."""
    first = await service.call()
    status = await service.http.get(first.json()["call_status_url"])
    assert (status.json()["call_id"], status.json()["from"]) == (first.json()["call_id"], "150")
    made = await service.http.post("/api/calls", json={"from": "151", "to": OTHER_PHONE})
    status = await service.http.get(made.headers["location"])
    assert (status.json()["call_id"], status.json()["to"]) == (made.json()["call_id"], OTHER_PHONE)
    monitoring = await service.monitor()
    status = await service.http.get(monitoring.json()["call_status_url"])
    assert (status.json()["kind"], status.json()["action"]) == ("monitor", "09")
    await until(lambda: len(service.originates()) == 3)


async def test_a_call_tells_of_both_parties(service: Service) -> None:
    """Who answered for each, how long its phone rang and talked; null for what is not known."""
    columns = {"agent_answered_by": "pbx", "agent_ring_s": 6, "agent_talk_s": 0}
    (call_id,) = add(service, 1, customer_answered_by="phone", customer_ring_s=3, **columns)
    (call,) = (await service.http.get("/api/calls?limit=1")).json()["calls"]
    assert call["call_id"] == call_id
    assert call["agent"] == {"answered_by": "pbx", "ring_s": 6, "talk_s": 0}
    assert call["customer"] == {"answered_by": "phone", "ring_s": 3, "talk_s": None}
    assert (await service.http.get(f"/api/calls/{call_id}")).json() == call


class Explaining:
    """Runs statements, and keeps how the database goes about the newest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plan = ""

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Have it explained, and run it."""
        lines = await self._database.run(f"EXPLAIN {sql}", **parameters)
        self.plan = " ".join(str(line["QUERY PLAN"]) for line in lines)
        return await self._database.run(sql, **parameters)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(), "calls_by_page"),
        (Filter(extension="199"), "calls_of_code"),
        (Filter(numbers=("+375440000001", "80440000001")), "calls_of_phone"),
        (Filter(is_open=True), "calls_open"),
    ],
)
async def test_few_calls_are_found_among_many(
    database: Database, wanted: Filter, index: str
) -> None:
    """A number, an extension, what is open: by an index, not through all of an enterprise's."""
    await database.run(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase,"
        " created_at, ended_at) SELECT gen_random_uuid(), '0367', '192.0.2.1', 'call',"
        " CASE n WHEN 7 THEN '199' ELSE '150' END,"
        " CASE n WHEN 7 THEN '+375440000001' ELSE '+37529' || 1000000 + n END,"
        " 'executed', 'ended', clock_timestamp() - n * interval '1 minute',"
        " CASE WHEN n <> 7 THEN clock_timestamp() END FROM generate_series(1, 20000) n"
    )
    await database.run("ANALYZE callapi.calls")
    door = Explaining(database)
    found = (await list_calls(door, "0367", wanted, limit=100)).calls
    assert len(found) == (100 if wanted == Filter() else 1)
    assert f" {index} " in door.plan, door.plan

"""The tracker as a function of its own, as AWS runs it: until its time is up, then another."""

from __future__ import annotations

import asyncio

import pytest

from functions.tracker import handler as function
from functions.watchdog import handler as watchdog
from shared.errors import DatabaseUnavailable
from shared.store.database import the_database
from shared.store.leases import Lease
from tests.integration.followed import SLOW, TALKS_ON, follow, place, reach, state
from tests.integration.gateway import Context
from tests.integration.service import OTHER_PHONE, Services

HOST = "127.0.0.1"


@pytest.mark.anyio
async def test_it_follows_until_nothing_is_left(start: Services, invoked: list[str]) -> None:
    """Phases and the end, as in a process of its own; nobody is needed after it."""
    service = await follow(start, in_process=False)
    call_id = await place(service, "154", OTHER_PHONE)
    assert await function.follow(HOST, 30) == {"host": HOST, "end": "idle"}
    call = await state(service, call_id)
    assert (call["phase"], call["reason"], call["cdr"]) == ("ended", "answered", "confirmed")
    assert invoked == []


@pytest.mark.anyio
async def test_it_hands_over_when_its_time_is_up(start: Services, invoked: list[str]) -> None:
    """Another one goes on at once where it stopped: its lease is free, no phase is told twice."""
    service = await follow(start, in_process=False)
    call_id = await place(service, "154", TALKS_ON)
    assert await function.follow(HOST, 4) == {"host": HOST, "end": "time"}
    assert invoked == [HOST]
    assert (await state(service, call_id))["phase"] == "talking"

    after = asyncio.create_task(function.follow(HOST, 30))
    hung_up = await service.http.delete(f"/api/calls/{call_id}")
    assert hung_up.status_code == 200, hung_up.text
    assert await after == {"host": HOST, "end": "idle"}
    assert (await state(service, call_id))["reason"] == "answered"
    rows = service.postgres.execute("SELECT phase FROM callapi.call_events ORDER BY seq")
    phases = [row["phase"] for row in rows]
    assert len(phases) == len(set(phases))
    assert invoked == [HOST]


@pytest.mark.anyio
async def test_of_two_for_one_host_one_follows(start: Services, invoked: list[str]) -> None:
    """AWS may deliver an event twice: the second ends at once, and invokes nobody."""
    service = await follow(start, in_process=False)
    call_id = await place(service, "157", TALKS_ON)
    lease = await Lease.take(the_database(), HOST)
    assert lease is not None
    assert await function.follow(HOST, 30) == {"host": HOST, "end": "replaced"}
    assert (await state(service, call_id))["phase"] == "accepted"
    assert service.pbx.commands.count("core show channels concise") <= 2
    assert invoked == []


@pytest.mark.anyio
async def test_the_watchdog_starts_what_is_missing(start: Services, invoked: list[str]) -> None:
    """A host with an open call that nobody follows; not one that is followed or has no call."""
    service = await follow(start, in_process=False)
    assert await watchdog.look_around(60) == {"started": []}
    await place(service, "157", TALKS_ON)
    assert await watchdog.look_around(60) == {"started": [HOST]}
    assert invoked == [HOST]
    lease = await Lease.take(the_database(), HOST)
    assert lease is not None
    assert await watchdog.look_around(60) == {"started": []}
    await lease.give_back()
    assert await watchdog.look_around(60) == {"started": [HOST]}


@pytest.mark.anyio
async def test_what_a_killed_one_left_is_found(start: Services, invoked: list[str]) -> None:
    """Its lease runs out; the end that came meanwhile is known from the PBX's record."""
    service = await follow(start, time_scale=SLOW, in_process=False)
    call_id = await place(service, "154", OTHER_PHONE)
    killed = asyncio.create_task(function.follow(HOST, 30))
    await reach(service, call_id, "agent_ringing")
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    service.postgres.execute("UPDATE callapi.trackers SET lease_until = clock_timestamp()")
    assert await watchdog.look_around(60) == {"started": [HOST]}
    assert await function.follow(HOST, 30) == {"host": HOST, "end": "idle"}
    call = await state(service, call_id)
    assert (call["reason"], call["cdr"]) == ("answered", "confirmed")


@pytest.mark.anyio
async def test_the_watchdog_ends_in_its_time(
    start: Services, invoked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hangs of its tidying is given up; whom nobody follows was told before that."""

    class Stuck:
        async def remove_if_due(self) -> None:
            await asyncio.Event().wait()

    service = await follow(start, in_process=False)
    await place(service, "157", TALKS_ON)
    monkeypatch.setattr(watchdog, "the_expiry", Stuck)
    assert await watchdog.look_around(2) == {"end": "time"}
    assert invoked == [HOST]


def test_a_database_that_is_away_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda would count it as an error of a new version, which CodeDeploy rolls back."""

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("It is away")

    monkeypatch.setattr(watchdog, "look_around", fail)
    monkeypatch.setattr(function, "follow", fail)
    away = "database-unavailable"
    assert watchdog.handler({}, Context()) == {"end": away}
    assert function.handler({"host": HOST}, Context()) == {"host": HOST, "end": away}

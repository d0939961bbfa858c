"""On AWS so many hosts are followed at once and no more; the others' turn comes, or a process's."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from functions.tracker import handler as function
from functions.watchdog import handler as watchdog
from shared.following.tracker import Tracker
from shared.following.trackers import Trackers, the_trackers
from shared.store.database import Database, the_database
from shared.store.followed import Following
from shared.store.leases import Lease, NoPlace, hosts_due
from tests.integration.followed import TALKS_ON, follow, place, reach
from tests.integration.service import OTHER_PHONE, Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"
BEGIN = Trackers.start  # a service that is to follow nothing has another one
HOSTS = tuple(f"192.0.2.{number}" for number in range(1, 9))
_WANTED = """
INSERT INTO callapi.host_views (host, wanted_until)
VALUES (:host, clock_timestamp() + interval '1 h')
"""


def want(postgres: Postgres, *hosts: str) -> None:
    """Have something to follow on hosts."""
    for host in hosts:
        postgres.execute(_WANTED, host=host)


async def test_of_many_functions_at_once_so_many_have_a_place(database: Database) -> None:
    """Eight that begin in one moment find three places; one that is given back is free again."""
    taken: list[Lease] = []
    refused: list[str] = []

    async def take(host: str) -> None:
        try:
            lease = await Lease.take_place(database, host, 3)
        except NoPlace:
            refused.append(host)
        else:
            assert lease is not None
            taken.append(lease)

    async with anyio.create_task_group() as group:
        for host in HOSTS:
            group.start_soon(take, host)
    assert (len(taken), len(refused)) == (3, 5)
    await taken[0].give_back()
    assert await Lease.take_place(database, refused[0], 3) is not None
    with pytest.raises(NoPlace):
        await Lease.take_place(database, refused[1], 3)


async def test_a_function_that_died_leaves_its_place(
    database: Database, postgres: Postgres
) -> None:
    """As soon as its lease has run out."""
    await Lease.take_place(database, HOSTS[0], 1)
    postgres.execute("UPDATE callapi.trackers SET lease_until = clock_timestamp()")
    assert await Lease.take_place(database, HOSTS[1], 1) is not None


async def test_a_process_needs_no_place(database: Database) -> None:
    """Nor does one that has taken a host over from a function keep that one's."""
    assert await Lease.take(database, HOSTS[0]) is not None
    by_function = await Lease.take_place(database, HOSTS[1], 1)
    assert by_function is not None
    assert await Lease.take_place(database, HOSTS[1], 1) is None, "another one has the host"
    await by_function.give_back()
    assert await Lease.take(database, HOSTS[1]) is not None
    assert await Lease.take_place(database, HOSTS[2], 1) is not None


async def test_who_waits_longest_is_due_first(database: Database, postgres: Postgres) -> None:
    """Never followed comes before long ago; and no more are due than there are places."""
    want(postgres, *HOSTS[:4])
    for host in (HOSTS[2], HOSTS[0]):
        lease = await Lease.take(database, host)
        assert lease is not None
        await lease.give_back()
    assert await hosts_due(database, 5) == (HOSTS[1], HOSTS[3], HOSTS[2], HOSTS[0])
    assert await hosts_due(database, 3) == (HOSTS[1], HOSTS[3], HOSTS[2])
    assert await Lease.take_place(database, HOSTS[1], 3) is not None
    assert await hosts_due(database, 3) == (HOSTS[3], HOSTS[2])
    await Lease.take_place(database, HOSTS[3], 3)
    await Lease.take_place(database, HOSTS[2], 3)
    assert await hosts_due(database, 3) == ()


async def test_as_many_give_way_as_wait(database: Database, postgres: Postgres) -> None:
    """Who had a place for longest first; nobody where one is free, nor before its time."""
    want(postgres, *HOSTS[:3])
    leases = [await Lease.take_place(database, host, 2) for host in HOSTS[:2]]
    first, second = (lease for lease in leases if lease is not None)
    assert await first.gives_way(2, 0.0)
    assert not await second.gives_way(2, 0.0)
    assert not await first.gives_way(2, 3600.0)
    assert not await first.gives_way(3, 0.0), "there is a place for the one that waits"
    want(postgres, HOSTS[3])
    assert await second.gives_way(2, 0.0)
    await first.give_back()
    assert not await first.gives_way(2, 0.0), "it has none any more"


async def test_a_busy_host_leaves_its_place_to_one_that_waits(
    start: Services, invoked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls go on, it waits in turn, and the watchdog tells of it."""
    monkeypatch.setattr(function, "_TURN_S", 0.3)
    service = await follow(start, in_process=False, TRACKERS_AT_ONCE=1)
    call_id = await place(service, "154", TALKS_ON)
    following = asyncio.create_task(function.follow(HOST, 60))
    await reach(service, call_id, "talking")
    assert not following.done(), "it gave way to nobody"
    want(service.postgres, HOSTS[0])
    assert await following == {"host": HOST, "end": "time"}
    assert invoked == [HOSTS[0]]

    assert await Lease.take_place(the_database(), HOSTS[0], 1) is not None
    assert await function.follow(HOST, 60) == {"host": HOST, "end": "no-place"}
    assert await watchdog.start_missing() == []


async def test_of_a_process_and_functions_one_follows_a_host(
    start: Services, invoked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a function is invoked beside ROLE=follower; each phase is told once."""
    looking, most = 0, 0
    look = Tracker._look

    async def counted(self: Tracker, following: Following) -> Any:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        try:
            return await look(self, following)
        finally:
            looking -= 1

    monkeypatch.setattr(Tracker, "_look", counted)
    service = await follow(start)

    async def invoke() -> None:
        while True:
            await function.follow(HOST, 0.2)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(invoke)
        for _ in range(3):
            call_id = await place(service, "154", OTHER_PHONE)
            await reach(service, call_id, "ended")
        tasks.cancel_scope.cancel()
    assert most == 1
    told = service.postgres.execute(
        "SELECT call_id, phase FROM callapi.call_events ORDER BY call_id, seq"
    )
    assert len(told) == len({(row["call_id"], row["phase"]) for row in told})


async def test_a_process_takes_what_a_function_gives_back(
    start: Services, invoked: list[str]
) -> None:
    """Where ROLE=follower runs, no function is invoked for the host any more."""
    service = await follow(start, in_process=False)
    call_id = await place(service, "154", TALKS_ON)
    following = asyncio.create_task(function.follow(HOST, 3))
    await reach(service, call_id, "talking")
    BEGIN(the_trackers())
    assert await following == {"host": HOST, "end": "time"}
    assert invoked == []
    await until(lambda: HOST in the_trackers().seen_at())
    assert await function.follow(HOST, 3) == {"host": HOST, "end": "replaced"}
    await the_trackers().close()

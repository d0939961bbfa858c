"""`scope=all`: calls that began elsewhere, told while somebody listens; none of ours is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import pytest

from shared.following.tracker import Tracker
from shared.pbx.hosts import the_pbx
from shared.settings import the_settings
from shared.store.database import the_database
from shared.store.expired import Kept, remove_expired
from shared.store.leases import Lease, untracked_hosts
from tests.integration.followed import (
    QUICK,
    TALKS_ON,
    by_either,
    elsewhere,
    follow,
    place,
    reach,
    tracked,
)
from tests.integration.service import SECRET, Service, Services, until

pytestmark = pytest.mark.anyio

CALLER = "+375291112233"
OTHER_SECRET = "july-4c1d7e90b2a35f68"
HOST = "127.0.0.1"


@dataclass
class Listener:
    """Who polls with `scope=all`, and what he was told so far."""

    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """What was told of the PBX, in its order."""
        return [event["type"] for event in self.events if event["type"] != "pbx.call"]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was told of calls that began elsewhere."""
        return [event["pbx_call"] for event in self.events if event["type"] == "pbx.call"]

    def phases(self) -> list[str]:
        """Their phases."""
        return [call["phase"] for call in self.calls]

    async def hears(self, is_so: Callable[[Listener], bool]) -> None:
        """Wait until that was told."""
        await until(lambda: is_so(self))


async def ask(service: Service, secret: str = SECRET, **params: Any) -> Any:
    """Ask the feed."""
    return await service.http.get(
        "/api/events",
        params={"scope": "all", **params},
        headers={"Authorization": f"Bearer {secret}"},
    )


@asynccontextmanager
async def listening(
    service: Service, secret: str = SECRET, **params: Any
) -> AsyncIterator[Listener]:
    """Poll as a client does, until the block ends."""
    listener = Listener()

    async def poll() -> None:
        after = 0
        while True:
            answer = await ask(service, secret, after=after, wait=5, **params)
            if answer.status_code == 503 and answer.json()["code"] == "host-unverified":
                await anyio.sleep(0.05)  # as a client does that reads Retry-After
                continue
            assert answer.status_code == 200, answer.text
            listener.events += answer.json()["events"]
            after = answer.json()["next"]

    polling = asyncio.create_task(poll())
    try:
        await listener.hears(lambda told: "pbx.watched" in told.types)
        yield listener
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def looks(service: Service, count: int = 3) -> None:
    """Wait until the host was looked at so many times more, and what that saw is told."""
    until_then = looked(service) + count + 1
    await until(lambda: looked(service) >= until_then)


def looked(service: Service) -> int:
    """How often the host's channels were listed."""
    return service.pbx.commands.count("core show channels concise")


def rows(service: Service, table: str) -> int:
    """How many rows a table has."""
    return int(service.postgres.execute(f"SELECT count(*) AS n FROM callapi.{table}")[0]["n"])


@by_either
async def test_an_incoming_call_is_told_while_it_rings(start: Services, by: str) -> None:
    """Whoever follows: who calls and whose phone rings, then that it talks, then its end; once."""
    async with tracked(start, by, time_scale=0.4) as service, listening(service) as listener:
        channel = service.pbx.call_in(CALLER, "154")
        await listener.hears(lambda told: "ringing" in told.phases())
        ringing = listener.calls[-1]
        assert (ringing["direction"], ringing["from"], ringing["to"]) == ("incoming", CALLER, "154")
        assert (ringing["extensions"], ringing["answered_by"]) == (["154"], None)
        await listener.hears(lambda told: "talking" in told.phases())
        talking = listener.calls[-1]
        assert (talking["extensions"], talking["answered_by"]) == ([], "154")
        await elsewhere(service, f"channel request hangup {channel}")
        await listener.hears(lambda told: "ended" in told.phases())
        ended = listener.calls[-1]
        assert (ended["answered_by"], ended["times"]["ended"] is None) == ("154", False)
        assert ended["talk_s"] is not None
        phases = [phase for phase in listener.phases() if phase != "waiting"]
        assert phases == ["ringing", "talking", "ended"]
        assert len({call["pbx_call_id"] for call in listener.calls}) == 1
        await until(lambda: rows(service, "pbx_calls") == 0)


async def test_a_call_of_ours_is_never_one_of_them(start: Services) -> None:
    """Neither as it is placed, nor in any phase, nor handed over, nor at its end."""
    service = await follow(start, time_scale=0.1)
    async with listening(service) as listener:
        for code in ("150", "151"):
            call_id = await place(service, code, TALKS_ON)
            await reach(service, call_id, "talking")
            moved = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "154"})
            assert moved.status_code == 200, moved.text
            await looks(service, 10)
            await service.http.delete(f"/api/calls/{call_id}")
            await until(lambda: not service.pbx.channels)
            await looks(service)
        assert listener.calls == []
        assert "call.phase" in listener.types


async def test_what_may_be_ours_is_held_back(start: Services) -> None:
    """While a call to the same extension is being placed; and told once it is known not to be."""
    service = await follow(start, time_scale=0.2)
    call_id = uuid4()
    async with listening(service) as listener:
        service.postgres.execute(
            "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone)"
            " VALUES (:call_id, '0367', :host, 'call', '154', '+375290000005')",
            call_id=call_id,
            host=HOST,
        )
        command = "channel originate Local/154@inoffice application Dial Local/151@inoffice"
        await elsewhere(service, command)
        service.pbx.call_in(CALLER, "154")
        await listener.hears(lambda told: bool(told.calls))
        await looks(service, 10)
        assert {call["from"] for call in listener.calls} == {CALLER}
        view = await service.http.get("/api/calls", params={"source": "pbx"})
        assert len(view.json()["calls"]) == 1, "the same rule"
        service.postgres.execute(
            "UPDATE callapi.calls SET state = 'not_executed', phase = 'ended',"
            " ended_at = clock_timestamp() WHERE call_id = :call_id",
            call_id=call_id,
        )
        await listener.hears(lambda told: {call["from"] for call in told.calls} == {CALLER, "154"})


async def test_what_is_known_outlives_the_follower(start: Services) -> None:
    """Another one goes on: the end of what is gone meanwhile, the same ids, nothing twice."""
    service = await follow(start, time_scale=0.1, in_process=False)

    async def begin() -> asyncio.Task[Any]:
        lease = await Lease.take(the_database(), HOST)
        assert lease is not None
        return asyncio.create_task(Tracker(lease, the_pbx(), the_settings(), QUICK).run())

    await ask(service)
    follower = await begin()
    try:
        async with listening(service) as listener:
            gone = service.pbx.call_in(CALLER, "150")
            service.pbx.call_in("+375291112244", "151")
            await listener.hears(lambda told: told.phases().count("talking") == 2)
            follower.cancel()
            await asyncio.wait([follower])
            service.postgres.execute("UPDATE callapi.trackers SET lease_until = clock_timestamp()")
            await elsewhere(service, f"channel request hangup {gone}")
            await until(lambda: gone not in service.pbx.channels)
            follower = await begin()
            await listener.hears(lambda told: "ended" in told.phases())
            await looks(service)
            assert listener.phases().count("talking") == 2
            (ended,) = (call for call in listener.calls if call["phase"] == "ended")
            assert (ended["from"], ended["talk_s"]) == (CALLER, None)
            assert len({call["pbx_call_id"] for call in listener.calls}) == 2
    finally:
        follower.cancel()
        await asyncio.wait([follower])


async def test_a_watch_ends_and_begins_again(start: Services) -> None:
    """Both are told; what goes on keeps its id, its end is told, and nothing of it twice."""
    service = await follow(start, time_scale=0.1)
    async with listening(service) as listener:
        channel = service.pbx.call_in(CALLER, "150")
        await listener.hears(lambda told: "talking" in told.phases())
        last = listener.events[-1]["seq"]
    service.postgres.execute("UPDATE callapi.watches SET until = clock_timestamp()")
    await until(lambda: rows(service, "watches") == 0)
    async with listening(service) as listener:
        await listener.hears(lambda told: told.types.count("pbx.watched") > 1)
        await elsewhere(service, f"channel request hangup {channel}")
        await listener.hears(lambda told: "ended" in told.phases())
        later = [event for event in listener.events if event["seq"] > last]
        assert (later[0]["type"], later[-1]["type"]) == ("pbx.unwatched", "pbx.call")
        told = [event["pbx_call"]["phase"] for event in later if event["type"] == "pbx.call"]
        # A look between the ends of its two channels sees one that waits.
        assert told in (["ended"], ["waiting", "ended"]), "nothing of it twice"
        assert len({call["pbx_call_id"] for call in listener.calls}) == 1


async def test_each_enterprise_hears_of_its_own_extensions(start: Services) -> None:
    """Of a PBX that several have: 403 to whom no extensions are named, else only theirs."""
    service = await follow(start, time_scale=0.1)
    service.postgres.seed_enterprise("0368", "july", HOST, OTHER_SECRET)
    refused = await ask(service)
    assert (refused.status_code, refused.json()["code"]) == (403, "shared-host")
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', '{154}'), ('0368', '{151}')"
    )
    async with listening(service) as june, listening(service, OTHER_SECRET) as july:
        service.pbx.call_in(CALLER, "154")
        service.pbx.call_in(CALLER, "151")
        for listener in (june, july):
            await listener.hears(lambda told: "talking" in told.phases())
        await looks(service)
        assert {call["to"] for call in june.calls} == {"154"}
        assert {call["to"] for call in july.calls} == {"151"}


async def test_a_pbx_that_is_away_is_told_once(start: Services) -> None:
    """Down with the error's code, up again; each once, however many looks fail."""
    service = await follow(start)
    async with listening(service) as listener:
        service.pbx.kill_asterisk()
        await listener.hears(lambda told: "pbx.down" in told.types)
        await anyio.sleep(0.3)
        service.pbx.restart_asterisk()
        await listener.hears(lambda told: "pbx.up" in told.types)
        await looks(service)
        whether = [kind for kind in listener.types if kind in {"pbx.down", "pbx.up"}]
        assert whether == ["pbx.down", "pbx.up"]
        down = next(event for event in listener.events if event["type"] == "pbx.down")
        assert down["pbx"]["host_ip"] == HOST
        assert down["pbx"]["error_code"]


async def test_who_is_not_known_not_to_share_is_told_of_the_gap(start: Services) -> None:
    """A new enterprise's `ip` is yet to be looked up: nothing is kept of what ends meanwhile."""
    service = await follow(start, time_scale=0.1)
    async with listening(service) as listener:
        open_before = service.pbx.call_in(CALLER, "150")
        await listener.hears(lambda told: "talking" in told.phases())
        service.postgres.seed_enterprise("0368", "july", "192.0.2.77", OTHER_SECRET)
        unseen = service.pbx.call_in("+375291112244", "151")
        behind = "SELECT FROM callapi.watches WHERE behind"
        await until(lambda: rows(service, "pbx_calls") == 2)
        assert service.postgres.execute(behind)
        for channel in (unseen, open_before):
            await elsewhere(service, f"channel request hangup {channel}")
        await until(lambda: not service.pbx.channels)
        await looks(service)
        assert rows(service, "pbx_calls") == 1, "of what was told the end is to be told"
        service.postgres.execute(
            "INSERT INTO callapi.hosts (host, target, addresses, due_at) VALUES"
            " ('192.0.2.77', '192.0.2.77', '{192.0.2.77}', clock_timestamp() + interval '1 hour')"
        )
        await listener.hears(lambda told: "ended" in told.phases())
        assert listener.types == ["pbx.watched", "pbx.unwatched", "pbx.watched"]
        assert {call["from"] for call in listener.calls} == {CALLER}


async def test_filters_take_any_of_a_calls_extensions(start: Services) -> None:
    """`extension` those that took part, `call_id` none of them; `scope=mine` neither."""
    service = await follow(start, time_scale=0.1)
    async with listening(service) as listener:
        service.pbx.commands.clear()
        service.pbx.call_in("150", "154", trunk="150")
        await listener.hears(lambda told: "talking" in told.phases())
        assert listener.calls[-1]["direction"] == "internal"
        asked = [" ".join(command.split()[:3]) for command in service.pbx.commands]
        assert set(asked) <= {"core show channels", "core show channel", "core show uptime"}
        assert asked.count("core show channel") <= 2, "each is asked about once"
    for extension, is_told in (("150", True), ("154", True), ("151", False)):
        told = (await ask(service, after=0, extension=extension)).json()["events"]
        assert ("pbx.call" in {event["type"] for event in told}) is is_told
    of_nobody = await ask(service, after=0, call_id=str(uuid4()))
    assert of_nobody.json()["events"] == []
    assert (await ask(service, after=0, scope="mine")).json()["events"] == []


async def test_who_is_no_enterprise_of_the_pbx_any_more_hears_nothing(start: Services) -> None:
    """One that was moved, or is not active, is told the end of its watch, and nothing after."""
    service = await follow(start, time_scale=0.1)
    async with listening(service):
        pass
    service.postgres.execute("UPDATE enterprises SET active = false")
    service.pbx.call_in(CALLER, "150")
    await until(lambda: rows(service, "watches") == 0)
    told = service.postgres.execute("SELECT type FROM callapi.call_events ORDER BY seq")
    types = [row["type"] for row in told]
    assert (types[0], types[-1], "pbx.call" in types) == ("pbx.watched", "pbx.unwatched", False)


async def test_nothing_is_kept_of_a_host_that_nobody_listens_to(start: Services) -> None:
    """Calls whose ends nobody could see, and watches whose end nobody could tell, are removed."""
    service = await start()
    service.postgres.execute(
        "INSERT INTO callapi.watches (enterprise, host, until)"
        " VALUES ('0367', :host, clock_timestamp() - interval '2 hours')",
        host=HOST,
    )
    service.postgres.execute(
        "INSERT INTO callapi.pbx_calls (host, root_uniqueid, step, call, took_part, changed_at)"
        " VALUES (:host, '1.1', 1, '{}', '{}', clock_timestamp() - interval '2 hours')",
        host=HOST,
    )
    assert await untracked_hosts(the_database()) == (HOST,), "somebody is to tell its end"
    for _ in range(3):
        await remove_expired(the_database(), Kept.of(the_settings()))
    assert (rows(service, "watches"), rows(service, "pbx_calls")) == (0, 0)

"""Calls are followed: their phases in order, their end once, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from shared.asterisk import client
from shared.asterisk.console import Console
from shared.deadline import Deadline
from shared.following.pace import Pace, the_pace
from shared.following.tracker import Tracker
from shared.following.trackers import the_trackers
from shared.pbx.hosts import Pbx, the_pbx
from shared.settings import the_settings
from shared.ssh.files import FileSlice
from shared.store.database import the_database
from shared.store.leases import Lease
from tests.integration.followed import (
    BUSY,
    NO_ANSWER,
    SLOW,
    TALKS_ON,
    TALKS_RTP,
    elsewhere,
    follow,
    let_sound_talk_on,
    place,
    reach,
    state,
)
from tests.integration.service import (
    OTHER_PHONE,
    SECRET,
    Service,
    Services,
    make_pbx,
    seed,
    until,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

RING = ["accepted", "agent_ringing"]
CUSTOMER_RINGS = [*RING, "agent_answered", "customer_ringing"]
TALK = [*CUSTOMER_RINGS, "talking"]


def told(service: Service, call_id: str) -> list[str]:
    """The phases that were told of a call, in the order of their numbers."""
    rows = service.postgres.execute(
        "SELECT phase FROM callapi.call_events WHERE call_id = CAST(:id AS uuid) ORDER BY seq",
        id=call_id,
    )
    return [row["phase"] for row in rows]


@pytest.mark.parametrize(
    ("code", "phone", "phases", "reason"),
    [
        ("154", OTHER_PHONE, TALK, "answered"),
        ("156", TALKS_RTP, TALK, "answered"),
        ("152", OTHER_PHONE, RING, "agent_busy"),
        ("155", OTHER_PHONE, RING[:1], "agent_busy"),
        ("153", OTHER_PHONE, RING, "agent_no_answer"),
        ("154", BUSY, CUSTOMER_RINGS, "busy"),
        ("154", NO_ANSWER, CUSTOMER_RINGS, "no_answer"),
    ],
)
async def test_phases_reason_and_record(
    start: Services, code: str, phone: str, phases: list[str], reason: str
) -> None:
    """What the stand-in's phones do is told: each phase once, the end as its records have it."""
    service = await follow(start, time_scale=SLOW)
    call_id = await place(service, code, phone)
    call = await reach(service, call_id, "ended")
    assert told(service, call_id) == [*phases, "ended"]
    assert (call["reason"], call["cdr"]) == (reason, "confirmed")
    assert (call["disposition"] == "ANSWERED") is (reason == "answered")
    parties = call["agent"]["answered_by"], call["customer"]["answered_by"]
    is_agent_up = not reason.startswith("agent_")
    assert parties == ("phone" if is_agent_up else None, "phone" if reason == "answered" else None)
    assert call["agent"]["talk_s"] == call["customer"]["talk_s"] == call["talk_s"]


class Turns:
    """Stands between the turns of a service's tracker, and lets them happen one by one."""

    def __init__(self) -> None:
        self._rests = asyncio.Semaphore(0)
        self._goes_on = asyncio.Semaphore(0)

    async def rest(self, *_args: object) -> None:
        """Wait for leave, in the place of the tracker's pause."""
        self._rests.release()
        await self._goes_on.acquire()

    async def begin(self) -> None:
        """Wait until the tracker rests."""
        await self._rests.acquire()

    async def one(self) -> None:
        """Have it take one turn."""
        self._goes_on.release()
        await self._rests.acquire()

    def leave(self) -> None:
        """Have it go on by itself."""
        self._goes_on.release()


async def test_one_poll_serves_every_call(start: Services) -> None:
    """Ten calls cost the PBX as many lists of channels as one does; no call, none."""
    service = await follow(start, time_scale=1.0)

    async def lists(count: int) -> int:
        ids = await asyncio.gather(
            *(place(service, "150", f"+3752900{count:02}{i:02}") for i in range(count))
        )
        for call_id in ids:
            await reach(service, call_id, "talking")
        turns = Turns()
        with start.monkeypatch.context() as slow:
            slow.setattr(Tracker, "_pause", turns.rest)
            await turns.begin()
            before = Counter(service.pbx.commands)
            for _ in range(3):
                await turns.one()
            after = Counter(service.pbx.commands)
        turns.leave()
        for call_id in ids:
            await service.http.delete(f"/api/calls/{call_id}")
            await reach(service, call_id, "ended")
        return (after - before)["core show channels concise"]

    assert [await lists(1), await lists(10)] == [3, 3]
    await until(lambda: not the_trackers()._tasks)
    service.pbx.commands.clear()
    await the_trackers().look_around()
    assert not the_trackers()._tasks
    assert service.pbx.commands == []


class Rests:
    """A tracker's clock: it stands still until somebody lets it go on."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        """Note for how long, and wait."""
        self.asked.append(seconds)
        await self.over.acquire()


async def test_many_wakes_are_one_look(start: Services) -> None:
    """A burst of calls hurries the tracker no more than one call does."""
    service = await follow(start, time_scale=1.0, in_process=False)
    await place(service, "157", OTHER_PHONE)
    lease = await Lease.take(the_database(), "127.0.0.1")
    assert lease is not None
    rests = Rests()
    pace = Pace(busy_s=30, idle_s=30)
    tracker = Tracker(lease, the_pbx(), the_settings(), pace, sleep=rests)
    following = asyncio.create_task(tracker.run())

    def looks() -> int:
        return service.pbx.commands.count("core show channels concise")

    before = looks()
    for looked in range(1, 4):  # the first look is due; each burst brings one more
        await until(lambda: looks() == before + looked)  # noqa: B023 - awaited in this turn
        for _ in range(50):
            tracker.wake()
            await asyncio.sleep(0)
        await until(lambda: len(rests.asked) == looked)  # noqa: B023 - likewise
        for _ in range(50):
            tracker.wake()
            await asyncio.sleep(0)
        assert looks() == before + looked
        assert 20 < rests.asked[-1] <= 30
        rests.over.release()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


# Trackers that die


async def test_a_tracker_that_dies_is_replaced(start: Services) -> None:
    """Another process goes on where it stopped: no phase twice, one end, the record's reason."""
    service = await follow(start, time_scale=SLOW)
    call_id = await place(service, "154", OTHER_PHONE)
    await reach(service, call_id, "agent_ringing")
    await the_trackers().close()
    lease = await Lease.take(the_database(), "127.0.0.1")
    assert lease is not None, "a tracker that is closed gives its host back"
    assert await Tracker(lease, the_pbx(), the_settings(), the_pace()).run() == "idle"
    assert told(service, call_id) == [*TALK, "ended"]
    assert (await state(service, call_id))["reason"] == "answered"


async def test_an_end_that_nobody_watched_is_known_from_the_record(start: Services) -> None:
    """The tracker was away from the ring to the end: the PBX's record has the reason."""
    service = await follow(start, time_scale=SLOW)
    call_id = await place(service, "154", OTHER_PHONE)
    await reach(service, call_id, "agent_ringing")
    await the_trackers().close()
    await until(lambda: not service.pbx.channels)
    lease = await Lease.take(the_database(), "127.0.0.1")
    assert lease is not None
    await Tracker(lease, the_pbx(), the_settings(), the_pace()).run()
    assert told(service, call_id) == [*RING, "ended"]
    call = await state(service, call_id)
    assert (call["reason"], call["cdr"]) == ("answered", "confirmed")
    assert call["times"]["talking"] is not None


async def test_a_lease_that_was_given_back_is_nobodys(start: Services) -> None:
    """A turn that was given up and comes late writes nothing, and keeps no other one waiting."""
    await start()
    lease = await Lease.take(the_database(), "192.0.2.1")
    assert lease is not None
    await lease.give_back()
    assert await lease.write() is None
    assert await Lease.take(the_database(), "192.0.2.1") is not None


async def test_a_process_that_is_killed_leaves_its_hosts_to_another(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease runs out; whoever searches next takes the host, within seconds."""
    service = await follow(start)
    with monkeypatch.context() as killed:
        killed.setattr(Lease, "give_back", _nothing)
        call_id = await place(service, "154", TALKS_ON)
        await reach(service, call_id, "talking")
        await the_trackers().close()
    the_trackers().start()
    await service.http.delete(f"/api/calls/{call_id}")
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"
    fence = service.postgres.execute("SELECT fence FROM callapi.trackers")[0]["fence"]
    assert fence == 2


async def _nothing(_lease: Lease) -> None:
    """Die without a word."""


async def test_a_tracker_whose_time_is_up_gives_the_host_back(start: Services) -> None:
    """As a Lambda before its end: the next one goes on at once."""
    service = await start.on(await start.stack.enter_async_context(make_pbx(time_scale=1.0)))
    await place(service, "157", OTHER_PHONE)
    for _ in range(2):
        lease = await Lease.take(the_database(), "127.0.0.1")
        assert lease is not None
        assert await Tracker(lease, the_pbx(), the_settings(), the_pace()).run(0.3) == "time"


# What may fail


async def test_a_pbx_that_is_away_costs_no_end(start: Services) -> None:
    """Nobody can look while the call ends: its record tells the end as soon as one can."""
    service = await follow(start, time_scale=SLOW)
    call_id = await place(service, "154", OTHER_PHONE)
    await reach(service, call_id, "customer_ringing")
    service.pbx.asterisk_down = True
    await until(lambda: not service.pbx.channels)
    assert (await state(service, call_id))["phase"] == "customer_ringing"
    service.pbx.asterisk_down = False
    call = await reach(service, call_id, "ended")
    assert (call["reason"], call["cdr"]) == ("answered", "confirmed")
    assert told(service, call_id) == [*CUSTOMER_RINGS, "ended"]


async def test_a_database_that_restarts_costs_no_end(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever was seen meanwhile is written when it is back: each phase once, one end."""
    seed(own_postgres)
    start = Services(own_postgres, monkeypatch, tmp_path)
    try:
        service = await follow(start, time_scale=0.4, POSTGRES_TIMEOUT_S=1)
        call_id = await place(service, "154", OTHER_PHONE)
        await reach(service, call_id, "agent_ringing")
        await anyio.to_thread.run_sync(own_postgres.halt)
        await until(lambda: any("trunktalk" in name for name in service.pbx.channels))
        await anyio.to_thread.run_sync(own_postgres.restart)
        call = await reach(service, call_id, "ended")
        phases = told(service, call_id)
    finally:
        await start.end()
    assert (call["reason"], call["cdr"]) == ("answered", "confirmed")
    assert len(phases) == len(set(phases))
    assert [phase for phase in TALK if phase in phases] == phases[:-1]


async def test_an_asterisk_that_is_killed_ends_its_calls(start: Services) -> None:
    """No channel and no record is left; that the parties had talked is known all the same."""
    service = await follow(start)
    talking = await place(service, "154", TALKS_ON)
    await reach(service, talking, "talking")
    ringing = await place(service, "157", OTHER_PHONE)
    service.pbx.restart_asterisk()
    ended = [await reach(service, call_id, "ended") for call_id in (talking, ringing)]
    assert [call["reason"] for call in ended] == ["answered", "failed"]
    assert {call["cdr"] for call in ended} == {"none"}


async def test_without_a_readable_record_nothing_is_guessed(start: Services) -> None:
    """Why nobody answered is unknown then, and `cdr` says so; a talk was seen."""
    # No record tells of the talk, so it has to last until a look on any machine.
    service = await follow(start, time_scale=0.5, CDR_FILE="/var/log/asterisk/cdr-csv/Other.csv")
    ended = []
    for code, phone in (("154", OTHER_PHONE), ("154", BUSY)):
        ended.append(await reach(service, await place(service, code, phone), "ended"))
    assert [(call["reason"], call["cdr"]) for call in ended] == [
        ("answered", "unreadable"),
        ("unknown", "unreadable"),
    ]


async def test_a_record_that_comes_late_corrects_the_call(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches: the end is told after a second at most, and what the record corrects after it."""
    service = await follow(start, time_scale=0.3)
    shown = asyncio.Event()
    read_file = Pbx.read_file

    async def read_later(*args: Any, **named: Any) -> FileSlice:
        piece = await read_file(*args, **named)
        return piece if shown.is_set() else FileSlice(0, 0, b"")

    monkeypatch.setattr(client, "load_cdr_mode", _batch)
    monkeypatch.setattr(Pbx, "read_file", read_later)
    call_id = await place(service, "154", BUSY)
    call = await reach(service, call_id, "ended")
    assert (call["reason"], call["cdr"]) == ("unknown", "pending")
    shown.set()
    await until(lambda: service.row(call_id)["cdr"] == "confirmed")
    assert service.row(call_id)["reason"] == "busy"
    assert told(service, call_id) == [*CUSTOMER_RINGS, "ended", "ended"]
    await until(lambda: service.log().count("🔚") == 2)  # a moment after it was written
    ends = [line.partition(" -> ")[2] for line in service.log().splitlines() if "🔚" in line]
    assert [end.partition(" [")[0] for end in ends] == [
        f"{BUSY}, unknown, разговор 0 с",
        f"{BUSY}, busy, разговор 0 с",
    ]
    assert service.log().count("🔚 Итог звонка уточнён на 127.0.0.1: 154 -> ") == 1


async def _batch(_console: Console, *, deadline: Deadline) -> str:
    del deadline
    return "batch"


async def test_a_call_that_its_process_forgot_ends_too(start: Services) -> None:
    """Killed between admission and settling: unknown after a while, and then ended, once."""
    service = await follow(start, UNKNOWN_HOLD_S=3)
    call_id = await place(service, "157", OTHER_PHONE)
    service.postgres.execute(
        "UPDATE callapi.calls SET state = 'placing', phase = 'placing', root_uniqueid = NULL,"
        " created_at = created_at - interval '1 minute'"
    )
    service.postgres.execute("DELETE FROM callapi.call_events")
    call = await reach(service, call_id, "ended")
    assert (call["reason"], told(service, call_id)) == ("unknown", ["unknown", "ended"])


# Hanging up


@pytest.mark.parametrize(
    ("code", "phone", "phase", "reason"),
    [
        ("157", OTHER_PHONE, "accepted", "cancelled"),
        ("153", OTHER_PHONE, "agent_ringing", "cancelled"),
        ("154", NO_ANSWER, "customer_ringing", "cancelled"),
        ("154", TALKS_ON, "talking", "answered"),
        ("156", TALKS_RTP, "talking", "answered"),
    ],
)
async def test_hanging_up_in_every_phase(
    start: Services, code: str, phone: str, phase: str, reason: str
) -> None:
    """One command is enough, and the end says whose wish it was."""
    let_sound_talk_on(start)
    service = await follow(start, time_scale=SLOW)
    call_id = await place(service, code, phone)
    await reach(service, call_id, phase)
    done = await service.http.delete(f"/api/calls/{call_id}")
    assert (done.status_code, done.json()["call_id"]) == (200, call_id)
    call = await reach(service, call_id, "ended")
    assert (call["reason"], call["cancelled"]) == (reason, True)
    assert len([c for c in service.pbx.commands if c.startswith("channel request")]) == 1
    again = await service.http.delete(f"/api/calls/{call_id}")
    assert (again.status_code, again.json()["code"]) == (409, "call-ended")


async def test_only_its_own_enterprise_hangs_a_call_up(start: Services) -> None:
    """404 for another one, on the same PBX too; the phone rings on."""
    service = await follow(start)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", "july-secret")
    call_id = await place(service, "157", OTHER_PHONE)
    answer = await service.http.delete(
        f"/api/calls/{call_id}", headers={"Authorization": "Bearer july-secret"}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-call")
    assert not any(command.startswith("channel request") for command in service.pbx.commands)


async def test_a_call_of_unknown_outcome_cannot_be_hung_up(start: Services) -> None:
    """409: which channel is its own is not known."""
    service = await start()
    call_id = await place(service, "157", OTHER_PHONE)
    service.postgres.execute(
        "UPDATE callapi.calls SET phase = 'unknown', state = 'unknown', root_uniqueid = NULL"
    )
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "call-not-ready")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_call_that_is_over_on_the_pbx_only(start: Services) -> None:
    """Nobody has seen its end yet: 409, and the end is not told as anybody's wish."""
    service = await start()
    call_id = await place(service, "155", OTHER_PHONE)
    await until(lambda: not service.pbx.channels)
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "call-ended")
    assert service.row(call_id)["cancelled_at"] is None


# Calls that began elsewhere


async def test_calls_of_the_pbx_that_began_elsewhere_are_listed(start: Services) -> None:
    """Those, and not the service's own; without a call of its own the PBX is looked at too."""
    service = await follow(start, time_scale=SLOW)
    answer = await service.http.get("/api/calls?source=pbx")
    assert (answer.status_code, answer.json()["calls"]) == (200, [])
    own = await place(service, "157", OTHER_PHONE)
    await elsewhere(
        service, f"channel originate LOCAL/154@inoffice application Dial LOCAL/{TALKS_ON}@inoffice"
    )
    calls: list[dict[str, Any]] = []
    while not calls or len(calls[0]["channels"]) < 2 or calls[0]["phase"] != "talking":
        calls = (await service.http.get("/api/calls?source=pbx")).json()["calls"]
        assert len(calls) <= 1
    names = [channel["channel"] for channel in calls[0]["channels"]]
    assert [name.rpartition("-")[0] for name in names] == ["SIP/154", "SIP/trunkslow"]
    assert (await state(service, own))["phase"] == "accepted"


async def test_a_neighbours_calls_are_not_shown(start: Services) -> None:
    """403 where another enterprise has the PBX; with extensions of its own, those calls alone."""
    service = await follow(start)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", "july-secret")
    refused = await service.http.get("/api/calls?source=pbx")
    assert (refused.status_code, refused.json()["code"]) == (403, "shared-host")
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', ARRAY['150', '154']), ('0368', ARRAY['151'])"
    )
    for code in ("154", "151"):
        await elsewhere(
            service,
            f"channel originate LOCAL/{code}@inoffice application Dial LOCAL/{TALKS_ON}@inoffice",
        )
    seen: dict[str, set[str]] = {}
    for secret in (SECRET, "july-secret"):
        calls: list[dict[str, Any]] = []
        while not calls:
            answer = await service.http.get(
                "/api/calls?source=pbx", headers={"Authorization": f"Bearer {secret}"}
            )
            calls = answer.json()["calls"]
        seen[secret] = {
            channel["channel"].partition("/")[2].rpartition("-")[0]
            for call in calls
            for channel in call["channels"]
        }
    assert seen[SECRET] & {"154", "151"} == {"154"}
    assert seen["july-secret"] & {"154", "151"} == {"151"}


async def test_a_pbx_that_cannot_be_looked_at_is_said(start: Services) -> None:
    """503 with what the tracker met, never an empty list."""
    service = await follow(start)
    service.pbx.asterisk_down = True
    answer = await service.http.get("/api/calls?source=pbx")
    assert (answer.status_code, answer.json()["code"]) == (503, "view-unavailable")
    assert "asterisk-" in answer.json()["detail"]

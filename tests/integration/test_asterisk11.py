"""Asterisk 11, whose `channel originate` blocks its console until the extension has answered.

The stand-in's profile 11, which is held to recordings of a real one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from demo.pbx.faults import Stage
from shared.pbx import transports
from shared.pbx.hosts import the_pbx
from tests.faults.process import Process
from tests.integration.followed import (
    BUSY,
    NO_ANSWER,
    QUICK,
    SLOW,
    TALKS_ON,
    TALKS_RTP,
    follow,
    let_sound_talk_on,
    place,
    reach,
    state,
)
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    Service,
    Services,
    environment,
    make_pbx,
    until,
)

pytestmark = pytest.mark.anyio

NEVER_ANSWERS, ANSWERS_LATE, ANSWERS_LATE_WITH_SOUND, BUSY_AT_ONCE = "153", "154", "156", "155"
FAULTS = Path(__file__).parents[1] / "faults"
RING = ["accepted", "agent_ringing"]
CUSTOMER_RINGS = [*RING, "agent_answered", "customer_ringing"]
TALK = [*CUSTOMER_RINGS, "talking"]


async def old(start: Services, *, time_scale: float = 1.0, **settings: object) -> Service:
    """Start a service beside an Asterisk 11 whose phones take their time."""
    pbx = await start.stack.enter_async_context(make_pbx(version="11", time_scale=time_scale))
    return await start.on(pbx, **settings)


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_call_is_acknowledged_while_it_rings(start: Services, transport: str) -> None:
    """An extension that never answers is 200 `accepted`, with its root, and rings once."""
    service = await old(start, ASTERISK_TRANSPORT=transport, COMMAND_TIMEOUT_S=5)
    answer = await service.call(NEVER_ANSWERS)
    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    (row,) = service.calls()
    assert row["state"] == "executed"
    assert row["root_channel"] in service.pbx.channels
    assert len(service.originates()) == await service.rung(NEVER_ANSWERS) == 1


async def test_an_agent_may_answer_later_than_any_command_may_take(start: Services) -> None:
    """COMMAND_TIMEOUT_S is over long before: the call is known, is no late one, and is kept."""
    service = await follow(start, 2.0, version="11", COMMAND_TIMEOUT_S=1)
    call_id = await place(service, ANSWERS_LATE, TALKS_ON)
    await reach(service, call_id, "agent_ringing")
    repeat = (await service.call(ANSWERS_LATE, TALKS_ON)).json()
    assert (repeat["call_id"], repeat["repeated"], repeat["success"]) == (call_id, True, True)
    await reach(service, call_id, "talking")
    assert len(service.originates()) == await service.rung(ANSWERS_LATE) == 1
    assert "с опозданием" not in service.log()


@pytest.mark.parametrize(
    ("code", "phone", "phases", "reason"),
    [
        (ANSWERS_LATE, OTHER_PHONE, TALK, "answered"),
        (ANSWERS_LATE_WITH_SOUND, TALKS_RTP, TALK, "answered"),
        ("152", OTHER_PHONE, RING, "agent_busy"),
        (NEVER_ANSWERS, OTHER_PHONE, RING, "agent_no_answer"),
        (ANSWERS_LATE, BUSY, CUSTOMER_RINGS, "busy"),
        (ANSWERS_LATE, NO_ANSWER, CUSTOMER_RINGS, "no_answer"),
        (ANSWERS_LATE_WITH_SOUND, NO_ANSWER, CUSTOMER_RINGS, "no_answer"),
    ],
)
async def test_phases_and_reason(
    start: Services, code: str, phone: str, phases: list[str], reason: str
) -> None:
    """Each phase is told once, and the end by the customer's own record, with sound and without."""
    # The record of a busy agent comes when the Local channels are gone; where a customer has not
    # answered all of that time is waited, for another record of his.
    wait_s = 5 if phone == NO_ANSWER else 20
    service = await follow(start, 1.0, version="11", pace=replace(QUICK, cdr_wait_s=wait_s))
    call_id = await place(service, code, phone)
    await reach(service, call_id, "ended")
    await until(lambda: service.row(call_id)["cdr"] == "confirmed")
    rows = service.postgres.execute(
        "SELECT phase FROM callapi.call_events WHERE call_id = CAST(:id AS uuid)"
        " AND phase IS NOT NULL ORDER BY seq",
        id=call_id,
    )
    assert list(dict.fromkeys(row["phase"] for row in rows)) == [*phases, "ended"]
    assert service.row(call_id)["reason"] == reason


async def test_a_busy_agent_s_end_is_told_before_the_local_channels_are_gone(
    start: Services,
) -> None:
    """They linger for ten seconds, for a tone that nobody hears."""
    service = await follow(start, 0.5, version="11")
    call_id = await place(service, "152", PHONE)
    call = await reach(service, call_id, "ended")
    assert call["reason"] == "agent_busy"
    assert service.row(call_id)["root_channel"] in service.pbx.channels


@pytest.mark.parametrize("code", [NEVER_ANSWERS, ANSWERS_LATE_WITH_SOUND])
async def test_a_call_is_ended_while_it_rings(start: Services, code: str) -> None:
    """DELETE ends it though its console is blocked still; nobody talks afterwards."""
    service = await follow(start, 4.0, version="11")
    call_id = await place(service, code, PHONE)
    await reach(service, call_id, "agent_ringing")
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    call = await reach(service, call_id, "ended")
    assert call["reason"] == "cancelled"
    assert service.pbx.channels == []


async def test_a_talk_with_sound_is_ended_and_transferred(start: Services) -> None:
    """The phone has the root's place: it is found by its uniqueid, and the customer by his leg."""
    let_sound_talk_on(start)
    service = await follow(start, SLOW, version="11")
    call_id = await place(service, ANSWERS_LATE_WITH_SOUND, TALKS_RTP)
    await reach(service, call_id, "talking")
    answer = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
    assert answer.status_code == 200, answer.text
    assert await service.rung("151") == 1
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"


async def test_two_calls_of_one_extension_are_told_apart(start: Services) -> None:
    """Asked for at once: the second looks for its root when the first's is known."""
    service = await follow(start, 1.0, version="11")
    ids = await asyncio.gather(
        place(service, NEVER_ANSWERS, PHONE), place(service, NEVER_ANSWERS, OTHER_PHONE)
    )
    roots = {service.row(call_id)["root_uniqueid"] for call_id in ids}
    assert len(roots - {None}) == len(service.originates()) == 2
    await until(lambda: service.pbx.invites[NEVER_ANSWERS] == 2)


async def test_a_supervisor_is_acknowledged_while_his_phone_rings(start: Services) -> None:
    """Monitoring blocks a console likewise."""
    service = await follow(start, 1.0, version="11", MONITOR_IDLE="refuse")
    call_id = await place(service, "150", TALKS_ON)
    await reach(service, call_id, "talking")
    answer = await service.monitor(target="150", monitor_from=NEVER_ANSWERS)
    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    assert await service.rung(NEVER_ANSWERS) == 1


async def test_blocked_consoles_give_their_place_back_and_are_bounded(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More ring at once than exchanges may be under way; one more than the bound is 503."""
    ways = [transports.Transport(t.name, t.open, 5) for t in transports.TRANSPORTS]
    monkeypatch.setattr(transports, "TRANSPORTS", tuple(ways))
    service = await old(start, time_scale=5.0, PBX_CONCURRENCY=2)
    for number in range(5):
        assert (await service.call(NEVER_ANSWERS, f"+3752900000{number}0")).status_code == 200
    refused = await service.call(NEVER_ANSWERS, "+37529000009")
    assert (refused.status_code, refused.json()["code"]) == (503, "pbx-busy")
    assert len(service.originates()) == 5
    service.pbx.hang_up_all()
    await until(lambda: not service.pbx.channels)

    await until(lambda: not the_pbx()._blocked["127.0.0.1"])
    assert (await service.call(NEVER_ANSWERS, "+37529000009")).status_code == 200


async def test_an_asterisk_that_freezes_before_its_root_is_seen_is_unknown(
    start: Services,
) -> None:
    """Nothing is sent a second time; it is told once the root comes up."""
    service = await old(start, COMMAND_TIMEOUT_S=1, LATE_CALL="keep")
    assert (await service.call(NEVER_ANSWERS, OTHER_PHONE)).status_code == 200  # it is known now
    service.pbx.hang_up_all()
    service.pbx.invites.clear()
    service.pbx.commands.clear()
    service.pbx.accepts_while_frozen = True
    service.pbx.freeze()
    answer = await service.call(NEVER_ANSWERS)
    assert (answer.status_code, answer.json()["dialled"]) == (500, "unknown")
    repeat = (await service.call(NEVER_ANSWERS)).json()
    assert (repeat["repeated"], repeat["success"]) == (True, False)
    service.pbx.accepts_while_frozen = False
    service.pbx.thaw()
    assert await service.rung(NEVER_ANSWERS) == 1
    assert len(service.originates(f"LOCAL/{NEVER_ANSWERS}@")) == 1


async def test_a_link_that_breaks_before_the_root_is_seen_is_unknown(start: Services) -> None:
    """Whether it rings nobody knows, so a repeat dials nothing."""
    service = await old(start)
    assert (await service.call("151")).status_code == 200
    service.pbx.drop_after(Stage.WRITTEN, containing=f"LOCAL/{NEVER_ANSWERS}@")
    answer = await service.call(NEVER_ANSWERS)
    assert (answer.status_code, answer.json()["dialled"]) == (500, "unknown")
    assert (await service.call(NEVER_ANSWERS)).json()["repeated"]
    assert len(service.originates(f"LOCAL/{NEVER_ANSWERS}@")) <= 1


@pytest.mark.parametrize(
    ("point", "rings"), [("claimed", {0}), ("written", {0, 1}), ("executed", {1})]
)
async def test_a_process_that_dies_on_the_way_rings_nobody_twice(
    start: Services, tmp_path: Path, point: str, rings: set[int]
) -> None:
    """Killed between claim, write and settling: the same click at another process dials nothing."""
    service = await old(start, REQUEST_TIMEOUT_S=3)
    own = environment(service.postgres, service.pbx.port, "service.log")
    doomed = Process(tmp_path, own, point, script=FAULTS / "service_with_faults.py")
    try:
        await doomed.start()
        params = {"code": NEVER_ANSWERS, "phone": PHONE, "clientId": SECRET}
        async with httpx.AsyncClient(timeout=30) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"{doomed.url}/api/makecallexternal", params=params)
        await anyio.to_thread.run_sync(doomed.wait_ended)
        repeat = (await service.call(NEVER_ANSWERS)).json()
        assert (repeat["repeated"], repeat["phase"], repeat["success"]) == (True, "unknown", False)
        assert service.pbx.invites[NEVER_ANSWERS] in rings
    finally:
        doomed.terminate()


async def test_a_link_that_breaks_while_it_rings_changes_nothing(start: Services) -> None:
    """The call is acknowledged: it is followed on another connection, and rings once."""
    service = await follow(start, 1.0, version="11")
    call_id = await place(service, ANSWERS_LATE, TALKS_ON)
    await reach(service, call_id, "agent_ringing")
    service.pbx.cut_connections()
    await reach(service, call_id, "talking")
    assert len(service.originates()) == await service.rung(ANSWERS_LATE) == 1


async def test_extensions_and_history_are_told(start: Services) -> None:
    """The state of a phone, and one entry for each call, by the customer's own record."""
    service = await follow(start, version="11")
    assert (await service.http.get("/api/extensions/150")).json()["state"] == "idle"
    call_id = await place(service, ANSWERS_LATE, NO_ANSWER)
    await reach(service, call_id, "ended")
    await until(lambda: service.row(call_id)["cdr"] == "confirmed")
    (entry,) = (await service.http.get("/api/history")).json()["calls"]
    assert (entry["from"], entry["to"], entry["disposition"]) == (
        ANSWERS_LATE,
        NO_ANSWER,
        "no_answer",
    )
    assert entry["call_id"] == call_id
    assert (await state(service, call_id))["talk_s"] == 0
    with_sound = await place(service, ANSWERS_LATE_WITH_SOUND, TALKS_RTP)
    await reach(service, with_sound, "ended")
    await until(lambda: service.row(with_sound)["cdr"] == "confirmed")
    newest = (await service.http.get("/api/history")).json()["calls"][0]
    assert (newest["disposition"], newest["call_id"]) == ("answered", with_sound)


async def test_busy_at_once_is_told_by_its_record(start: Services) -> None:
    """The originate returns before anybody has looked beside it."""
    service = await follow(start, version="11")
    call_id = await place(service, BUSY_AT_ONCE, PHONE)
    assert (await reach(service, call_id, "ended"))["reason"] == "agent_busy"

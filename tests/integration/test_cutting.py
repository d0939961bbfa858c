"""MAX_CALL_S: a call that lasts longer is hung up by whoever follows it, once, and told truly."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from demo.pbx.faults import Stage
from functions.tracker import handler as function
from shared.asterisk.models import Channel
from shared.asterisk.parsers import parse_channels
from shared.following.trackers import the_trackers
from shared.following.wake import Waker
from shared.store.leases import Lease
from tests.integration.followed import (
    BUSY,
    NO_ANSWER,
    TALKS_ON,
    TALKS_RTP,
    by_either,
    elsewhere,
    follow,
    let_sound_talk_on,
    place,
    reach,
    state,
    tracked,
)
from tests.integration.service import OTHER_PHONE, Service, Services, until

pytestmark = pytest.mark.anyio

LIMIT: dict[str, Any] = {"MAX_CALL_S": 7200}


def pass_time(service: Service, seconds: float = 7201) -> None:
    """Let every call have begun so much earlier."""
    service.postgres.execute(
        "UPDATE callapi.calls SET created_at = created_at - :s * interval '1 second'", s=seconds
    )


def hang_ups(service: Service) -> list[str]:
    """What the PBX was told to end."""
    return [c for c in service.pbx.commands if c.startswith("channel request hangup")]


@by_either
@pytest.mark.parametrize(
    ("call", "phase", "reason"),
    [
        (("157", OTHER_PHONE), "accepted", "cancelled"),
        (("153", OTHER_PHONE), "agent_ringing", "cancelled"),
        (("154", NO_ANSWER), "customer_ringing", "cancelled"),
        (("154", TALKS_ON), "talking", "answered"),
        (("156", TALKS_RTP), "talking", "answered"),  # its Local channels are gone by then
    ],
)
async def test_a_long_call_is_ended_in_every_phase(
    start: Services, by: str, call: tuple[str, str], phase: str, reason: str
) -> None:
    """By one command; its reason is the truth, and whose doing it was stands beside it."""
    let_sound_talk_on(start)
    async with tracked(start, by, time_scale=1.0, **LIMIT) as service:  # not by itself
        call_id = await place(service, *call)
        told = await reach(service, call_id, phase)
        assert (told["ended_by"], hang_ups(service)) == (None, [])
        pass_time(service)
        told = await reach(service, call_id, "ended")
        assert (told["reason"], told["ended_by"], told["cancelled"]) == (reason, "limit", False)
        assert isinstance(told["talk_s"], int)
        await until(lambda: not service.pbx.channels)
        assert len(hang_ups(service)) == 1
        said = f"✂️ Звонок {call_id} на 127.0.0.1 завершён: дольше MAX_CALL_S (7200 с)"
        assert f"{said} [request_id=- call_id={call_id}]" in service.log()


@by_either
async def test_nobody_else_is_ended(start: Services, by: str) -> None:
    """Neither a shorter call, nor one that another program placed to the same extension."""
    async with tracked(start, by, **LIMIT) as service:
        long = await place(service, "154", TALKS_ON)
        await reach(service, long, "talking")
        pass_time(service, 7000)
        short = await place(service, "156", TALKS_ON)
        await reach(service, short, "talking")
        others = f"LOCAL/154@inoffice application Dial LOCAL/{TALKS_ON}@inoffice"
        await elsewhere(service, f"channel originate {others}")
        await until(lambda: sum(name.startswith("SIP/154-") for name in service.pbx.channels) == 2)
        pass_time(service, 201)
        await reach(service, long, "ended")
        await until(lambda: sum(name.startswith("SIP/154-") for name in service.pbx.channels) == 1)
        assert (await state(service, short))["phase"] == "talking"
        assert len(hang_ups(service)) == 1


@by_either
async def test_a_transfer_does_not_begin_a_call_anew(start: Services, by: str) -> None:
    """It counts from its placing; whoever talks now is ended with it."""
    async with tracked(start, by, **LIMIT) as service:
        call_id = await place(service, "154", TALKS_ON)
        await reach(service, call_id, "talking")
        done = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
        assert done.status_code == 200, done.text
        await until(lambda: len(service.row(call_id)["legs"]) == 3)
        pass_time(service)
        call = await reach(service, call_id, "ended")
        assert (call["reason"], call["ended_by"]) == ("answered", "limit")
        await until(lambda: not service.pbx.channels)


@by_either
async def test_a_monitoring_is_ended_too_and_its_call_is_not(start: Services, by: str) -> None:
    """It holds a phone, which may be any number."""
    async with tracked(start, by, **LIMIT) as service:
        heard = await place(service, "154", TALKS_ON)
        await reach(service, heard, "talking")
        spy = str((await service.monitor(target="154", monitor_from="150")).json()["call_id"])
        await reach(service, spy, "agent_answered")
        service.postgres.execute(
            "UPDATE callapi.calls SET created_at = created_at - interval '7201 s'"
            " WHERE kind = 'monitor'"
        )
        call = await reach(service, spy, "ended")
        # Who heard for less than a second heard nobody, as ChanSpy's own record says.
        assert call["reason"] in {"answered", "nothing_heard"}
        assert call["ended_by"] == "limit"
        assert (await state(service, heard))["phase"] == "talking"


async def test_off_lets_a_call_last(start: Services) -> None:
    """As by default; what a DELETE ends is told as the API's."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    pass_time(service, 80_000)
    looks = service.pbx.commands.count("core show channels concise")
    await until(lambda: service.pbx.commands.count("core show channels concise") > looks + 5)
    assert hang_ups(service) == []
    await service.http.delete(f"/api/calls/{call_id}")
    assert (await reach(service, call_id, "ended"))["ended_by"] == "api"


async def test_an_end_of_the_parties_own_is_nobodys(start: Services) -> None:
    """With the limit on as well."""
    service = await follow(start, **LIMIT)
    for phone in (OTHER_PHONE, BUSY):
        call = await reach(service, await place(service, "154", phone), "ended")
        assert call["ended_by"] is None


# Whoever follows, and whatever fails


async def test_another_process_that_takes_over_ends_it(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that followed it was killed; its lease runs out, and the limit with it does not."""
    service = await follow(start, **LIMIT)
    with monkeypatch.context() as killed:
        killed.setattr(Lease, "give_back", _nothing)
        call_id = await place(service, "154", TALKS_ON)
        await reach(service, call_id, "talking")
        await the_trackers().close()
    pass_time(service)
    service.postgres.execute("UPDATE callapi.trackers SET lease_until = clock_timestamp()")
    the_trackers().start()
    call = await reach(service, call_id, "ended")
    assert (call["reason"], call["ended_by"]) == ("answered", "limit")
    assert len(hang_ups(service)) == 1


async def _nothing(_lease: Lease) -> None:
    """Die without a word."""


async def test_a_function_that_another_handed_over_to_ends_it(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time was up in the middle of the call."""

    async def start_function(_waker: Waker, _host: str) -> None:
        """Invoke nobody: the test does."""

    monkeypatch.setattr(Waker, "start_function", start_function)
    service = await follow(start, in_process=False, **LIMIT)
    call_id = await place(service, "154", TALKS_ON)
    assert await function.follow("127.0.0.1", 4) == {"host": "127.0.0.1", "end": "time"}
    assert service.row(call_id)["phase"] == "talking"
    pass_time(service)
    assert await function.follow("127.0.0.1", 30) == {"host": "127.0.0.1", "end": "idle"}
    call = await state(service, call_id)
    assert (call["reason"], call["ended_by"]) == ("answered", "limit")


@by_either
async def test_a_pbx_that_was_away_is_told_when_it_is_reached(start: Services, by: str) -> None:
    """The call that went on meanwhile is ended then; nothing is written of what was not sent."""
    async with tracked(start, by, **LIMIT) as service:
        call_id = await place(service, "154", TALKS_ON)
        await reach(service, call_id, "talking")
        service.pbx.asterisk_down = True
        await until(lambda: "⚠️ Трекер 127.0.0.1" in service.log())
        pass_time(service)
        leased = leased_until(service)
        await until(lambda: leased_until(service) > leased + timedelta(seconds=0.2))
        assert service.row(call_id)["cut_at"] is None
        assert (await state(service, call_id))["phase"] == "talking"
        service.pbx.asterisk_down = False
        call = await reach(service, call_id, "ended")
        assert (call["reason"], call["ended_by"]) == ("answered", "limit")
        assert len(hang_ups(service)) == 1


def leased_until(service: Service) -> datetime:
    """Until when its tracker has the host, as each turn says anew."""
    rows = service.postgres.execute("SELECT lease_until FROM callapi.trackers")
    moment: datetime = rows[0]["lease_until"]
    return moment


@by_either
@pytest.mark.parametrize("stage", [Stage.WRITTEN, Stage.EXECUTED])
async def test_a_lost_reply_ends_the_call_all_the_same(
    start: Services, by: str, stage: Stage
) -> None:
    """Whether or not the first command was executed: to hang up twice is harmless."""
    async with tracked(start, by, **LIMIT) as service:
        call_id = await place(service, "154", TALKS_ON)
        await reach(service, call_id, "talking")
        service.pbx.drop_after(stage, containing="channel request hangup")
        pass_time(service)
        call = await reach(service, call_id, "ended")
        assert (call["reason"], call["ended_by"]) == ("answered", "limit")
        await until(lambda: not service.pbx.channels)


async def test_a_call_whose_channel_is_not_known_goes_on(start: Services) -> None:
    """Of two roots nobody knows which is its own, so neither is hung up."""
    service = await follow(start, time_scale=1.0, **LIMIT)
    call_id = await place(service, "157", OTHER_PHONE)
    await elsewhere(service, "channel originate LOCAL/157@inoffice application Wait 60")
    await until(lambda: sum(";1" in name for name in service.pbx.channels) == 2)
    roots = [
        {"channel": channel.name, "uniqueid": channel.uniqueid}
        for channel in await channels(service)
        if channel.name.endswith(";1")
    ]
    assert len(roots) == 2
    service.postgres.execute(
        "UPDATE callapi.calls SET root_channel = NULL, root_uniqueid = NULL,"
        " candidates = CAST(:roots AS jsonb), created_at = created_at - interval '7201 s'",
        roots=json.dumps(roots),
    )
    looks = service.pbx.commands.count("core show channels concise")
    await until(lambda: service.pbx.commands.count("core show channels concise") > looks + 5)
    assert hang_ups(service) == []
    assert (await state(service, call_id))["phase"] == "accepted"


async def channels(service: Service) -> tuple[Channel, ...]:
    """List them as a tracker does."""
    return parse_channels(await service.pbx.run("core show channels concise"))

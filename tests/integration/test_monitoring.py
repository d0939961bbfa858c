"""Supervision: there is somebody to hear before anybody is rung."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.integration.followed import (
    SLOW,
    TALKS_ON,
    TALKS_RTP,
    follow,
    let_sound_talk_on,
    place,
    reach,
)
from tests.integration.service import Service, Services, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def strict(start: Services) -> Service:
    """A service with the default: nobody is rung for nobody."""
    return await start(MONITOR_IDLE="refuse")


@pytest.mark.parametrize("action", ["09", "01", "02"])
@pytest.mark.parametrize(("target", "does"), [("150", "idle"), ("999", "no phone of this PBX")])
async def test_an_extension_that_is_on_no_call_is_not_tapped(
    strict: Service, action: str, target: str, does: str
) -> None:
    """409 says what it does instead; no supervisor is rung, and the same may be asked again."""
    for _ in range(2):
        answer = await strict.monitor(action, target=target)
        body = answer.json()
        assert (answer.status_code, body["code"], body["dialled"]) == (409, "nobody-to-hear", "no")
        assert body["detail"].endswith(f"{target} is on no call ({does})")
    assert (strict.originates(), strict.claims(), strict.pbx.invites.total()) == ([], 0, 0)


@pytest.mark.parametrize("version", ["11", "13", "16", "22"])
async def test_the_one_channel_that_talks_is_tapped(start: Services, version: str) -> None:
    """By its whole name, so that neither 1501 nor a trunk of that name is."""
    service = await follow(start, version=version, MONITOR_IDLE="refuse")
    for code in ("150", "1501"):
        await reach(service, await place(service, code, TALKS_ON), "talking")
    answer = await service.monitor()
    assert answer.status_code == 200, answer.text
    await until(lambda: bool(service.pbx.spied))
    ((_, tapped),) = service.pbx.spied
    device = "PJSIP/150-" if version == "22" else "SIP/150-"
    assert tapped.startswith(device)
    (command,) = service.originates("ChanSpy")
    assert command.endswith(f" ChanSpy {tapped},bqES{'' if version == '11' else 'u'}")
    assert answer.json()["target_channel"] == device[:-1]


def talking(service: Service, extension: str) -> str:
    """Name the channel by which an extension talks."""
    own = re.compile(f"SIP/{extension}-[0-9a-f]{{8}}")
    (name,) = filter(own.fullmatch, service.pbx.channels)
    return name


@pytest.mark.parametrize(
    ("version", "transport"), [("13", "socket"), ("16", "socket"), ("16", "exec")]
)
async def test_a_name_that_begins_another_s_is_told_to_be_whole(
    start: Services, version: str, transport: str
) -> None:
    """IAX2/171-123 and IAX2/171-1234: from 13 on ChanSpy takes a whole name as such."""
    service = await follow(
        start, version=version, MONITOR_IDLE="refuse", ASTERISK_TRANSPORT=transport
    )
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    tapped = talking(service, "150")
    service.pbx.add_channel(f"{tapped}-00000001", bridge="b")
    assert (await service.monitor()).status_code == 200
    await until(lambda: bool(service.pbx.spied))
    assert [channel for _, channel in service.pbx.spied] == [tapped]


async def test_where_asterisk_cannot_tell_them_apart_nobody_is_rung(start: Services) -> None:
    """Up to 12 the stranger might be heard: refused, each time it is asked for."""
    service = await follow(start, version="11", MONITOR_IDLE="refuse")
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    service.pbx.add_channel(f"{talking(service, '150')}-00000001", bridge="b")
    for _ in range(2):
        answer = await service.monitor()
        body = answer.json()
        assert (answer.status_code, body["code"]) == (409, "channel-ambiguous"), answer.text
        assert body["dialled"] == "no"
        assert "cannot tell" in body["detail"]
        assert talking(service, "150") in body["detail"]
    assert (service.originates("ChanSpy"), service.pbx.invites["151"]) == ([], 0)


TRUNK = "SIP/50-Office-Trunk-0000001b"


@pytest.mark.parametrize("action", ["09", "01", "02"])
async def test_a_trunk_of_the_extension_s_name_is_not_tapped(strict: Service, action: str) -> None:
    """50 is idle, or has no phone, whatever its namesake talks about."""
    strict.pbx.add_channel(TRUNK, bridge="b")
    answer = await strict.monitor(action, target="50")
    assert (answer.status_code, answer.json()["code"]) == (409, "nobody-to-hear")
    assert strict.originates() == []


async def test_who_waits_for_a_call_is_not_let_into_a_trunk_s(start: Services) -> None:
    """MONITOR_IDLE=wait: the trunk talks all the while, and the supervisor hears 150 alone."""
    service = await follow(start, MONITOR_IDLE="wait")
    service.pbx.add_channel(TRUNK.replace("50", "150"), bridge="b")
    assert (await service.monitor()).status_code == 200
    await until(lambda: bool(service.pbx.invites["151"]))
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    await until(lambda: bool(service.pbx.spied))
    assert [channel for _, channel in service.pbx.spied] == [talking(service, "150")]


async def test_who_cannot_wait_without_hearing_a_stranger_is_refused(start: Services) -> None:
    """A trunk `150-01` looks as the next channel of 150 will."""
    service = await start(MONITOR_IDLE="wait")
    service.pbx.add_channel("SIP/150-01-0000001b", bridge="b")
    answer = await service.monitor()
    assert (answer.status_code, answer.json()["code"]) == (409, "channel-ambiguous")
    assert (service.originates(), service.pbx.invites.total()) == ([], 0)


async def test_a_trunk_s_customer_is_no_agent_and_no_phone_of_the_extension(
    start: Services,
) -> None:
    """Of 156's call by a trunk `156-Office-Trunk`, 156 has its own channel alone."""
    let_sound_talk_on(start)
    service = await follow(start, 1.0)
    call_id = await place(service, "156", TALKS_RTP)
    await reach(service, call_id, "talking")
    (trunk,) = (name for name in service.pbx.channels if name.startswith("SIP/trunk"))
    service.pbx.rename_channel(trunk, "SIP/156-Office-Trunk-0000001b")
    service.pbx.add_channel("SIP/151-1-0000001c", bridge="b")

    call = await reach(service, call_id, "talking")
    assert [leg["party"] for leg in call["legs"]] == ["agent", "customer"]
    phone = (await service.http.get("/api/extensions/156")).json()
    assert [channel["channel"] for channel in phone["channels"]] == [talking(service, "156")]
    idle = (await service.http.get("/api/extensions/151")).json()
    assert (idle["state"], idle["channels"]) == ("idle", [])


async def test_a_target_that_rings_may_be_waited_for(start: Services) -> None:
    """The supervisor's phone rings a while too: by then there is something to hear."""
    service = await follow(start, 1.0, MONITOR_IDLE="refuse")
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "agent_ringing")
    assert (await service.monitor(target="154", monitor_from="156")).status_code == 200
    await until(lambda: bool(service.pbx.spied))


async def test_a_look_that_fails_is_no_answer_about_the_target(start: Services) -> None:
    """Whether somebody is to be heard is not known: the PBX's own failure is told."""
    service = await start(MONITOR_IDLE="refuse")
    service.pbx.asterisk_down = True
    answer = await service.monitor()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")


async def test_a_supervisor_who_heard_nobody_is_told(start: Services) -> None:
    """The call was over before he took his phone."""
    service = await follow(start, SLOW, MONITOR_IDLE="refuse")
    call_id = await place(service, "150", TALKS_ON)
    await reach(service, call_id, "talking")
    spy_id = (await service.monitor(monitor_from="154")).json()["call_id"]
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    spy = await reach(service, spy_id, "ended")
    await until(lambda: service.row(spy_id)["cdr"] == "confirmed")
    assert service.row(spy_id)["reason"] == "nothing_heard", spy


async def test_who_waits_for_a_call_hears_the_next_one(start: Services) -> None:
    """MONITOR_IDLE=wait: he is let in when the target talks."""
    service = await follow(start, MONITOR_IDLE="wait")
    assert (await service.monitor()).status_code == 200
    await until(lambda: bool(service.pbx.invites["151"]))
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    await until(lambda: bool(service.pbx.spied))


async def test_the_specification_s_literal_text_asks_nobody(start: Services) -> None:
    """MONITOR_MATCH=prefix: its command as it stands, whoever is to be heard."""
    service = await start(MONITOR_IDLE="refuse", MONITOR_MATCH="prefix")
    assert (await service.monitor()).status_code == 200
    (command,) = service.originates()
    assert command.endswith(" application ChanSpy SIP/150,bq")


async def test_two_supervisors_at_once_are_both_let_in(start: Services) -> None:
    """Each by a command of his own."""
    service = await follow(start, MONITOR_IDLE="refuse")
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    answers = await asyncio.gather(
        service.monitor(monitor_from="151"), service.monitor(monitor_from="154")
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    await until(lambda: len(service.pbx.spied) == 2)

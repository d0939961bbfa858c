"""Monitoring: who is tapped, told by the PBX's own log, and who is not."""

from __future__ import annotations

import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import Phones, Service, Services, until

pytestmark = pytest.mark.anyio

OPTIONS = {"09": "bq", "01": "bqw", "02": "Bbqw"}
TITLES = {"09": "подслушивание", "01": "суфлирование", "02": "вмешательство"}


async def bring_into_a_call(lab: Lab, extension: str) -> str:
    """Let an extension talk to the echo, without the service; returns its channel."""
    lab.rx(f"channel originate Local/{extension}@inoffice application Dial Local/902@park")
    await until(lambda: bool(bridged(lab, extension)))
    return bridged(lab, extension)[0]


def bridged(lab: Lab, extension: str) -> list[str]:
    """List the extension's channels that talk to somebody."""
    rows = [line.split("!") for line in lab.channels()]
    device = f"{lab.technology}/{extension}-"
    return [row[0] for row in rows if row[0].startswith(device) and row[-2]]


def spies(lab: Lab) -> list[str]:
    """List the supervisor's channels."""
    return [line for line in lab.channels() if "/151" in line.split("!")[0]]


async def monitor(lab: Lab, service: Service, action: str) -> int:
    """Let supervisor 151 into 150's call; returns the log's end just before."""
    mark = lab.log_mark()
    answer = await service.monitor(action)
    body = answer.json()
    assert (answer.status_code, body["phase"], body["repeated"]) == (200, "accepted", False)
    assert (body["action"], body["action_name"]) == (action, TITLES[action])
    assert (body["target"], body["monitor_from"]) == ("150", "151")
    assert body["target_channel"] == f"{lab.technology}/150"
    return mark


def launched(lab: Lab, mark: int) -> list[str]:
    """List the ChanSpy applications that Asterisk began after the mark."""
    lines = (line.partition("Launching ")[2] for line in lab.log_since(mark))
    return [line.partition(" on ")[0] for line in lines if line.startswith("ChanSpy(")]


async def test_nobody_is_rung_where_there_is_nobody_to_hear(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """1501 alone talks: monitoring 150 is refused in each mode, and says what 150 does."""
    service = await start()
    await bring_into_a_call(lab, "1501")

    for action in OPTIONS:
        answer = await service.monitor(action)
        body = answer.json()
        assert (answer.status_code, body["code"]) == (409, "nobody-to-hear")
        assert (body["dialled"], "150 is on no call" in body["detail"]) == ("no", True)

    lab.hangup_all()
    assert await phones.in_the_end() == {"1501": 1}


async def test_a_supervisor_may_wait_for_a_call(lab: Lab, phones: Phones, start: Services) -> None:
    """MONITOR_IDLE=wait: nobody else is tapped meanwhile; 151 is let go when 150's call ends."""
    service = await start(MONITOR_IDLE="wait")
    await bring_into_a_call(lab, "1501")

    mark = await monitor(lab, service, "09")
    await until(lambda: launched(lab, mark) == [f"ChanSpy({lab.technology}/150-0,bqE)"])
    target = await bring_into_a_call(lab, "150")
    await until(lambda: bool(lab.spied_since(mark)))
    lab.rx(f"channel request hangup {target}")
    await until(lambda: not spies(lab))

    assert set(lab.spied_since(mark)) == {target}
    lab.hangup_all()
    assert await phones.in_the_end() == {"150": 1, "1501": 1, "151": 1}


async def test_the_target_is_tapped_until_its_call_ends(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """Both 150 and 1501 talk: 150 is tapped in each mode, and 1501 is not, even after 150 ends."""
    service = await start()
    await bring_into_a_call(lab, "1501")

    for done, action in enumerate(OPTIONS, start=1):
        target = await bring_into_a_call(lab, "150")
        mark = await monitor(lab, service, action)
        await until(lambda mark=mark: bool(lab.spied_since(mark)))  # type: ignore[misc]
        assert launched(lab, mark) == [f"ChanSpy({target},{OPTIONS[action]}ESu)"]
        assert phones.so_far() == {"150": done, "1501": 1, "151": done}
        lab.rx(f"channel request hangup {target}")
        await until(lambda: not spies(lab))
        assert set(lab.spied_since(mark)) == {target}
        assert not [line for line in lab.log_since(mark) if "Attaching" in line and "1501" in line]

    lab.hangup_all()
    assert await phones.in_the_end() == {"150": 3, "1501": 1, "151": 3}


async def test_the_literal_command_of_the_specification_taps_a_stranger(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """MONITOR_MATCH=prefix sends `SIP/150,bq`, and 1501 is tapped: why `exact` is the default."""
    service = await start(MONITOR_MATCH="prefix")
    stranger = await bring_into_a_call(lab, "1501")

    mark = await monitor(lab, service, "09")
    await until(lambda: bool(lab.spied_since(mark)))

    assert launched(lab, mark) == [f"ChanSpy({lab.technology}/150,bq)"]
    assert lab.spied_since(mark) == [stranger]
    lab.hangup_all()
    assert await phones.in_the_end() == {"1501": 1, "151": 1}


async def test_a_double_click_rings_the_supervisor_once(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """The same monitoring again is told of the first; another mode is another monitoring."""
    service = await start()
    await bring_into_a_call(lab, "150")

    bodies = [(await service.monitor(action)).json() for action in ("09", "09", "01")]

    assert [body["repeated"] for body in bodies] == [False, True, False]
    assert bodies[0]["call_id"] == bodies[1]["call_id"] != bodies[2]["call_id"]
    await until(lambda: phones.so_far() == {"150": 1, "151": 2})
    lab.hangup_all()
    assert await phones.in_the_end() == {"150": 1, "151": 2}

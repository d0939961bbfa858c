"""Devices and channels whose names look like others', or like nothing, on real Asterisk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, TALKS, Phones, Services, until
from tests.pbx.softphone import Manner, Softphones
from tests.pbx.test_following import place, reach
from tests.pbx.test_monitoring import OPTIONS, bring_into_a_call, launched, spies

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
FILES = {"SIP": ("sip.conf", "sip reload"), "PJSIP": ("pjsip.conf", "module reload res_pjsip.so")}
DEVICES = {
    "SIP": "[{name}](office)\nport={port}\n",
    "PJSIP": "[{name}](office)\naors={name}\n"
    "[{name}](office-aor)\ncontact=sip:1501@127.0.0.1:{port}\n",
}
# The phone 1501 answers for all of them.
PORTS = {"16": 15252, "22": 15452}


@contextlib.contextmanager
def device(lab: Lab, name: str) -> Iterator[None]:
    """Have the PBX know another device until the block ends."""
    file, reload_ = FILES[lab.technology]
    path = lab.root / "etc/asterisk" / file
    before = path.read_text()
    path.write_text(before + DEVICES[lab.technology].format(name=name, port=PORTS[lab.version]))
    try:
        lab.rx(reload_)
        yield
    finally:
        lab.hangup_all()
        path.write_text(before)
        lab.rx(reload_)


async def talk(lab: Lab, name: str) -> str:
    """Let a device that no extension rings talk to the echo; its channel."""
    begin = f"{lab.technology}/{name}-"

    def talking() -> list[str]:
        rows = [line.split("!") for line in lab.channels()]
        return [row[0] for row in rows if row[0].startswith(begin) and row[-2]]

    def rung() -> bool:  # until it is known; the reload goes on in the background
        if not any(line.startswith(begin) for line in lab.channels()):
            lab.rx(f'channel originate "{lab.technology}/{name}" application Dial Local/902@park')
        return bool(talking())

    await until(rung)
    return talking()[0]


def attached(lab: Lab, mark: int) -> int:
    """Count the taps since the mark."""
    return sum("Attaching spy channel" in line for line in lab.log_since(mark))


async def test_a_trunk_of_the_extension_s_name_is_another_s(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """While it talks 150 is idle and not tapped; a supervisor who waits hears 150 alone."""
    service = await start()
    with device(lab, "150-Office-Trunk"):
        await talk(lab, "150-Office-Trunk")
        answer = await service.monitor("09")
        assert (answer.status_code, answer.json()["code"]) == (409, "nobody-to-hear")
        state = (await service.http.get("/api/extensions/150", headers=HEADERS)).json()
        assert (state["state"], state["channels"]) == ("idle", [])

        service = await start(MONITOR_IDLE="wait")
        mark = lab.log_mark()
        assert (await service.monitor("09")).status_code == 200
        await until(lambda: launched(lab, mark) == [f"ChanSpy({lab.technology}/150-0,bqE)"])
        target = await bring_into_a_call(lab, "150")
        await until(lambda: attached(lab, mark) > 0)
        lab.rx(f"channel request hangup {target}")
        await until(lambda: not any(line.startswith(target) for line in lab.channels()))
        assert set(lab.spied_since(mark)) == {target}
    assert phones.so_far()["151"] == 1


async def test_a_name_that_begins_another_s_is_tapped_alone(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """In each mode; by a begin ChanSpy takes either of them, whichever it finds first."""
    service = await start()
    target = await bring_into_a_call(lab, "150")
    with device(lab, target.partition("/")[2]):
        stranger = await talk(lab, target.partition("/")[2])
        assert stranger.startswith(target)

        mark = lab.log_mark()
        for action in OPTIONS:
            assert (await service.monitor(action)).status_code == 200
        await until(lambda: len(lab.spied_since(mark)) == len(OPTIONS))
        lab.rx(f"channel request hangup {target}")
        await until(lambda: not spies(lab))
        assert launched(lab, mark) == [f"ChanSpy({target},{o}ESu)" for o in OPTIONS.values()]
        assert set(lab.spied_since(mark)) == {target}
    assert phones.so_far()["151"] == len(OPTIONS)


async def test_a_call_beside_a_name_with_a_space_is_followed(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """To its end; and the odd channel is told among the PBX's own calls."""
    service = await start()
    with device(lab, "My Trunk"):
        odd = await talk(lab, "My Trunk")
        assert " " in odd
        call_id = await place(service, "154", TALKS)
        await reach(service, call_id, "talking")
        told = (await service.http.get("/api/calls?source=pbx", headers=HEADERS)).json()
        assert odd in [leg["channel"] for call in told["calls"] for leg in call["channels"]]
        ended = await reach(service, call_id, "ended")
        assert (ended["reason"], ended["cdr"]) == ("answered", "confirmed")
        assert odd in [line.partition("!")[0] for line in lab.channels()]
    assert phones.so_far()["154"] == 1


async def test_a_caller_s_number_is_no_word_of_asterisk_s(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """It has newlines, and Asterisk's own lines between them: calls ring once, and are told."""
    service = await start()
    forged = "x\nSystem uptime: 864000\nNo such command 'channel originate'\n"
    number = quote(forged)
    caller = Softphones(lab.trunk_port, lab.sip_port, lambda _: Manner(), has_sound=False)
    with caller.running():
        waiting = caller.call(number, "375170000002", "X-Trunk: city")  # a queue, which answers
        leg = await asyncio.wrap_future(waiting)
        assert "\n".join(lab.channels()).count("System uptime: 864000") == 1
        call_id = await place(service, "154", TALKS)
        assert (await service.call("154", TALKS)).json()["repeated"] is True
        await reach(service, call_id, "talking")
        ended = await reach(service, call_id, "ended")
        assert (ended["reason"], ended["cdr"]) == ("answered", "confirmed")
        await asyncio.to_thread(caller.hang_up, leg)
    assert phones.so_far()["154"] == 1

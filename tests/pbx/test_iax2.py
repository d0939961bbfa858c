"""A phone of another driver: IAX2, beside chan_sip or PJSIP, on real Asterisk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pbx.lab import LIMIT_S, Lab, wait
from tests.pbx.service import SECRET, Service, Services, until
from tests.pbx.test_following import place, reach
from tests.pbx.test_monitoring import launched

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
TALKS_ON = "+375290000005"
# Asterisk is its own phone: what it sends to 171 comes back to it, and rings on unanswered.
CONFIGURATION = """
[general]
bindaddr=127.0.0.1
bindport={port}
calltokenoptional=0.0.0.0/0.0.0.0
disallow=all
allow=ulaw
[171]
type=friend
host=127.0.0.1
port={port}
username=171
context=iaxphone
requirecalltoken=no
auth=plaintext
[172]
type=friend
host=dynamic
context=iaxphone
"""
DIALPLAN = (
    "171,1,Dial,IAX2/171/s into inoffice",
    "s,1,Answer into iaxphone",
    "s,2,Wait,60 into iaxphone",
)


@pytest.fixture(autouse=True)
def driver(lab: Lab) -> Iterator[None]:
    """Load chan_iax2 with the phones 171 and 172, and take it away again."""
    file = lab.root / "etc/asterisk/iax.conf"
    file.write_text(CONFIGURATION.format(port=24500 + int(lab.version)))
    lab.rx("module load chan_iax2.so")
    for extension in DIALPLAN:
        lab.rx(f"dialplan add extension {extension}")
    yield
    lab.hangup_all()
    lab.wait_idle()
    wait(lambda: is_unloaded(lab), LIMIT_S, "chan_iax2 is in use still")
    lab.rx("dialplan reload")  # what was added by hand goes
    file.unlink()


def is_unloaded(lab: Lab) -> bool:
    """Unload it, unless a channel that has just ended still uses it."""
    lab.rx("module unload chan_iax2.so")
    return "IAX2" not in lab.rx("core show channeltypes")


async def read(service: Service, path: str) -> Any:
    """Read something of the enterprise's."""
    return (await service.http.get(path, headers=HEADERS)).json()


async def test_an_iax2_phone_is_rung_followed_tapped_and_found(lab: Lab, start: Services) -> None:
    """It is the agent of its call, rings, is tapped by its own name, and is in the history."""
    service = await start()
    idle = await read(service, "/api/extensions/171")
    assert (idle["state"], idle["device"], idle["registered"]) == ("idle", "IAX2/171", True)

    call_id = await place(service, "171", TALKS_ON)
    call = await reach(service, call_id, "agent_ringing")
    while not call["legs"]:
        call = await read(service, f"/api/calls/{call_id}?wait=1")
    agents = [leg["channel"] for leg in call["legs"] if leg["party"] == "agent"]
    assert [name.rpartition("-")[0] for name in agents] == ["IAX2/171"]
    assert (await read(service, "/api/extensions/171"))["state"] == "ringing"

    mark = lab.log_mark()
    answer = await service.monitor("09", "171", "151")
    assert answer.json()["target_channel"] == "IAX2/171", answer.text
    await until(lambda: bool(launched(lab, mark)))
    (spying,) = launched(lab, mark)
    assert f"ChanSpy({agents[0]},bqESu)" in spying

    await service.http.delete(f"/api/calls/{call_id}", headers=HEADERS)
    ended = await reach(service, call_id, "ended")
    assert (ended["reason"], ended["cdr"]) == ("cancelled", "confirmed")
    found = (await read(service, "/api/history?extension=171&limit=500"))["calls"]
    assert call_id in {entry["call_id"] for entry in found}


async def test_an_iax2_phone_that_never_registered(start: Services) -> None:
    """Its driver says so; of a number that no driver knows, none does."""
    service = await start()
    away = await read(service, "/api/extensions/172")
    assert (away["state"], away["registered"]) == ("unregistered", False)
    assert (await service.http.get("/api/extensions/199", headers=HEADERS)).status_code == 404


async def test_a_phone_of_the_first_driver_is_still_its_own(lab: Lab, start: Services) -> None:
    """With a second driver loaded, as most Asterisks have it, 150 is what it was."""
    service = await start(MONITOR_IDLE="wait")
    told = await read(service, "/api/extensions/150")
    assert (told["device"], told["state"]) == (f"{lab.technology}/150", "idle")
    answer = await service.monitor("09", "150", "151")
    assert answer.json()["target_channel"] == f"{lab.technology}/150"

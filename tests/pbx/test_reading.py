"""What the PBX itself tells through the API: its phones, its other calls, its history."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import LIMIT_S, SECRET, TALKS, Service, Services
from tests.pbx.test_following import AUTH, TALKS_ON, place, reach

pytestmark = pytest.mark.anyio


async def extension(service: Service, number: str) -> dict[str, Any]:
    """Ask for a phone."""
    answer = await service.http.get(f"/api/extensions/{number}", params=AUTH)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize(
    ("number", "state", "registered"),
    [("150", "idle", True), ("163", "unregistered", False), ("164", "unreachable", True)],
)
async def test_a_phone_without_a_call(
    start: Services, lab: Lab, number: str, state: str, *, registered: bool
) -> None:
    """Free, never registered, or not answering; that, a PBX just booted has to find out."""
    service = await start()
    with anyio.fail_after(LIMIT_S):
        while (told := await extension(service, number))["state"] != state:  # noqa: ASYNC110
            await anyio.sleep(0.1)
    assert (told["registered"], told["channels"]) == (registered, [])
    assert told["device"] == f"{lab.technology}/{number}"


async def test_a_phone_that_rings_and_talks(start: Services, lab: Lab) -> None:
    """It is so on chan_sip too, whose hint says Idle all the time."""
    service = await start()
    await reach(service, await place(service, "153", TALKS_ON), "agent_ringing")
    assert (await extension(service, "153"))["state"] == "ringing"
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    told = await extension(service, "154")
    assert told["state"] == "in_use"
    assert [channel["state"] for channel in told["channels"]] == ["Up"]
    lab.hangup_all()
    await reach(service, call_id, "ended")
    assert (await extension(service, "154"))["state"] == "idle"


async def test_an_extension_without_a_phone(start: Services) -> None:
    """The dialplan may know it; no device has its number."""
    service = await start()
    answer = await service.http.get("/api/extensions/199", params=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-extension")


async def test_calls_that_began_elsewhere_are_listed(start: Services, lab: Lab) -> None:
    """A call that somebody else started is there, one that the API placed is not among them."""
    service = await start()
    lab.rx(f"channel originate LOCAL/150@inoffice application Dial LOCAL/{TALKS_ON}@inoffice")
    await reach(service, await place(service, "154", TALKS_ON), "talking")

    answer = await service.http.get("/api/calls", params=AUTH | {"source": "pbx"})

    assert answer.status_code == 200, answer.text
    [call] = answer.json()["calls"]
    assert call["phase"] == "talking"
    told = {channel["channel"].rpartition("-")[0] for channel in call["channels"]}
    assert f"{lab.technology}/150" in told
    assert f"{lab.technology}/154" not in told


async def test_history_tells_a_call_once(start: Services, lab: Lab) -> None:
    """One entry of the PBX's own, with the id of the call, from whoever it was to whom."""
    service = await start()
    call_id = await place(service, "154", TALKS)
    ended = await reach(service, call_id, "ended")

    query = {"since": ended["times"]["placed"], "number": TALKS}
    answer = await service.http.get("/api/history", params=AUTH | query)

    assert answer.status_code == 200, answer.text
    [call] = answer.json()["calls"]
    assert (call["call_id"], call["disposition"]) == (call_id, "answered")
    assert (call["from"], call["to"], call["talk_s"]) == ("154", TALKS, ended["talk_s"])
    sheet = await service.http.get(
        "/api/history", params=query | {"format": "csv"}, headers={"X-Client-Id": SECRET}
    )
    assert [line.count(call_id) for line in sheet.text.splitlines()] == [0, 1]

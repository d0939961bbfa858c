"""`Prefer: wait=N`: the answer comes when the extension rings, or when the call is over."""

from __future__ import annotations

from typing import Any

import pytest

from shared.auth import admission
from shared.calls import placing
from tests.integration.service import OTHER_PHONE, PHONE, Service, Services, make_pbx

pytestmark = pytest.mark.anyio

LIFELIKE = 1.0
LONG = "wait=20"


async def _start(start: Services, *, scale: float = LIFELIKE) -> Service:
    """Start beside a PBX whose phones ring as long as real ones."""
    pbx = await start.stack.enter_async_context(make_pbx(time_scale=scale))
    return await start.on(pbx)


@pytest.mark.parametrize(
    ("code", "phases"),
    [
        ("154", {"agent_ringing"}),
        ("153", {"agent_ringing"}),
        ("150", {"agent_ringing", "agent_answered"}),
    ],
)
async def test_who_waits_hears_of_the_ring(start: Services, code: str, phases: set[str]) -> None:
    """The extension rings, or has answered: told as soon as it is so, with success."""
    service = await _start(start)
    answer = await service.call(code, prefer=LONG)
    body = answer.json()
    assert (answer.status_code, body["success"], body["repeated"]) == (200, True, False)
    assert body["phase"] in phases
    assert body["message"] == f"Call initiated successfully: {code} -> {PHONE}"
    assert answer.headers["Preference-Applied"] == LONG
    assert service.pbx.invites[code] == len(service.originates()) == 1


async def test_an_extension_that_answered_at_once_is_told_so(start: Services) -> None:
    """A phone that picks up before anybody could look is answered, not merely accepted."""
    service = await _start(start, scale=0.01)
    body = (await service.call("150", prefer=LONG)).json()
    assert (body["phase"], body["success"]) == ("agent_answered", True)


async def test_a_busy_extension_is_told_as_over(start: Services) -> None:
    """Busy at once: nothing failed, so 200, and `success` is false; it is a call all the same."""
    service = await _start(start)
    answer = await service.call("155", prefer=LONG)
    body = answer.json()
    assert (answer.status_code, body["success"], body["phase"]) == (200, False, "ended")
    assert body["message"] == f"Call ended before the extension answered: 155 -> {PHONE}"
    (row,) = service.calls()
    assert (str(row["call_id"]), row["state"]) == (body["call_id"], "executed")
    assert service.pbx.invites["155"] == 1


async def test_the_modern_call_and_monitoring_wait_as_well(start: Services) -> None:
    """Every request that rings a phone knows the header."""
    service = await _start(start)
    posted = await service.http.post(
        "/api/calls", json={"from": "154", "to": PHONE}, headers={"Prefer": LONG}
    )
    assert (posted.status_code, posted.json()["phase"]) == (201, "agent_ringing")
    monitoring = await service.monitor(monitor_from="153", prefer=LONG)
    assert (monitoring.status_code, monitoring.json()["phase"]) == (200, "agent_ringing")
    assert monitoring.headers["Preference-Applied"] == LONG
    busy = await service.monitor(monitor_from="155", prefer=LONG)
    assert (busy.json()["success"], busy.json()["phase"]) == (False, "ended")
    assert busy.json()["message"].startswith("Monitoring ended before the extension answered")


async def test_a_phone_without_a_sign_of_life_is_waited_for_no_longer(start: Services) -> None:
    """After N seconds the answer is what was known: accepted. The connection stays in service."""
    service = await _start(start)
    answer = await service.call("157", prefer="wait=1")
    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    assert answer.json()["success"]
    assert answer.headers["Preference-Applied"] == "wait=1"
    connections = service.pbx.connections
    assert (await service.call("151")).status_code == 200
    assert service.pbx.connections == connections


@pytest.mark.parametrize("prefer", [None, "wait=0", "wait=soon", "wait=5x", "respond-async"])
async def test_nobody_waits_who_did_not_ask_for_it(
    start: Services, monkeypatch: pytest.MonkeyPatch, prefer: str | None
) -> None:
    """No time, or none that is understood: the answer comes when Asterisk has accepted."""
    monkeypatch.setattr(placing, "_RING_POLL_S", 1000)  # who waits here waits for ever
    service = await _start(start)
    answer = await service.call("157", prefer=prefer)
    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    assert "Preference-Applied" not in answer.headers
    after = service.pbx.commands.index(service.originates()[0])
    sentinel, snapshot = "core show uptime seconds", "core show channels concise"
    assert service.pbx.commands[after + 1 :] == [sentinel, snapshot, sentinel]


async def test_a_pbx_that_dies_meanwhile_is_no_failure_of_the_call(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call was accepted, and the phone may ring: that is what the answer says."""
    service = await _start(start)
    settle = admission.settle

    async def settle_and_die(*args: Any, **values: Any) -> bool:
        tracked = await settle(*args, **values)
        service.pbx.kill_asterisk()
        return tracked

    monkeypatch.setattr(admission, "settle", settle_and_die)
    answer = await service.call("157", prefer="wait=1")
    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    assert answer.json()["success"]


async def test_a_repeat_does_not_wait_for_another_ring(start: Services) -> None:
    """It is the first call, which is told as it is known."""
    service = await _start(start)
    first = await service.call("154", OTHER_PHONE, prefer=LONG)
    again = await service.call("154", OTHER_PHONE, prefer=LONG)
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert again.json()["call_id"] == first.json()["call_id"]
    assert service.pbx.invites["154"] == 1

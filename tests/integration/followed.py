"""Services that follow their calls, and what their clients do."""

from __future__ import annotations

from typing import Any

from shared import tracker, trackers
from tests.integration.service import Service, Services, make_pbx, until

BUSY, NO_ANSWER, TALKS_ON, TALKS_RTP = (f"+37529000000{digit}" for digit in "2356")


async def follow(
    start: Services, time_scale: float = 0.1, *, in_process: bool = True, **settings: object
) -> Service:
    """Start a service that follows its calls, beside a PBX with whose phones it can keep up.

    Not `in_process`: somebody else is to follow them, as on AWS.
    """
    start.follow = in_process
    for pause in ("_BUSY_PAUSE_S", "_TALK_PAUSE_S", "_UNREACHABLE_PAUSE_S"):
        start.monkeypatch.setattr(tracker, pause, 0.03)
    start.monkeypatch.setattr(tracker, "_IDLE_PAUSE_S", 0.2)
    start.monkeypatch.setattr(trackers, "_SWEEP_S", 0.2)
    pbx = await start.stack.enter_async_context(make_pbx(time_scale=time_scale))
    return await start.on(pbx, **settings)


async def place(service: Service, code: str, phone: str) -> str:
    """Place a call; its id."""
    answer = await service.call(code, phone)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["call_id"])


async def state(service: Service, call_id: str) -> dict[str, Any]:
    """Read a call."""
    body: dict[str, Any] = (await service.http.get(f"/api/calls/{call_id}")).json()
    return body


async def reach(service: Service, call_id: str, phase: str) -> dict[str, Any]:
    """Wait until a call has got to a phase."""
    await until(lambda: service.row(call_id)["phase"] in {phase, "ended"})
    call = await state(service, call_id)
    assert call["phase"] == phase, call
    return call


async def elsewhere(service: Service, command: str) -> None:
    """Run a command on the PBX as another program does."""
    await service.pbx._daemon.execute(command)

"""Services that follow their calls, and what their clients do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from demo.pbx.dialplan import PHONES
from functions.tracker import handler as function
from shared.following.pace import Pace
from shared.following.wake import Waker
from tests.integration.playing import Play
from tests.integration.service import Service, Services, make_pbx, until

BUSY, NO_ANSWER, TALKS_ON, TALKS_RTP = (f"+37529000000{digit}" for digit in "2356")

# For a test that has something to do in a phase that passes by itself, or needs to see each one.
SLOW = 0.5


def let_sound_talk_on(start: Services) -> None:
    """Have TALKS_RTP talk until he is ended, for a test that acts meanwhile, however slowly."""
    start.monkeypatch.setitem(PHONES, "trunkrtp", replace(PHONES["trunkrtp"], talks_s=None))


QUICK = Pace(busy_s=0.03, talk_s=0.03, unreachable_s=0.03, idle_s=0.2, left_behind_s=0.2)


async def follow(
    start: Services,
    time_scale: float = 0.1,
    *,
    version: str = "16",
    in_process: bool = True,
    pace: Pace = QUICK,
    **settings: object,
) -> Service:
    """Start a service that follows its calls, beside a PBX with whose phones it can keep up.

    Not `in_process`: somebody else is to follow them, as on AWS.
    """
    start.follow = in_process
    start.pace = pace
    pbx = await start.stack.enter_async_context(make_pbx(time_scale=time_scale, version=version))
    return await start.on(pbx, **settings)


by_either = pytest.mark.parametrize("by", ["process", "function"])


@asynccontextmanager
async def tracked(start: Services, by: str, **settings: Any) -> AsyncIterator[Service]:
    """Run a service whose calls its own process follows, or the tracker's function as on AWS."""
    service = await follow(start, in_process=by == "process", **settings)
    if by == "process":
        yield service
        return

    async def start_function(_waker: Waker, _host: str) -> None:
        """Invoke nobody: it is invoked again and again anyway."""

    async def invoke() -> None:
        while True:
            await function.follow("127.0.0.1", 30)
            await asyncio.sleep(0.02)

    start.monkeypatch.setattr(Waker, "start_function", start_function)
    invoked = asyncio.create_task(invoke())
    try:
        yield service
    finally:
        invoked.cancel()
        await asyncio.gather(invoked, return_exceptions=True)


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
    await service.pbx.run(command)


def allow_audit(service: Service, number: str = "0367") -> None:
    """Let an enterprise read who did what, as an operator does."""
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, audit) VALUES (:number, true)",
        number=number,
    )


WEBHOOK = "5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11"


def allow_webhooks(service: Service | Play, number: str = "0367") -> None:
    """Let an enterprise have webhooks, as an operator does; it has one that is off."""
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, webhooks) VALUES (:number, true)"
        " ON CONFLICT (enterprise) DO UPDATE SET webhooks = true",
        number=number,
    )
    service.postgres.execute(
        "INSERT INTO callapi.webhook_sender (until)"
        " VALUES (clock_timestamp() + interval '1 hour') ON CONFLICT DO NOTHING"
    )
    service.postgres.execute(
        "INSERT INTO callapi.webhooks (id, enterprise, url, wanted, secret, after_seq, disabled_at)"
        " VALUES (:id, :number, 'http://127.0.0.1:9/', '{}', '\\x00', 0, clock_timestamp())",
        id=WEBHOOK,
        number=number,
    )

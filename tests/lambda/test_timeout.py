"""A PBX that hangs, and Lambda's own time-out, which kills the process: never a second command."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from demo.pbx.faults import Stage
from demo.standin import StandIn
from tests.emulator.function import Function
from tests.emulator.platform import Platform
from tests.integration.gateway import load, originates, seed, settings
from tests.integration.service import SSH_PASSWORD, TIME_SCALE, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

EVENT = load("makecallexternal-header-auth")


class HangsAfterCall(StandIn):
    """A stand-in whose Asterisk starts a call and then says nothing more."""

    def strikes_drop(self, stage: Stage, text: str = "") -> bool:
        """Hold back all replies from where a dropped connection would be cut."""
        if stage is Stage.EXECUTED and "channel originate" in text:
            self.reply_delay_s = 3600
        return super().strikes_drop(stage, text)


@pytest.fixture
async def pbx() -> AsyncIterator[StandIn]:
    """One that nobody has connected to yet."""
    async with HangsAfterCall(password=SSH_PASSWORD, time_scale=TIME_SCALE) as pbx:
        yield pbx


@pytest.fixture
def own(platform: Platform, postgres: Postgres, pbx: StandIn) -> dict[str, str]:
    """The function's settings, and a fresh database."""
    seed(postgres)
    return settings(postgres, pbx, platform.folder / "unused.log")


def state(postgres: Postgres) -> str:
    """What is recorded of the one call."""
    (call,) = postgres.execute("SELECT state FROM callapi.calls")
    return str(call["state"])


def age_s(postgres: Postgres) -> float:
    """How long ago the one call was admitted."""
    sql = "SELECT extract(epoch FROM clock_timestamp() - created_at) AS s FROM callapi.calls"
    return float(postgres.execute(sql)[0]["s"])


async def warm_up(function: Function) -> None:
    """Begin the process, so that its limit is all for the invocation that matters."""
    assert (await function.invoke(load("makecallexternal-no-auth")))["statusCode"] == 401


async def test_the_handler_answers_before_its_time_is_up(
    platform: Platform, postgres: Postgres, pbx: StandIn, own: dict[str, str]
) -> None:
    """What a hanging PBX made of the call is unknown, said in time; so is the repeat's answer."""
    async with platform.emulated("makecallexternal", own, timeout_s=8) as function:
        await warm_up(function)
        answer = await function.invoke(EVENT)
        body = json.loads(answer["body"])
        assert (answer["statusCode"], body["dialled"]) == (500, "unknown")
        assert state(postgres) == "unknown"
        again = json.loads((await function.invoke(EVENT))["body"])
    assert (again["success"], again["phase"], again["repeated"]) == (False, "unknown", True)
    assert again["call_id"] == body["call_id"]
    assert len(originates(pbx)) == 1


async def test_a_process_that_was_killed_leaves_the_claim_unknown(
    platform: Platform, postgres: Postgres, pbx: StandIn, own: dict[str, str]
) -> None:
    """The time-out's SIGKILL after the command: a fresh process says "unknown", and dials nothing.

    The process is stopped, as one that gets no time of the CPU: it could answer in time otherwise.
    """
    killed: set[int] = set()
    own |= {"REQUEST_TIMEOUT_S": "5"}
    async with platform.emulated("makecallexternal", own, timeout_s=8) as function:
        await warm_up(function)

        async def stop_once_told() -> None:
            await until(lambda: bool(originates(pbx)))
            killed.update(function.clients())
            for pid in killed:
                os.kill(pid, signal.SIGSTOP)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_once_told)
            timed_out = await function.invoke(EVENT)
        assert "Task timed out after 8.00 seconds" in str(timed_out)
        assert state(postgres) == "placing"
        await until(lambda: age_s(postgres) > 5)  # it is, unless the process was slow to begin
        answer = await function.invoke(EVENT)
        assert killed
        assert killed.isdisjoint(function.clients())
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["success"], body["repeated"]) == (200, False, True)
    assert body["phase"] == "unknown"
    assert len(originates(pbx)) == 1

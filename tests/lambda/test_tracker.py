"""The tracker as a function: who starts it, what it follows, to whom it hands over.

Invoking another function ends at a stand-in for the Lambda service; each event that it was given
is then what the tracker is invoked with here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from demo.standin import StandIn
from tests.emulator.function import Function
from tests.emulator.invocations import Invocation, Invocations
from tests.emulator.platform import Platform
from tests.integration.gateway import call_to, load, seed, settings
from tests.integration.service import until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

TALKS, TALKS_ON = "+375290000001", "+375290000005"
TRACKER = "tracker-of-the-tests"
FOLLOW = Invocation(TRACKER, "Event", {"host": "127.0.0.1"})


@pytest.fixture
async def invocations() -> AsyncIterator[Invocations]:
    """What stands in for the Lambda service."""
    async with Invocations.listening() as invocations:
        yield invocations


@pytest.fixture
def own(
    platform: Platform, postgres: Postgres, pbx: StandIn, invocations: Invocations
) -> dict[str, str]:
    """Settings of all functions, and a fresh database."""
    seed(postgres)
    common = settings(postgres, pbx, platform.folder / "unused.log")
    return common | invocations.settings(TRACKER)


async def place(platform: Platform, own: dict[str, str], *phones: str) -> list[str]:
    """Place calls by the function that does so; their ids."""
    async with platform.emulated("makecallexternal", own) as function:
        answers = [await function.invoke(call_to(phone)) for phone in phones]
    assert [answer["statusCode"] for answer in answers] == [200 for _ in phones]
    return [json.loads(answer["body"])["call_id"] for answer in answers]


def patient(
    platform: Platform, own: dict[str, str]
) -> contextlib.AbstractAsyncContextManager[Function]:
    """Run a tracker whose time is not up before other functions have begun and answered."""
    return platform.emulated("tracker", own, timeout_s=150)


@contextlib.asynccontextmanager
async def following(tracker: Function) -> AsyncIterator[list[Any]]:
    """Have the tracker follow the host during this block; afterwards its answer is there."""
    done: list[Any] = []

    async def follow() -> None:
        done.append(await tracker.invoke(load("tracker")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        yield done


def hangup_of(call_id: str) -> dict[str, Any]:
    """Make the event of a call's end."""
    event = load("hangup-unknown")
    event["pathParameters"] = {"call_id": call_id}
    event["rawPath"] = event["requestContext"]["http"]["path"] = f"/api/calls/{call_id}"
    return event


def told(postgres: Postgres, call_id: str) -> list[str]:
    """The phases of a call that were told, in order."""
    sql = "SELECT phase FROM callapi.call_events WHERE call_id::text = :call_id ORDER BY seq"
    return [str(row["phase"]) for row in postgres.execute(sql, call_id=call_id)]


async def test_a_call_is_followed_to_its_end(
    platform: Platform, postgres: Postgres, own: dict[str, str], invocations: Invocations
) -> None:
    """Placing a call asks for a tracker; it tells each phase, and ends when the call has ended."""
    (call_id,) = await place(platform, own, TALKS_ON)
    assert invocations.asked == [FOLLOW]
    async with patient(platform, own) as tracker, following(tracker) as done:
        await until(lambda: "talking" in told(postgres, call_id))
        async with platform.emulated("hangup", own) as hangup:
            answer = await hangup.invoke(hangup_of(call_id))
        assert answer["statusCode"] == 200
    assert done == [{"host": "127.0.0.1", "end": "idle"}]
    (call,) = postgres.execute("SELECT reason, cdr FROM callapi.calls")
    assert call == {"reason": "answered", "cdr": "confirmed"}
    assert told(postgres, call_id)[-2:] == ["talking", "ended"]


async def test_a_live_tracker_is_left_alone(
    platform: Platform,
    postgres: Postgres,
    pbx: StandIn,
    own: dict[str, str],
    invocations: Invocations,
) -> None:
    """While it follows a host, no call asks for another, and one that comes anyway ends at once."""
    (call_id,) = await place(platform, own, TALKS_ON)
    invocations.asked.clear()
    async with patient(platform, own) as tracker, following(tracker) as done:
        await until(lambda: "talking" in told(postgres, call_id))
        await place(platform, own, TALKS)
        assert invocations.asked == []
        async with platform.emulated("tracker", own) as another:
            replaced = await another.invoke(load("tracker"))
        assert replaced == {"host": "127.0.0.1", "end": "replaced"}
        assert done == []
        pbx.hang_up_all()
    assert done == [{"host": "127.0.0.1", "end": "idle"}]


async def test_a_tracker_whose_time_is_up_hands_over(
    platform: Platform, postgres: Postgres, own: dict[str, str], invocations: Invocations
) -> None:
    """While the call goes on the next of its kind is asked for, and finds the host free."""
    await place(platform, own, TALKS_ON)
    invocations.asked.clear()
    async with platform.emulated("tracker", own, timeout_s=23) as tracker:
        for _ in range(2):
            done = await tracker.invoke(load("tracker"))
            assert done == {"host": "127.0.0.1", "end": "time"}
            assert invocations.asked == [FOLLOW]
            invocations.asked.clear()
    (call,) = postgres.execute("SELECT phase FROM callapi.calls")
    assert call == {"phase": "talking"}


async def test_the_watchdog_starts_what_is_missing(
    platform: Platform, own: dict[str, str], invocations: Invocations
) -> None:
    """A host that nobody follows gets a tracker; where nothing is to follow none is started."""
    async with platform.emulated("watchdog", own, timeout_s=60) as watchdog:
        assert await watchdog.invoke(load("watchdog")) == {"started": []}
        assert invocations.asked == []
        await place(platform, own | {"TRACKER_FUNCTION": ""}, TALKS)
        assert invocations.asked == []
        assert await watchdog.invoke(load("watchdog")) == {"started": ["127.0.0.1"]}
        assert invocations.asked == [FOLLOW]

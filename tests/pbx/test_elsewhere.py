"""Calls from outside, by a real trunk: who listens is told who calls while the phone rings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest

from tests.pbx.lab import Lab
from tests.pbx.plan_phones import plan_phones
from tests.pbx.service import SECRET, Service, Services, until
from tests.pbx.softphone import Manner, Softphones

pytestmark = pytest.mark.anyio

CALLER = "+375291112233"
BY_CITY = "X-Trunk: city"


class Incoming(NamedTuple):
    """What is dialled from outside, whose phones ring at once, and who answers."""

    number: str
    rung: set[str]
    answered_by: str


INCOMING = {
    "an extension": Incoming("375170000001", {"214"}, "214"),
    "a queue": Incoming("375170000002", {"250", "251"}, "251"),
    "a ring group": Incoming("375170000003", {"207", "208"}, "208"),
}


@contextlib.asynccontextmanager
async def listening(service: Service) -> AsyncIterator[list[dict[str, Any]]]:
    """Poll with `scope=all` until the block ends; what is told."""
    events: list[dict[str, Any]] = []

    async def poll() -> None:
        after = 0
        while True:
            params = {"scope": "all", "after": str(after), "wait": "5", "clientId": SECRET}
            answer = await service.http.get("/api/events", params=params)
            assert answer.status_code == 200, answer.text
            events.extend(answer.json()["events"])
            after = answer.json()["next"]

    polling = asyncio.create_task(poll())
    try:
        await told(events, lambda event: event["type"] == "pbx.watched")
        yield events
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def told(
    events: list[dict[str, Any]], is_it: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait for an event; it."""
    await until(lambda: any(map(is_it, events)))
    return next(filter(is_it, events))


def phase(wanted: str, of: Callable[[dict[str, Any]], bool] = bool) -> Callable[..., bool]:
    """Choose what tells of a call that has come to a phase."""
    return lambda e: e["type"] == "pbx.call" and e["pbx_call"]["phase"] == wanted and of(e)


@pytest.mark.parametrize("way", INCOMING)
@pytest.mark.parametrize("has_sound", [False, True], ids=["mute", "with sound"])
async def test_who_calls_is_told_while_the_phone_rings(
    start: Services, lab: Lab, way: str, *, has_sound: bool
) -> None:
    """Each extension that rings, then who answered, then the end: one call, told as it was."""
    incoming = INCOMING[way]
    service = await start()
    caller = Softphones(lab.trunk_port, lab.sip_port, lambda _: Manner(), has_sound=has_sound)
    with plan_phones(lab, has_sound=has_sound), caller.running():
        async with listening(service) as events:
            answered = caller.call(CALLER, incoming.number, BY_CITY)
            ringing = await told(
                events,
                phase("ringing", lambda e: incoming.rung <= set(e["pbx_call"]["extensions"])),
            )
            assert way == "a queue" or not answered.done(), "it is told before anybody answers"
            call = ringing["pbx_call"]
            assert (call["direction"], call["from"]) == ("incoming", CALLER)
            assert call["to"] in {incoming.number, *incoming.rung}
            talking = (await told(events, phase("talking")))["pbx_call"]
            assert talking["answered_by"] == incoming.answered_by
            leg = await asyncio.wrap_future(answered)
            await asyncio.sleep(1)
            await asyncio.to_thread(caller.hang_up, leg)
            ended = (await told(events, phase("ended")))["pbx_call"]
            assert (ended["answered_by"], ended["extensions"]) == (incoming.answered_by, [])
            assert 0 <= ended["talk_s"] <= 10
            calls = [event["pbx_call"] for event in events if event["type"] == "pbx.call"]
            assert len({each["pbx_call_id"] for each in calls}) == 1
            assert [each["phase"] for each in calls].count("ended") == 1


async def test_a_call_of_ours_is_told_as_ours_alone(start: Services, lab: Lab) -> None:
    """In all its phases, with sound, while a stranger calls in, who is told too."""
    service = await start()
    caller = Softphones(lab.trunk_port, lab.sip_port, lambda _: Manner())
    with plan_phones(lab, has_sound=True), caller.running():
        async with listening(service) as events:
            placed = await service.call("156", "+375290000006")
            assert placed.status_code == 200, placed.text
            answered = caller.call(CALLER, INCOMING["an extension"].number, BY_CITY)
            await told(events, phase("talking"))
            is_over = lambda e: e["type"] == "call.phase" and e["call"]["phase"] == "ended"  # noqa: E731
            await told(events, is_over)
            await asyncio.to_thread(caller.hang_up, await asyncio.wrap_future(answered))
            await told(events, phase("ended"))
            calls = [event["pbx_call"] for event in events if event["type"] == "pbx.call"]
            assert {each["from"] for each in calls} == {CALLER}

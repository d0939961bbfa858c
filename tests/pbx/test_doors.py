"""Real calls by all doors at once: a WebSocket, server-sent events and long polls tell the same."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.integration.doors import DOORS, Heard, Port
from tests.pbx.lab import Lab
from tests.pbx.plan_phones import plan_phones
from tests.pbx.service import LIMIT_S, environment, run_process, until
from tests.pbx.softphone import Manner, Softphones
from tests.pbx.test_elsewhere import BY_CITY, CALLER, INCOMING, told
from tests.pbx.test_following import TALK, TALKS_RTP
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OURS, STRANGERS = ("call.phase", "call"), ("pbx.call", "pbx_call")


def calls(heard: Heard, kind: tuple[str, str]) -> list[dict[str, Any]]:
    """What was told of a call of ours, or of a stranger's."""
    return [event[kind[1]] for event in heard.events if event["type"] == kind[0]]


def phases(heard: Heard, kind: tuple[str, str]) -> tuple[str, ...]:
    """The phases that were told, each once however often it was told while it lasted."""
    return tuple(phase for phase, _ in itertools.groupby(c["phase"] for c in calls(heard, kind)))


def are_both_over(heard: Heard) -> bool:
    """Whether the ends of both calls were told."""
    return all("ended" in phases(heard, kind) for kind in (OURS, STRANGERS))


async def test_three_doors_tell_what_happened(lab: Lab, postgres: Postgres, tmp_path: Path) -> None:
    """A call of ours and one from outside, at the same time: three lists that are equal."""
    heard = {name: Heard(filters={"scope": "all"}) for name in DOORS}
    caller = Softphones(lab.trunk_port, lab.sip_port, lambda _: Manner(), has_sound=True)
    with plan_phones(lab, has_sound=True), caller.running():
        async with run_process(tmp_path, environment(postgres, lab)) as client:
            port = client.http.base_url.port
            assert port is not None
            with anyio.fail_after(2 * LIMIT_S):
                async with asyncio.TaskGroup() as group:
                    for name, listen in DOORS.items():
                        group.create_task(listen(Port(port), heard[name], are_both_over))
                    for one in heard.values():
                        await told(one.events, lambda event: event["type"] == "pbx.watched")
                    placed = await client.call("156", TALKS_RTP)
                    assert placed.status_code == 200, placed.text
                    answered = caller.call(CALLER, INCOMING["an extension"].number, BY_CITY)
                    await until(lambda: "talking" in phases(heard["socket"], STRANGERS))
                    leg = await asyncio.wrap_future(answered)
                    await asyncio.to_thread(caller.hang_up, leg)
    whole = heard["socket"]
    assert heard["stream"].events == whole.events
    # One answer may have more than was waited for.
    assert heard["poll"].events[: len(whole.events)] == whole.events
    assert whole.numbers == list(range(1, len(whole.events) + 1))
    assert phases(whole, OURS) == (*TALK[1:], "ended")
    assert {call["call_id"] for call in calls(whole, OURS)} == {placed.json()["call_id"]}
    assert [p for p in phases(whole, STRANGERS) if p != "waiting"] == [
        "ringing",
        "talking",
        "ended",
    ]
    assert {call["from"] for call in calls(whole, STRANGERS)} == {CALLER}
    assert calls(whole, STRANGERS)[-1]["answered_by"] == "214"

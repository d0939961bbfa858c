"""Dialplans as people have them, each called through the service: what the API tells is right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from tests.pbx.lab import Lab
from tests.pbx.plan_phones import plan_phones
from tests.pbx.service import Service, Services
from tests.pbx.test_following import phases, reach
from tests.plans import PLANS, TOLERANCE_S, Plan, is_within

pytestmark = pytest.mark.anyio

# So many calls at once as the two cores of a small machine carry with their phones.
TOGETHER = 25
# How long a look may take, on a machine that is busy with two PBXs and their tests.
LOOKS_APART_S = 3


def waves(lab: Lab, *, has_sound: bool) -> Iterator[dict[str, Plan]]:
    """Give the plans that this PBX has for such phones, some at a time."""
    chosen = (
        (name, plan)
        for name, plan in PLANS.items()
        if lab.version in plan.versions and has_sound in plan.sounds
    )
    while wave := dict(islice(chosen, TOGETHER)):
        yield wave


def told_wrongly(plan: Plan, call: dict[str, Any]) -> dict[str, Any]:
    """Name what is told of a call otherwise than it is right; nothing of one told rightly."""
    told = set(phases(call)) - plan.may_skip
    tolerance_s = TOLERANCE_S + (LOOKS_APART_S if plan.watched else 0)
    wrong: dict[str, Any] = {
        "agent": plan.agent.differs(call["agent"], tolerance_s),
        "customer": plan.customer.differs(call["customer"], tolerance_s),
    }
    # A ring of a second may pass between two looks of a busy machine; a talk is longer, and of one
    # that was not seen the records tell.
    if told - set(plan.phases) or ("talking" in told) != ("talking" in plan.phases):
        wrong["phases"] = sorted(told)
    if call["reason"] not in plan.reasons:
        wrong["reason"] = call["reason"]
    if not is_within(call["talk_s"], plan.talk_s, tolerance_s):
        wrong["talk_s"] = call["talk_s"]
    return {name: value for name, value in wrong.items() if value}


@pytest.mark.parametrize("has_sound", [False, True], ids=["mute", "with sound"])
async def test_every_plan_is_told_rightly(start: Services, lab: Lab, *, has_sound: bool) -> None:
    """Phases, reason, who answered, how long each side rang and talked: of many calls at once."""
    service = await start(DIALPLAN_CONTEXT="plans")
    wrong: dict[str, Any] = {}
    with plan_phones(lab, has_sound=has_sound):
        for wave in waves(lab, has_sound=has_sound):
            ids = {name: await placed(service, plan) for name, plan in wave.items()}
            known = {name: call_id for name, call_id in ids.items() if call_id}
            ends = await asyncio.gather(*(reach(service, one, "ended") for one in known.values()))
            told = {
                name: told_wrongly(wave[name], call) for name, call in zip(known, ends, strict=True)
            }
            wrong |= {name: differences for name, differences in told.items() if differences}
    assert not wrong, json.dumps(wrong)


async def placed(service: Service, plan: Plan) -> str | None:
    """Place the plan's call; its id, or None of a brief one whose channel was not seen."""
    answer = await service.call(plan.extension, plan.number)
    if plan.brief and answer.status_code == 500:
        assert answer.json()["code"] == "originate-without-channel"
        return None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["call_id"])

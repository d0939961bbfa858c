"""Calls through dialplans as people have them, as Asterisk 16 and 22 carried them: told rightly."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from shared.asterisk.cdr.outcome import confirm
from shared.asterisk.models import CallPhase
from shared.asterisk.phases import reason_unconfirmed
from tests.plans import PLANS, Plan, is_within
from tests.unit.recorded import FOLDER, Recording

SOUND = "-rtp"
RECORDED = sorted((path.parts[-3], path.stem) for path in FOLDER.glob("*/plans/*.json"))

recordings = pytest.mark.parametrize(("version", "name"), RECORDED)


def plan_of(name: str) -> Plan:
    """Find whose recording this is."""
    return PLANS[name.removesuffix(SOUND)]


@recordings
def test_phases_of_a_plan(version: str, name: str) -> None:
    """A phone's ring and answer are told in their order, and a talk only of two phones."""
    plan = plan_of(name)
    told, _ = Recording.load(version, name, "plans").follow()

    phases = [phase for phase in ("placed", "accepted", *told) if phase not in plan.may_skip]

    assert phases == [*(phase for phase in plan.phases if phase not in plan.may_skip), "ended"]


@recordings
def test_the_end_of_a_plan(version: str, name: str) -> None:
    """What the phones did is told by the records: the reason, the talk, and each side's part."""
    plan = plan_of(name)
    recording = Recording.load(version, name, "plans")
    phases, seen = recording.follow()
    root = recording.root

    told = confirm(
        recording.rows,
        root.channel,
        root.uniqueid,
        to=root.to,
        seen=seen,
        complete=True,
    )

    if told is None:
        before: CallPhase = phases[-2] if len(phases) > 1 else "accepted"
        assert not recording.rows
        assert reason_unconfirmed(root, before, none_written=True) in plan.reasons
        return
    wrong = {
        side: right.differs(asdict(getattr(told, side)))
        for side, right in (("agent", plan.agent), ("customer", plan.customer))
    }
    assert (told.reason in plan.reasons, wrong) == (True, {"agent": {}, "customer": {}}), told
    assert is_within(told.talk_s, plan.talk_s), told


def test_every_plan_is_recorded() -> None:
    """On each version that has it, with each of its phones."""
    wanted = {
        (version, name + SOUND * has_sound)
        for name, plan in PLANS.items()
        for version in plan.versions
        for has_sound in plan.sounds
    }
    assert set(RECORDED) == wanted


@pytest.mark.parametrize("version", ["16", "22"])
def test_a_plan_with_sound_goes_on_without_its_local_channels(version: str) -> None:
    """The recordings with sound are of calls that Asterisk has taken them out of."""
    last = Recording.load(version, f"extension-goto{SOUND}", "plans").snapshots[-2]
    assert last["channels"]
    assert "Local/" not in last["channels"]
    assert "Local/" in Recording.load(version, "extension-goto", "plans").snapshots[-2]["channels"]

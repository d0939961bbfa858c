"""The stand-in carries the recorded calls of 11, 13 and 16 as the real ones did.

22 is held to its host itself: its snapshots list channels twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache

import pytest

from demo.standin import StandIn
from tests.conformance import replay
from tests.conformance.replay import TRANSCRIPTS, State, recorded

# What was recorded with phones of its own, and a second call that began at no known time.
OTHERS = ("agent-hangs-up*", "originate-limit", "two-calls-*")
CALLS = sorted(
    (version, path.stem)
    for version in ("11", "13", "16")
    for path in (TRANSCRIPTS / version / "calls").glob("*.json")
    if not any(path.match(f"{name}.json") for name in OTHERS)
)
# One look found a customer who had answered and was in no bridge yet: that is one stroke here.
HALF_ANSWERED = ("16", "answered")
# A recording looks every 50 ms, so that what lasts longer cannot have escaped it.
LASTS_S = 0.12
NEAR_S = 0.12

each = pytest.mark.parametrize(("version", "name"), CALLS)
imitated = cache(replay.imitated)


def is_near(one: float, other: float) -> bool:
    """Whether two moments are the same, as far as looks tell; no end is one."""
    return one == other or abs(one - other) < NEAR_S


def find_missing(wanted: Iterable[State], found: Iterable[State]) -> State | None:
    """The first of these states that is not among those, in their order; None if all are."""
    rest = iter(found)
    for state in wanted:
        if not any(state.fits(other) for other in rest):
            return state
    return None


@pytest.mark.parametrize(("version", "name"), [call for call in CALLS if call != HALF_ANSWERED])
def test_every_recorded_state_is_gone_through(version: str, name: str) -> None:
    """In the recording's order: states, applications, data, peers, uniqueids, LinkedIDs."""
    assert find_missing(recorded(version, name).states, imitated(version, name).states) is None


@each
def test_what_lasts_was_recorded_and_lasted_as_long(version: str, name: str) -> None:
    """Whatever the stand-in shows for longer than a look takes was seen, from when until when."""
    states = imitated(version, name).states
    lasting = [state for state in states if state.until - state.begin > LASTS_S]
    assert find_missing(lasting, recorded(version, name).states) is None
    for state in lasting:
        alike = [other for other in recorded(version, name).states if state.fits(other)]
        assert any(is_near(state.begin, other.begin) for other in alike), state
        assert any(is_near(state.until, other.until) for other in alike), state


@each
def test_the_same_records_are_left(version: str, name: str) -> None:
    """Every field but times and ids; durations differ by no more than a beginning second."""
    ours, theirs = imitated(version, name).rows, recorded(version, name).rows
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    pairs = zip(ours, theirs, strict=True)
    differences = [abs(a - b) for one, two in pairs for a, b in zip(one[3], two[3], strict=True)]
    assert max(differences, default=0) <= 1


# Of a recording that has a second originate, it is that one's time which was noted.
ORIGINATED_ONCE = [(v, name) for v, name in CALLS if v != "16" and name not in {"barge", "listen"}]


@pytest.mark.parametrize(("version", "name"), ORIGINATED_ONCE)
def test_an_originate_blocks_for_as_long(version: str, name: str) -> None:
    """Up to 11 until the extension answers, is busy or gives up; from 12 on not at all."""
    took = imitated(version, name).took
    wanted = recorded(version, name).took
    assert took is not None
    assert wanted is not None
    assert is_near(took, wanted)


@each
def test_commands_are_answered_alike(version: str, name: str) -> None:
    """What was given during the call: hang-ups, also of what is gone, and transfers."""
    assert imitated(version, name).replies == recorded(version, name).replies


def test_an_originate_waits_for_thirty_seconds() -> None:
    """A phone that is silent for longer is given up, up to 11 with the console that rang it."""

    async def seconds() -> float:
        await StandIn(version="11").run("channel originate LOCAL/157@inoffice application NoOp")
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=replay.JumpingLoop) as runner:
        assert round(runner.run(seconds())) == 30

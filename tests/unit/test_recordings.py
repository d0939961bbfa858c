"""Whole calls, as Asterisk 11, 13, 16 and 22 really went through them: what is told of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.asterisk.cdr.outcome import confirm
from shared.asterisk.models import CallPhase, Root
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import reason_unconfirmed, resolve_root
from tests.unit.recorded import (
    ANSWER,
    CALLS,
    CUSTOMER_RINGS,
    RECORDED,
    VERSIONS,
    Recording,
    phases_of,
)

recordings = pytest.mark.parametrize(("version", "name"), RECORDED)
versions = pytest.mark.parametrize("version", VERSIONS)


@recordings
def test_phases_of_a_recorded_call(version: str, name: str) -> None:
    """In their order, each once, and the end at last."""
    phases, _ = Recording.load(version, name).follow()
    assert phases == [*phases_of(version, name), "ended"]


def test_every_recording_is_in_the_table() -> None:
    """No recording is left out, and 16 and 22 have each of them."""
    names = {version: {n for v, n in RECORDED if v == version} for version, _ in RECORDED}
    assert set(names) == {"11", "13", *VERSIONS}
    assert all(names[version] == set(CALLS) for version in VERSIONS)
    assert all(some <= set(CALLS) for some in names.values())


@pytest.mark.parametrize("version", ["11", "13", *VERSIONS])
@pytest.mark.parametrize("name", ["answered-rtp", "barge", "cancel-talking-rtp"])
def test_a_call_goes_on_without_its_root(version: str, name: str) -> None:
    """The Local channels are gone at once as the customer answers, the two phones' legs are not."""
    recording = Recording.load(version, name)
    last = parse_channels(recording.snapshots[-1]["channels"])
    _, progress = recording.follow()
    assert {leg.party for leg in progress.legs} == {"agent", "customer"}
    if name == "answered-rtp":
        assert not any(channel.name.startswith("Local/") for channel in last)


@recordings
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_slower_look_sees_less_and_nothing_else(
    version: str, name: str, data: st.DataObject
) -> None:
    """Whichever lists are missed: the phases are some of those, in that order; one end."""
    recording = Recording.load(version, name)
    chosen = data.draw(
        st.lists(
            st.booleans(), min_size=len(recording.snapshots), max_size=len(recording.snapshots)
        )
    )
    phases, _ = recording.follow(iter(chosen))
    everything = iter([*CUSTOMER_RINGS[:1], *ANSWER[1:], *CUSTOMER_RINGS[2:], "talking", "ended"])
    assert all(phase in everything for phase in phases)
    assert set(phases) <= {*phases_of(version, name), "agent_answered", "ended"}
    assert phases.count("ended") == 1


@recordings
def test_another_call_s_rows_say_nothing(version: str, name: str) -> None:
    """Names are given anew after each start of Asterisk; an older call is another one."""
    recording = Recording.load(version, name)
    channel, _, kind = recording.root.channel, recording.root.uniqueid, recording.root.kind
    later = "2100000000.1"
    assert confirm(recording.rows, channel, later, kind=kind, complete=True) is None


@versions
@pytest.mark.parametrize("name", ["transfer", "transfer-rtp"])
def test_who_a_customer_was_transferred_to_is_an_agent(version: str, name: str) -> None:
    """The call goes on with two agents after each other; the talk is all that the customer had."""
    recording = Recording.load(version, name)
    _, progress = recording.follow()
    assert [leg.party for leg in progress.legs] == ["agent", "customer", "agent"]
    root = recording.root
    told = confirm(recording.rows, root.channel, root.uniqueid, is_transferred=True)
    assert told is not None
    assert 2 <= told.talk_s <= 5


@pytest.mark.parametrize(
    ("version", "name"), [(v, n) for v, n in RECORDED if n.startswith("transfer")]
)
def test_whom_to_hand_over_is_known(version: str, name: str) -> None:
    """The customer's channel, in the moment before he was."""
    recording = Recording.load(version, name)
    at, channel = recording.redirected()
    count = sum(snapshot["at"] < at for snapshot in recording.snapshots)
    _, progress = recording.follow(iter([True] * count + [False] * len(recording.snapshots)))
    customers = [leg.channel for leg in progress.legs if leg.party == "customer"]
    assert customers[-1] == channel


@versions
def test_two_calls_of_one_extension_are_told_apart(version: str) -> None:
    """Once the extension has answered, the root's own data names the customer."""
    first, second = (
        Recording.load(version, name).root
        for name in ("two-calls-at-once", "two-calls-at-once-second")
    )
    # Each as the other's candidate: only the number can tell.
    for mine, other in ((first, second), (second, first)):
        candidates = [
            Root(root.channel, root.uniqueid, "call", mine.extension, mine.to)
            for root in (other, mine)
        ]
        found = set()
        for snapshot in Recording.load(version, "two-calls-at-once").snapshots:
            chosen = resolve_root(candidates, parse_channels(snapshot["channels"]))
            found |= {chosen.uniqueid} if chosen else set()
        assert found == {mine.uniqueid}


@pytest.mark.parametrize(
    ("kind", "last", "none_written", "reason"),
    [
        ("call", "talking", True, "answered"),
        ("call", "talking", False, "answered"),
        ("call", "accepted", True, "failed"),
        ("call", "accepted", False, "unknown"),
        ("call", "agent_ringing", True, "unknown"),
        ("call", "customer_ringing", False, "unknown"),
        ("call", "agent_answered", True, "unknown"),
        ("monitor", "agent_answered", False, "answered"),
        ("monitor", "agent_ringing", False, "unknown"),
    ],
)
def test_without_a_record_only_the_certain_is_told(
    kind: Any, last: CallPhase, *, none_written: bool, reason: str
) -> None:
    """A talk that was seen; a call that rang nobody, where records are written at once."""
    root = Root("Local/150@inoffice-1;1", "1.1", kind, "150", "151")
    assert reason_unconfirmed(root, last, none_written=none_written) == reason

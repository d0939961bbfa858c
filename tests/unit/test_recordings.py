"""Whole calls, as Asterisk 16 and 22 really went through them: what is told of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.asterisk.cdr import Record, parse_records
from shared.asterisk.outcome import confirm
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import (
    CallPhase,
    Progress,
    Root,
    observe,
    reason_unconfirmed,
    resolve_root,
    steps,
)

FOLDER = Path(__file__).parents[1] / "transcripts"
VERSIONS = ("16", "22")


@dataclass(frozen=True)
class Recording:
    """One recorded call: who was called, what was listed, what was written."""

    root: Root
    snapshots: Sequence[dict[str, Any]]
    rows: tuple[Record, ...]

    @classmethod
    @cache
    def load(cls, version: str, name: str) -> Recording:
        """Read it."""
        text = (FOLDER / version / "calls" / f"{name}.json").read_text("utf-8")
        recorded = json.loads(text)
        command = r"channel originate LOCAL/(\d+)@\S+ application (\w+) [A-Za-z]+/(\+?\d+)"
        match = re.match(command, recorded["command"], re.IGNORECASE)
        assert match is not None, recorded["command"]
        extension, application, phone = match.groups()
        root = Root(
            recorded["root"]["channel"],
            recorded["root"]["uniqueid"],
            "monitor" if application == "ChanSpy" else "call",
            extension,
            phone,
        )
        return cls(root, recorded["snapshots"], parse_records(recorded["cdr"]))

    def follow(self, every: Iterator[bool] | None = None) -> tuple[list[CallPhase], Progress]:
        """Observe the snapshots, or those that are chosen, and the end; the phases and the last."""
        progress, phases = Progress(), list[CallPhase]()
        linkedids: dict[str, str] = {}
        for snapshot in self.snapshots:
            if every is not None and not next(every):
                continue
            channels = parse_channels(snapshot["channels"])
            known = self._linkedids()
            linkedids |= {c.uniqueid: known[c.uniqueid] for c in channels if c.uniqueid in known}
            seen = observe(self.root, progress, channels, linkedids)
            phases += steps(progress.phase, seen.phase)
            progress = seen
        ended = observe(self.root, progress, (), linkedids)
        phases += steps(progress.phase, ended.phase)
        return phases, ended

    def _linkedids(self) -> dict[str, str]:
        known: dict[str, str] = {}
        for snapshot in self.snapshots:
            known |= snapshot["linkedids"]
        return known


RING: list[CallPhase] = ["agent_ringing"]
ANSWER: list[CallPhase] = [*RING, "agent_answered"]
CUSTOMER_RINGS: list[CallPhase] = [*ANSWER, "customer_ringing"]
TALK: list[CallPhase] = [*CUSTOMER_RINGS, "talking"]
# A customer's number that leads nowhere is gone before the agent's answer can be seen.
CALLS: dict[str, list[CallPhase]] = {
    "answered": TALK,
    "answered-rtp": TALK,
    "agent-no-answer": RING,
    "agent-busy": RING,
    "agent-busy-at-once": [],
    "originate-limit": RING,
    "customer-busy": CUSTOMER_RINGS,
    "customer-no-answer": CUSTOMER_RINGS,
    "customer-no-answer-rtp": CUSTOMER_RINGS,
    "customer-not-found": CUSTOMER_RINGS,
    "agent-hangs-up": CUSTOMER_RINGS,
    "agent-hangs-up-rtp": CUSTOMER_RINGS,
    "cancel-customer-ringing": CUSTOMER_RINGS,
    "cancel-customer-ringing-rtp": CUSTOMER_RINGS,
    "agent-hangs-up-talking": [*ANSWER, "talking"],
    "agent-hangs-up-talking-rtp": TALK,
    "cancel-agent-ringing": RING,
    "cancel-talking": TALK,
    "cancel-talking-rtp": TALK,
    "unknown-agent-context": [],
    "unknown-agent-peer": [],
    "unknown-customer-context": RING,
    "unknown-customer-extension": RING,
    "barge": TALK,
    "barge-supervisor": ANSWER,
    "listen": TALK,
    "listen-supervisor": ["agent_answered"],
    "supervisor-nothing-to-hear": ["agent_answered"],
    "transfer": TALK,
    "transfer-rtp": TALK,
    "transfer-no-answer": TALK,
    "transfer-customer-ringing": TALK,
    "two-calls-at-once": TALK,
    "two-calls-at-once-second": CUSTOMER_RINGS,
}

recordings = pytest.mark.parametrize("name", CALLS)
versions = pytest.mark.parametrize("version", VERSIONS)


@versions
@recordings
def test_phases_of_a_recorded_call(version: str, name: str) -> None:
    """In their order, each once, and the end at last."""
    phases, _ = Recording.load(version, name).follow()
    assert phases == [*CALLS[name], "ended"]


@versions
def test_every_recording_is_in_the_table(version: str) -> None:
    """No recording is left out."""
    names = {path.stem for path in (FOLDER / version / "calls").glob("*.json")}
    assert names == set(CALLS)


@versions
@pytest.mark.parametrize("name", ["answered-rtp", "barge", "agent-hangs-up-talking-rtp"])
def test_a_call_goes_on_without_its_root(version: str, name: str) -> None:
    """The Local channels are gone at once as the customer answers, the two phones' legs are not."""
    recording = Recording.load(version, name)
    last = parse_channels(recording.snapshots[-1]["channels"])
    _, progress = recording.follow()
    assert {leg.party for leg in progress.legs} == {"agent", "customer"}
    if name == "answered-rtp":
        assert not any(channel.name.startswith("Local/") for channel in last)


@versions
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
    assert set(phases) <= {*CALLS[name], "agent_answered", "ended"}
    assert phases.count("ended") == 1


@versions
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
            Root(root.channel, root.uniqueid, "call", mine.extension, mine.phone)
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

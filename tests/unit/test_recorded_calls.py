"""Whole calls that real Asterisk 11, 13, 16 and 22 carried, judged by the rows that they left."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from shared.asterisk.cdr.outcome import Confirmed, agent_gave_up, confirm
from shared.asterisk.cdr.rows import Record
from shared.asterisk.models import Kind
from shared.asterisk.parsers import parse_channels
from tests.unit.cdr_rows import group_calls, parse_records
from tests.unit.recorded import JUDGED

RECORDINGS = sorted((Path(__file__).parents[1] / "transcripts").glob("*/calls/*.json"))


@dataclass(frozen=True)
class Recording:
    """One call: its root, the snapshots of its channels, the rows in their order."""

    version: str
    name: str
    told: dict[str, Any]
    rows: tuple[Record, ...]
    kind: Kind

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one; its rows may be other calls' too that went on at the time."""
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        text = told["cdr"] if isinstance(told["cdr"], str) else "".join(told["cdr"])
        kind: Kind = "monitor" if " ChanSpy " in told["command"] else "call"
        return cls(path.parts[-3], path.stem, told, parse_records(text), kind)

    def confirm(self, rows: tuple[Record, ...], *, complete: bool = False) -> Confirmed | None:
        """Judge the call by some of its rows."""
        root = self.told["root"]
        return confirm(rows, root["channel"], root["uniqueid"], kind=self.kind, complete=complete)

    def took_the_root_s_place(self) -> bool:
        """Whether the extension's phone did, as up to Asterisk 11, and nobody answered it.

        Then the root has no row, and neither has its ChanSpy.
        """
        return self.version == "11" and (self.name, self.kind) in {
            ("cancel-customer-ringing-rtp", "call"),
            ("customer-no-answer-rtp", "call"),
            ("barge-supervisor", "monitor"),
        }

    def talked_s(self) -> float:
        """How long the customer's phone was up, as the snapshots show it."""
        for snapshot in self.told["snapshots"]:
            channels = parse_channels(snapshot["channels"])
            if any("/trunk" in channel.name and channel.state == "Up" for channel in channels):
                return float(self.told["ended_at"]) - float(snapshot["at"])
        return 0.0


@pytest.fixture(params=RECORDINGS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def recording(request: pytest.FixtureRequest) -> Recording:
    """Each recorded call."""
    return Recording.load(request.param)


def test_a_recorded_call_is_confirmed(recording: Recording) -> None:
    """What became of it; where nobody was called, only once no further row can come."""
    expected, _ = JUDGED[recording.name]
    found = recording.confirm(recording.rows, complete=True)
    assert (found.reason if found else None) == expected
    early = recording.confirm(recording.rows)
    # A talk of a second may be one whose own row is on its way.
    waits = recording.name.startswith("unknown-customer") or (found and found.talk_s == 1)
    waits = waits or recording.took_the_root_s_place()
    assert early in ([None, found] if waits else [found])


def test_the_order_of_recorded_rows_tells_nothing(recording: Recording) -> None:
    """Asterisk writes them in no certain order."""
    found = recording.confirm(recording.rows)
    for seed in range(20):
        rows = random.Random(seed).sample(recording.rows, len(recording.rows))
        assert recording.confirm(tuple(rows)) == found


@pytest.mark.parametrize("version", ["16", "22"])
@pytest.mark.parametrize(
    ("name", "by_agent"),
    [
        *[(name, True) for name in ("agent-hangs-up", "agent-hangs-up-rtp")],
        *[(name, False) for name in ("customer-no-answer", "customer-no-answer-rtp")],
    ],
)
def test_an_agent_who_gave_up_is_told_from_a_customer_who_did_not_answer(
    version: str, name: str, *, by_agent: bool
) -> None:
    """By the order of the rows alone; with one of them missing nothing is told."""
    folder = Path(__file__).parents[1] / "transcripts" / version / "calls"
    recording = Recording.load(folder / f"{name}.json")
    root = recording.told["root"]
    found = [
        agent_gave_up(recording.rows[:count], root["channel"], root["uniqueid"])
        for count in range(len(recording.rows) + 1)
    ]
    assert found[-1] is by_agent
    assert set(found[:2]) == {None}


def test_some_of_the_recorded_rows_mislead_nobody(recording: Recording) -> None:
    """Who reads while they are being written learns nothing, or what is so.

    But for a customer who is transferred before he answers: the first rows say that he did not.
    """
    expected, _ = JUDGED[recording.name]
    for subset in range(2 ** min(len(recording.rows), 8)):
        rows = tuple(row for bit, row in enumerate(recording.rows) if subset >> bit & 1)
        found = recording.confirm(rows)
        assert (
            found is None
            or found.reason == expected
            or recording.name == "transfer-customer-ringing"
        )


def test_the_talk_of_a_recorded_call_is_the_customers(recording: Recording) -> None:
    """Its seconds are those for which the customer's phone was up; Asterisk counts whole ones."""
    found = recording.confirm(recording.rows)
    if found is None or recording.kind == "monitor" or "two-calls" in recording.name:
        return
    # One who is transferred hears another phone ring, and each of his talks is whole seconds.
    unanswered = recording.name == "transfer-no-answer"
    bound_s = 7.5 if unanswered else 2.0 if "transfer" in recording.name else 1.5
    assert abs(found.talk_s - recording.talked_s()) < bound_s
    assert (found.reason == "answered") == (found.answered_at is not None)


def test_history_tells_a_recorded_call_once(recording: Recording) -> None:
    """One entry of it, from the extension to the customer."""
    _, expected = JUDGED[recording.name]
    nameless = recording.took_the_root_s_place() and recording.kind == "monitor"
    expected = "failed" if nameless else expected  # no row tells whom the extension was let in to
    root = recording.told["root"]["channel"]
    calls = [call for call in group_calls(recording.rows) if call.channel == root]
    assert [call.disposition for call in calls] == ([expected] if expected else [])
    for call in calls:
        extension, number = root.partition("@")[0].removeprefix("Local/"), ""
        if JUDGED[recording.name][0] not in {"agent_busy", "agent_no_answer"} and not nameless:
            target = recording.told["command"].rpartition(" ")[2]
            number = target.partition("/")[2].partition("@")[0].partition("-")[0]
        assert (call.from_, call.to) == (extension, number)
        assert extension in call.extensions


def test_history_tells_calls_that_go_on_together_apart(recording: Recording) -> None:
    """A supervisor's call is his own, and so are two calls of one extension."""
    together = {"barge": 2, "barge-supervisor": 2, "listen": 2, "listen-supervisor": 2}
    together |= {"two-calls-at-once": 2, "two-calls-at-once-second": 2}
    left_nothing = JUDGED[recording.name][0] is None
    expected = 0 if left_nothing else together.get(recording.name, 1)
    assert len(group_calls(recording.rows)) == expected


def test_every_recording_is_judged() -> None:
    """A new recording needs its line above."""
    assert {path.stem for path in RECORDINGS} <= set(JUDGED)

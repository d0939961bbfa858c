"""What real Asterisk 11 and 13 print, read by the same parsers as what 16 and 22 do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from shared.asterisk.cdr.pastcalls import describe, group_rows
from shared.asterisk.devices import parse_reach
from shared.asterisk.models import DialplanAnswer, Technology
from shared.asterisk.parsers import (
    find_rejection,
    is_hangup,
    parse_cdr_mode,
    parse_channels,
    parse_dialplan,
    parse_entity_id,
    parse_includes,
    parse_linkedid,
    parse_technologies,
    parse_version,
    split_replies,
)
from shared.asterisk.phases import UP
from tests.unit.cdr_rows import parse_lines

pytestmark = pytest.mark.parametrize("version", ["11", "13"])

Read: TypeAlias = Callable[[str], str]


def test_what_it_is(version: str, transcript: Read) -> None:
    """Its version, its drivers, how it writes records, and that it runs."""
    assert (parse_version(transcript("version")) or "").startswith(f"{version}.")
    assert Technology.SIP in parse_technologies(transcript("channeltypes"))
    assert Technology.PJSIP not in parse_technologies(transcript("channeltypes"))
    assert parse_cdr_mode(transcript("cdr-status")) == "simple"
    assert "fully booted" in transcript("fullybooted")
    assert split_replies(transcript("uptime")) == ("",)
    assert parse_entity_id(transcript("settings")) == "02:fc:00:00:00:01"


def test_what_the_dialplan_answers(version: str, transcript: Read) -> None:
    """A known extension, a pattern, one that is not there, a context that is not there."""
    names = ("exact", "pattern", "no-extension", "no-context")
    answers = [parse_dialplan(transcript(f"dialplan-{name}")) for name in names]
    known, missing = DialplanAnswer.KNOWN, DialplanAnswer.NO_EXTENSION
    assert answers == [known, known, missing, DialplanAnswer.NO_CONTEXT]
    assert parse_includes(transcript("dialplan-context")) == ()


def test_what_was_refused_was_not_executed(version: str, transcript: Read) -> None:
    """An unknown command and a usage; a channel that is not there is no refusal."""
    assert find_rejection(transcript("unknown-command"))
    assert find_rejection(transcript("originate-usage"))
    for name in ("hangup-unknown", "redirect-unknown", "channel-unknown", "hint", "device"):
        assert not find_rejection(transcript(name))
    assert not is_hangup(transcript("hangup-unknown"))
    assert parse_linkedid(transcript("channel-unknown")) is None


def test_a_phone_is_there_or_not(version: str, transcript: Read) -> None:
    """By its driver's word."""
    assert parse_reach(Technology.SIP, transcript("device")) == "reachable"
    assert parse_reach(Technology.SIP, transcript("device-unknown")) is None


@pytest.mark.parametrize(
    ("name", "bridged"),
    [
        ("channels-agent-ringing", set()),
        ("channels-connected", {"SIP/154", "SIP/trunktalk"}),
        ("channels-connected-rtp", {"SIP/156", "SIP/trunkrtp"}),
    ],
)
def test_phones_that_talk_are_bridged(
    version: str, transcript: Read, name: str, bridged: set[str]
) -> None:
    """Up to 11 by naming each other, later by an id; `(None)` is nobody."""
    channels = parse_channels(transcript(name))
    phones = [c for c in channels if c.name.startswith("SIP/")]
    talking = {c.name.rpartition("-")[0] for c in phones if c.bridge and c.state == UP}
    assert talking == bridged
    assert "(None)" not in {text for c in channels for text in (c.bridge, c.application)}


def test_a_leg_names_its_root(version: str, transcript: Read) -> None:
    """Also where it has taken the root's place."""
    root = parse_linkedid(transcript("channel-root-connected"))
    assert root is not None
    assert root in transcript("channels-connected")
    with_sound = parse_linkedid(transcript("channel-agent-connected-rtp"))
    assert with_sound is not None
    listed = {c.uniqueid for c in parse_channels(transcript("channels-connected-rtp"))}
    assert (with_sound in listed) == (version == "11")


def test_what_was_written_first(version: str) -> None:
    """Each row is a record; a customer who did not answer, an agent who did not, a supervisor."""
    path = Path(__file__).parents[1] / "transcripts" / version / "cdr-first-rows.csv"
    records = [line.record for line in parse_lines(path.read_bytes())]
    calls = [describe([records[at] for at in group]) for group in group_rows(records)]
    expected = {
        "11": [("154", "+375290000005", "no_answer", "call")],
        "13": [("154", "", "no_answer", "call"), ("151", "150", "answered", "monitor")],
    }
    assert len(records) == 3
    told = sorted(calls, key=lambda call: call.started_at)
    assert [(c.from_, c.to, c.disposition, c.kind) for c in told] == expected[version]

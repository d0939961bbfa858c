"""What a tracker tells of its calls: on recordings of whole calls, and on looks made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.outcome import agent_gave_up
from shared.asterisk.cdr.rows import Record
from shared.asterisk.models import CdrState, Channel, Leg, Phase, Reason, Root, Side
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import observe_in
from shared.following import judge as judging
from shared.following.judge import Look, judge, judge_age, judge_unreachable
from shared.following.pace import Pace
from shared.store.followed import Change, FollowedCall, Following
from tests.unit.cdr_rows import BEGINNING, EPOCH, line, records
from tests.unit.recorded import JUDGED, RECORDED, Recording, phases_of

ID = UUID(int=1)
ROOT = Root("Local/154@inoffice-0000002a;1", f"{EPOCH}.10", "call", "154", "+375290000001")
OTHER = Root("Local/154@inoffice-0000002b;1", f"{EPOCH}.20", "call", "154", "+375290000001")
AGENT = Leg("SIP/154-1f", f"{EPOCH}.12", "agent", "Up")
CALL = FollowedCall(
    call_id=ID,
    kind="call",
    code="154",
    to="+375290000001",
    phase="accepted",
    root=ROOT,
    candidates=(),
    legs=(),
    transferred=False,
    cdr=None,
    age_s=1.0,
    ended_s=None,
)
BUSY = records(line("Local/154@inoffice-0000002a;2", AGENT.channel, "BUSY", uniqueid=f"{EPOCH}.11"))
PACE = Pace()
NOW = BEGINNING + timedelta(seconds=1)  # as old as CALL


def live(root: Root = ROOT, state: str = "Down", data: str = "") -> Channel:
    """A root's channel."""
    return Channel(root.channel, "inoffice", "154", state, "", data, "", 0, "", root.uniqueid)


def look(
    call: FollowedCall,
    *channels: Channel,
    at_s: float = 100.0,
    gone: float | None = None,
    rows: Sequence[Record] = (),
    cdr: CdrState = "pending",
    now: datetime | None = None,
) -> Look:
    """One look at one call; `gone` is since when the look before found it so."""
    before = {} if gone is None else {call.call_id: gone}
    seen = Look.at(at_s, [call], channels, {}, gone=before)
    return seen.with_records(at_s, Book(rows), cdr, now=now or NOW)


def told(call: FollowedCall, seen: Look) -> list[Change]:
    """What is told of it at once."""
    return list(judge(call, seen, PACE))


@dataclass
class Followed:
    """A call whose changes are taken in as the database does."""

    call: FollowedCall
    phases: list[str] = field(default_factory=list)
    gone: dict[UUID, float] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)

    def look(
        self,
        at_s: float,
        channels: tuple[Channel, ...] = (),
        linkedids: dict[str, str] | None = None,
        rows: tuple[Record, ...] = (),
    ) -> None:
        """Look, judge, write."""
        seen = Look.at(at_s, [self.call], channels, linkedids or {}, gone=self.gone)
        self.gone = dict(seen.gone)
        for change in judge(
            self.call, seen.with_records(at_s, Book(rows), "pending", now=NOW), PACE
        ):
            self.last |= change
            if "legs" in change:
                self.call = replace(self.call, legs=change["legs"])
            if "phase" in change:
                self.phases.append(change["phase"])
                self.call = replace(self.call, phase=change["phase"])


@pytest.mark.parametrize(("version", "name"), RECORDED)
def test_a_recorded_call_is_told_from_its_begin_to_its_end(version: str, name: str) -> None:
    """Each phase once; why it ended, from its records, or after a second without one."""
    recording = Recording.load(version, name)
    root = recording.root
    call = replace(CALL, kind=root.kind, code=root.extension, to=root.to, root=root)
    followed = Followed(call)
    known = recording.linkedids()
    for snapshot in recording.snapshots:
        channels = parse_channels(snapshot["channels"])
        ids = {c.uniqueid: known[c.uniqueid] for c in channels if c.uniqueid in known}
        followed.look(snapshot["at"], channels, ids)
        if followed.gone:
            break
    followed.look(snapshot["at"] + 0.1)
    (since,) = followed.gone.values()
    assert followed.phases == phases_of(version, name), (
        "its end was told before its record was waited for"
    )
    followed.look(since + PACE.cdr_wait_s + 0.1, rows=recording.rows)
    assert followed.phases == [*phases_of(version, name), "ended"]
    assert all(leg.state is None for leg in followed.call.legs)
    reason, _ = JUDGED[name]
    rows = (recording.rows, root.channel, root.uniqueid)
    if reason == "no_answer" and agent_gave_up(*rows, complete=True):
        reason = "cancelled"
    expected = (reason, "confirmed") if reason else ("unknown", "pending")
    assert (followed.last["reason"], followed.last["cdr"]) == expected


def test_a_call_is_observed_once_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it goes on, has just gone, or its end is told."""
    observed: list[Root] = []

    def counted(root: Root, *args: Any, **at: Any) -> Any:
        observed.append(root)
        return observe_in(root, *args, **at)

    monkeypatch.setattr(judging, "observe_in", counted)
    told(CALL, look(CALL, live()))
    told(CALL, look(CALL))
    told(CALL, look(CALL, gone=0.0))
    assert observed == [ROOT] * 3
    over = replace(CALL, phase="ended", cdr="pending")
    told(over, look(over, rows=BUSY))
    assert observed == [ROOT] * 3


def test_nothing_new_is_nothing_told() -> None:
    """A look that finds what is known already writes nothing."""
    assert told(CALL, look(CALL, live())) == []


def test_a_call_is_gone_since_it_was_first_found_so() -> None:
    """That is remembered from look to look, until a channel of it is seen again."""
    first = Look.at(10.0, [CALL], (), {}, gone={})
    assert first.gone == {ID: 10.0}
    assert Look.at(10.4, [CALL], (), {}, gone=first.gone).gone == {ID: 10.0}
    assert Look.at(10.8, [CALL], (live(),), {}, gone=first.gone).gone == {}
    assert Look.at(10.8, [], (), {}, gone=first.gone).gone == {}


@pytest.mark.parametrize("waited_s", [0.0, 0.999])
def test_an_end_waits_for_its_record(waited_s: float) -> None:
    """Less than a second, nothing is told; what is written meanwhile is told at once."""
    since = 100.0 - waited_s
    assert told(CALL, look(CALL, gone=since)) == []
    (end,) = told(CALL, look(CALL, gone=since, rows=BUSY))
    assert (end["phase"], end["reason"], end["cdr"]) == ("ended", "agent_busy", "confirmed")
    assert end["ago_s"] == 100.0 - since


@pytest.mark.parametrize(
    ("phase", "cdr", "reason"),
    [
        ("talking", "pending", "answered"),
        ("talking", "none", "answered"),
        ("customer_ringing", "pending", "unknown"),
        ("accepted", "pending", "unknown"),
        ("accepted", "none", "failed"),
    ],
)
def test_an_end_waits_a_second_at_most(phase: Phase, cdr: CdrState, reason: str) -> None:
    """Then it is told without a record, and what the phases themselves say of it."""
    call = replace(CALL, phase=phase, legs=(AGENT,))
    assert told(call, look(call, gone=99.5, cdr=cdr)) == []
    assert told(call, look(call, gone=99.0, cdr=cdr)) == [
        Change(
            call_id=ID,
            phase="ended",
            ago_s=1.0,
            legs=(replace(AGENT, state=None, left_at=99.0),),
            reason=reason,  # type: ignore[typeddict-item] # a parameter is any text
            cdr=cdr,
            agent=Side(talk_s=0),
            customer=Side(talk_s=0),
            ring_s=None,
            talk_s=0,
        )
    ]


@pytest.mark.parametrize("cdr", ["off", "unreadable"])
def test_a_record_that_cannot_come_is_not_waited_for(cdr: CdrState) -> None:
    """The end is told at the first look that finds the call gone."""
    (end,) = told(CALL, look(CALL, cdr=cdr))
    assert (end["phase"], end["ago_s"], end["reason"], end["cdr"]) == ("ended", 0.0, "unknown", cdr)


def test_a_late_record_corrects_the_call() -> None:
    """Its reason and its seconds; the end itself is not told again."""
    call = replace(CALL, phase="ended", cdr="pending", ended_s=30.0)
    assert told(call, look(call)) == []
    (correction,) = told(call, look(call, rows=BUSY))
    assert (correction["reason"], correction["cdr"]) == ("agent_busy", "confirmed")
    assert correction["disposition"] == "BUSY"
    assert "phase" not in correction


def test_a_transfer_s_record_may_come_with_the_next_batch() -> None:
    """The end is told in time, and corrected once both talks are known: 500 and 120 seconds."""
    customer = "Local/+375290000001@inoffice-0000002c;"
    *talk, transfer = records(
        line("Local/154@inoffice-0000002a;2", AGENT.channel, talks=502, uniqueid=f"{EPOCH}.11"),
        line(ROOT.channel, f"{customer}1", at=1, talks=501, uniqueid=ROOT.uniqueid),
        line(f"{customer}2", "SIP/trunk-20", at=2, talks=500, uniqueid=f"{EPOCH + 2}.14"),
        line("SIP/trunk-20", "SIP/151-21", at=502, talks=120, uniqueid=f"{EPOCH + 2}.15"),
    )
    call = replace(CALL, phase="talking", transferred=True)
    (end,) = told(call, look(call, gone=0.0, rows=talk))
    assert (end["phase"], end["reason"], end["cdr"]) == ("ended", "answered", "pending")
    ended = replace(call, phase="ended", cdr="pending", ended_s=30.0)
    assert told(ended, look(ended, rows=talk)) == []
    (correction,) = told(ended, look(ended, rows=[*talk, transfer]))
    assert (correction["talk_s"], correction["cdr"]) == (620, "confirmed")


@pytest.mark.parametrize(
    ("ended_s", "cdr", "found"),
    [
        (900.0, "pending", None),
        (900.1, "pending", "none"),
        (1.0, "none", "none"),
        (1.0, "off", "off"),
        (1.0, "unreadable", "unreadable"),
    ],
)
def test_a_record_is_waited_for_no_longer_than_a_batch_takes(
    ended_s: float, cdr: CdrState, found: CdrState | None
) -> None:
    """Nor where the PBX writes none."""
    call = replace(CALL, phase="ended", cdr="pending", ended_s=ended_s)
    expected = [Change(call_id=ID, cdr=found)] if found else []
    assert told(call, look(call, cdr=cdr)) == expected


def test_the_candidate_that_answered_for_the_customer_is_the_root() -> None:
    """Until one of them has, while one is there, nothing is told; without any, the end."""
    call = replace(CALL, root=None, candidates=(OTHER, ROOT))
    up = live(ROOT, "Up", "Local/+375290000001@inoffice")
    assert told(call, look(call, live(OTHER), live(ROOT))) == []
    assert told(call, look(call, live(OTHER), up)) == [
        Change(call_id=ID, root_channel=ROOT.channel, root_uniqueid=ROOT.uniqueid)
    ]
    assert told(call, look(call)) == [Change(call_id=ID, phase="ended", reason="unknown")]


ROOTLESS = replace(CALL, root=None, candidates=())
NEXT = records(
    line("Local/154@inoffice-0000002c;2", "SIP/154-20", "NO ANSWER", at=2, uniqueid=f"{EPOCH}.31")
)
AGENT_S = records(  # an extension that a caller's phone dialled
    line("Local/154@inoffice-0000002d;2", "SIP/154-21", "BUSY", at=1, uniqueid=f"{EPOCH}.41"),
    line("SIP/150-22", "Local/154@inoffice-0000002d;1", "BUSY", at=1, uniqueid=f"{EPOCH}.40"),
)


def test_a_call_that_was_over_before_it_was_seen_is_found_in_the_records() -> None:
    """Its root is the one that its rows name; whom another phone dialled is not asked about."""
    changes = told(ROOTLESS, look(ROOTLESS, rows=(*BUSY, *AGENT_S)))
    assert [change.get("root_channel") for change in changes] == [ROOT.channel, None]
    assert changes[-1]["phase"] == "ended"
    assert (changes[-1]["reason"], changes[-1]["cdr"]) == ("agent_busy", "confirmed")


def test_the_records_of_a_known_call_are_not_another_s() -> None:
    """The one that is left is the rootless one's."""
    seen = Look.at(100.0, [CALL, ROOTLESS], (live(),), {}, gone={})
    rows = (*BUSY, *NEXT)
    changes = told(ROOTLESS, seen.with_records(100.0, Book(rows), "pending", now=NOW))
    assert changes[0]["root_channel"] == "Local/154@inoffice-0000002c;1"


def test_the_records_of_a_call_before_are_not_another_s() -> None:
    """It is over, and followed no more: whoever redials is told of his own."""
    again = replace(ROOTLESS, taken=frozenset({ROOT.channel}))
    changes = told(again, look(again, rows=(*BUSY, *NEXT)))
    assert changes[0]["root_channel"] == "Local/154@inoffice-0000002c;1"


@pytest.mark.parametrize(
    ("rows", "cdr", "reason"),
    [
        ((), "none", "failed"),
        ((), "pending", "unknown"),
        ((), "off", "unknown"),
        ((*BUSY, *NEXT), "none", "unknown"),
    ],
)
def test_a_call_that_no_record_tells_of_for_certain_ends_after_a_second(
    rows: tuple[Record, ...], cdr: CdrState, reason: Reason
) -> None:
    """Before that its row may be on its way; an Asterisk that writes none is not waited for."""
    young, old = replace(ROOTLESS, age_s=0.9), replace(ROOTLESS, age_s=1.0)
    expected = [Change(call_id=ID, phase="ended", reason=reason, cdr=cdr)]
    assert told(young, look(young, rows=rows, cdr=cdr)) == (expected if cdr == "off" else [])
    assert told(old, look(old, rows=rows, cdr=cdr)) == expected


@pytest.mark.parametrize("at_s", [-6, 6])
def test_an_older_or_a_younger_row_is_no_rootless_call_s(at_s: int) -> None:
    """The clocks of a PBX and ours are seconds apart at most."""
    far = records(line("Local/154@inoffice-2a;2", "SIP/154-1", "BUSY", at=at_s, uniqueid="-"))
    (change,) = told(ROOTLESS, look(ROOTLESS, rows=far))
    assert change["reason"] == "unknown"


def test_a_call_that_was_placed_slowly_began_as_late() -> None:
    """Its host took ten seconds to let us in, or it waited: what was dialled is younger."""
    late = records(
        line("Local/154@inoffice-2a;2", "SIP/154-1", "BUSY", at=10, uniqueid=f"{EPOCH}.11")
    )
    slow = replace(ROOTLESS, age_s=11.0, placing_s=9.5)
    now = BEGINNING + timedelta(seconds=slow.age_s)
    seen = replace(look(slow, rows=late, cdr="none"), now=now)
    assert told(slow, seen)[-1]["reason"] == "agent_busy"
    younger = replace(slow, placing_s=10.5)
    assert told(younger, replace(look(younger, cdr="none"), now=now)) == [], "its row may yet come"


def test_a_phone_that_calls_in_its_root_s_place_is_let_talk() -> None:
    """Up to Asterisk 11 one that answers at once takes the root's place before that is seen."""
    phone = Channel(
        *("SIP/154-1f", "inoffice", "154", "Up", "Dial", "LOCAL/+375290000001@inoffice", "154"),
        *(3, "", ROOT.uniqueid),
    )
    assert told(ROOTLESS, look(ROOTLESS, phone, rows=BUSY)) == []


@pytest.mark.parametrize("phase", ["accepted", "talking"])
def test_a_call_of_a_host_that_is_away_for_an_hour_is_given_up(phase: Phase) -> None:
    """Not before; and not one that has ended, or that the PBX was never known to have."""
    call = replace(CALL, phase=phase)
    assert list(judge_unreachable(call, 3600.0, PACE)) == []
    assert list(judge_unreachable(call, 3600.1, PACE)) == [
        Change(call_id=ID, phase="ended", reason="unknown", cdr="unreadable")
    ]
    others: tuple[Phase, ...] = ("placing", "unknown", "ended")
    for other in others:
        assert list(judge_unreachable(replace(CALL, phase=other), 1e6, PACE)) == []


@pytest.mark.parametrize(
    ("phase", "age_s", "expected"),
    [
        ("placing", 50.0, []),
        ("placing", 50.1, [Change(call_id=ID, phase="unknown")]),
        ("unknown", 900.0, []),
        ("unknown", 900.1, [Change(call_id=ID, phase="ended", reason="unknown")]),
        ("accepted", 1e6, []),
    ],
)
def test_what_nobody_settled_is_told_in_time(
    phase: Phase, age_s: float, expected: list[Change]
) -> None:
    """A placing that takes twice as long as a request may is unknown; an unknown one ends."""
    call = replace(CALL, phase=phase, age_s=age_s)
    assert list(judge_age(call, longest_request_s=25.0, hold_s=900.0)) == expected


@pytest.mark.parametrize(
    ("phases", "gone", "wanted", "expected_s"),
    [
        (["customer_ringing"], False, False, 0.2),
        (["talking"], False, False, 0.5),
        (["talking"], True, False, 0.2),
        (["ended"], False, False, 2.0),
        (["unknown", "placing"], False, False, 2.0),
        (["ended", "talking", "accepted"], False, False, 0.2),
        ([], False, True, 0.5),
        (["ended"], False, True, 0.5),
        (["accepted"], False, True, 0.2),
    ],
)
def test_the_next_look_is_as_soon_as_the_busiest_call_needs(
    phases: list[Phase], expected_s: float, *, gone: bool, wanted: bool
) -> None:
    """And no sooner than a PBX that is away is asked again."""
    calls = tuple(replace(CALL, phase=phase) for phase in phases)
    following = Following(calls, wanted)
    asked = {ID} if gone else set[UUID]()
    assert PACE.pause_s(following, asked, is_unreachable=False) == expected_s
    assert PACE.pause_s(following, asked, is_unreachable=True) == 2.0


def test_what_nobody_settled_is_ended_by_its_record_alone() -> None:
    """It may not have been sent at all: without a record it waits for its time."""
    call = replace(CALL, phase="unknown", root=None, settled=False, age_s=50.0)
    placed = NOW - timedelta(seconds=1)
    at = placed + timedelta(seconds=50)
    nothing = replace(look(call, cdr="none"), now=at)
    assert list(judge(call, nothing, PACE)) == []
    (root, end) = judge(call, replace(look(call, rows=BUSY), now=at), PACE)
    assert (root["root_channel"], root["root_uniqueid"]) == (ROOT.channel, f"{EPOCH}.11")
    assert (end["phase"], end["reason"]) == ("ended", "agent_busy")

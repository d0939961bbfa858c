"""Calls that this service did not start, from look to look: on recordings, made-up lists, noise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.asterisk.elsewhere import MOST_CALLS, MOST_CHANGES, observe_elsewhere
from shared.asterisk.listing import Listing
from shared.asterisk.models import CallElsewhere, Channel
from shared.asterisk.parsers import parse_channels
from tests.unit.recorded import FOLDER, RECORDED, Recording, phases_of

# What more than one phone has to do with.
_KINDS = "queue ring-group follow-me local-twice refer parks call-waiting dial-g mailbox-at-once"
PLANS = sorted(
    path for kind in _KINDS.split() for path in FOLDER.glob(f"*/plans/extension-*{kind}*.json")
)
CALLER = "+375291112233"


def channel(name: str, **fields: Any) -> Channel:
    """One of a list."""
    usual = Channel(name, "inoffice", "", "Up", "AppDial", "(Outgoing Line)", "", 1, "", name)
    return replace(usual, **fields)


def phone(number: str, state: str = "Ringing", **fields: str) -> Channel:
    """An extension's."""
    return channel(f"SIP/{number}-1", state=state, extension=number, caller=number, **fields)


def caller(**fields: str) -> Channel:
    """Somebody who calls in by a trunk."""
    usual = {"state": "Ring", "extension": "150", "caller": CALLER, "application": "Dial"}
    return channel("SIP/city-1", **(usual | {"data": "SIP/150,30"} | fields))


def told(*looks: Iterable[Channel], root: str = "SIP/city-1") -> list[CallElsewhere]:
    """All that is told of looks one second apart, whose channels are of one call."""
    known, changes = dict[str, CallElsewhere](), list[CallElsewhere]()
    for at_s, listed in enumerate(looks):
        channels = tuple(listed)
        linkedids = dict.fromkeys((each.uniqueid for each in channels), root)
        seen = observe_elsewhere(known, Listing(channels, linkedids), float(at_s))
        known = dict(seen.calls)
        changes += seen.changes
    return changes


def phases(calls: Sequence[CallElsewhere]) -> list[str]:
    """What was told, in short."""
    return [call.phase for call in calls]


def replayed(
    snapshots: Sequence[dict[str, object]], linkedids: dict[str, str]
) -> list[CallElsewhere]:
    """All that is told of what was recorded, as if the calls were not ours."""
    known, changes = dict[str, CallElsewhere](), list[CallElsewhere]()
    asked: dict[str, str] = {}
    for snapshot in [*snapshots, {"at": 0.0, "channels": ""}]:
        channels = parse_channels(str(snapshot["channels"]))
        asked |= {c.uniqueid: linkedids[c.uniqueid] for c in channels if c.uniqueid in linkedids}
        seen = observe_elsewhere(known, Listing(channels, asked), float(str(snapshot["at"])))
        known = dict(seen.calls)
        changes += seen.changes
    return changes


def check_course(changes: Sequence[CallElsewhere]) -> None:
    """Of each call: one id, steps one after the other, something new at each, one end."""
    ids = {call.root_uniqueid: call.pbx_call_id for call in changes}
    assert len(set(ids.values())) == len(ids)
    for root, pbx_call_id in ids.items():
        own = [call for call in changes if call.root_uniqueid == root]
        assert {call.pbx_call_id for call in own} == {pbx_call_id}
        assert [call.step for call in own] == list(range(1, len(own) + 1))
        assert phases(own).index("ended") == len(own) - 1
        for before, now in pairwise(own):
            assert (before.phase, before.ringing, before.answered_by) != (
                *(now.phase, now.ringing, now.answered_by),
            )


@pytest.mark.parametrize(("version", "name"), RECORDED)
def test_a_recorded_call_is_told_as_it_was(version: str, name: str) -> None:
    """11, 13, 16, 22, placed as another program would: it talks where it talked; never wrongly."""
    recording = Recording.load(version, name)
    changes = replayed(recording.snapshots, recording.linkedids())
    check_course(changes)
    own = [call for call in changes if call.root_uniqueid == recording.root.uniqueid]
    assert ("talking" in phases(own)) is ("talking" in phases_of(version, name))
    for call in own:
        assert call.direction in {"outgoing", "unknown"}
        assert call.from_ == recording.root.extension
        assert call.to in {"", recording.root.to}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_every_plan_has_a_course(path: Path) -> None:
    """Queues, groups, follow-me, mailboxes, transfers, parking: a beginning, news only, one end."""
    recorded = json.loads(path.read_text("utf-8"))
    linkedids: dict[str, str] = {}
    for snapshot in recorded["snapshots"]:
        linkedids |= snapshot["linkedids"]
    changes = replayed(recorded["snapshots"], linkedids)
    check_course(changes)
    if "-parks" in path.stem:
        assert phases(changes)[-2] == "waiting", "whoever is parked talks to nobody"
    if "refer-blind" in path.stem:
        assert changes[-1].answered_by == "351"


def test_an_incoming_call() -> None:
    """It rings, talks and ends; how long, too; a look without news tells nothing."""
    ringing = (caller(), phone("150"))
    talking = (caller(state="Up", bridge="b"), phone("150", "Up", bridge="b"))
    first, second, last = told(ringing, ringing, talking, talking, talking, ())
    assert (first.direction, first.from_, first.to) == ("incoming", CALLER, "150")
    assert (first.phase, first.ringing, first.answered_by) == ("ringing", ("150",), None)
    assert (second.phase, second.ringing, second.answered_by) == ("talking", (), "150")
    assert (last.phase, last.ring_s, last.talk_s, last.answered_by) == ("ended", 2, 3, "150")


def test_a_ring_group() -> None:
    """All that ring, then only those that still do; who answered is one of them."""
    group = caller(data="SIP/150&SIP/151&SIP/152,30")
    looks = [
        (group, phone("150"), phone("151"), phone("152", "Down")),
        (group, phone("150"), phone("151"), phone("152")),
        (replace(group, state="Up", bridge="b"), phone("152", "Up", bridge="b")),
    ]
    assert [(call.phase, call.ringing, call.answered_by) for call in told(*looks)] == [
        ("ringing", ("150", "151"), None),
        ("ringing", ("150", "151", "152"), None),
        ("talking", (), "152"),
    ]


@pytest.mark.parametrize(
    ("first", "called", "expected"),
    [
        (phone("150", "Ring", application="Dial"), phone("151"), ("internal", "150", "151")),
        (
            replace(
                phone("150", "Ring", application="Dial", data=f"SIP/{CALLER}@city,60"),
                extension=CALLER,
            ),
            channel("SIP/city-2", state="Ringing"),
            ("outgoing", "150", CALLER),
        ),
        *(
            (
                replace(
                    phone("150", "Ring", application="Dial", data="DAHDI/g0/103,60"),
                    extension="103",
                ),
                channel(line, state="Ringing"),
                ("outgoing", "150", "103"),
            )
            for line in ("DAHDI/4-1", "DAHDI/i1/103-2")
        ),
        (caller(caller="anonymous"), phone("150"), ("incoming", "", "150")),
        (caller(context="from-trunk", extension="s"), phone("150"), ("incoming", CALLER, "150")),
    ],
    ids=["internal", "outgoing", "by a line", "by ISDN", "withheld", "a step of the dialplan"],
)
def test_which_way_it_goes(first: Channel, called: Channel, expected: tuple[str, str, str]) -> None:
    """As history reads it of records."""
    data = first.data if "/" in first.data else "SIP/151,30"
    first = replace(
        first, data=data, extension=first.extension if first.extension != "150" else "151"
    )
    if expected[0] == "incoming":
        first = replace(
            first,
            data="SIP/150,30",
            extension="150" if first.extension == "151" else first.extension,
        )
    (call,) = told((first, called), root=first.uniqueid)
    assert (call.direction, call.from_, call.to) == expected


@pytest.mark.parametrize("line", ["DAHDI/4-1", "DAHDI/i1/103-2"])
def test_whom_a_group_of_lines_calls_is_no_extension(line: str) -> None:
    """A short number outside neither rings nor answers as one; an analog phone does."""
    first = replace(phone("150", "Ring", application="Dial"), extension="103")
    outside = replace(first, data="DAHDI/g0/103,60")
    (ringing,) = told((outside, channel(line, state="Ringing")), root=first.uniqueid)
    assert ringing.ringing == ()
    analog = replace(first, data="DAHDI/4,60")
    (ringing,) = told((analog, channel("DAHDI/4-1", state="Ringing")), root=first.uniqueid)
    assert ringing.ringing == ("103",)


def test_what_nobody_saw_begin_is_unknown() -> None:
    """A call whose first channel has left before anybody looked: which way it went, from whom."""
    legs = (phone("150", "Up", bridge="b"), phone("151", "Up", bridge="b"))
    (call,) = told(legs, root="SIP/gone-1")
    assert (call.phase, call.direction, call.from_, call.to) == ("talking", "unknown", "", "")


def test_who_is_handed_over_talks_to_a_phone_of_another_call() -> None:
    """After an attended transfer; two callers who are parked in one bridge do not talk."""
    customer = caller(state="Up", bridge="b")
    other = phone("152", "Up", bridge="b")
    for linkedids, expected in (
        ({"SIP/city-1": "SIP/city-1", other.uniqueid: "SIP/150-2"}, "talking"),
        ({"SIP/city-1": "SIP/city-1", other.uniqueid: other.uniqueid}, "waiting"),
    ):
        seen = observe_elsewhere({}, Listing((customer, other), linkedids), 1.0)
        assert seen.calls["SIP/city-1"].phase == expected


def test_what_asterisk_was_not_asked_about_is_no_call() -> None:
    """A leg that has just come may be anybody's; and our own calls are known by their roots."""
    legs = (caller(), phone("150"))
    assert not observe_elsewhere({}, Listing(legs, {}), 1.0).calls
    linkedids = dict.fromkeys((leg.uniqueid for leg in legs), "SIP/city-1")
    ours = observe_elsewhere({}, Listing(legs, linkedids), 1.0, ours={"SIP/city-1"})
    assert not ours.calls


def test_of_what_ended_unseen_the_seconds_are_not_known() -> None:
    """A tracker that goes on after another tells the end, and not how long it has talked."""
    legs = (caller(state="Up", bridge="b"), phone("150", "Up", bridge="b"))
    linkedids = dict.fromkeys((leg.uniqueid for leg in legs), "SIP/city-1")
    known = observe_elsewhere({}, Listing(legs, linkedids), 1.0).calls
    ended = observe_elsewhere(known, Listing((), {}), 9.0, unwatched=set(known)).changes
    assert [(call.phase, call.talk_s) for call in ended] == [("ended", None)]


def test_too_many_calls_are_left_out() -> None:
    """A hostile PBX: bounded calls and bounded news, and the rest is counted."""
    channels = [channel(f"SIP/city-{n:x}") for n in range(5_000)]
    listing = Listing(channels, {each.uniqueid: each.uniqueid for each in channels})
    seen = observe_elsewhere({}, listing, 1.0)
    assert (len(seen.changes), len(seen.calls)) == (MOST_CHANGES, MOST_CHANGES)
    assert seen.left_out == 5_000 - MOST_CHANGES
    for _ in range(10):
        seen = observe_elsewhere(seen.calls, listing, 2.0)
    assert len(seen.calls) == MOST_CALLS


NAMES = ["SIP/150-1", "SIP/151-2", "SIP/city-3", "Local/150@x-4;1", "Local/150@x-4;2", "<ZOMBIE>"]
CHANNELS = st.builds(
    channel,
    st.sampled_from(NAMES),
    state=st.sampled_from(["Up", "Ringing", "Ring", "Down", ""]),
    bridge=st.sampled_from(["", "b", "c"]),
    application=st.sampled_from(["Dial", "AppDial", "AppDial2", "Queue", "ConfBridge", ""]),
    data=st.sampled_from(["", "SIP/150&SIP/151,30", "Local/150@x", "SIP/1@city", "/&@,/"]),
    extension=st.sampled_from(["", "s", "150", CALLER]),
    caller=st.sampled_from(["", "150", "anonymous", CALLER]),
    uniqueid=st.sampled_from(["1.1", "1.2", "1.3", "1.4"]),
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(looks=st.lists(st.lists(CHANNELS, max_size=6), max_size=6), roots=st.data())
def test_any_lists_have_a_course(looks: list[list[Channel]], roots: st.DataObject) -> None:
    """Whatever is listed in whatever order: nothing is raised, and each call has one course."""
    known = dict[str, CallElsewhere]()
    open_ids, ended = dict[str, object](), set[object]()
    for at_s, channels in enumerate(looks):
        ids = st.sampled_from(["1.1", "1.2", "1.9"])
        linkedids = roots.draw(st.dictionaries(st.sampled_from(["1.1", "1.2", "1.3"]), ids))
        seen = observe_elsewhere(known, Listing(channels, linkedids), float(at_s))
        for call in seen.changes:
            assert call.pbx_call_id not in ended
            assert open_ids.setdefault(call.root_uniqueid, call.pbx_call_id) == call.pbx_call_id
            if call.phase == "ended":
                ended.add(open_ids.pop(call.root_uniqueid))
        known = dict(seen.calls)
        assert {root: call.pbx_call_id for root, call in known.items()} == open_ids

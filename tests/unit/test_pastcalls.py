"""Calls of every kind, put together from their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.pastcalls import PastCall
from shared.asterisk.cdr.whose import number_of
from shared.asterisk.models import Side
from tests.unit.cdr_rows import BEGINNING, EPOCH, group_calls, line, records

TRUNK, PHONE, OTHER = "SIP/trunk-out-0000001a", "SIP/150-0000001b", "PJSIP/151-0000001c"
CALLER = "+375291112233"


def only(*lines: str) -> PastCall:
    """The one call that the lines are of."""
    (call,) = group_calls(records(*lines))
    return call


def test_an_inbound_call() -> None:
    """A phone's call from outside is one row."""
    call = only(line(TRUNK, PHONE, rings=4, talks=60, src=CALLER, dst="150"))
    assert (call.from_, call.to, call.disposition) == (CALLER, "150", "answered")
    assert (call.duration_s, call.talk_s, call.legs) == (64, 60, 1)
    assert call.answered_at == BEGINNING + timedelta(seconds=4)
    assert call.ended_at == BEGINNING + timedelta(seconds=64)
    assert (call.uniqueid, call.channel) == (f"{EPOCH}.1", TRUNK)
    assert call.extensions == {"150", "trunk-out"}
    assert call.numbers == {"150", "trunk-out", CALLER}


@pytest.mark.parametrize(
    ("dispositions", "expected"),
    [
        (["NO ANSWER", "NO ANSWER"], "no_answer"),
        (["BUSY", "NO ANSWER"], "no_answer"),
        (["BUSY", "BUSY"], "busy"),
        (["FAILED", "BUSY"], "busy"),
        (["FAILED"], "failed"),
        (["NO ANSWER", "ANSWERED"], "answered"),
    ],
)
def test_a_group_of_phones_is_one_call(dispositions: list[str], expected: str) -> None:
    """A row for each phone that rang, all of one uniqueid: what the best of them came to."""
    rows = [
        line(TRUNK, f"SIP/15{n}-{n}", disposition, rings=9, talks=3, uniqueid=f"{EPOCH}.1")
        for n, disposition in enumerate(dispositions)
    ]
    call = only(*rows)
    assert (call.disposition, call.legs) == (expected, len(rows))
    assert call.talk_s == (3 if expected == "answered" else 0)


def test_a_caller_who_left_the_queue_was_not_answered() -> None:
    """An application answers him at once; what counts is that no phone did."""
    waited = line(TRUNK, "", talks=40, application="Queue", uniqueid=f"{EPOCH}.1", dst="s")
    rang = line(TRUNK, PHONE, "NO ANSWER", at=5, rings=20, uniqueid=f"{EPOCH}.1", dst="s")
    call = only(waited, rang)
    assert (call.disposition, call.to, call.talk_s) == ("no_answer", "150", 0)


@pytest.mark.parametrize(
    "application", ["VoiceMail", "Queue", "Playback", "BackGround", "Hangup", "WaitExten", ""]
)
def test_only_a_phone_answers(application: str) -> None:
    """A menu, a queue that nobody took, an announcement, a mailbox: the PBX is nobody's phone."""
    call = only(line(TRUNK, "", rings=1, talks=95, application=application, dst="900"))
    assert (call.disposition, call.to, call.talk_s) == ("no_answer", "900", 0)
    assert call.answered_at is None


MOBILE = "SIP/trunk-out-0000001d"


@pytest.mark.parametrize(
    ("rows", "agent", "customer"),
    [
        # From outside: the customer calls, the agent's phone answers after 4 s.
        (
            [line(TRUNK, PHONE, rings=4, talks=60, src=CALLER, dst="150")],
            Side("phone", 4, 60),
            Side("phone", 0, 60),
        ),
        # Nobody took it: it rang for 9 s.
        (
            [line(TRUNK, PHONE, "NO ANSWER", rings=9, src=CALLER, dst="150")],
            Side(None, 9, 0),
            Side("phone", 0, 0),
        ),
        # Rung in vain, then the mailbox: the customer talks to that.
        (
            [
                line(TRUNK, PHONE, "NO ANSWER", rings=9, src=CALLER, dst="150"),
                line(TRUNK, talks=20, at=9, application="VoiceMail", uniqueid=f"{EPOCH}.1"),
            ],
            Side("pbx", 9, 0),
            Side("phone", 0, 20),
        ),
        # A phone of ours calls out.
        (
            [line(PHONE, MOBILE, rings=6, talks=30, src="150", dst=CALLER)],
            Side("phone", 0, 30),
            Side("phone", 6, 30),
        ),
        (
            [line(PHONE, MOBILE, "BUSY", rings=2, src="150", dst=CALLER)],
            Side("phone", 0, 0),
            Side(None, 2, 0),
        ),
        # Two of ours: who calls is told as the agent.
        (
            [line(PHONE, OTHER, rings=3, talks=5, src="150", dst="151")],
            Side("phone", 0, 5),
            Side("phone", 3, 5),
        ),
    ],
    ids=["in", "in, nobody", "in, mailbox", "out", "out, busy", "internal"],
)
def test_what_became_of_each_party(rows: list[str], agent: Side, customer: Side) -> None:
    """The customer is who called from outside, else who was called; only who is called rings."""
    call = only(*rows)
    assert (call.agent, call.customer) == (agent, customer)


def test_a_queue_that_answered_first_hides_how_long_a_phone_rang() -> None:
    """The row of its member begins when the phone was rung, and was answered before it."""
    waited = line(TRUNK, "", talks=12, application="Queue", uniqueid=f"{EPOCH}.1", dst="s")
    taken = line(TRUNK, PHONE, talks=40, at=12, uniqueid=f"{EPOCH}.1", dst="s", application="Queue")
    call = only(waited, taken)
    assert (call.agent.answered_by, call.agent.talk_s, call.disposition) == (
        "phone",
        40,
        "answered",
    )


def test_callers_who_waited_for_one_line_are_two_calls() -> None:
    """An analog phone's channel has the same name each time, and a caller may be older than it."""
    first = line(TRUNK, "DAHDI/5-1", rings=5, talks=95, src=CALLER, application="Queue")
    second = line(
        *(MOBILE, "DAHDI/5-1"), at=102, rings=4, talks=60, src="375", uniqueid=f"{EPOCH + 50}.3"
    )
    calls = group_calls(records(first, second))
    assert [(call.duration_s, call.talk_s) for call in calls] == [(100, 95), (64, 60)]


def test_a_caller_who_waits_while_the_clock_is_put_back_is_one_call() -> None:
    """No row begins before its channel is born, so the rows of the later clock are later."""
    born = int(datetime(2026, 10, 25, 0, 59, tzinfo=UTC).timestamp()) - EPOCH
    rows = [
        line(
            *(TRUNK, f"SIP/15{n}-{n}", "NO ANSWER"),
            at=born + 20 * n,
            rings=15,
            uniqueid=f"{EPOCH + born}.1",
            zone_h=2 if n < 3 else 1,
        )
        for n in range(6)
    ]
    call = only(*rows)
    assert (f"{call.started_at:%H:%M:%S}", call.duration_s) == ("00:59:00", 115)


@pytest.mark.parametrize(
    ("channel", "direction", "agent", "customer"),
    [
        (PHONE, "out", Side(None, 20, 0), Side(None, None, 0)),
        (TRUNK, "out", Side(None, 20, 0), Side(None, None, 0)),
    ],
)
def test_whom_a_program_rang_in_vain_has_not_answered(
    channel: str, direction: str, agent: Side, customer: Side
) -> None:
    """Asterisk's own ring is no call from there: nobody missed it, and no phone was up."""
    rang = line(channel, "", "NO ANSWER", rings=20, src=CALLER, application="AppDial2")
    call = only(rang)
    assert (call.direction, call.disposition) == (direction, "no_answer")
    assert (call.agent, call.customer.answered_by) == (agent, customer.answered_by)


def test_up_to_11_a_mailbox_has_the_phone_in_its_row() -> None:
    """One row a caller, with the phone that rang in vain and what answered instead."""
    call = only(line(TRUNK, PHONE, talks=50, src=CALLER, dst="150", application="VoiceMail"))
    assert (call.disposition, call.agent.answered_by) == ("no_answer", "pbx")


def test_a_mailbox_behind_a_local_channel_is_no_phone() -> None:
    """A queue's member who does not answer, and whose mailbox does."""
    member = "Local/150@from-queue-00000007"
    call = only(
        line(TRUNK, f"{member};1", rings=3, talks=30, src=CALLER, dst="700"),
        line(f"{member};2", PHONE, "NO ANSWER", rings=20, uniqueid=f"{EPOCH}.5", dst="150"),
        line(f"{member};2", talks=9, at=20, uniqueid=f"{EPOCH}.5", application="VoiceMail"),
    )
    assert (call.disposition, call.talk_s) == ("no_answer", 0)


def test_a_call_through_a_local_channel_is_one_call() -> None:
    """Both halves of it belong together, as a queue's members are called."""
    member = "Local/150@members-00000007"
    call = only(
        line(TRUNK, f"{member};1", rings=3, talks=30, src=CALLER, dst="700"),
        line(f"{member};2", PHONE, rings=3, talks=30, at=0, uniqueid=f"{EPOCH}.5", dst="150"),
    )
    assert (call.from_, call.to, call.talk_s, call.legs) == (CALLER, "700", 30, 2)
    assert {"150", "700"} < call.extensions


def test_a_transferred_call_is_one_call() -> None:
    """The caller's channel goes on with another phone: the talk is both talks."""
    call = only(
        line(TRUNK, PHONE, rings=2, talks=10, uniqueid=f"{EPOCH}.1", src=CALLER, dst="150"),
        line(TRUNK, OTHER, at=12, rings=3, talks=20, uniqueid=f"{EPOCH}.1", dst="151"),
    )
    assert (call.from_, call.to, call.talk_s, call.duration_s) == (CALLER, "150", 30, 35)


def test_calls_at_once_are_told_apart() -> None:
    """What shares neither a uniqueid nor a channel has nothing in common but the time."""
    calls = group_calls(
        records(
            line(TRUNK, PHONE, talks=9, uniqueid=f"{EPOCH}.1"),
            line("SIP/trunk-out-0000002a", OTHER, talks=9, uniqueid=f"{EPOCH}.2"),
        )
    )
    assert len(calls) == 2


@pytest.mark.parametrize("uniqueids", [True, False])
def test_equal_names_after_a_restart_are_another_call(uniqueids: bool) -> None:  # noqa: FBT001
    """Asterisk counts its channels anew; the times do not adjoin, the uniqueids differ."""
    uniqueid = None if uniqueids else "-"
    first, second = (line(TRUNK, PHONE, at=at, talks=9, uniqueid=uniqueid) for at in (0, 600))
    assert len(group_calls(records(first, second))) == 2
    soon = line(TRUNK, PHONE, at=10, talks=9, uniqueid=f"{EPOCH + 10}.1")
    assert len(group_calls(records(line(TRUNK, "SIP/9-9", talks=9), soon))) == 2


@pytest.mark.parametrize("later", [60, 600])
def test_a_name_that_is_given_again_does_not_tear_a_call(later: int) -> None:
    """After a restart, soon or late, the call's own rows hold together, and not with the old."""
    customer = "Local/+375290000001@inoffice-0000002b;"

    def call(root: str, at: int) -> list[str]:
        uniqueid = f"{EPOCH + at}.7"
        return [
            line(f"{root}1", f"{customer}1", at=at, talks=2, uniqueid=uniqueid),
            line(f"{customer}2", "SIP/trunk-20", at=at, talks=2, uniqueid=f"{EPOCH + at}.9"),
        ]

    calls = group_calls(
        records(
            *call("Local/154@inoffice-0000002a;", 0),
            *call("Local/150@inoffice-0000002c;", later),
        )
    )
    assert [(found.from_, found.legs) for found in calls] == [("154", 2), ("150", 2)]


def test_calls_come_in_the_order_of_their_begin() -> None:
    """Whatever the order of the rows."""
    rows = [
        line(f"SIP/1-{at}", f"SIP/2-{at}", at=at, talks=3, uniqueid=f"{EPOCH + at}.{at}")
        for at in (30, 0, 20)
    ]
    begins = [call.started_at for call in group_calls(records(*rows))]
    assert begins == sorted(begins)


def test_a_phone_that_is_rung_and_answers_in_the_same_second() -> None:
    """All rows of such a call begin at once: the lowest number is the first leg."""
    root, customer = "Local/154@inoffice-0000002a;", "Local/+375290000001@inoffice-0000002b;"
    call = only(
        line(f"{customer}2", "SIP/trunk-20", talks=4, uniqueid=f"{EPOCH}.12"),
        line(f"{root}2", "SIP/154-1f", talks=4, uniqueid=f"{EPOCH}.8"),
        line(f"{root}1", f"{customer}1", talks=4, uniqueid=f"{EPOCH}.7"),
    )
    assert (call.from_, call.to, call.channel) == ("154", "+375290000001", f"{root}1")


@pytest.mark.parametrize(
    ("channel", "number"),
    [
        ("SIP/150-0000002a", "150"),
        ("PJSIP/150-home-0000002a", "150-home"),
        ("Local/+375290000001@inoffice-0000002a;2", "+375290000001"),
        ("DAHDI/1-1", ""),
        ("", ""),
    ],
)
def test_a_channels_name_tells_whose_it_is(channel: str, number: str) -> None:
    """The device's name, which is the extension's number; of other technologies it is none."""
    assert number_of(channel) == number


LOCALS = [f"Local/{number}@inoffice-0000002a;{half}" for number in "12" for half in "12"]
NAMES = st.sampled_from(["", TRUNK, PHONE, OTHER, *LOCALS])
ROWS = st.builds(
    line,
    NAMES,
    NAMES,
    st.sampled_from(["ANSWERED", "BUSY", "NO ANSWER", "FAILED"]),
    at=st.integers(0, 30),
    rings=st.integers(0, 9),
    talks=st.integers(0, 9),
    uniqueid=st.sampled_from([None, "-", f"{EPOCH}.7", f"{EPOCH + 9}.8"]),
    application=st.sampled_from(["Dial", "ChanSpy", ""]),
    data=st.text(max_size=20),
)


def test_a_phone_may_be_up_by_another_row_than_that_which_rang_it() -> None:
    """It answered once, and was busy the second time: that it talked is told by the first row."""
    half = "Local/1@inoffice-0000002a;2"
    rows = [
        line("", "", "ANSWERED"),
        line(half, TRUNK, "ANSWERED", uniqueid="-"),
        line("Local/2@inoffice-0000002a;2", TRUNK, "BUSY"),
    ]
    (call,) = group_calls(records(*rows))
    assert (call.legs, call.disposition) == (3, "answered")


@given(st.lists(ROWS, max_size=8))
def test_any_rows_are_calls(rows: list[str]) -> None:
    """Each row is in exactly one call, whatever the rows are; nothing raises."""
    calls = group_calls(records(*rows))
    assert sum(call.legs for call in calls) == len(records(*rows))
    assert all(call.talk_s >= 0 for call in calls)

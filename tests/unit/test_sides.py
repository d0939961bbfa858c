"""Who answered for each party, how long each rang and talked: rows as dialplans leave them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.outcome import Confirmed, confirm
from shared.asterisk.cdr.tree import CallRows
from shared.asterisk.models import Leg, Progress, Side
from tests.unit.cdr_rows import EPOCH, line, records

ROOT, TWIN = "Local/154@inoffice-0000002a;1", "Local/154@inoffice-0000002a;2"
HIS, HIS_TWIN = "Local/+375290000001@inoffice-0000002b;1", "Local/+375290000001@inoffice-0000002b;2"
PHONE, OTHER, TRUNK = "SIP/154-1f", "SIP/155-20", "SIP/trunk-21"
R, T, C = f"{EPOCH}.7", f"{EPOCH}.8", f"{EPOCH + 2}.12"


def agents(dst: str = PHONE, disposition: str = "ANSWERED", **more: object) -> str:
    """Write a row of what the dialplan did for the agent; he answers after 2 s."""
    times = {"rings": 2, "talks": 7} | more
    return line(TWIN, dst, disposition, uniqueid=T, **times)  # type: ignore[arg-type]


def link(disposition: str = "ANSWERED", *, at: int = 2, talks: int = 7) -> str:
    """Write the rows of the root."""
    empty = line(ROOT, "", rings=at, uniqueid=R)
    return empty + line(ROOT, HIS, disposition, at=at, talks=talks, uniqueid=R)


def customers(dst: str = TRUNK, disposition: str = "ANSWERED", **more: object) -> str:
    """Write a row of what the dialplan did for the customer; he answers after 3 s, talks for 4."""
    times = {"at": 2, "rings": 3, "talks": 4} | more
    return line(HIS_TWIN, dst, disposition, uniqueid=C, **times)  # type: ignore[arg-type]


def pbx(half: str, *, at: int, talks: int, application: str = "VoiceMail") -> str:
    """Write a row of what answered for a party and is no phone."""
    uniqueid = T if half == TWIN else C
    return line(half, "", at=at, talks=talks, uniqueid=uniqueid, application=application)


def told(*lines: str, seen: Progress | None = None) -> Confirmed:
    """Judge a call by all of its rows."""
    found = confirm(records(*lines), ROOT, R, to="+375290000001", seen=seen, complete=True)
    assert found is not None
    return found


TALKED = Side("phone", 2, 4), Side("phone", 3, 4)


def test_two_phones_that_talk() -> None:
    """Each rang until it answered; both talk from when the second did."""
    found = told(agents(), link(), customers())
    assert (found.reason, found.agent, found.customer) == ("answered", *TALKED)


@pytest.mark.parametrize(
    ("name", "rows", "reason", "agent", "customer"),
    [
        (
            "the agent's mailbox, after his phone rang",
            [
                agents(disposition="NO ANSWER", rings=6, talks=0),
                pbx(TWIN, at=6, talks=9),
                link(at=6, talks=9),
                customers(at=6),
            ],
            "agent_no_answer",
            Side("pbx", 6, 0),
            Side("phone", 3, 4),
        ),
        (
            "the agent's mailbox at once",
            [pbx(TWIN, at=0, talks=7), link(at=0), customers(at=0)],
            "agent_no_answer",
            Side("pbx", 0, 0),
            Side("phone", 3, 4),
        ),
        (
            "the agent's mailbox, as his phone was busy",
            [
                agents(disposition="BUSY", rings=1, talks=0),
                pbx(TWIN, at=1, talks=8),
                link(at=1, talks=8),
                customers(disposition="NO ANSWER", at=1, rings=8, talks=0),
            ],
            "agent_busy",
            Side("pbx", 1, 0),
            Side(None, 8, 0),
        ),
        (
            "a queue that nobody took",
            [
                agents(disposition="NO ANSWER", rings=5, talks=0, application="Queue"),
                agents(OTHER, "NO ANSWER", at=5, rings=4, talks=0, application="Queue"),
                pbx(TWIN, at=0, talks=9, application="Queue"),
                link(at=0, talks=9),
                customers(at=0, talks=6),
            ],
            "agent_no_answer",
            Side("pbx", 4, 0),
            Side("phone", 3, 6),
        ),
        (
            "a ring group, of which the second phone answers",
            [
                agents(disposition="NO ANSWER", rings=2, talks=0),
                agents(OTHER),
                link(),
                customers(),
            ],
            "answered",
            *TALKED,
        ),
        (
            "follow-me to a second phone",
            [
                agents(disposition="NO ANSWER", rings=3, talks=0),
                agents(OTHER, at=3, rings=1, talks=7),
                link(at=4),
                customers(at=4),
            ],
            "answered",
            Side("phone", 1, 4),
            Side("phone", 3, 4),
        ),
        (
            "the customer's mailbox",
            [
                agents(),
                link(),
                customers(disposition="NO ANSWER", rings=3, talks=0, data="SIP/1@trunk,3"),
                pbx(HIS_TWIN, at=5, talks=4),
            ],
            "no_answer",
            Side("phone", 2, 4),
            Side("pbx", 3, 0),
        ),
        (
            "an announcement after a busy customer",
            [
                agents(),
                link(),
                customers(disposition="BUSY", rings=1, talks=0),
                pbx(HIS_TWIN, at=3, talks=6, application="Playback"),
            ],
            "busy",
            Side("phone", 2, 6),
            Side("pbx", 1, 0),
        ),
        (
            "an announcement of a number that does not exist",
            [
                agents(),
                link(),
                customers(disposition="NO ANSWER", rings=0, talks=0, data="SIP/1@trunk,60"),
                pbx(HIS_TWIN, at=2, talks=7, application="Playback"),
            ],
            "failed",
            Side("phone", 2, 7),
            Side("pbx", 0, 0),
        ),
        (
            "a second trunk that refuses after the first rang",
            [
                agents(),
                link("FAILED"),
                customers(disposition="BUSY", rings=5, talks=0),
                customers("SIP/t2-22", "NO ANSWER", at=7, rings=0, talks=0),
            ],
            "busy",
            Side("phone", 2, 0),
            Side(None, 5, 0),
        ),
        (
            "a second trunk by which he answers",
            [
                agents(),
                link(),
                customers("SIP/t2-22", "FAILED", rings=0, talks=0),
                customers(),
            ],
            "answered",
            *TALKED,
        ),
        (
            "all circuits are busy",
            [
                agents(),
                link("FAILED"),
                customers(disposition="NO ANSWER", rings=7, talks=0, data="SIP/1@trunk,7"),
            ],
            "no_answer",
            Side("phone", 2, 0),
            Side(None, 7, 0),
        ),
        (
            "an agent who hangs up, where Asterisk tells it",
            [agents(talks=3), link("CANCEL"), customers(disposition="CANCEL", rings=3, talks=0)],
            "cancelled",
            Side("phone", 2, 0),
            Side(None, 3, 0),
        ),
        (
            "an extension that somebody hung up",
            [agents(disposition="CANCEL", rings=5, talks=0)],
            "cancelled",
            Side(None, 5, 0),
            Side(None, 0, 0),
        ),
        (
            "an extension that Asterisk gave up after half a minute",
            [agents(disposition="CANCEL", rings=30, talks=0)],
            "agent_no_answer",
            Side(None, 30, 0),
            Side(None, 0, 0),
        ),
    ],
)
def test_a_dialplan_that_does_more_than_ring(
    name: str, rows: list[str], reason: str, agent: Side, customer: Side
) -> None:
    """A phone decides; what the PBX itself answers is told apart."""
    found = told(*rows)
    assert (found.reason, found.agent, found.customer) == (reason, agent, customer), name
    assert found.talk_s == (4 if reason == "answered" else 0)


def test_a_phone_that_answers_behind_a_local_channel() -> None:
    """Forwarded twice, by channels of Asterisk's own."""
    one, two = "Local/1@x-3", "Local/2@x-4"
    rows = (
        agents(f"{one};1"),
        line(f"{one};2", f"{two};1", rings=2, talks=7),
        line(f"{two};2", PHONE, rings=2, talks=7),
    )
    found = told(*rows, link(), customers())
    assert (found.reason, found.agent, found.customer) == ("answered", *TALKED)


def test_a_phone_that_was_not_let_in_has_not_answered() -> None:
    """It has to press a key first; the dialplan's own row of it says that it did not."""
    rows = (
        agents("Local/1@x-3;1", "NO ANSWER", rings=9, talks=0),
        line("Local/1@x-3;2", PHONE, rings=2, talks=7),
    )
    found = told(*rows)
    assert (found.reason, found.agent.answered_by, found.talk_s) == ("agent_no_answer", None, 0)


def seen(*legs: Leg) -> Progress:
    """How far looks have seen the call."""
    return Progress("ended", legs)


def test_an_extension_whose_dialplan_answers_first() -> None:
    """No row knows when its phone was up: whoever looked does, and the talk counts from then."""
    rows = (agents(rings=0, talks=9), link(at=0, talks=9), customers(at=0, rings=3, talks=6))
    leg = Leg(PHONE, f"{EPOCH}.9", "agent", None, seen_at=50.0, up_at=55.1, after_pbx=True)
    found = told(*rows, seen=seen(leg))
    assert (found.reason, found.talk_s) == ("answered", 4)
    assert (found.agent, found.customer) == (Side("phone", 5, 4), Side("phone", 3, 4))


def test_a_number_whose_dialplan_answers_first() -> None:
    """Likewise."""
    leg = Leg(TRUNK, f"{EPOCH + 2}.20", "customer", None, seen_at=2.0, up_at=5.0, after_pbx=True)
    found = told(agents(), link(), customers(rings=0, talks=7), seen=seen(leg))
    assert (found.reason, found.agent, found.customer) == ("answered", *TALKED)


def test_a_talk_that_was_seen_is_not_denied() -> None:
    """Of rows that say otherwise some are lost."""
    rows = agents(), link("FAILED"), customers(disposition="FAILED", talks=0)
    side = Side("phone", 2, 5)
    found = told(*rows, seen=Progress("ended", (), side, side, talked=True))
    assert (found.reason, found.talk_s) == ("answered", 5)
    assert (found.agent.answered_by, found.customer.answered_by) == ("phone", "phone")


def test_rows_that_lead_nowhere_tell_nothing() -> None:
    """The customer's own row is lost: whether a phone of his answered, nobody can know."""
    rows = records(agents(), link())
    assert confirm(rows, ROOT, R, complete=True) is None


def test_a_circle_of_local_channels_ends() -> None:
    """No PBX makes one; a file may hold anything."""
    rows = line(TWIN, "Local/1@x-3;1", uniqueid=T) + line("Local/1@x-3;2", "Local/1@x-3;1")
    assert CallRows(records(rows, link()), ROOT, R).agent().rung == ()


def _any_rows() -> Iterator[st.SearchStrategy[str]]:
    """Rows of every kind above, in any second and with any word."""
    words = st.sampled_from(["ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CANCEL", "CONGESTION"])
    halves = st.sampled_from([ROOT, TWIN, HIS, HIS_TWIN, "Local/1@x-3;1", "Local/1@x-3;2"])
    phones = st.sampled_from([PHONE, OTHER, TRUNK, "SIP/151-33", ""])
    seconds = st.integers(0, 40)
    ids = st.sampled_from([R, T, C, "-"])
    apps = st.sampled_from(["Dial", "AppDial", "Queue", "VoiceMail", "ChanSpy"])
    yield st.builds(
        lambda a, b, word, at, rings, talks, uniqueid, app: line(
            a, b, word, at=at, rings=rings, talks=talks, uniqueid=uniqueid, application=app
        ),
        *(st.one_of(halves, phones.filter(bool)), st.one_of(halves, phones), words),
        *(seconds, seconds, seconds, ids, apps),
    )


(ANY_ROW,) = _any_rows()
LEGS = st.lists(
    st.builds(
        Leg,
        st.sampled_from([PHONE, OTHER, TRUNK]),
        st.sampled_from([f"{EPOCH}.9", f"{EPOCH + 3}.10", ""]),
        st.sampled_from(["agent", "customer"]),
        st.none(),
        seen_at=st.none() | st.floats(0, 50),
        up_at=st.none() | st.floats(0, 90),
        rang=st.booleans(),
        after_pbx=st.booleans(),
    ),
    max_size=4,
)


@given(
    lines=st.lists(ANY_ROW, max_size=12),
    legs=LEGS,
    talked=st.booleans(),
    complete=st.booleans(),
    kind=st.sampled_from(["call", "monitor"]),
)
def test_any_rows_have_a_truth_that_holds_together(
    lines: list[str], legs: list[Leg], *, talked: bool, complete: bool, kind: str
) -> None:
    """Answered: phones of both were up, for no longer than the rows last; what was seen stays."""
    side = Side("phone", 1, 1)
    told_so_far = side if talked else Side()
    known = Progress("ended", tuple(legs), told_so_far, told_so_far, talked=talked)
    rows = records(*lines)
    found = confirm(rows, ROOT, R, kind=kind, seen=known, complete=complete)  # type: ignore[arg-type]
    if found is None:
        return
    for each in (found.agent, found.customer):
        assert all(count is None or count >= 0 for count in (each.ring_s, each.talk_s))
    if kind == "monitor":
        assert found.customer == Side()
        return
    if found.reason == "answered":
        assert (found.agent.answered_by, found.customer.answered_by) == ("phone", "phone")
        begin = min(row.started_at for row in rows)
        longest_s = (max(row.ended_at for row in rows) - begin).total_seconds()
        assert found.talk_s <= max(longest_s + 90, 1)  # a leg may be seen to be up after any row
    else:
        assert found.talk_s == 0
        assert not talked

"""What the rows of one call say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.outcome import Confirmed, agent_gave_up, confirm, find_roots
from shared.asterisk.cdr.rows import Record
from shared.asterisk.models import Side
from tests.unit.cdr_rows import BEGINNING, EPOCH, line, records

ROOT = "Local/154@inoffice-0000002a;1"
AGENT = "Local/154@inoffice-0000002a;2"
CUSTOMER = "Local/+375290000001@inoffice-0000002b;1"
CUSTOMERS = "Local/+375290000001@inoffice-0000002b;2"
R, TWIN = f"{EPOCH}.7", f"{EPOCH}.8"

# The agent's phone rings 2 s, the customer's 3; then they talk for 4.
AGENTS_ROW = line(AGENT, "SIP/154-1f", rings=2, talks=7, uniqueid=TWIN)
EMPTY_ROW = line(ROOT, "", rings=2, uniqueid=R)
OUTCOME = line(ROOT, CUSTOMER, at=2, talks=7, uniqueid=R)
CUSTOMERS_ROW = line(CUSTOMERS, "SIP/trunk-20", at=2, rings=3, talks=4)
ANSWERED = (AGENTS_ROW, EMPTY_ROW, OUTCOME, CUSTOMERS_ROW)

# The same with sound: the Local channels go as the customer answers.
EARLY = (
    line(AGENT, "SIP/154-1f", rings=2, talks=3, uniqueid=TWIN),
    EMPTY_ROW,
    line(ROOT, CUSTOMER, at=2, talks=3, uniqueid=R),
    line(CUSTOMERS, "SIP/trunk-20", at=2, rings=3),
    line("SIP/trunk-20", CUSTOMER, at=5, uniqueid=f"{EPOCH + 2}.12"),
)
TALK = line("SIP/154-1f", "SIP/trunk-20", at=5, talks=4, application="AppDial")
TALK_16 = line("SIP/trunk-20", "SIP/154-1f", at=5, talks=4, application="AppDial")

TALKED = Confirmed(
    reason="answered",
    disposition="ANSWERED",
    ring_s=3,
    talk_s=4,
    answered_at=BEGINNING + timedelta(seconds=5),
    agent=Side("phone", ring_s=2, talk_s=4),
    customer=Side("phone", ring_s=3, talk_s=4),
)


def told(rows: Sequence[Record], *, complete: bool = False) -> Confirmed | None:
    """What is told of the call with the root R."""
    return confirm(rows, ROOT, R, complete=complete)


def reason(*lines: str, complete: bool = False) -> tuple[str, int] | None:
    """The reason and the seconds that it rang."""
    found = told(records(*lines), complete=complete)
    return (found.reason, found.ring_s) if found else None


def test_an_answered_call() -> None:
    """The talk is the customer's row's: the agent's counts the ringing too."""
    assert told(records(*ANSWERED)) == TALKED


@pytest.mark.parametrize("talk", [TALK, TALK_16])
def test_an_answered_call_with_sound(talk: str) -> None:
    """The talk is the row from phone to phone, whichever of them it is about."""
    assert told(records(*EARLY, talk)) == TALKED


def test_rows_that_are_written_as_the_talk_begins_confirm_nothing() -> None:
    """A Local channel that was taken out leaves rows while the call goes on: the talk is to come.

    A host that was killed never writes it; then the call is known to have been answered.
    """
    assert told(records(*EARLY)) is None
    assert reason(*EARLY, complete=True) == ("answered", 3)


def test_an_outcome_that_is_written_twice_is_answered_once() -> None:
    """With sound it may come again as the talk ends, and then says NO ANSWER or the like."""
    again = line(ROOT, CUSTOMER, "NO ANSWER", at=5, uniqueid=R)
    assert told(records(*EARLY, again, TALK)) == TALKED


def test_an_outcome_may_come_again_with_the_customers_phone() -> None:
    """As Asterisk takes the Local channels out, one of their rows may name the phone itself."""
    swapped = line(ROOT, "SIP/trunk-20", at=5, uniqueid=R)
    early = (*EARLY[:4], swapped)
    assert told(records(*early)) is None
    assert told(records(*early, TALK)) == TALKED
    assert told(records(swapped, *EARLY[:4], TALK)) == TALKED


@pytest.mark.parametrize(
    ("disposition", "talk_s"), [("ANSWERED", 4 + 10), ("NO ANSWER", 4), ("BUSY", 4)]
)
def test_a_transferred_customer_talks_on(disposition: str, talk_s: int) -> None:
    """What he talks with the next one counts too; one who does not answer counts for nothing."""
    leg = f"{EPOCH + 2}.12"
    next_one = line(
        "SIP/trunk-20", "SIP/151-2f", disposition, at=9, rings=1, talks=10, uniqueid=leg
    )
    for first in (ANSWERED, (*EARLY, TALK)):
        found = told(records(*first, next_one))
        assert found is not None
        assert (found.reason, found.ring_s, found.talk_s) == ("answered", 3, talk_s)


def test_a_customer_may_be_transferred_before_he_answers() -> None:
    """Then the outcome says that he did not answer the agent, and he talks all the same."""
    early = (
        AGENTS_ROW,
        EMPTY_ROW,
        line(ROOT, CUSTOMER, "NO ANSWER", at=2, rings=1, uniqueid=R),
        line(CUSTOMERS, "SIP/trunk-20", "FAILED", at=2, rings=1),
    )
    next_one = line(
        "SIP/trunk-20", "SIP/151-2f", at=3, rings=2, talks=10, uniqueid=f"{EPOCH + 2}.9"
    )
    found = told(records(*early, next_one))
    assert found is not None
    assert (found.reason, found.disposition) == ("answered", "ANSWERED")
    assert (found.ring_s, found.talk_s) == (3, 10)


@pytest.mark.parametrize("outcome", ["BUSY", "NO ANSWER", "FAILED", "CONGESTION", "ANSWERED"])
@pytest.mark.parametrize(
    ("disposition", "rings", "expected"),
    [
        ("BUSY", 5, "busy"),
        ("NO ANSWER", 5, "no_answer"),
        ("FAILED", 1, "failed"),
        ("CONGESTION", 1, "failed"),
        ("CANCEL", 5, "cancelled"),
    ],
)
def test_a_customer_who_did_not_answer(
    outcome: str, disposition: str, rings: int, expected: str
) -> None:
    """The row of his phone says why, whatever the dialplan did afterwards."""
    lines = (
        line(CUSTOMERS, "SIP/trunk-20", disposition, at=2, rings=rings),
        EMPTY_ROW,
        line(ROOT, CUSTOMER, outcome, at=2, rings=7, uniqueid=R),
        AGENTS_ROW,
    )
    found = told(records(*lines))
    assert found is not None
    assert (found.reason, found.disposition) == (expected, disposition)
    assert (found.ring_s, found.talk_s, found.answered_at) == (rings, 0, None)


@pytest.mark.parametrize(("rings", "expected"), [(0, "failed"), (20, "no_answer")])
def test_a_number_that_a_carrier_refuses_did_not_ring(rings: int, expected: str) -> None:
    """Its phone's row says NO ANSWER of both; what the dialplan did in the end tells neither."""
    lines = (
        line(CUSTOMERS, "SIP/trunk-20", "NO ANSWER", at=2, rings=rings, data="SIP/1@trunk,300"),
        EMPTY_ROW,
        line(ROOT, CUSTOMER, "FAILED", at=2, rings=rings, uniqueid=R),
        line(AGENT, "SIP/154-1f", rings=2, talks=rings, uniqueid=TWIN),
    )
    assert reason(*lines) == (expected, rings)


def test_an_agent_who_hangs_up_while_the_customer_rings() -> None:
    """The rows say NO ANSWER as they do of a customer who did not; who gave up first is first."""
    customers = line(CUSTOMERS, "SIP/trunk-20", "NO ANSWER", at=2, rings=7)
    outcome = line(ROOT, CUSTOMER, "NO ANSWER", at=2, rings=7, uniqueid=R)
    limited = line(CUSTOMERS, "SIP/t-20", "NO ANSWER", at=2, rings=7, data="SIP/1@t,7")
    early = line(CUSTOMERS, "SIP/trunk-20", "NO ANSWER", at=2, rings=5)
    half = f"{EPOCH + 2}.1"
    queue = line(
        *(CUSTOMERS, "SIP/256-20", "NO ANSWER"), at=2, rings=7, application="Queue", uniqueid=half
    )
    after = line(CUSTOMERS, "", at=9, application="Hangup", uniqueid=half)

    def by_agent(*lines: str) -> bool | None:
        return agent_gave_up(records(*lines), ROOT, R)

    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome, customers) is True
    assert by_agent(customers, EMPTY_ROW, outcome, AGENTS_ROW) is False
    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome, limited) is False, "its time was over"
    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome, early) is False, "the call went on"
    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome, queue) is True
    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome, queue, after) is False, "the dialplan went on"
    assert by_agent(AGENTS_ROW, EMPTY_ROW, outcome) is None
    assert by_agent(EMPTY_ROW, outcome, customers) is None
    assert by_agent() is None


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [("BUSY", "agent_busy"), ("NO ANSWER", "agent_no_answer"), ("FAILED", "failed")],
)
def test_an_agent_who_did_not_answer(disposition: str, expected: str) -> None:
    """One row is all there is."""
    assert reason(line(AGENT, "SIP/154-1f", disposition, rings=6, uniqueid=TWIN)) == (expected, 6)


def test_one_of_several_phones_of_an_agent_answered() -> None:
    """An extension may ring several phones: one row each, and one answer is enough."""
    others = (line(AGENT, f"SIP/154-{n}", "NO ANSWER", rings=2, uniqueid=TWIN) for n in "ab")
    assert told(records(*others, *ANSWERED)) == TALKED


def test_an_agent_who_was_connected_with_nobody() -> None:
    """He answered and no outcome follows: the customer's context or the application is unknown."""
    assert reason(AGENTS_ROW, EMPTY_ROW) is None
    assert reason(AGENTS_ROW, EMPTY_ROW, complete=True) == ("failed", 2)


def test_a_call_without_rows_is_unknown() -> None:
    """An unknown extension leaves none, however long one waits."""
    assert told((), complete=True) is None


def test_a_monitoring() -> None:
    """The supervisor answered, and was in for as long as ChanSpy ran."""
    spying = line(ROOT, "", rings=2, talks=6, uniqueid=R, application="ChanSpy")
    found = confirm(records(AGENTS_ROW, spying), ROOT, R, kind="monitor")
    assert found is not None
    assert (found.reason, found.ring_s, found.talk_s) == ("answered", 2, 6)
    assert confirm(records(AGENTS_ROW), ROOT, R, kind="monitor") is None
    busy = line(AGENT, "SIP/154-1f", "BUSY", uniqueid=TWIN)
    found = confirm(records(busy), ROOT, R, kind="monitor")
    assert found is not None
    assert found.reason == "agent_busy"


@pytest.mark.parametrize("apart", [-90_000, 90_000])
def test_equal_names_of_another_life_are_another_call(apart: int) -> None:
    """Asterisk numbers its channels anew at each start; the uniqueids tell the calls apart."""
    other = (
        line(AGENT, "SIP/154-1f", "BUSY", at=apart, uniqueid=f"{EPOCH + apart}.8"),
        line(ROOT, CUSTOMER, "BUSY", at=apart, uniqueid=f"{EPOCH + apart}.7"),
        line(CUSTOMERS, "SIP/trunk-20", "BUSY", at=apart, rings=9),
        line("SIP/154-1f", "SIP/trunk-20", at=apart, talks=100),
    )
    assert told(records(*other), complete=True) is None
    assert told(records(*other, *ANSWERED)) == TALKED
    assert told(records(*ANSWERED, *other)) == TALKED


def test_an_earlier_life_is_told_by_its_time_where_uniqueids_are_not_logged() -> None:
    """Rows that ended before the root was created are not its own."""
    early = line(AGENT, "SIP/154-1f", "BUSY", at=-90_000, uniqueid="-")
    late = line(AGENT, "SIP/154-1f", "NO ANSWER", rings=4, uniqueid="-")
    assert reason(early) is None
    assert reason(early, late) == ("agent_no_answer", 4)


@given(st.permutations([*EARLY, TALK]))
def test_the_order_of_rows_tells_nothing(lines: list[str]) -> None:
    """Asterisk writes a call's rows in no certain order."""
    assert told(records(*lines)) == TALKED


@given(st.lists(st.sampled_from([*EARLY, *ANSWERED, TALK, TALK_16])), st.booleans())
def test_any_rows_are_judged(lines: list[str], complete: bool) -> None:  # noqa: FBT001
    """Whatever is missing or comes twice: an answer, no error."""
    found = told(records(*lines), complete=complete)
    assert found is None or found.ring_s >= 0


def test_a_record_s_nonsense_fits_a_column() -> None:
    """A clock that jumped, or a hostile line, tells of centuries."""
    rows = records(line(AGENT, "SIP/154-1f", "BUSY", uniqueid=TWIN))
    long = [replace(row, ended_at=row.ended_at.replace(year=8999)) for row in rows]
    found = confirm(long, ROOT, R)
    assert found is not None
    assert found.ring_s == 10**9


class Closed(Book):
    """A book that nobody may leaf through."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("all records were gone through for one call")

    __getitem__ = __contains__ = None  # type: ignore[assignment] # nor by place


def test_who_waits_for_a_call_goes_through_its_own_rows_alone() -> None:
    """Hundreds wait for theirs at once among ten thousand."""
    book = Closed(records(*ANSWERED, *(line(f"SIP/1-{n}", f"SIP/2-{n}") for n in range(9))))
    assert confirm(book, ROOT, R) == TALKED
    assert agent_gave_up(book, ROOT, R)
    assert find_roots(book, "154", begun=(BEGINNING, BEGINNING)) == {ROOT: R}


def test_as_many_rows_as_a_call_with_sound_ever_left() -> None:
    """Eight, as Asterisk 22 wrote them once: a phone's with nobody, and with a half that went."""
    phone, trunk = "PJSIP/154-1f", "PJSIP/trunk-20"
    lines = (
        line(AGENT, phone, rings=2, talks=3, uniqueid=TWIN),
        EMPTY_ROW,
        line(ROOT, CUSTOMER, at=2, talks=3, uniqueid=R),
        line(CUSTOMERS, trunk, at=2, rings=3),
        line(ROOT, trunk, at=5, uniqueid=R),
        line(trunk, CUSTOMER, at=5, application="AppDial", uniqueid=f"{EPOCH + 2}.12"),
        line(phone, at=5, talks=4, application="AppDial", uniqueid=f"{EPOCH}.9"),
        line(phone, trunk, at=5, talks=4, application="AppDial", uniqueid=f"{EPOCH}.9"),
    )
    assert told(records(*lines)) == told(records(*lines), complete=True) == TALKED


@given(begins=st.lists(st.integers(0, 9), max_size=12), cut=st.integers(0, 12))
def test_a_book_that_was_added_to_is_the_book_of_all(begins: list[int], cut: int) -> None:
    """In whatever order records began, and wherever reading on began."""
    rows = records(
        *(line(f"SIP/1-{n % 3}", f"SIP/2-{n % 2}", at=at) for n, at in enumerate(begins))
    )
    whole, grown = Book(rows), Book(rows[:cut])
    grown.add(rows[cut:])
    span = (BEGINNING, BEGINNING + timedelta(seconds=9))
    by_begin = sorted(rows, key=lambda row: row.started_at)  # those of one second as written
    assert list(whole.begun_within(*span)) == list(grown.begun_within(*span)) == by_begin
    for channel in ("SIP/1-0", "SIP/1-1", "SIP/2-0"):
        of_it = [row for row in by_begin if channel in {row.channel, row.dst_channel}]
        assert list(grown.naming(channel)) == of_it
        assert list(grown.called_by(channel)) == [r for r in of_it if r.channel == channel]
    assert [grown.place_of(row) for row in rows] == list(range(len(rows)))
    assert grown.dialled == {row.dst_channel for row in rows}

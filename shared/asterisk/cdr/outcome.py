"""What became of a call that this service placed, as Asterisk's own records tell it. Pure.

The row of a phone decides, of the agent's first, then of the customer's, and not what the dialplan
did afterwards: it may have told the agent that all lines are busy, or had a mailbox answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.rows import Record
from shared.asterisk.cdr.sides import Sides, sides_of
from shared.asterisk.cdr.spans import Span, bounded
from shared.asterisk.cdr.tree import ANSWERED, TWINS_APART, CallRows, Rung, up_of
from shared.asterisk.drivers import LOCAL, device_of, is_half, other_half
from shared.asterisk.models import Kind, Leg, Progress, Reason, Side

_CUSTOMER: dict[str, Reason] = {"BUSY": "busy", "NO ANSWER": "no_answer", "CANCEL": "cancelled"}
_AGENT: dict[str, Reason] = {
    "BUSY": "agent_busy",
    "NO ANSWER": "agent_no_answer",
    "CANCEL": "cancelled",
}
_CANCEL, _NO_ANSWER = "CANCEL", "NO ANSWER"
_OPTIMISED_S = 1
_MOST_DIGITS = 9
# Asterisk itself gives an extension so long to answer an originate, then cancels the dialplan's.
_ORIGINATE_S = 30
# What leads to no phone, a carrier refuses sooner than it lets one ring; later, where it announces
# it before, of which Asterisk hears no ring.
_REFUSED_S, _REFUSED_SILENT_S = 3, 10


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A call's end.

    `disposition` is the deciding row's. `ring_s` is how long the phone that rang last did: the
    customer's, or the agent's who never answered. `talk_s` is how long phones of both were up, with
    those too to whom the customer was transferred; of a monitoring, how long the supervisor was in.
    """

    reason: Reason
    disposition: str
    ring_s: int
    talk_s: int
    answered_at: datetime | None
    agent: Side
    customer: Side


def confirm(
    records: Iterable[Record],
    root_channel: str,
    root_uniqueid: str,
    *,
    kind: Kind = "call",
    to: str = "",
    is_transferred: bool = False,
    seen: Progress | None = None,
    complete: bool = False,
) -> Confirmed | None:
    """Tell what became of a call to `to`; to be asked once its channels are gone.

    Its rows are written within milliseconds of each other, in no certain order, so one that is
    missing may be on its way: the answer is None then; of a transferred call one more is to come.
    `complete` says that the time for that has passed. None too where the call left no row at all,
    as one to an unknown extension does. `seen` is how far looks have seen it, which no row undoes.
    """
    seen = seen or Progress()
    rows = CallRows(records, root_channel, root_uniqueid)
    if kind == "monitor":
        return _monitoring(rows, sides_of(rows, seen.legs), complete=complete)
    told = sides_of(rows, seen.legs)
    if not told.links and complete:
        alone = _unconnected(rows, told, to)
        if len(alone) > 1:
            return None
        told = sides_of(rows, seen.legs, alone) if alone else told
    if not told.agent_line.rows and not (told.links and complete):
        return None
    if not complete and _is_awaited(rows, told, seen, is_transferred=is_transferred):
        return None
    return _ended(rows, told, seen)


def find_roots(
    records: Iterable[Record],
    extension: str,
    *,
    begun: tuple[datetime, datetime],
    known: Collection[str] = (),
) -> dict[str, str]:
    """Find what may be the root of a call of which it was never seen: uniqueids by names.

    Its rows began in the time `begun`; `known` are the roots of other calls, and what another
    channel dialled is no root.
    """
    book = Book.of(records)
    roots: dict[str, str] = {}
    for row in book.begun_within(*begun):
        device = device_of(row.channel)
        if device is None or device.technology != LOCAL or device.extension != extension:
            continue
        root = f"{row.channel[:-1]}1"
        if root not in known and root not in book.dialled:
            roots[root] = row.uniqueid if row.channel == root else roots.get(root, row.uniqueid)
    return roots


def agent_gave_up(
    records: Iterable[Record],
    root_channel: str,
    root_uniqueid: str,
    *,
    complete: bool = False,
) -> bool | None:
    """Tell whether it was the agent who ended a call that the customer did not answer.

    Where Asterisk writes CANCEL it has told that by itself. Else no field of the rows tells.
    Asterisk writes a row when what it tells of is over, so whoever gave up first has the first row:
    of an agent who hung up while the customer rang that was so 196 times of 200, of a customer who
    did not answer it was the other way round 39 times of 40. A Dial that ran to the end of its time
    is the customer's in any case, and one after which the call went on, or its dialplan: a queue's
    time may be over before its ring's is. Up to Asterisk 11 the root's row tells, once it is known
    that there is no other. None: a row is missing.
    """
    book = Book.of(records)
    rows = CallRows(book, root_channel, root_uniqueid)
    told = sides_of(rows)
    own = rows.own
    outcomes = [row for row in own if row.dst_channel]
    if _is_cumulative(own) or not outcomes:
        return bool(outcomes) and outcomes[0].disposition == _NO_ANSWER if complete else None
    agent, customer = told.agent_line.decided, told.customer_line.decided
    if agent is None or customer is None:
        return None
    if _CANCEL in book.dispositions or _has_timed_out(customer.row):
        return False
    went_on = agent.row.ended_at - customer.row.ended_at > TWINS_APART
    went_on = went_on or _dialplan_went_on(rows, customer.row)
    return not went_on and rows.is_before(agent.row, customer.row)


def _dialplan_went_on(rows: CallRows, rung: Record) -> bool:
    """Tell whether whoever rang a phone did something else after it: nobody had hung up on him."""
    return any(
        row.started_at >= rung.ended_at and row.application not in {rung.application, ""}
        for row in rows.of(rung.channel)
    )


def _is_awaited(
    rows: CallRows, told: Sides, seen: Progress, *, is_transferred: bool = False
) -> bool:
    """Tell whether a row is still to come."""
    if told.agent.answered_by is None and not rows.own:
        return seen.agent.answered_by is not None
    if told.agent_line.answered_at is None or (
        told.agent.answered_by != "phone" and seen.agent.answered_by == "phone"
    ):
        return True  # whoever answered for the agent has no row yet
    halves = {row.dst_channel for row in told.links if is_half(row.dst_channel)}
    if not told.links or any(not rows.of(other_half(half)) for half in halves):
        return True
    if (is_transferred and not told.beyond) or (seen.talked and not told.talks):
        return True
    return told.customer.answered_by == "phone" and not told.beyond and _is_talk_awaited(rows, told)


def _is_talk_awaited(rows: CallRows, told: Sides) -> bool:
    """Tell whether the row of the talk itself may be on its way.

    With sound those of the Local channels end as the talk begins.
    """
    agents, customers = told.agent_line.phones, told.customer_line.phones
    taken = [row for phone in customers for row in rows.naming(phone)]
    reached = {id(rung.row) for rung in (*told.agent_line.rung, *told.customer_line.rung)}
    if any({row.channel, row.dst_channel} <= agents | customers for row in taken):
        return False
    if any(row.channel in agents for row in told.links):
        return False
    moved = [*taken, *(row for phone in agents for row in rows.naming(phone))]
    longest_s = max((row.talk_s for row in taken), default=0)
    return longest_s <= _OPTIMISED_S or any(
        id(row) not in reached and row not in told.links for row in moved
    )


def _ended(rows: CallRows, told: Sides, seen: Progress) -> Confirmed | None:
    """Tell the end of a call: whose phone decides, and what its row says."""
    is_open = bool(rows.own) or told.agent.answered_by is not None or bool(told.links)
    if not is_open or told.agent.answered_by == "pbx":
        reason, deciding = _of_agent(told)
    elif told.talks:
        reason, deciding = "answered", _talk_row(rows, told)
    else:
        found = _of_customer(rows, told, seen)
        if found is None:
            return None
        reason, deciding = found
    is_customers = bool(told.customer_line.rung) and told.agent.answered_by != "pbx"
    end = Confirmed(
        reason=reason,
        disposition=deciding.disposition,
        ring_s=_seconds((told.customer if is_customers else told.agent).ring_s),
        talk_s=told.talk_s if reason == "answered" else 0,
        answered_at=told.talks[0][0] if reason == "answered" else None,
        agent=told.agent,
        customer=told.customer,
    )
    if seen.talked and reason != "answered":
        return _as_seen(end, seen)
    return end


def _as_seen(end: Confirmed, seen: Progress) -> Confirmed:
    """Keep to a talk that was seen, whatever the rows that are left say of it."""
    talk_s = max(_seconds(seen.agent.talk_s), _seconds(seen.customer.talk_s))
    return replace(
        end,
        reason="answered",
        talk_s=talk_s,
        agent=replace(end.agent, answered_by="phone", talk_s=talk_s),
        customer=replace(end.customer, answered_by="phone", talk_s=talk_s),
    )


def _of_agent(told: Sides) -> tuple[Reason, Record]:
    """Tell why no phone of the agent's answered."""
    rung = told.agent_line.decided
    row = rung.row if rung else told.agent_line.rows[-1]
    reason = _AGENT.get(row.disposition, "failed")
    # A phone may answer, and not be let in.
    is_over = row.disposition == ANSWERED or (
        row.disposition == _CANCEL and _seconds(told.agent.ring_s) >= _ORIGINATE_S
    )
    if is_over or (told.agent.answered_by == "pbx" and reason != "agent_busy"):
        reason = "agent_no_answer"
    return reason, row


def _of_customer(rows: CallRows, told: Sides, seen: Progress) -> tuple[Reason, Record] | None:
    """Tell why the customer was not talked with; None: the rows that would tell are lost."""
    if not told.links:
        return "failed", told.agent_line.rows[-1]
    link = told.links[-1]
    rung = told.customer_line.decided
    if rung is None:
        reason = _of_nobody(rows, told, link)
        return None if reason is None else (reason, link)
    if rung.up is not None:
        reason = _of_strangers(told, rung.up)
        return None if reason is None else (reason, rung.row)
    if rung.row.disposition == ANSWERED:
        return "no_answer", rung.row  # he was not let in
    if rung.row.disposition == _NO_ANSWER and _is_refused(rung, link, told, seen.legs):
        return "failed", rung.row if link.disposition in {ANSWERED, _NO_ANSWER} else link
    return _CUSTOMER.get(rung.row.disposition, "failed"), rung.row


def _of_strangers(told: Sides, up: Span) -> Reason | None:
    """Tell why two phones that were up did not talk: not at once; None: the agent's row is lost."""
    if not told.agent_ups:
        return None
    return "cancelled" if told.agent_ups[-1][1] <= up[0] else "agent_no_answer"


def _of_nobody(rows: CallRows, told: Sides, link: Record) -> Reason | None:
    """Tell why the customer was not talked with, where the dialplan rang no phone of his."""
    if told.customer.answered_by == "pbx":
        return "no_answer"
    if link.disposition != ANSWERED:
        return _CUSTOMER.get(link.disposition, "failed")
    # Up to Asterisk 11 that word is of the agent alone, and no phone was called.
    return "failed" if _is_cumulative(rows.own) else None


def _is_refused(rung: Rung, link: Record, told: Sides, legs: Iterable[Leg]) -> bool:
    """Tell whether a carrier refused a number, which its row calls NO ANSWER like one that rang."""
    is_by_dialplan = rung.row.application != "Dial" or _has_timed_out(rung.row)
    if is_by_dialplan or link.disposition in {_NO_ANSWER, _CANCEL}:
        return False
    leg = next((leg for leg in legs if leg.channel == rung.phone), None)
    until = told.agent_ups[-1][1] if told.agent_ups else rung.row.ended_at
    if link.disposition == ANSWERED and until - rung.row.ended_at <= TWINS_APART:
        return False  # the agent gave up
    is_silent = leg is not None and not leg.rang
    return _seconds(told.customer.ring_s) < (_REFUSED_SILENT_S if is_silent else _REFUSED_S)


def _unconnected(rows: CallRows, told: Sides, to: str) -> list[Record]:
    """Collect rows of who may have been called by an agent's phone that took the root's place.

    No row connects them, so they are those that began as that phone was answered.
    """
    rung = told.agent_line.decided
    if rung is None or rung.up is None or rung.row.ended_at - rung.up[0] > TWINS_APART:
        return []
    begin, end = rung.up[0], rung.row.ended_at + TWINS_APART
    return [
        row
        for row in rows.begun_within((begin, end))
        if row.dst_channel
        and row.channel.startswith(f"{LOCAL}/{to}@" if to else f"{LOCAL}/")
        and row.channel != rung.row.channel
        and not rows.is_named(f"{row.channel[:-1]}1")
    ]


def _is_cumulative(own: Sequence[Record]) -> bool:
    """Tell whether a root's rows, all of them, are of Asterisk 11 or older.

    Later ones write one more as the agent answers, with nobody connected.
    """
    return bool(own) and all(row.dst_channel for row in own)


def _talk_row(rows: CallRows, told: Sides) -> Record:
    """Pick the row that says that the customer's phone answered: its own, or one that names it."""
    answered = [rung.row for rung in (*told.customer_line.rung, *told.beyond) if rung.up]
    naming = (row for phone in told.customer_line.phones for row in rows.naming(phone))
    return (
        answered[0] if answered else next(row for row in naming if row.dst_channel and up_of(row))
    )


def _monitoring(rows: CallRows, told: Sides, *, complete: bool) -> Confirmed | None:
    """Tell how long the supervisor was in: the root's own row is ChanSpy's.

    ChanSpy leaves at once where it finds nobody, since it was told to.
    """
    if not told.agent_line.rows:
        return None
    spying = [row for row in rows.own if not row.dst_channel]
    if told.agent.answered_by == "phone" and not (spying or complete):
        return None
    agent, talk_s = told.agent, 0
    reason, row = _of_agent(told)
    if agent.answered_by == "phone":
        heard = spying[-1] if spying else row
        talk_s = bounded(heard.talk_s)
        reason = "answered" if talk_s or not spying else "nothing_heard"
    return Confirmed(
        reason=reason,
        disposition=row.disposition,
        ring_s=_seconds(agent.ring_s),
        talk_s=talk_s,
        answered_at=told.agent_ups[0][0] if told.agent_ups else None,
        agent=replace(agent, talk_s=talk_s),
        customer=Side(),
    )


def _has_timed_out(row: Record) -> bool:
    """Tell whether a Dial ran to the end of its time: `SIP/+375290000003@trunk,60`."""
    limit = row.data.partition(",")[2].partition(",")[0]
    is_limit = limit.isdecimal() and len(limit) <= _MOST_DIGITS
    return is_limit and row.duration_s >= int(limit)


def _seconds(count: int | None) -> int:
    return count or 0

"""What became of a call that this service placed, as Asterisk's own records tell it. Pure.

The rows of one call are found by the names of its channels, from the root on:

    root;2      -> the agent's phone      the agent's row
    root;1      -> customer;1             the outcome, the only one of the root's uniqueid
    customer;2  -> the customer's phone   how long that rang, and the talk
    phone      <-> phone                  the talk, once Asterisk took the Local channels out
    customer's phone <-> another          a transfer

Names are given anew after each start of Asterisk; uniqueids tell its lives apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.asterisk.cdr import Record, epoch_of
from shared.asterisk.phases import Kind, Reason

ANSWERED = "ANSWERED"
_CUSTOMER: dict[str, Reason] = {ANSWERED: "answered", "BUSY": "busy", "NO ANSWER": "no_answer"}
_AGENT: dict[str, Reason] = {"BUSY": "agent_busy", "NO ANSWER": "agent_no_answer"}
# Both halves of a Local channel are created at once, which may be in the next second.
_TWINS_APART = timedelta(seconds=1)
_OPTIMISED_S = 1
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A call's end.

    `disposition` is the deciding row's. `ring_s` is how long the phone that rang last did: the
    customer's, or the agent's who never answered. `talk_s` is how long the customer talked, with
    those too to whom he was transferred; of a monitoring, how long the supervisor was in.
    """

    reason: Reason
    disposition: str
    ring_s: int
    talk_s: int
    answered_at: datetime | None
    ended_at: datetime


def confirm(
    records: Iterable[Record],
    root_channel: str,
    root_uniqueid: str,
    *,
    kind: Kind = "call",
    is_transferred: bool = False,
    complete: bool = False,
) -> Confirmed | None:
    """Tell what became of a call; to be asked once its channels are gone.

    Its rows are written within milliseconds of each other, in no certain order, so one that is
    missing may be on its way: the answer is None then; of a transferred call one more is to come.
    `complete` says that the time for that has passed. None too where the call left no row at all,
    as one to an unknown extension does.
    """
    rows = _Rows(records, root_uniqueid)
    agent = rows.agent(root_channel)
    if agent is not None and agent.disposition != ANSWERED:
        return _ended(_AGENT.get(agent.disposition, "failed"), agent, rung=agent)
    own = rows.own(root_channel)
    if kind == "monitor":
        return _monitoring(agent, [row for row in own if not row.dst_channel], complete=complete)
    outcomes = [row for row in own if row.dst_channel]
    if outcomes:
        return _conversation(
            rows, agent, outcomes, is_transferred=is_transferred, complete=complete
        )
    return _ended("failed", agent, rung=agent) if agent is not None and complete else None


def agent_gave_up(records: Iterable[Record], root_channel: str, root_uniqueid: str) -> bool | None:
    """Tell whether it was the agent who ended a call that the customer did not answer.

    No field of the rows tells. Asterisk writes a row when what it tells of is over, so whoever gave
    up first has the first row: of an agent who hung up while the customer rang that was so 196
    times of 200, of a customer who did not answer it was the other way round 39 times of 40. A Dial
    that ran to the end of its time is the customer's in any case. None: a row is missing.
    """
    rows = _Rows(records, root_uniqueid)
    agent = rows.agent(root_channel)
    outcomes = [row for row in rows.own(root_channel) if row.dst_channel]
    customer = _customer(rows, outcomes) if outcomes else None
    if agent is None or customer is None:
        return None
    return rows.is_before(agent, customer) and not _has_timed_out(customer)


class _Rows:
    """Rows that may be the call's, or of a later life of Asterisk."""

    def __init__(self, records: Iterable[Record], root_uniqueid: str) -> None:
        created = epoch_of(root_uniqueid) or _BEGINNING
        self._root_uniqueid = root_uniqueid
        self._written = [row for row in records if row.ended_at >= created]
        self.all = sorted(self._written, key=lambda row: row.started_at)

    def agent(self, root_channel: str) -> Record | None:
        """Find the row of the agent's phone."""
        twins = self.of(_twin(root_channel))
        return _deciding([row for row in twins if _is_twin(row, self._root_uniqueid)])

    def own(self, root_channel: str) -> list[Record]:
        """Collect the root's rows."""
        rows = [row for row in self.all if row.channel == root_channel]
        return [row for row in rows if row.uniqueid in {self._root_uniqueid, ""}]

    def is_before(self, one: Record, other: Record) -> bool:
        """Tell whether a row was written before another."""
        return self._written.index(one) < self._written.index(other)

    def of(self, channel: str) -> list[Record]:
        """Collect what a channel did with others, in the first life that has its name."""
        rows = [row for row in self.all if row.channel == channel and row.dst_channel]
        return [row for row in rows if row.uniqueid == rows[0].uniqueid]

    def of_phones(self, phones: set[str], until: datetime) -> list[Record]:
        """Collect what phones took part in, if they are that old."""
        rows = [row for row in self.all if not phones.isdisjoint({row.channel, row.dst_channel})]
        return [row for row in rows if (epoch_of(row.uniqueid) or _BEGINNING) <= until]


def _twin(local: str) -> str:
    """Name a Local channel's other half."""
    return f"{local[:-1]}2"


def _is_twin(row: Record, root_uniqueid: str) -> bool:
    """Tell whether a row's channel was created together with the root."""
    born, root_born = epoch_of(row.uniqueid), epoch_of(root_uniqueid)
    return born is None or root_born is None or abs(born - root_born) <= _TWINS_APART


def _deciding(rows: list[Record]) -> Record | None:
    """Pick the row that tells: an answered one, e.g. of several phones that rang, or the last."""
    answered = [row for row in rows if row.disposition == ANSWERED]
    return next(reversed(answered or rows), None)


def _monitoring(agent: Record | None, spying: list[Record], *, complete: bool) -> Confirmed | None:
    """Tell how long the supervisor was in: the root's own row is ChanSpy's."""
    if agent is None or not (spying or complete):
        return None
    return _ended("answered", agent, rung=agent, talks=[_deciding(spying) or agent])


def _has_timed_out(row: Record) -> bool:
    """Tell whether a Dial ran to the end of its time: `SIP/+375290000003@trunk,60`."""
    limit = row.data.partition(",")[2].partition(",")[0]
    return limit.isdecimal() and row.duration_s >= int(limit)


def _conversation(
    rows: _Rows,
    agent: Record | None,
    outcomes: list[Record],
    *,
    is_transferred: bool,
    complete: bool,
) -> Confirmed | None:
    """Tell of a customer who was called.

    The outcome may come twice with sound: once more as Asterisk takes the Local channels out, then
    with the customer's phone in the place of his Local channel.
    """
    outcome = _deciding(outcomes) or outcomes[0]
    reason = _CUSTOMER.get(outcome.disposition, "failed")
    customer = _customer(rows, outcomes)
    if customer is None or agent is None:
        if reason != "answered":
            return _ended(reason, outcome, rung=customer or outcome)
        return _ended(reason, outcome, rung=outcome, talks=[outcome]) if complete else None
    phones = {agent.dst_channel, customer.dst_channel}
    theirs = rows.of_phones(phones, until=customer.ended_at)
    elsewhere = [row for row in theirs if _is_elsewhere(row, customer.dst_channel, phones)]
    transferred = [row for row in elsewhere if row.disposition == ANSWERED]
    if is_transferred and not elsewhere and not complete:
        return None
    if reason != "answered":  # a transfer while his phone still rang may yet make a talk of it
        reason = "answered" if transferred else reason
        return _ended(reason, [*transferred, outcome][0], rung=customer, talks=transferred)
    talks = [row for row in theirs if {row.channel, row.dst_channel} == phones]
    own = {agent.channel, customer.channel}
    is_optimised = any(row.channel not in own for row in theirs if row not in elsewhere)
    # With sound the Local channels' rows end as the talk begins; its own row may be on its way.
    is_awaited = is_optimised or customer.talk_s <= _OPTIMISED_S
    if is_awaited and not talks and not complete:
        return None
    first = talks[-1] if talks else customer
    return _ended(reason, outcome, rung=customer, talks=[first, *transferred])


def _customer(rows: _Rows, outcomes: list[Record]) -> Record | None:
    """Find the row of the customer's phone."""
    local = next((row for row in outcomes if row.dst_channel.startswith("Local/")), outcomes[0])
    return _deciding(rows.of(_twin(local.dst_channel)))


def _is_elsewhere(row: Record, customer: str, phones: set[str]) -> bool:
    """Tell whether a row is of a transfer: the customer with another phone than the agent's."""
    others = {row.channel, row.dst_channel} - {customer}
    return customer in {row.channel, row.dst_channel} and not any(
        other in phones or other.startswith("Local/") for other in others
    )


def _ended(
    reason: Reason, deciding: Record, *, rung: Record, talks: Sequence[Record] = ()
) -> Confirmed:
    # An outcome that is none has a time of answer too: the agent's.
    answered_at = rung.answered_at if rung.disposition == ANSWERED else None
    if talks and answered_at is None:
        answered_at = talks[0].answered_at
    ring_until = answered_at or rung.ended_at
    return Confirmed(
        reason=reason,
        disposition=deciding.disposition,
        ring_s=round((ring_until - rung.started_at).total_seconds()),
        talk_s=sum(talk.talk_s for talk in talks),
        answered_at=answered_at if talks else None,
        ended_at=max(row.ended_at for row in (deciding, rung, *talks)),
    )

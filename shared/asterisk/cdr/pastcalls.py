"""Whole calls out of the rows that their legs left: everything that a PBX connected. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from shared.asterisk.cdr.outcome import confirm
from shared.asterisk.cdr.rows import Record, age_of, epoch_of
from shared.asterisk.cdr.sides import sides_of
from shared.asterisk.cdr.tree import ANSWERED, CallRows
from shared.asterisk.cdr.whose import (
    EXTENSION_DIGITS,
    RUNG,
    Direction,
    Parties,
    extensions_of,
    is_line,
    name_originated,
    name_parties,
    numbers_of,
    whole,
)
from shared.asterisk.drivers import LOCAL, device_of, extension_spied
from shared.asterisk.models import AnsweredBy, Kind, Reason, Side

Disposition: TypeAlias = Literal["answered", "busy", "no_answer", "failed"]

# A channel's name comes again after a restart of Asterisk; within one life its rows adjoin.
_ADJOIN = timedelta(seconds=2)
_HANDED_OVER = timedelta(seconds=1)
# CANCEL is a NO ANSWER of the caller's own, where cdr.conf tells them apart.
_NOBODY = {"NO ANSWER", "CANCEL"}
_SPIES = {"ChanSpy", "ExtenSpy"}
_OUTCOMES: dict[Reason, Disposition] = {
    "answered": "answered",
    "busy": "busy",
    "agent_busy": "busy",
    "no_answer": "no_answer",
    "agent_no_answer": "no_answer",
    "cancelled": "no_answer",
    "failed": "failed",
    "nothing_heard": "answered",  # the supervisor's phone did
}


@dataclass(frozen=True, slots=True)
class PastCall:
    """One call, whatever the number of its legs.

    `from_`, `to` and `direction` are those of `whose`. `uniqueid` and `channel` are the first
    leg's; `born_at`, which may be before its first row, is the first channel's. `extensions` took
    part: they were rung, or dialled, or called. `numbers` has the callers' too, which are what they
    say of themselves. `agent` and `customer` are what became of both: the customer is who called
    from outside, else who was called; of a monitoring he is nobody.
    """

    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    from_: str
    to: str
    disposition: Disposition
    duration_s: int
    talk_s: int
    legs: int
    uniqueid: str
    channel: str
    extensions: frozenset[str]
    numbers: frozenset[str]
    kind: Kind
    direction: Direction
    agent: Side
    customer: Side
    born_at: datetime


@dataclass(frozen=True, slots=True)
class _Outcome:
    kind: Kind
    parties: Parties
    disposition: Disposition
    answered_at: datetime | None
    talk_s: int
    uniqueid: str
    channel: str
    agent: Side
    customer: Side


class _Groups:
    """Indices that are put together, each group by one of its own."""

    def __init__(self, count: int) -> None:
        self._group = list(range(count))

    def find(self, index: int) -> int:
        while self._group[index] != index:
            self._group[index] = self._group[self._group[index]]
            index = self._group[index]
        return index

    def join(self, index: int, other: int) -> None:
        self._group[self.find(index)] = self.find(other)

    def all(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in range(len(self._group)):
            groups.setdefault(self.find(index), []).append(index)
        return list(groups.values())


def group_rows(records: Sequence[Record]) -> list[list[int]]:
    """Put the indices of a call's rows together: those of one uniqueid, linkedid, or channel.

    Both halves of a Local channel count as one.
    """
    groups = _Groups(len(records))
    first_with: dict[str, int] = {}
    last_with: dict[str, tuple[int, datetime]] = {}
    owners: dict[str, tuple[str, datetime]] = {}
    for index in sorted(range(len(records)), key=lambda index: age_of(records[index])):
        row = records[index]
        for name in {row.uniqueid, row.linkedid} - {""}:
            groups.join(index, first_with.setdefault(name, index))
        if row.uniqueid:
            owner, until = owners.get(row.channel, (row.uniqueid, row.ended_at))
            if owner != row.uniqueid:
                # Asterisk was restarted and gives the name again: what had it before is another
                # call, whoever has named it since then is not.
                before = last_with.get(whole(row.channel))
                if before and records[before[0]].started_at <= until:
                    del last_with[whole(row.channel)]
                until = row.ended_at
            owners[row.channel] = (row.uniqueid, max(until, row.ended_at))
        for name in {whole(row.channel), whole(row.dst_channel)} - {""}:
            other, until = last_with.get(name, (index, row.ended_at))
            if _adjoins(row, name, until):
                groups.join(index, other)
                last_with[name] = (index, max(until, row.ended_at))
            else:
                last_with[name] = (index, row.ended_at)
    for agent, customer in _unconnected(records):
        groups.join(customer, agent)
    return groups.all()


def _adjoins(row: Record, name: str, until: datetime) -> bool:
    """Tell whether a row goes on with a channel that was last in use until some time."""
    if is_line(name):  # the line's next call, a second later, has its name too
        if name != row.channel:  # who calls it may have waited for long
            return row.started_at < until
        return (epoch_of(row.uniqueid) or row.started_at) < until
    return row.started_at <= until + _ADJOIN


def _unconnected(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    """Pair the rows of an agent and a customer between whom no row tells, up to Asterisk 11.

    With sound the agent's phone takes the root's place, and has no row if nobody answers it. Such a
    customer's row begins as the agent answers; where several do in one second, nothing is certain.
    """
    named = {name for row in records for name in (row.channel, row.dst_channel)}
    answered: dict[datetime, list[int]] = {}
    called: dict[datetime, list[int]] = {}
    for index, row in enumerate(records):
        if not row.dst_channel or not row.channel.endswith(";2") or _first(row.channel) in named:
            continue
        called.setdefault(row.started_at, []).append(index)
        if row.answered_at is not None and row.ended_at - row.answered_at <= _HANDED_OVER:
            answered.setdefault(row.answered_at, []).append(index)
    for at, agents in answered.items():
        if len(agents) != 1:
            continue
        began = [*called.get(at, ()), *called.get(at + _HANDED_OVER, ())]
        customers = [index for index in began if index not in agents]
        if len(customers) == 1:
            yield agents[0], customers[0]


def _first(local: str) -> str:
    """Name a Local channel's first half."""
    return f"{whole(local)};1"


def describe(rows: Sequence[Record], digits: int = EXTENSION_DIGITS) -> PastCall:
    """Say of one call's rows what the call was; `digits` are an extension's at most."""
    rows = sorted(rows, key=age_of)
    outcome = _originated(rows, digits) or _dialled(rows, digits)
    started_at, ended_at = rows[0].started_at, max(row.ended_at for row in rows)
    births = map(epoch_of, {name for row in rows for name in (row.uniqueid, row.linkedid)})
    extensions, (from_, to, direction) = extensions_of(rows), outcome.parties
    return PastCall(
        started_at=started_at,
        answered_at=outcome.answered_at,
        ended_at=ended_at,
        from_=from_,
        to=to,
        disposition=outcome.disposition,
        duration_s=round((ended_at - started_at).total_seconds()),
        talk_s=outcome.talk_s,
        legs=len(rows),
        uniqueid=outcome.uniqueid,
        channel=outcome.channel,
        extensions=extensions,
        numbers=(extensions | numbers_of(rows) | {from_, to}) - {""},
        kind=outcome.kind,
        direction=direction,
        agent=outcome.agent,
        customer=outcome.customer,
        born_at=min((born for born in births if born is not None), default=started_at),
    )


def _originated(rows: Sequence[Record], digits: int) -> _Outcome | None:
    """Judge a call whose first leg is a Local channel that nobody dialled: a program placed it."""
    first = rows[0].channel
    device = device_of(first)
    if (
        device is None
        or device.technology != LOCAL
        or whole(first) in {whole(row.dst_channel) for row in rows}
    ):
        return None
    root = _first(first)
    own = [row for row in rows if row.channel == root]
    uniqueid = (own or rows)[0].uniqueid
    kind: Kind = "monitor" if _spying(own) else "call"
    confirmed = confirm(rows, root, uniqueid, kind=kind, complete=True)
    if confirmed is None:
        return None
    parties = name_originated(rows, root, digits)
    return _Outcome(
        kind=kind,
        parties=_monitoring(parties.from_, own) if kind == "monitor" else parties,
        disposition=_OUTCOMES[confirmed.reason],
        answered_at=confirmed.answered_at,
        talk_s=confirmed.talk_s,
        uniqueid=uniqueid,
        channel=root,
        agent=confirmed.agent,
        customer=confirmed.customer,
    )


def _dialled(rows: Sequence[Record], digits: int) -> _Outcome:
    """Judge a call that somebody dialled."""
    first = rows[0]
    parties = name_parties(rows, digits)
    own = [row for row in rows if row.channel == first.channel]
    spying = _spying(own)
    if spying:
        parties = _monitoring(parties.from_, spying)
    disposition, answered = _answers(spying or rows, is_monitor=bool(spying))
    talk_s = _covered_s(answered)
    called = Side() if spying else _called(rows, disposition, talk_s)
    caller_s = talk_s if answered else _covered_s(filter(_is_answered, rows))
    caller = Side("phone", 0, caller_s)
    if first.application == RUNG and not any(_is_answered(row) for row in own):
        caller = Side(None, max(row.duration_s for row in own), 0)
    is_incoming = parties.direction == "in" and not spying
    return _Outcome(
        kind="monitor" if spying else "call",
        parties=parties,
        disposition=disposition,
        answered_at=min((row.answered_at for row in answered if row.answered_at), default=None),
        talk_s=talk_s,
        uniqueid=first.uniqueid,
        channel=first.channel,
        agent=called if is_incoming else caller,
        customer=caller if is_incoming else called,
    )


def _called(rows: Sequence[Record], disposition: Disposition, talk_s: int) -> Side:
    """Tell of who was called; None where no row knows how long a phone rang."""
    first = rows[0]
    links = [row for row in rows if row.channel == first.channel]
    told = sides_of(CallRows(rows, first.channel, first.uniqueid), links=links).customer
    is_pbx = disposition != "answered" and any(map(_is_answered, rows))
    by: AnsweredBy | None = "phone" if disposition == "answered" else "pbx" if is_pbx else None
    agree = (told.answered_by == "phone") is (by == "phone")
    return Side(by, told.ring_s if agree else None, talk_s)


def _is_mailbox(row: Record) -> bool:
    """Tell whether who answered was a mailbox: up to Asterisk 11 the phone stands in its row."""
    return row.application.casefold().startswith("voicemail")


def _is_answered(row: Record) -> bool:
    return row.disposition == ANSWERED and row.answered_at is not None


def _spying(own: Sequence[Record]) -> list[Record]:
    return [row for row in own if row.application in _SPIES]


def _monitoring(supervisor: str, spying: Sequence[Record]) -> Parties:
    """Tell whose call a supervisor listened to."""
    tapped = next(filter(None, (extension_spied(row.data) for row in spying)), "")
    return Parties(supervisor, tapped, "internal")


def _answers(rows: Sequence[Record], *, is_monitor: bool) -> tuple[Disposition, list[Record]]:
    """Tell what a call that somebody dialled came to, and the rows of who answered.

    Only a phone answers: a queue, a menu, an announcement or a mailbox is the PBX, and so is a
    Local channel whose other half has rung no phone that answered.
    """
    tried = [row for row in rows if row.dst_channel]
    behind = {whole(row.channel) for row in rows if row.channel.startswith("Local/")}
    phones = [row for row in tried if whole(row.dst_channel) not in behind]
    judged = rows if is_monitor else [row for row in phones if not _is_mailbox(row)]
    answered = [row for row in judged if _is_answered(row)]
    if answered:
        return "answered", answered
    dispositions = {row.disposition for row in phones or tried or rows}
    if dispositions & {*_NOBODY, ANSWERED}:
        return "no_answer", []
    return ("busy" if "BUSY" in dispositions else "failed"), []


def _covered_s(rows: Iterable[Record]) -> int:
    """Count the seconds in which at least one of the rows was answered."""
    spans = sorted((row.answered_at, row.ended_at) for row in rows if row.answered_at)
    total = timedelta()
    until: datetime | None = None
    for begin, end in spans:
        begins = begin if until is None else max(begin, until)
        total += max(timedelta(), end - begins)
        until = end if until is None else max(until, end)
    return round(total.total_seconds())

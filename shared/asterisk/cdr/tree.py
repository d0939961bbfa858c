"""Which phones of which party the rows of a call tell of: they form a tree from its root. Pure.

    root;2     -> a phone, or a Local channel whose other half goes on likewise     the agent's
    root;1     -> customer;1, whose other half goes on likewise                     the customer's
    phone     <-> phone, once Asterisk took the Local channels out of the call
    customer's phone <-> another                                                    a transfer

Up to Asterisk 11 there is one cumulative row a calling channel; and once sound flows the agent's
phone has taken the root's place: it is its own row that leads to the customer, or none.

Names are given anew after each start of Asterisk; uniqueids tell its lives apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.rows import Record, epoch_of
from shared.asterisk.cdr.spans import Span
from shared.asterisk.drivers import is_half, other_half

ANSWERED = "ANSWERED"
# Both halves of a Local channel are created at once, which may be in the next second.
TWINS_APART = timedelta(seconds=1)
# The rows of a channel adjoin; one of its name that does not is of another life of Asterisk.
_ADJOIN = timedelta(seconds=2)
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Rung(NamedTuple):
    """A phone that was called, by its row; `up` is when it was up, None: it was not answered.

    A phone that answers and is not let in, e.g. before it has pressed a key, was not.
    """

    phone: str
    row: Record
    up: Span | None

    @property
    def may_have_rung(self) -> bool:
        """Whether it was more than refused at once, which a row may call NO ANSWER too."""
        return self.row.disposition == "BUSY" or (
            self.row.disposition != "FAILED" and self.row.duration_s > 0
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What the dialplan did for one party: whom it rang, in order, and all rows of its doing.

    `answered_at` is when first a phone answered, or the PBX instead of one.
    """

    rung: tuple[Rung, ...] = ()
    rows: tuple[Record, ...] = ()
    answered_at: datetime | None = None

    @property
    def phones(self) -> frozenset[str]:
        """The channels that were rung."""
        return frozenset(rung.phone for rung in self.rung)

    @property
    def decided(self) -> Rung | None:
        """The phone that tells: the first that answered, else the last that may have rung."""
        answered = (rung for rung in self.rung if rung.up is not None)
        rang = (rung for rung in reversed(self.rung) if rung.may_have_rung)
        return next(answered, None) or next(rang, None) or next(reversed(self.rung), None)


class CallRows:
    """The rows that may be one call's, or of a later life of Asterisk; `own` are the root's."""

    def __init__(self, records: Iterable[Record], root_channel: str, root_uniqueid: str) -> None:
        self._book = Book.of(records)
        self._created = epoch_of(root_uniqueid) or _BEGINNING
        self._root_channel = root_channel
        self._root_uniqueid = root_uniqueid
        self._callers: dict[str, list[Record]] = {}
        self._named: dict[str, list[Record]] = {}
        own = self._called_by(root_channel)
        self.own = [row for row in own if row.uniqueid in {root_uniqueid, ""}]

    def of(self, channel: str) -> list[Record]:
        """Collect what a channel did, in the first life that has its name."""
        rows = self._called_by(channel)
        return [row for row in rows if row.uniqueid == rows[0].uniqueid]

    def naming(self, phone: str) -> list[Record]:
        """Collect what a phone took part in, by its calling or being called, in one life."""
        rows = self._naming(phone)
        until = rows[0].ended_at if rows else _BEGINNING
        for count, row in enumerate(rows):
            if row.started_at > until + _ADJOIN:
                return rows[:count]
            until = max(until, row.ended_at)
        return rows

    def begun_within(self, span: Span) -> list[Record]:
        """Collect what began in a time, whoever's it is."""
        return self._since_created(self._book.begun_within(*span))

    def is_named(self, channel: str) -> bool:
        """Tell whether any row has a channel."""
        return bool(self._naming(channel))

    def _called_by(self, channel: str) -> list[Record]:
        if channel not in self._callers:
            self._callers[channel] = self._since_created(self._book.called_by(channel))
        return self._callers[channel]

    def _naming(self, channel: str) -> list[Record]:
        if channel not in self._named:
            self._named[channel] = self._since_created(self._book.naming(channel))
        return self._named[channel]

    def _since_created(self, rows: Iterable[Record]) -> list[Record]:
        return [row for row in rows if row.ended_at >= self._created]

    def is_before(self, one: Record, other: Record) -> bool:
        """Tell whether a row was written before another."""
        return self._book.place_of(one) < self._book.place_of(other)

    def agent(self) -> Line:
        """Collect what was done for the agent."""
        halves = self.of(other_half(self._root_channel))
        return self._walk(row for row in halves if _is_twin(row, self._root_uniqueid))

    def links(self, agent: Line) -> list[Record]:
        """Collect the rows that lead to the customer: the root's.

        Up to Asterisk 11 those of the agent's phone in its place.
        """
        own = [row for row in self.own if row.dst_channel]
        return own or [
            row
            for phone in dict.fromkeys(rung.phone for rung in agent.rung)
            for row in self.of(phone)
            if row.application == "Dial" and is_half(row.dst_channel)
        ]

    def customer(self, links: Sequence[Record]) -> Line:
        """Collect what was done for the customer to whom these rows lead."""
        if not links:
            return Line()
        return self._walk(links)

    def beyond(self, customer: Line, agent: Line) -> tuple[Rung, ...]:
        """Collect whom else the customer's phone was connected with: transfers, parking."""
        if not customer.rung:
            return ()
        parties = customer.phones | agent.phones
        own: list[Record] = []
        found: list[Rung] = []
        for phone in dict.fromkeys(rung.phone for rung in customer.rung):
            rows = self.naming(phone)
            own += [row for row in rows if row.channel == phone]
            found += [
                Rung(row.channel, row, up_of(row))
                for row in rows
                if row.dst_channel == phone and not is_half(row.channel)
            ]
        found += self._walk(own).rung  # once: they may all lead through one Local channel
        return tuple(rung for rung in found if rung.phone not in parties)

    def _walk(self, begin: Iterable[Record]) -> Line:
        """Go on from rows to those of the Local channels that they lead to."""
        rung: list[Rung] = []
        walked: list[Record] = []
        answered: list[datetime] = []
        seen: set[str] = set()
        # With when the way there was open: None, it was not.
        waiting: list[tuple[list[Record], datetime | None]] = [(list(begin), _BEGINNING)]
        while waiting:
            rows, open_at = waiting.pop()
            walked += rows
            if open_at is not None:
                # A row that leads from one party to the other is the calling one's doing.
                own = (row for row in rows if row.channel.endswith(";2"))
                answered += [row.answered_at for row in own if row.answered_at]
            further: dict[str, datetime | None] = {}
            for row in rows:
                up = None if open_at is None else up_of(row)
                if up is not None and open_at is not None:
                    up = max(up[0], open_at), max(up[1], open_at)
                if not is_half(row.dst_channel):
                    if row.dst_channel:
                        rung.append(Rung(row.dst_channel, row, up))
                elif up is not None or row.dst_channel not in further:
                    before = further.get(row.dst_channel)
                    further[row.dst_channel] = before or (up and up[0])
            for channel, at in further.items():
                if channel not in seen:
                    seen |= {channel, other_half(channel)}
                    waiting.append((self.of(other_half(channel)), at))
        rung.sort(key=lambda each: each.row.started_at)
        return Line(tuple(rung), tuple(walked), min(answered, default=None))


def up_of(row: Record) -> Span | None:
    """Tell when an answered row's channels were up."""
    is_answered = row.disposition == ANSWERED and row.answered_at is not None
    return (row.answered_at, row.ended_at) if is_answered and row.answered_at else None


def _is_twin(row: Record, root_uniqueid: str) -> bool:
    """Tell whether a row's channel was created together with the root."""
    born, root_born = epoch_of(row.uniqueid), epoch_of(root_uniqueid)
    return born is None or root_born is None or abs(born - root_born) <= TWINS_APART

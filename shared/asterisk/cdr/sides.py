"""Who answered for each party of a call, and how long each rang and talked, by its rows. Pure.

Only a phone that is up counts as a party who answered; a mailbox, an announcement, or a dialplan
that answers before it rings anybody is the PBX. What a carrier plays once it has answered is a
phone here: nothing tells it from one.

A row's time of answer is its calling channel's. Where the PBX had answered that before the phone
was rung, only who looked meanwhile knows when the phone was up: the call's legs tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.asterisk.cdr.rows import Record, epoch_of
from shared.asterisk.cdr.spans import Span, bounded, disjoint, meet, seconds_of
from shared.asterisk.cdr.tree import CallRows, Line, Rung, up_of
from shared.asterisk.drivers import is_half
from shared.asterisk.models import AnsweredBy, Leg, Side


@dataclass(frozen=True, slots=True)
class Sides:
    """What the rows of a call tell of both parties.

    `talks` is when phones of both were up. `beyond` are those to whom the customer was handed over.
    `agent_ups` are when the agent's phones were up, whoever they talked with.
    """

    agent: Side
    customer: Side
    agent_line: Line
    customer_line: Line
    links: tuple[Record, ...]
    beyond: tuple[Rung, ...] = ()
    talks: tuple[Span, ...] = ()
    agent_ups: tuple[Span, ...] = ()
    talk_s: int = 0


def sides_of(rows: CallRows, legs: Iterable[Leg] = (), links: Sequence[Record] = ()) -> Sides:
    """Tell of both parties of the call that has these rows; `links` lead to the customer."""
    agent = rows.agent()
    links = links or rows.links(agent)
    customer = rows.customer(links)
    if agent.rung or customer.rung:
        return _Reading(rows, legs).tell(agent, customer, links)
    by = _answered_by((), agent.answered_at), _answered_by((), customer.answered_at)
    return Sides(Side(by[0], 0, 0), Side(by[1], 0, 0), agent, customer, tuple(links))


class _Reading:
    """Rows with what was seen of their phones."""

    def __init__(self, rows: CallRows, legs: Iterable[Leg]) -> None:
        self._rows = rows
        self._counted: dict[Span, int] = {}  # by Asterisk's own clock, of the rows that tell
        self._legs: dict[str, Leg] = {}
        for leg in legs:  # a phone that took the root's place is there twice, first as itself
            self._legs.setdefault(leg.channel, leg)

    def tell(self, agent: Line, customer: Line, links: Sequence[Record]) -> Sides:
        agent_ups, customer_ups = self._ups(agent), self._ups(customer)
        in_place = [up for row in links if not is_half(row.channel) and (up := self._whole(row))]
        if customer_ups and in_place:  # up to Asterisk 11 with sound: that row has the talk
            since = customer_ups[0][0]
            in_place = [(max(begin, since), max(end, since)) for begin, end in in_place]
            customer_ups = disjoint([*customer_ups, *in_place])
        beyond = self._rows.beyond(customer, agent)
        handed = disjoint(up for rung in beyond if (up := self._up(rung, is_late=True)))
        together = meet(agent_ups, customer_ups)
        talks = disjoint([*together, *handed])
        talk_s = seconds_of(talks, self._counted)
        by = (
            _answered_by(agent_ups, agent.answered_at),
            _answered_by([*customer_ups, *handed], customer.answered_at),
        )
        alone_s = [0, 0]
        if by == ("phone", "pbx") and customer.answered_at:
            alone_s[0] = self._after(agent_ups, customer.answered_at)
        elif by[1] == "phone" and by[0] != "phone":
            alone_s[1] = seconds_of(customer_ups, self._counted)
        talked_s = [talk_s or alone for alone in alone_s]
        return Sides(
            agent=Side(by[0], self._ring_s(agent), talked_s[0]),
            customer=Side(by[1], self._ring_s(customer, handed), talked_s[1]),
            agent_line=agent,
            customer_line=customer,
            links=tuple(links),
            beyond=beyond,
            talks=tuple(talks),
            agent_ups=tuple(agent_ups),
            talk_s=talk_s,
        )

    def _ups(self, line: Line) -> list[Span]:
        """Find when any of a party's phones was up."""
        if not line.rung:
            return []
        reached = {id(rung.row) for rung in line.rung}
        since: dict[str, datetime] = {}
        spans = []
        for rung in line.rung:
            if up := self._up(rung):
                since.setdefault(rung.phone, up[0])
                spans.append(up)
        for phone in line.phones:
            for row in self._rows.naming(phone):
                if row.dst_channel and id(row) not in reached and (up := self._whole(row)):
                    # Its other channel may have been up before it.
                    begin = max(up[0], since.get(phone, up[0]))
                    spans.append((begin, max(begin, up[1])))
        return disjoint(spans)

    def _up(self, rung: Rung, *, is_late: bool = False) -> Span | None:
        """Tell when a phone was up, by its row, or by who saw it where that cannot say."""
        if rung.up is None:
            return None
        self._whole(rung.row)
        begin, end = rung.up
        leg = self._legs.get(rung.phone)
        if leg is not None and (leg.after_pbx or is_late):
            begin = max(begin, self._seen_up(leg) or begin)
        return begin, max(begin, end)

    def _whole(self, row: Record) -> Span | None:
        if up := up_of(row):
            self._counted[up] = row.talk_s
        return up

    def _seen_up(self, leg: Leg) -> datetime | None:
        """Tell by the PBX's clock when a phone was seen to be up."""
        born = epoch_of(leg.uniqueid)
        if born is None or leg.seen_at is None or leg.up_at is None:
            return None
        return born + timedelta(seconds=leg.up_at - leg.seen_at)

    def _ring_s(self, line: Line, handed: Sequence[Span] = ()) -> int:
        """Count how long the phone rang that answered, else that rang last.

        A customer may be handed over before he answers.
        """
        rung = line.decided
        if rung is None:
            return 0
        up = self._up(rung) or next(iter(handed), None)
        until = up[0] if up else rung.row.ended_at
        return bounded((until - self._since(rung)).total_seconds())

    def _since(self, rung: Rung) -> datetime:
        """Tell when a phone was created, which may be later than its row's begin."""
        leg = self._legs.get(rung.phone)
        ids = [row.uniqueid for row in self._rows.naming(rung.phone) if row.channel == rung.phone]
        ids += [leg.uniqueid] if leg else []
        born = next(filter(None, map(epoch_of, ids)), None)
        until = rung.up[0] if rung.up else rung.row.ended_at
        within = born is not None and rung.row.started_at <= born <= until
        return born if born is not None and within else rung.row.started_at

    def _after(self, spans: Sequence[Span], moment: datetime) -> int:
        return seconds_of(
            [(max(begin, moment), max(end, moment)) for begin, end in spans], self._counted
        )


def _answered_by(ups: Sequence[Span], answered_at: datetime | None) -> AnsweredBy | None:
    if ups:
        return "phone"
    return None if answered_at is None else "pbx"

"""How far a call is, from what Asterisk lists: pure, tested on recordings of 11, 13, 16 and 22.

A call that this service originates has a root, `Local/154@inoffice-0000002a;1`; its uniqueid is
the LinkedID of every later leg. Once sound flows, Asterisk takes all Local channels out of the
call within 50 ms of the customer's answer: the root is gone while the call goes on. So a call is
over when no channel of its LinkedID is left, and not before.

A phase tells of phones. The root is up as soon as the PBX has answered for the agent, as a mailbox
does, or a dialplan before it rings anybody: then the customer is rung while no phone of the agent's
is up, and `customer_ringing` is told without `agent_answered`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from shared.asterisk.drivers import extension_spied, other_half
from shared.asterisk.listing import Listing, find_channel
from shared.asterisk.models import (
    PHASES,
    AnsweredBy,
    CallPhase,
    Channel,
    Leg,
    Party,
    Progress,
    Reason,
    Root,
    Side,
)
from shared.asterisk.parties import is_local, other_party, parties_of
from shared.asterisk.seen import heard_nobody, is_answered, left, noted, side_seen

UP, RINGING, BUSY = "Up", "Ringing", "Busy"
# They are written down with their call, and those that have left stay: a queue rings dozens.
_MOST_LEGS = 500
_PAIR = 2
_PARTIES: tuple[Party, Party] = ("agent", "customer")


def observe(
    root: Root,
    progress: Progress,
    channels: Iterable[Channel],
    linkedids: Mapping[str, str],
    *,
    at_s: float,
) -> Progress:
    """Take in one list of channels, of the moment `at_s`.

    `linkedids` are by uniqueid; a channel that is not among them counts only if it is a leg
    already.
    """
    return observe_in(root, progress, Listing(channels, linkedids), at_s=at_s)


def observe_in(root: Root, progress: Progress, listing: Listing, *, at_s: float) -> Progress:
    """Take in a list that other calls are observed in, too."""
    known = {leg.uniqueid: leg for leg in progress.legs}
    listed = _read(root, progress, listing, known)
    if listed.is_talk and not progress.talked:  # what was talked to the PBX does not count
        known = {uniqueid: heard_nobody(leg) for uniqueid, leg in known.items()}
    by_pbx = {
        party: listed.answered[party] is True and not is_answered(known.values(), party)
        for party in _PARTIES
    }
    legs = {leg.uniqueid: left(leg, at_s) for leg in known.values()}  # unless it is listed
    for channel in (*listed.agents, *listed.customers):
        if len(legs) >= _MOST_LEGS and channel.uniqueid not in legs:
            continue
        party = listed.parties[channel.uniqueid]
        legs[channel.uniqueid] = noted(
            known.get(channel.uniqueid),
            channel,
            party,
            at_s,
            is_up=channel.uniqueid in listed.ups,
            after_pbx=by_pbx[party],
            talks=listed.is_talk or (by_pbx[other_party(party)] and not progress.talked),
        )
    told = tuple(legs.values())
    phase = max(progress.phase, _phase(root, listed), key=PHASES.index)
    talked = progress.talked or phase == "talking"

    def side(party: Party, before: Side) -> Side:
        by = _answered_by(before.answered_by, told, party, is_half_up=bool(listed.answered[party]))
        return side_seen(told, party, "phone" if talked else by, is_over=phase == "ended")

    return Progress(
        phase, told, side("agent", progress.agent), side("customer", progress.customer), talked
    )


@dataclass(frozen=True, slots=True)
class _Listed:
    """What one list has of a call.

    `parties` is whose each phone is, `ups` which have answered and were let in, by uniqueid.
    `answered` tells whether somebody has, for a party; None: its half of the call is gone.
    """

    live: list[Channel]
    agents: list[Channel]
    customers: list[Channel]
    parties: Mapping[str, Party]
    answered: Mapping[Party, bool | None]
    ups: frozenset[str]
    is_talk: bool


def _read(root: Root, progress: Progress, listing: Listing, known: Mapping[str, Leg]) -> _Listed:
    """Find a call's own channels, and who is who."""
    live = list(listing.of_call(root.uniqueid, known))
    live = [] if is_refused(root, live) else live
    parties = parties_of(root, live, known)
    agents, customers = (
        [channel for channel in live if parties.get(channel.uniqueid) == party]
        for party in _PARTIES
    )
    first = find_channel(root.uniqueid, live)
    answered: dict[Party, bool | None] = {
        "agent": _is_half_up([first] if first else []),
        "customer": _is_half_up(_customers_halves(root, live)),
    }
    if customers and not answered["agent"]:
        answered["agent"] = None  # a customer is rung: the root may be listed as it was before
    own = Listing(live, {})
    is_talk = _are_connected(customers, own, {channel.uniqueid for channel in agents}) or (
        progress.talked and _are_connected(customers, listing, None)
    )
    ups = frozenset(
        channel.uniqueid
        for channel in (*agents, *customers)
        if _is_let_in(root, channel)
        and (is_talk or answered[parties[channel.uniqueid]] is not False)
    )
    return _Listed(live, agents, customers, parties, answered, ups, is_talk)


def steps(before: Progress, after: Progress) -> tuple[CallPhase, ...]:
    """List the phases that began between two looks, in their order.

    Where a phone of the agent's was up, that is told before what came after it, even if it was not
    seen by itself; nothing else is certain: a phone may answer without a ring.
    """
    if before.phase == after.phase:
        return ()
    is_unanswered = PHASES.index(before.phase) < PHASES.index("agent_answered")
    is_later = after.phase in {"customer_ringing", "talking"}
    if is_unanswered and is_later and after.agent.answered_by == "phone":
        return ("agent_answered", after.phase)
    return (after.phase,)


def is_refused(root: Root, live: Iterable[Channel]) -> bool:
    """Tell whether the extension was busy, though the Local channels linger.

    Up to Asterisk 11 they do for as long as the dialplan's `Busy()` plays its tone, to nobody.
    """
    states = {channel.name: channel.state for channel in live}
    return states.get(root.channel, UP) != UP and states.get(other_half(root.channel)) == BUSY


def _is_half_up(halves: Iterable[Channel]) -> bool | None:
    """Tell whether somebody has answered for a party, a phone or the PBX; None: its half is gone.

    A phone may take a half's place.
    """
    states = [half.state for half in halves if is_local(half)]
    return UP in states if states else None


def _is_let_in(root: Root, phone: Channel) -> bool:
    """Tell whether a phone has answered, and is connected.

    It may have to press a key before. Up to Asterisk 11 one in the root's place calls the customer.
    """
    return phone.state == UP and (phone.bridge != "" or phone.uniqueid == root.uniqueid)


def _customers_halves(root: Root, live: Iterable[Channel]) -> Iterator[Channel]:
    begin = f"Local/{root.to}@"
    if root.kind == "call":
        yield from (c for c in live if c.name.startswith(begin) and c.name.endswith(";1"))


def _answered_by(
    before: AnsweredBy | None, legs: Iterable[Leg], party: Party, *, is_half_up: bool
) -> AnsweredBy | None:
    if before == "phone" or is_answered(legs, party):
        return "phone"
    return "pbx" if is_half_up else before


def _phase(root: Root, listed: _Listed) -> CallPhase:
    if not listed.live:
        return "ended"
    if listed.is_talk:
        return "talking"
    # A trunk that tells with 183 that it rings leaves its channel as it was.
    rings = (half.state == RINGING for half in _customers_halves(root, listed.live))
    if listed.customers or any(rings):
        return "customer_ringing"
    if any(channel.uniqueid in listed.ups for channel in listed.agents):
        return "agent_answered"
    first = find_channel(root.uniqueid, listed.live)
    ringing = (first is not None and first.state == RINGING) or any(
        channel.state == RINGING for channel in listed.agents
    )
    return "agent_ringing" if ringing else "accepted"


def _are_connected(
    customers: Iterable[Channel], listing: Listing, agents: Container[str] | None
) -> bool:
    """Tell whether a customer's phone hears an agent's: through bridges and Local channels.

    Without `agents` by uniqueid, whether it hears anybody's: one that he was handed over to may be
    of another call. In a bridge of more than two parked calls hear music.
    """
    waiting = [channel for channel in customers if channel.state == UP]
    reached = {channel.uniqueid for channel in waiting}
    crossed = set[str]()
    while waiting:
        channel = waiting.pop()
        is_new = channel.bridge not in crossed
        bridge = listing.by_bridge.get(channel.bridge, []) if is_new else []
        crossed.add(channel.bridge)
        half = listing.by_name.get(other_half(channel.name)) if is_local(channel) else None
        for each in (*bridge, *((half,) if half else ())):
            if each.uniqueid in reached:
                continue
            reached.add(each.uniqueid)
            waiting.append(each)
            is_heard = len(bridge) == _PAIR if agents is None else each.uniqueid in agents
            if is_heard and each.state == UP and not is_local(each):
                return True
    return False


def resolve_root(candidates: Iterable[Root], channels: Iterable[Channel]) -> Root | None:
    """Choose among roots that appeared in one moment, once the extension has answered.

    Until then nothing carries the customer's number; then the root's own application does.
    """
    live = {channel.uniqueid: channel for channel in channels}
    for root in candidates:
        channel = live.get(root.uniqueid)
        if channel is None or channel.state != UP:
            continue
        data = channel.data.casefold()
        if root.kind == "call" and data.startswith(f"local/{root.to}@"):
            return root
        if root.kind == "monitor" and _spied(channel, live) == root.to:
            return root
    return None


def _spied(spy: Channel, live: Mapping[str, Channel]) -> str:
    """Tell whose channel a ChanSpy taps, which it may call by its uniqueid."""
    tapped = live.get(spy.data.partition(",")[0])
    return extension_spied(tapped.name if tapped else spy.data)


def reason_unconfirmed(
    root: Root, last: CallPhase, channels: Iterable[Channel] = (), *, none_written: bool
) -> Reason:
    """Tell why a call ended where no record of the PBX says it; `last` is its phase before.

    `none_written`: the PBX writes its records at once, and wrote none of this call. It does so of
    a call that rang nobody: an extension without a phone, or without a place in the dialplan.
    """
    if last == "talking" or (root.kind == "monitor" and last == "agent_answered"):
        return "answered"
    if is_refused(root, channels):
        return "agent_busy"
    return "failed" if none_written and last == "accepted" else "unknown"

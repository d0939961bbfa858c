"""The calls of a PBX that this service did not start, from look to look: pure.

A call is all channels of one LinkedID, from the first list that has one of them to the first that
has none. It waits, rings or talks, and may do so again: whoever is parked, or handed over to a
phone that rings, talks to nobody meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from shared.asterisk.calling import Calling, Legs, beginning_of
from shared.asterisk.cdr.whose import EXTENSION_DIGITS
from shared.asterisk.drivers import other_half
from shared.asterisk.listing import Listing
from shared.asterisk.models import CallElsewhere, Channel, PbxPhase
from shared.asterisk.parties import is_local
from shared.asterisk.phases import RINGING, UP

# What a PBX of some hundred phones never has, and what one look may have news of.
MOST_CALLS, MOST_CHANGES = 1_000, 200
_MOST_EXTENSIONS = 100
_PAIR = 2
# Whoever is in a bridge with strangers is parked, unless he went there to talk.
_MEETING = frozenset({"ConfBridge", "MeetMe", "Page"})


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """All calls that began elsewhere, by their roots' uniqueids.

    `changes` are those of which there is something to tell; `left_out` counts the calls that are
    too many to be followed, and those whose news wait for another look.
    """

    calls: Mapping[str, CallElsewhere]
    changes: tuple[CallElsewhere, ...]
    left_out: int


def observe_elsewhere(
    known: Mapping[str, CallElsewhere],
    listing: Listing,
    at_s: float,
    *,
    ours: Container[str] = (),
    unwatched: Container[str] = (),
    digits: int = EXTENSION_DIGITS,
    most_changes: int = MOST_CHANGES,
    new_id: Callable[[], UUID] = uuid4,
) -> Elsewhere:
    """Take in a list of the moment `at_s`; `ours` are the roots of this service's own calls.

    `unwatched` are those that are known of another's looks alone: of one that is gone it is not
    known how long it has talked.
    """
    calls, changes, left_out = dict[str, CallElsewhere](), list[CallElsewhere](), 0
    live = dict(listing.by_root())
    for root, before in known.items():
        if root in live and root not in ours:
            continue
        if len(changes) >= most_changes:
            calls[root], left_out = before, left_out + 1
        else:
            changes.append(_ended(before, at_s, is_known=root not in unwatched))
    new = len(known)
    for root, legs in live.items():
        earlier = known.get(root)
        if root in ours or (earlier is None and not any(map(listing.is_told, legs))):
            continue
        if earlier is None:
            new += 1
        is_full = len(changes) >= most_changes or (earlier is None and new > MOST_CALLS)
        if is_full:
            left_out += 1
            if earlier is not None:
                calls[root] = earlier
            continue
        now = _observed(earlier, root, legs, listing, at_s, digits=digits, new_id=new_id)
        calls[root] = now
        if earlier is None or now.step != earlier.step:
            changes.append(now)
    return Elsewhere(calls, tuple(changes), left_out)


def _observed(
    before: CallElsewhere | None,
    root: str,
    legs: Sequence[Channel],
    listing: Listing,
    at_s: float,
    *,
    digits: int,
    new_id: Callable[[], UUID],
) -> CallElsewhere:
    """Tell how far a call is that is there; its step is another where that is news."""
    own = Legs(root, legs, digits)
    heard = _heard(legs, listing)
    ringing = sorted(
        {own.extension_of(leg) for leg in legs if leg.state == RINGING and not is_local(leg)} - {""}
    )[:_MOST_EXTENSIONS]
    rings = any(leg.state == RINGING and not is_local(leg) for leg in legs)
    phase: PbxPhase = "talking" if heard else "ringing" if rings else "waiting"
    if before is None:
        age_s = max(leg.duration_s for leg in legs)
        before = CallElsewhere(root, new_id(), 0, "waiting", "unknown", "", "", at_s - age_s)
    calling = Calling(before.direction, before.from_, before.to)
    if calling.direction == "unknown" or not calling.to:
        calling = own.calling() if own.root is not None else calling
    now = replace(
        before,
        phase=phase,
        direction=calling.direction,
        from_=calling.from_,
        to=calling.to,
        ringing=tuple(ringing),
        answered_by=_answered_by(before, own, heard),
        took_part=_together(before.took_part, own.took_part()),
        root_extension=beginning_of(root, legs).root_extension,
        ringing_at=at_s if rings and before.ringing_at is None else before.ringing_at,
        talking_at=at_s if heard and before.talking_at is None else before.talking_at,
        talks_since=None if not heard else before.talks_since or at_s,
        talked_s=before.talked_s if heard else _talked_s(before, at_s),
    )
    is_news = (
        before.step == 0
        or (now.phase, now.answered_by) != (before.phase, before.answered_by)
        or now.ringing != before.ringing
    )
    return replace(now, step=before.step + 1) if is_news else now


def _ended(before: CallElsewhere, at_s: float, *, is_known: bool) -> CallElsewhere:
    talked_s = _talked_s(before, at_s)
    if before.talks_since is not None and not is_known:
        talked_s = None
    return replace(
        before,
        step=before.step + 1,
        phase="ended",
        ringing=(),
        ended_at=at_s,
        talks_since=None,
        talked_s=talked_s,
    )


def _talked_s(call: CallElsewhere, at_s: float) -> float | None:
    if call.talked_s is None or call.talks_since is None:
        return call.talked_s
    return call.talked_s + max(0.0, at_s - call.talks_since)


def _together(before: tuple[str, ...], now: frozenset[str]) -> tuple[str, ...]:
    new = sorted(now.difference(before))
    return (*before, *new)[:_MOST_EXTENSIONS]


def _answered_by(before: CallElsewhere, own: Legs, heard: Sequence[Channel]) -> str | None:
    """Tell the extension that talks, of several the one that did before, else the newest."""
    root = own.root.uniqueid if own.root else None
    called = [phone for phone in heard if phone.uniqueid != root]
    extensions = [
        extension
        for phone in sorted(called, key=lambda phone: (phone.duration_s, phone.name))
        if (extension := own.extension_of(phone))
    ]
    if not extensions or before.answered_by in extensions:
        return before.answered_by
    return extensions[0]


def _heard(legs: Sequence[Channel], listing: Listing) -> list[Channel]:
    """List the phones of a call that hear another one, through bridges and Local channels.

    That may be another call's, which he was handed over to: then it is in the list too. But callers
    who share a bridge and were called by nobody are parked together.
    """
    own = Listing(legs, {})
    heard, reached = list[Channel](), set[str]()
    crossed = set[str]()
    for first in legs:
        if first.uniqueid in reached:
            continue
        reached.add(first.uniqueid)
        waiting, phones, strangers = [first], list[Channel](), list[Channel]()
        while waiting:
            leg = waiting.pop()
            if leg.state == UP and not is_local(leg):
                phones.append(leg)
                strangers += _strangers(leg, own, listing)
            half = own.by_name.get(other_half(leg.name)) if is_local(leg) else None
            bridge = [] if leg.bridge in crossed else own.by_bridge.get(leg.bridge, [])
            crossed.add(leg.bridge)
            for each in (*bridge, *((half,) if half else ())):
                if each.uniqueid not in reached:
                    reached.add(each.uniqueid)
                    waiting.append(each)
        if len(phones) + len(strangers) >= _PAIR:
            heard += phones + strangers
    return heard


def _strangers(leg: Channel, own: Listing, listing: Listing) -> list[Channel]:
    """Tell the phone of another call that is in a bridge with this one, if it talks to him."""
    bridge = listing.by_bridge.get(leg.bridge, [])
    if len(bridge) < _PAIR or len(own.by_bridge.get(leg.bridge, ())) > 1:
        return []
    if leg.application in _MEETING:
        return [each for each in bridge[:_PAIR] if each is not leg][:1]
    if len(bridge) > _PAIR:
        return []
    return [
        each
        for each in bridge
        if each.uniqueid != leg.uniqueid
        and each.state == UP
        and not is_local(each)
        and (listing.is_called(each) or listing.is_called(leg))
    ]

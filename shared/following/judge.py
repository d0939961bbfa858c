"""What a look at a host means for each of its calls: pure, what is remembered goes in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.outcome import Confirmed, agent_gave_up, confirm, find_roots
from shared.asterisk.drivers import extension_spied
from shared.asterisk.listing import Listing
from shared.asterisk.models import CdrState, Channel, Progress, Reason, Root
from shared.asterisk.phases import observe_in, reason_unconfirmed, resolve_root, steps
from shared.following.pace import Pace
from shared.store.followed import Change, FollowedCall

# Between the clocks of a PBX and ours; a rootless call's rows are looked for that far.
_CLOCKS_APART = timedelta(seconds=5)
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a host has seen by the moment `at_s`, of any clock that only goes forward.

    `seen` is how far each call is whose root is known and whose end is not told; `gone` tells since
    when those have no channel left that have none, and is what the next look must be told.
    `records` are all that were read so far, `cdr` tells what one that is missing means, `now` is
    the time of day, `is_news` whether a record was read that was not known at the look before.
    `roots` are the names of all that are known.
    """

    at_s: float
    channels: tuple[Channel, ...]
    linkedids: Mapping[str, str]
    seen: Mapping[UUID, Progress]
    gone: Mapping[UUID, float]
    roots: frozenset[str] = frozenset()
    records: Book = field(default_factory=Book)
    cdr: CdrState = "pending"
    now: datetime = _BEGINNING
    is_news: bool = True

    @classmethod
    def at(
        cls,
        at_s: float,
        calls: Iterable[FollowedCall],
        channels: tuple[Channel, ...],
        linkedids: Mapping[str, str],
        *,
        gone: Mapping[UUID, float],
        clock_s: float | None = None,
    ) -> Look:
        """Observe each call, once; `gone` is that of the look before.

        `clock_s` is this moment by the clock that trackers share, by default `at_s`.
        """
        ahead_s = 0.0 if clock_s is None else clock_s - at_s
        calls, listing = tuple(calls), Listing(channels, linkedids)
        roots = frozenset(call.root.channel for call in calls if call.root is not None)
        seen = {
            call.call_id: observe_in(
                call.root,
                call.progress,
                listing,
                # What is gone left when that was seen.
                at_s=gone.get(call.call_id, at_s) + ahead_s,
            )
            for call in calls
            if call.root is not None and call.phase != "ended"
        }
        still = {
            call_id: gone.get(call_id, at_s)
            for call_id, progress in seen.items()
            if progress.phase == "ended"
        }
        return cls(at_s, channels, linkedids, seen, still, roots)

    def with_records(
        self,
        at_s: float,
        records: Book,
        cdr: CdrState,
        *,
        now: datetime,
        is_news: bool = True,
    ) -> Look:
        """Add what was read after the channels had been listed."""
        return replace(self, at_s=at_s, records=records, cdr=cdr, now=now, is_news=is_news)


# Others are settled within a fraction of that; a connection may take longer.
_SETTLED_AT_ONCE_S = 1.0


def is_unsettled(call: FollowedCall) -> bool:
    """Tell whether whoever placed a call should have told by now what became of that."""
    if call.phase == "placing":
        return call.age_s > _SETTLED_AT_ONCE_S
    return call.phase == "unknown" and not call.settled


def is_asked_about(call: FollowedCall) -> bool:
    """Tell whether a PBX can know of a call.

    Of one whose placer was told that it is unknown it does not; of one that nobody settled it may.
    """
    return call.phase not in {"placing", "unknown"} or is_unsettled(call)


def is_rootless(call: FollowedCall) -> bool:
    """Tell whether a call was over, or answered, before anybody could look for its root."""
    if call.phase == "placing":
        return False
    return call.root is None and not call.candidates and is_asked_about(call)


def judge(call: FollowedCall, look: Look, pace: Pace) -> Iterator[Change]:
    """Tell what is new of a call that a PBX can know of."""
    if call.phase == "ended":
        yield from _corrected(call, look, pace)
    elif is_rootless(call):
        yield from _found(call, look, pace)
    elif call.root is None:
        yield from _resolved(call, look)
    elif call.call_id in look.gone:
        yield from _ended(call, call.root, look, pace)
    else:
        before, after = call.progress, look.seen[call.call_id]
        if after.legs != before.legs:
            yield Change(call_id=call.call_id, legs=after.legs)
        if (after.agent, after.customer) != (before.agent, before.customer):
            yield Change(call_id=call.call_id, agent=after.agent, customer=after.customer)
        for phase in steps(before, after):
            yield Change(call_id=call.call_id, phase=phase)


def judge_unreachable(call: FollowedCall, away_s: float, pace: Pace) -> Iterator[Change]:
    """Give a call up whose PBX could not be looked at for `away_s`, once that is too long."""
    if away_s > pace.give_up_s and is_asked_about(call) and call.phase != "ended":
        yield Change(call_id=call.call_id, phase="ended", reason="unknown", cdr="unreadable")


def judge_age(call: FollowedCall, *, longest_request_s: float, hold_s: float) -> Iterator[Change]:
    """End the waiting for what nobody settled: its process died, or Asterisk never said."""
    if call.phase == "placing" and call.age_s > 2 * longest_request_s:
        yield Change(call_id=call.call_id, phase="unknown")
    elif call.phase == "unknown" and call.age_s > hold_s:
        yield Change(call_id=call.call_id, phase="ended", reason="unknown")


def _resolved(call: FollowedCall, look: Look) -> Iterator[Change]:
    """Tell which candidate is the call's root, or that none of them is left."""
    root = resolve_root(call.candidates, look.channels)
    live = {channel.uniqueid for channel in look.channels}
    if root is not None:
        yield Change(call_id=call.call_id, root_channel=root.channel, root_uniqueid=root.uniqueid)
    elif not any(candidate.uniqueid in live for candidate in call.candidates):
        yield Change(call_id=call.call_id, phase="ended", reason="unknown")


def _found(call: FollowedCall, look: Look, pace: Pace) -> Iterator[Change]:
    """Tell of a call without a root what the records do, once its extension calls nobody.

    Where several roots may be its own nobody can tell how it ended, and `failed` would be a guess.
    """
    if any(_is_calling(channel, call) for channel in look.channels):
        return
    placed_at = look.now - timedelta(seconds=call.age_s)
    # Its host may have taken seconds to be connected.
    sent_by = placed_at + timedelta(seconds=call.placing_s)
    begun = placed_at - _CLOCKS_APART, sent_by + _CLOCKS_APART
    found = find_roots(look.records, call.code, begun=begun, known=look.roots | call.taken)
    is_late = call.age_s - call.placing_s >= pace.cdr_wait_s
    is_settled = call.phase != "unknown"  # or it may not have been sent at all
    its_own = next(iter(found.items())) if len(found) == 1 else None
    root = its_own and Root(*its_own, call.kind, call.code, call.to)
    confirmed = root and _confirmed(call, root, look, call.progress, complete=is_late)
    if root and confirmed:
        yield Change(call_id=call.call_id, root_channel=root.channel, root_uniqueid=root.uniqueid)
        yield Change(call_id=call.call_id, phase="ended") | _confirmation(confirmed)
    elif is_settled and (is_late or look.cdr in {"off", "unreadable"}):
        reason: Reason = "failed" if look.cdr == "none" and not found else "unknown"
        yield Change(call_id=call.call_id, phase="ended", reason=reason, cdr=look.cdr)


def _is_calling(channel: Channel, call: FollowedCall) -> bool:
    """Tell whether a phone that took a root's place, up to Asterisk 11, may be the call's."""
    in_charge = channel.extension == call.code and channel.application in {"Dial", "ChanSpy"}
    calls = f"local/{call.to}@" in channel.data.casefold()
    return in_charge and (calls or extension_spied(channel.data) == call.to)


def _ended(call: FollowedCall, root: Root, look: Look, pace: Pace) -> Iterator[Change]:
    """Tell the end, with the PBX's record of it, or without once that was waited for."""
    ago_s = look.at_s - look.gone[call.call_id]
    is_late = ago_s >= pace.cdr_wait_s
    seen = look.seen[call.call_id]
    end = Change(call_id=call.call_id, phase="ended", ago_s=ago_s, legs=seen.legs)
    # In batches the record of whom he was transferred to may come with the next one only.
    is_complete = is_late and not (call.transferred and look.cdr == "pending")
    confirmed = _confirmed(call, root, look, seen, complete=is_complete)
    if confirmed is not None:
        yield end | _confirmation(confirmed)
    elif is_late or look.cdr in {"off", "unreadable"}:
        none_written = look.cdr == "none"
        reason = reason_unconfirmed(
            root, call.progress.phase, look.channels, none_written=none_written
        )
        yield end | Change(reason=reason, cdr=look.cdr) | _seconds_seen(seen)


def _corrected(call: FollowedCall, look: Look, pace: Pace) -> Iterator[Change]:
    """Correct an end that was told before its record came.

    Hundreds of calls may wait for records that are written in batches.
    """
    confirmed = (
        call.root
        and look.is_news
        and _confirmed(call, call.root, look, call.progress, complete=False)
    )
    if confirmed:
        yield Change(call_id=call.call_id) | _confirmation(confirmed)
    elif look.cdr != "pending":
        yield Change(call_id=call.call_id, cdr=look.cdr)
    elif (call.ended_s or 0.0) > pace.batch_s:
        yield Change(call_id=call.call_id, cdr="none")


def _confirmed(
    call: FollowedCall, root: Root, look: Look, seen: Progress, *, complete: bool
) -> Confirmed | None:
    rows = (look.records, root.channel, root.uniqueid)
    found = confirm(
        *rows,
        kind=root.kind,
        to=root.to,
        is_transferred=call.transferred,
        seen=seen,
        complete=complete,
    )
    if found is None or found.reason != "no_answer":
        return found
    by_agent = agent_gave_up(*rows, complete=complete)
    if by_agent is None and not complete:
        return None
    return replace(found, reason="cancelled") if by_agent else found


def _seconds_seen(seen: Progress) -> Change:
    """Tell what was seen of both parties, where no record tells it."""
    sides = Change(agent=seen.agent, customer=seen.customer)
    rung = seen.agent if seen.customer.ring_s is None else seen.customer
    talk_s = seen.customer.talk_s if seen.talked else 0
    return sides | Change(ring_s=rung.ring_s, talk_s=talk_s)


def _confirmation(confirmed: Confirmed) -> Change:
    return Change(
        reason=confirmed.reason,
        disposition=confirmed.disposition,
        ring_s=confirmed.ring_s,
        talk_s=confirmed.talk_s,
        agent=confirmed.agent,
        customer=confirmed.customer,
        cdr="confirmed",
    )

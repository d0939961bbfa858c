"""What looks at a call say of both parties, as far as they can: who answered, how long; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shared.asterisk.models import AnsweredBy, Channel, Leg, Party, Side


def noted(
    leg: Leg | None,
    channel: Channel,
    party: Party,
    at_s: float,
    *,
    is_up: bool,
    after_pbx: bool,
    talks: bool,
) -> Leg:
    """Note that a phone's channel is listed.

    `is_up`: it has answered, and was let in. `after_pbx`: only the PBX has answered for its party
    so far. `talks`: it does, if it is up.
    """
    leg = leg or Leg(channel.name, channel.uniqueid, party, channel.state, seen_at=at_s)
    leg = _talking(leg, at_s) if is_up and talks else _silent(leg, at_s)
    return replace(
        leg,
        channel=channel.name,
        party=party,
        state=channel.state,
        up_at=at_s if is_up and leg.up_at is None else leg.up_at,
        left_at=None,
        rang=leg.rang or channel.state == "Ringing",
        after_pbx=leg.after_pbx or (after_pbx and not is_up),
    )


def left(leg: Leg, at_s: float) -> Leg:
    """Note that a channel is not listed any more."""
    leg = _silent(leg, at_s)
    return replace(leg, state=None, left_at=at_s if leg.left_at is None else leg.left_at)


def heard_nobody(leg: Leg) -> Leg:
    """Forget to whom a phone has talked."""
    return replace(leg, talks_since=None, talked_s=0.0)


def _talking(leg: Leg, at_s: float) -> Leg:
    return leg if leg.talks_since is not None else replace(leg, talks_since=at_s)


def _silent(leg: Leg, at_s: float) -> Leg:
    if leg.talks_since is None:
        return leg
    return replace(leg, talks_since=None, talked_s=leg.talked_s + max(0, at_s - leg.talks_since))


def is_answered(legs: Iterable[Leg], party: Party) -> bool:
    """Tell whether a phone of a party has been up."""
    return any(leg.party == party and leg.up_at is not None for leg in legs)


def side_seen(
    legs: Sequence[Leg], party: Party, answered_by: AnsweredBy | None, *, is_over: bool
) -> Side:
    """Tell of a party; while the call goes on no seconds of talk are told."""
    own = [leg for leg in legs if leg.party == party]
    talk_s = round(sum(leg.talked_s for leg in own)) if is_over else None
    return Side(answered_by, _ring_s(own), talk_s)


def _ring_s(legs: Sequence[Leg]) -> int | None:
    """Count how long the phone rang that was up first, else that was rung last."""
    answered = [leg for leg in legs if leg.up_at is not None]
    rang = [leg for leg in legs if leg.rang] or legs
    if answered:
        leg = min(answered, key=lambda each: each.up_at or 0.0)
        until = leg.up_at
    elif rang:
        leg = rang[-1]
        until = leg.left_at
    else:
        return None
    if leg.seen_at is None or until is None or leg.seen_at == leg.up_at:
        return None
    return max(0, round(until - leg.seen_at))

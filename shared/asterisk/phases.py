"""How far a call is, from what Asterisk lists: pure functions, tested on recordings of 16 and 22.

A call that this service originates has a root, `Local/154@inoffice-0000002a;1`; its uniqueid is
the LinkedID of every later leg. Once sound flows, Asterisk takes all Local channels out of the
call within 50 ms of the customer's answer: the root is gone while the call goes on. So a call is
over when no channel of its LinkedID is left, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from shared.asterisk.models import Channel

Kind: TypeAlias = Literal["call", "monitor"]
CallPhase: TypeAlias = Literal[
    "accepted", "agent_ringing", "agent_answered", "customer_ringing", "talking", "ended"
]
Reason: TypeAlias = Literal[
    "answered",
    "busy",
    "no_answer",
    "agent_busy",
    "agent_no_answer",
    "cancelled",
    "rejected",
    "failed",
    "unknown",
]
Party: TypeAlias = Literal["agent", "customer"]

UP, RINGING = "Up", "Ringing"
_LOCAL = "Local/"
_ORDER: dict[CallPhase, int] = {
    "accepted": 0,
    "agent_ringing": 1,
    "agent_answered": 2,
    "customer_ringing": 3,
    "talking": 4,
    "ended": 5,
}


@dataclass(frozen=True, slots=True)
class Root:
    """The first channel of a call, and what it was originated for.

    `extension` rings first; `phone` is whom it is connected with, or the tapped extension.
    """

    channel: str
    uniqueid: str
    kind: Kind
    extension: str
    phone: str


@dataclass(frozen=True, slots=True)
class Leg:
    """A phone's channel of a call; `state` is Asterisk's word, None once it has left."""

    channel: str
    uniqueid: str
    party: Party
    state: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a call so far; a phase never goes back."""

    phase: CallPhase = "accepted"
    legs: tuple[Leg, ...] = ()


def observe(
    root: Root, progress: Progress, channels: Iterable[Channel], linkedids: Mapping[str, str]
) -> Progress:
    """Take in one list of channels.

    `linkedids` are by uniqueid; a channel that is not among them counts only if it is a leg
    already.
    """
    known = {leg.uniqueid: leg for leg in progress.legs}
    live = [
        channel
        for channel in channels
        if channel.uniqueid in known
        or linkedids.get(channel.uniqueid, channel.uniqueid) == root.uniqueid
    ]
    legs = {
        leg.uniqueid: replace(leg, state=None)  # unless it is found again below
        for leg in progress.legs
    }
    for channel in live:
        if not is_local(channel):
            before = known.get(channel.uniqueid)
            party = before.party if before else _party(root, channel, live, known)
            legs[channel.uniqueid] = Leg(channel.name, channel.uniqueid, party, channel.state)
    now = _phase(root, live, legs)
    return Progress(max(progress.phase, now, key=_ORDER.__getitem__), tuple(legs.values()))


def steps(before: CallPhase, after: CallPhase) -> tuple[CallPhase, ...]:
    """List the phases that began between two looks, in their order.

    A customer is rung only once the agent has answered, so that is told even if it was not seen;
    nothing else is certain: a phone may answer without a ring.
    """
    if before == after:
        return ()
    answered = (
        after in {"customer_ringing", "talking"} and _ORDER[before] < _ORDER["agent_answered"]
    )
    return ("agent_answered", after) if answered else (after,)


def is_local(channel: Channel) -> bool:
    """Tell Asterisk's own halves from the channels of phones and trunks."""
    return channel.name.startswith(_LOCAL)


def _party(root: Root, leg: Channel, live: list[Channel], known: Mapping[str, Leg]) -> Party:
    """Tell whose channel this is, the first time it is seen."""
    if root.kind == "monitor" or re.match(rf"[A-Za-z]+/{root.extension}-", leg.name):
        return "agent"
    first = _find(root.uniqueid, live)
    if first is not None and first.state != UP:
        return "agent"  # nobody else is rung before the agent has answered
    if any(c.uniqueid in known and c.application == "Dial" for c in live):
        return "agent"  # the customer was transferred, and it is the customer's channel that dials
    other_half = root.channel.removesuffix("1") + "2"
    bridges = {channel.bridge for channel in live if channel.name == other_half and channel.bridge}
    return "agent" if leg.bridge in bridges else "customer"


def _phase(root: Root, live: list[Channel], legs: Mapping[str, Leg]) -> CallPhase:
    if not live:
        return "ended"
    first = _find(root.uniqueid, live)
    customers = [
        channel
        for channel in live
        if channel.uniqueid in legs and legs[channel.uniqueid].party == "customer"
    ]
    if root.kind == "call":
        in_dial = first is not None and first.state == UP and first.bridge
        if in_dial or any(channel.state == UP and channel.bridge for channel in customers):
            return "talking"
        halves = [c for c in live if c.name.startswith(f"{_LOCAL}{root.phone}@")]
        if any(channel.state == RINGING for channel in (*customers, *halves)):
            return "customer_ringing"
    if first is None:
        return "accepted"  # taken out of the call, or the call is just falling apart: no news
    if first.state == UP:
        return "agent_answered"
    ringing = first.state == RINGING or any(leg.state == RINGING for leg in legs.values())
    return "agent_ringing" if ringing else "accepted"


def _find(uniqueid: str, channels: Iterable[Channel]) -> Channel | None:
    return next((channel for channel in channels if channel.uniqueid == uniqueid), None)


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
        if root.kind == "call" and data.startswith(f"local/{root.phone}@"):
            return root
        if root.kind == "monitor" and re.match(rf"[a-z]+/{root.phone}(?![0-9])", data):
            return root
    return None


def reason_unconfirmed(root: Root, last: CallPhase, *, none_written: bool) -> Reason:
    """Tell why a call ended where no record of the PBX says it; `last` is its phase before.

    `none_written`: the PBX writes its records at once, and wrote none of this call. It does so of
    a call that rang nobody: an extension without a phone, or without a place in the dialplan.
    """
    if last == "talking" or (root.kind == "monitor" and last == "agent_answered"):
        return "answered"
    return "failed" if none_written and last == "accepted" else "unknown"

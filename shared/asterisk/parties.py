"""Whose phone each live channel of a call is, the agent's or the customer's; pure.

Asterisk lists no channel with who called it. But the halves of a call's Local channels hang
together, from its root on: what `root;2` rings is the agent's, what `root;1` rings the customer's,
and so on through any Local channel that one of them has called. A phone that is up shares a bridge
with the half that called it; one that rings is named in what that half was told to dial.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shared.asterisk.drivers import LOCAL, device_of, is_half, other_half
from shared.asterisk.listing import find_channel
from shared.asterisk.models import Channel, Leg, Party, Root

_WORDS = re.compile(r"[/@:]")
# What names whom it rings, and what does not.
_NAMING, _SILENT = frozenset({"Dial", "RetryDial"}), frozenset({"Queue", "FollowMe", "Page"})
# Nobody forwards a call so often, nor dials one device so often in one call.
_DEEPEST, _MOST_CALLERS = 16, 16


def parties_of(root: Root, live: Iterable[Channel], known: Mapping[str, Leg]) -> dict[str, Party]:
    """Tell whose each phone's channel is, by its uniqueid.

    What is known stays, unless a phone is bridged with who called it as it answers.
    """
    live = tuple(live)
    phones = [channel for channel in live if not is_local(channel)]
    if root.kind == "monitor":
        return dict.fromkeys((phone.uniqueid for phone in phones), "agent")
    tree = _Tree(root, live, known)
    return {phone.uniqueid: tree.party_of(phone) for phone in phones}


def is_local(channel: Channel) -> bool:
    """Tell Asterisk's own halves from the channels of phones and trunks."""
    return is_half(channel.name)


def customers_among(
    root: Root, legs: Sequence[Leg], channels: Iterable[Channel]
) -> Iterator[Channel]:
    """Yield the live channels that are certainly the customer's, the likeliest first.

    The first customer that was seen was called by this call. Who came later may be a third, or a
    guest of the same conference or queue, whose channels become the call's once they were bridged
    with it.
    """
    live = {channel.uniqueid: channel for channel in channels}
    customers = [leg for leg in legs if leg.party == "customer"]
    # Up to Asterisk 11 a channel that is handed over gets another uniqueid, and keeps its name.
    first = [leg for leg in customers if leg.channel == customers[0].channel]
    yield from (live[leg.uniqueid] for leg in first if leg.uniqueid in live)
    seen = [live[leg.uniqueid] for leg in customers if leg.uniqueid in live]
    yield from (channel for channel in seen if is_called(channel, root.to))


def is_called(channel: Channel, number: str) -> bool:
    """Tell whether a channel is this number's, by its device or because it was called by it."""
    device = device_of(channel.name)
    names = {channel.caller, device.extension if device else ""}
    return number.removeprefix("+") in {name.removeprefix("+") for name in names if name}


class _Tree:
    """One list of a call's channels, by who called whom."""

    def __init__(self, root: Root, live: tuple[Channel, ...], known: Mapping[str, Leg]) -> None:
        self._root = root
        self._known = known
        # Up to Asterisk 11 a channel that is handed over has its name still, and another uniqueid.
        self._named = {leg.channel: leg for leg in known.values()}
        self._by_name = {channel.name: channel for channel in live}
        self._callers: dict[str, list[Channel]] = {}
        self._silent: list[Channel] = []
        self._half_in: dict[str, str] = {}
        self._phones_in: dict[str, list[Leg]] = {}
        for channel in live:
            for word in _dialled(channel):
                callers = self._callers.setdefault(word, [])
                if len(callers) < _MOST_CALLERS:
                    callers.append(channel)
            if channel.application in _SILENT:
                self._silent.append(channel)
            if channel.bridge and channel.name.endswith(";2"):
                self._half_in.setdefault(channel.bridge, channel.name)
            elif channel.bridge and (leg := self._leg(channel)):
                self._phones_in.setdefault(channel.bridge, []).append(leg)
        self._sides: dict[str, Party | None] = {other_half(root.channel): "agent"}
        first = find_channel(root.uniqueid, live)
        self._is_open = first is None or first.state == "Up"
        self._has_customer = any(
            leg.party == "customer" and leg.up_at is not None for leg in known.values()
        )

    def party_of(self, phone: Channel) -> Party:
        """Tell whose phone it is."""
        # Up to Asterisk 11 the agent's phone takes the root's place and uniqueid once sound flows.
        if phone.uniqueid == self._root.uniqueid:
            return "agent"
        leg = self._leg(phone)
        half = self._half_in.get(phone.bridge)
        # Later it may be in a bridge of another's, while Asterisk takes the halves out of the call.
        is_new = leg is None or leg.up_at is None
        if half is not None and is_new and (party := self._side(half)):
            return party
        if leg is not None:
            return leg.party
        return self._called_for(phone) or self._guessed(phone)

    def _leg(self, channel: Channel) -> Leg | None:
        return self._known.get(channel.uniqueid) or self._named.get(channel.name)

    def _guessed(self, phone: Channel) -> Party:
        """Tell by a phone that it talks with, or by its name, or by who is there already."""
        if not self._is_open:
            return "agent"  # nobody else is rung before somebody has answered for the agent
        for leg in self._phones_in.get(phone.bridge, ())[:1]:
            return other_party(leg.party)
        device = device_of(phone.name)
        is_agents = device is not None and device.extension == self._root.extension
        return "agent" if is_agents or self._has_customer else "customer"

    def _called_for(self, channel: Channel, depth: int = 0) -> Party | None:
        """Tell for whom a channel was called, of several callers by whose number it was."""
        device = device_of(channel.name)
        word = f"{device.technology}/{device.name}".casefold() if device else ""
        callers = self._callers.get(word, [])
        if not callers and len(self._silent) == 1:
            callers = self._silent
        numbers = {channel.extension, channel.caller} - {""}
        for caller in sorted(callers, key=lambda each: each.extension not in numbers):
            if caller.uniqueid != channel.uniqueid and (party := self._rings_for(caller, depth)):
                return party
        # Of a list that was made while the root began to dial, nobody has called it yet.
        is_his = device is not None and device.extension == self._root.to and is_local(channel)
        return "customer" if is_his else None

    def _rings_for(self, caller: Channel, depth: int) -> Party | None:
        """Tell for whom a channel rings others."""
        if caller.uniqueid == self._root.uniqueid:
            return "customer"
        if leg := self._leg(caller):  # a phone's: whom it has was handed over
            return other_party(leg.party)
        return self._side(caller.name, depth) if caller.name.endswith(";2") else None

    def _side(self, half: str, depth: int = 0) -> Party | None:
        """Tell for whom a `;2` rings others: for whom its `;1` was called."""
        if half not in self._sides and depth < _DEEPEST:
            self._sides[half] = None
            first = self._by_name.get(other_half(half))
            self._sides[half] = self._called_for(first, depth + 1) if first else None
        return self._sides.get(half)


def _dialled(channel: Channel) -> Iterator[str]:
    """List the words of what a channel was told to dial: `SIP/154&SIP/1@trunk,30`."""
    if channel.application not in _NAMING:
        return
    for target in channel.data.partition(",")[0].casefold().split("&"):
        technology, _, rest = target.partition("/")
        if technology == LOCAL.casefold():
            yield f"{technology}/{rest.partition('/')[0]}"
        else:
            yield from {f"{technology}/{word}" for word in _WORDS.split(rest) if word}


def other_party(party: Party) -> Party:
    """Name the other one."""
    return "customer" if party == "agent" else "agent"

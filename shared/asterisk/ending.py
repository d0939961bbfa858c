"""Ending a call by a channel of its own, and whether that was certainly not sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.asterisk import client
from shared.asterisk.client import HangupUnacknowledged
from shared.asterisk.console import Console
from shared.asterisk.listing import find_channel
from shared.asterisk.models import Channel, Leg, Root
from shared.asterisk.parties import customers_among, is_called, is_local
from shared.asterisk.phases import UP
from shared.deadline import Deadline
from shared.errors import CallNotReady


class _HangUp:
    """Hangs up, as often as it is asked to.

    `may_be_sent` tells whether an attempt may have been executed, also if a later one fails or is
    given up; `is_done`: Asterisk said that one was.
    """

    def __init__(self) -> None:
        self.may_be_sent = False
        self.is_done = False

    async def _request(self, console: Console, channel: Channel, deadline: Deadline) -> bool:
        before, self.may_be_sent = self.may_be_sent, True  # who is given up now, does not know
        try:
            is_done = await client.request_hangup(console, channel, deadline)
        except HangupUnacknowledged:
            raise
        except Exception:  # certain, of whatever fails otherwise: see Console.ask
            self.may_be_sent = before
            raise
        self.is_done |= is_done
        self.may_be_sent = before or is_done
        return is_done


class Ending(_HangUp):
    """Ends one call, whatever is left of it; once more is harmless. `legs` were seen before.

    `is_handed_over`: its customer was sent to another extension, maybe at this very moment, so that
    its root goes without him.
    """

    def __init__(self, root: Root, legs: Sequence[Leg]) -> None:
        super().__init__()
        self.is_handed_over = False
        self._root = root
        self._legs = legs

    async def __call__(self, console: Console, *, deadline: Deadline) -> bool:
        """Hang up; False where nothing is left of the call.

        One channel is enough: Asterisk takes the others along. Of a call that was handed over it is
        the customer's, and what may be left of the call that he was taken from goes after it.

        Raises:
            HangupUnacknowledged: the call may be over.
            CallNotReady: which of the channels that are left is the call's, cannot be told.
            Exception: any other; this attempt sent nothing that ends it.
        """
        is_done = False
        for channel in await self._choose(console, deadline):
            is_done |= await self._request(console, channel, deadline)
        return is_done

    async def _choose(self, console: Console, deadline: Deadline) -> list[Channel]:
        channels = await client.list_channels(console, deadline)
        own = list(_own(self._root, self._legs, channels))
        if self.is_handed_over and own:
            customer = await self._customer(console, channels, deadline)
            return customer + [one for one in own[:1] if one not in customer]
        if not own:
            legs = await client.legs_among(console, self._root.uniqueid, channels, deadline)
            if not legs:
                return []
            own = list(_alike(self._root, legs)) or ([] if self._legs else _pair(legs))
        if not own:
            raise CallNotReady("Which of the channels that are left is the call's cannot be told")
        return [next(filter(client.is_askable, own), own[0])]

    async def _customer(
        self, console: Console, channels: tuple[Channel, ...], deadline: Deadline
    ) -> list[Channel]:
        """Find the customer's channel, also one that nobody saw before he was handed over."""
        for customer in customers_among(self._root, self._legs, channels):
            return [customer]
        legs = await client.legs_among(console, self._root.uniqueid, channels, deadline)
        return [leg for leg in legs if not is_local(leg) and is_called(leg, self._root.to)][:1]


class EndingUnanswered(_HangUp):
    """Ends a call by its root, unless its extension has answered."""

    def __init__(self, root: Channel) -> None:
        super().__init__()
        self._root = root

    async def __call__(self, console: Console, *, deadline: Deadline) -> bool:
        """Hang up; tell whether it is over by our doing. Raises what `Ending` does."""
        channels = await client.list_channels(console, deadline)
        now = find_channel(self._root.uniqueid, channels)
        if now is None:
            return self.may_be_sent
        return now.state != UP and await self._request(console, now, deadline)


def _own(root: Root, legs: Sequence[Leg], channels: Sequence[Channel]) -> Iterator[Channel]:
    """Yield the live channels that are certainly the call's, the best to end it by first.

    The root, while it is there; after Asterisk has taken the Local channels out of the call, the
    customer's, who may talk with somebody else than the agent by then, or the agent's.
    """
    live = {channel.uniqueid: channel for channel in channels}
    if root.uniqueid in live:
        yield live[root.uniqueid]
    yield from customers_among(root, legs, channels)
    agents = [leg.uniqueid for leg in legs if leg.party == "agent"]
    yield from (live[uniqueid] for uniqueid in agents if uniqueid in live)


def _alike(root: Root, legs: Sequence[Channel]) -> Iterator[Channel]:
    """Yield those of a call's channels, none of which was seen before, that are of its parties."""
    numbers = (root.to, root.extension) if root.kind == "call" else (root.extension,)
    for half in (False, True):  # Asterisk may take its own halves out of the call at any moment
        for number in numbers:
            yield from (c for c in legs if is_local(c) is half and is_called(c, number))


def _pair(legs: Sequence[Channel]) -> list[Channel]:
    """List the last phones of a call that nobody looked at, if they are one or two that talk."""
    phones = [leg for leg in legs if not is_local(leg)]
    return phones if len(phones) in {1, 2} and len({leg.bridge for leg in phones}) == 1 else []

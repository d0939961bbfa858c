"""A listener: a position in an enterprise's feed, and a filter; through whichever door it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Self, TypeAlias

from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable
from shared.events.feed import Told, Wanted
from shared.events.hub import Hub

# Silence is told so often: proxies close what is silent for a minute, most of them.
HEARTBEAT_S = 15.0
# How often a stream is looked after; its right to be open is at most twice as old.
_LOOKED_AFTER_S = 25.0
_AWAY_S = 1.0
_MOST_AT_ONCE = 100

LookAfter: TypeAlias = Callable[[], Awaitable[None]]
"""Renews what a stream needs to stay open; raises a ServiceError where it may not."""


class Listener:
    """Whoever listens, until the block ends; nothing is kept of it but where it is.

    `after` is the number up to which all that it wants was told.
    """

    __slots__ = ("_enterprise", "_hub", "_is_level", "_wanted", "after")

    def __init__(self, hub: Hub, enterprise: str, wanted: Wanted, after: int) -> None:
        self._hub = hub
        self._enterprise = enterprise
        self._wanted = wanted
        self._is_level = False
        self.after = after

    async def __aenter__(self) -> Self:
        """Have what is new kept at hand."""
        self._hub.join(self._enterprise)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let it go."""
        await self._hub.leave(self._enterprise)

    @classmethod
    async def begin(cls, hub: Hub, enterprise: str, wanted: Wanted, after: int | None) -> Listener:
        """Take a position: the one that is asked for, or the newest.

        Raises:
            EventsGone: what follows is not kept any more, or was never told.
            DatabaseUnavailable: not known.
        """
        told = await hub.read(enterprise, after, wanted, 1)
        return cls(hub, enterprise, wanted, told.next if after is None else after)

    async def look(self, most: int) -> Told:
        """Tell what there is after the position, and go on after that.

        Raises:
            EventsGone: what follows is not kept any more, or was never told.
            DatabaseUnavailable: not known.
        """
        told = self._hub.told_since(self._enterprise, self.after, self._wanted, most)
        if told is None:
            told = await self._hub.read(self._enterprise, self.after, self._wanted, most)
        self.after, self._is_level = told.next, told.is_all
        return told

    async def wait(self, until: Deadline, most: int) -> Told:
        """Tell what comes after the position, as soon as there is something of it.

        It is nothing where the time was over, or a look came to the end of what one goes through.

        Raises as `look` does.
        """
        while True:
            if self._is_level and not await self._is_told_more(until):
                return Told((), self.after, is_all=True)
            told = await self.look(most)
            if told.events or not told.is_all:
                return told

    async def stream(self, look_after: LookAfter) -> AsyncGenerator[Told]:
        """Tell all that comes until the process ends; first and in silence, now and then, nothing.

        While the database is away nothing is told either, and all of it later.

        Raises:
            EventsGone: what follows is not kept any more, or was never told.
            ServiceError: what `look_after` raises.
        """
        silent_until = looked_after_until = Deadline.after(0)
        while not self._hub.is_over:
            told = None
            try:
                if not looked_after_until.remaining_s():
                    await look_after()
                    looked_after_until = Deadline.after(_LOOKED_AFTER_S)
                told = await self.wait(silent_until, _MOST_AT_ONCE)
            except DatabaseUnavailable:
                await asyncio.sleep(_AWAY_S)
            if self._hub.is_over:
                return
            if (told is not None and told.events) or not silent_until.remaining_s():
                yield told or Told((), self.after, is_all=False)
                silent_until = Deadline.after(HEARTBEAT_S)

    async def _is_told_more(self, until: Deadline) -> bool:
        return await self._hub.wait_beyond(self._enterprise, self.after, until)

"""Whose turn it is: a few places, some of them kept from whoever only reads."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from shared.deadline import Deadline

Turn: TypeAlias = Literal["call", "look", "read"]
"""What a place is wanted for: to ring, connect or end a call; to follow one; to tell of calls."""


class _Waiter(NamedTuple):
    """One who waits; `given` is done once a place is his."""

    arrival: int
    given: asyncio.Future[None]


class Turns:
    """A number of places, given to calls and looks as they come, to reads where neither waits.

    Of several places one is kept for calls, and reads have at most `most_reads`: so no call waits
    for a read, however many there are, unless there is but one place. All that changes happens in
    functions that await nothing.
    """

    def __init__(self, size: int, *, most_reads: int, kept_for_calls: int = 1) -> None:
        self._size = size
        self._most_others = max(1, size - kept_for_calls)
        self._most_reads = most_reads
        self._taken: Counter[Turn] = Counter()
        self._waiting: dict[Turn, deque[_Waiter]] = {
            "call": deque(),
            "look": deque(),
            "read": deque(),
        }
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def taken(self) -> int:
        """How many have a place."""
        return self._taken.total()

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody has a place or wants one but looks, for which nobody waits."""
        return any(self._taken[turn] or self._waiting[turn] for turn in ("call", "read"))

    async def take(self, turn: Turn, deadline: Deadline) -> None:
        """Wait for a place, which is to be given back. Raises TimeoutError: none came in time."""
        if self.has_place(turn):  # whoever waits could not have it, or would have it already
            self._taken[turn] += 1
            return
        waiter = _Waiter(next(self._arrivals), asyncio.get_running_loop().create_future())
        self._waiting[turn].append(waiter)
        try:
            async with deadline.enforce():
                await waiter.given
        except BaseException:
            if waiter in self._waiting[turn]:
                self._waiting[turn].remove(waiter)
            elif not waiter.given.cancelled():  # it was given in the moment of giving up
                self.give_back(turn)
            raise

    def give_back(self, turn: Turn) -> None:
        """Let the next one have the place."""
        self._taken[turn] -= 1
        self._assign()

    def _assign(self) -> None:
        while following := min(self._next(), default=None):
            _, turn = following
            self._taken[turn] += 1
            self._waiting[turn].popleft().given.set_result(None)

    def _next(self) -> Iterator[tuple[tuple[bool, int], Turn]]:
        """Yield the first of each kind that may have a place, by the order in which they get it."""
        for turn, waiting in self._waiting.items():
            while waiting and waiting[0].given.done():  # given up, and not gone yet
                waiting.popleft()
            if waiting and self.has_place(turn):
                yield (turn == "read", waiting[0].arrival), turn

    def has_place(self, turn: Turn) -> bool:
        """Tell whether there is one that whoever waits could not have."""
        taken = self._taken
        if turn != "call" and taken["look"] + taken["read"] >= self._most_others:
            return False
        if turn == "read" and taken["read"] >= self._most_reads:
            return False
        return taken.total() < self._size

    def __repr__(self) -> str:
        taken = ", ".join(f"{n} {turn}" for turn, n in self._taken.items() if n) or "none"
        return f"<Turns {self._size}: {taken} | {self.waiting} waiting>"

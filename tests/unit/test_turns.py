"""Places, and who gets them: a call is never behind a read, and nothing is lost by giving up."""

from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest

from shared.deadline import Deadline
from shared.turns import Turn, Turns
from tests.unit.conftest import VISITOR

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("visitors_leave")]


class Guests:
    """Those who want a place, by name; whoever got one stands in `inside`, in that order."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._enough: dict[str, asyncio.Event] = {}
        self.inside: list[str] = []

    async def come(self, *names: str) -> None:
        """Let them come one after another; `read2` wants a place to read."""
        for name in names:
            self._enough[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._visit(name), name=VISITOR)
            await settle()

    async def _visit(self, name: str) -> None:
        turn = cast("Turn", name.rstrip("0123456789"))
        await self._turns.take(turn, Deadline.after(30))
        self.inside.append(name)
        try:
            await self._enough[name].wait()
        finally:
            self.inside.remove(name)
            self._turns.give_back(turn)

    async def leave(self, *names: str) -> None:
        """Let them go, one after another."""
        for name in names:
            self._enough[name].set()
            await self._tasks[name]
            await settle()

    async def give_up(self, *names: str) -> None:
        """Cancel them, wherever they are."""
        for name in names:
            self._tasks[name].cancel()
        await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_reads_have_their_own_few_places() -> None:
    """However many come: two places of three stay free of them, and a call goes in at once."""
    turns = Turns(3, most_reads=1)
    guests = Guests(turns)
    await guests.come(*(f"read{n}" for n in range(50)), "call1", "call2")
    assert guests.inside == ["read0", "call1", "call2"]
    assert repr(turns) == "<Turns 3: 1 read, 2 call | 49 waiting>"


async def test_calls_may_have_every_place() -> None:
    """Nothing is kept from them, nor for others."""
    guests = Guests(Turns(3, most_reads=1))
    await guests.come("call1", "call2", "call3", "call4")
    assert guests.inside == ["call1", "call2", "call3"]


@pytest.mark.parametrize("first", ["look", "read"])
async def test_one_place_is_kept_for_calls(first: str) -> None:
    """Those who follow and those who read have not both, together, the last one."""
    guests = Guests(Turns(2, most_reads=2))
    await guests.come(f"{first}1", "look2", "read2", "call1")
    assert guests.inside == [f"{first}1", "call1"]


async def test_a_call_that_came_later_goes_before_every_read() -> None:
    """Of one place too, where none can be kept: calls and looks as they came, then reads."""
    guests = Guests(Turns(1, most_reads=1))
    await guests.come("call1", "read1", "read2", "look1", "call2")
    order = []
    for _ in range(5):
        order += guests.inside
        await guests.leave(*guests.inside)
    assert order == ["call1", "look1", "call2", "read1", "read2"]


async def test_looks_are_not_starved_by_calls() -> None:
    """A look that waits is served before the calls that came after it."""
    guests = Guests(Turns(2, most_reads=1))
    await guests.come("call1", "call2", "look1", "call3", "call4")
    await guests.leave("call1")
    assert guests.inside == ["call2", "look1"]


async def test_a_look_that_may_not_holds_up_no_call() -> None:
    """What is kept for calls is theirs, whoever came before them."""
    guests = Guests(Turns(2, most_reads=1))
    await guests.come("look1", "call1", "look2", "call2")
    await guests.leave("call1")
    assert guests.inside == ["look1", "call2"]


async def test_whoever_waits_in_vain_is_told_so() -> None:
    """No place in time is TimeoutError, and the place goes to others afterwards."""
    turns = Turns(1, most_reads=1)
    await turns.take("call", Deadline.after(30))
    with pytest.raises(TimeoutError):
        await turns.take("read", Deadline.after(0))
    assert repr(turns) == "<Turns 1: 1 call | 0 waiting>"
    turns.give_back("call")
    await turns.take("read", Deadline.after(0))


async def test_cancelled_while_waiting() -> None:
    """Whoever gives up leaves no trace, and those behind move up."""
    turns = Turns(1, most_reads=1)
    guests = Guests(turns)
    await guests.come("call1", "read1", "read2")
    await guests.give_up("read1")
    assert repr(turns) == "<Turns 1: 1 call | 1 waiting>"
    await guests.leave("call1")
    assert guests.inside == ["read2"]


async def test_cancelled_in_the_moment_of_getting_a_place() -> None:
    """A place that was given to somebody who is gone goes to the next."""
    turns = Turns(1, most_reads=1)
    guests = Guests(turns)
    await guests.come("call1", "call2", "read1")
    turns.give_back("call")  # call2 has it, and does not know yet
    await guests.give_up("call2")
    await settle()
    assert guests.inside == ["call1", "read1"]


async def test_cancelled_in_the_moment_before_a_place_is_free() -> None:
    """Whoever is about to leave the queue is passed over."""
    turns = Turns(1, most_reads=1)
    guests = Guests(turns)
    await guests.come("call1", "call2", "read1")
    guests._tasks["call2"].cancel()
    turns.give_back("call")
    await settle()
    assert guests.inside == ["call1", "read1"]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_place_is_lost(seed: int) -> None:
    """Guests come, leave and give up by chance: the limits hold, and in the end all is free."""
    chance = random.Random(seed)
    size, most_reads = chance.choice([(1, 1), (2, 1), (3, 1), (8, 2), (8, 8)])
    turns = Turns(size, most_reads=most_reads)
    guests = Guests(turns)
    for number in range(200):
        name = f"{chance.choice(['call', 'look', 'read'])}{number}"
        await guests.come(name)
        for _ in range(chance.randrange(3)):
            present = [n for n, task in guests._tasks.items() if not task.done()]
            if present and chance.random() < 0.3:
                await guests.give_up(chance.choice(present))
            elif guests.inside:
                guests._enough[chance.choice(guests.inside)].set()
        await settle()
        reads = sum(name.startswith("read") for name in guests.inside)
        calls = sum(name.startswith("call") for name in guests.inside)
        assert len(guests.inside) <= size
        assert reads <= most_reads
        assert len(guests.inside) - calls <= max(1, size - 1)
        waiting = turns.waiting
        assert not waiting or guests.inside, "somebody waits for nobody"
    await guests.give_up(*guests._tasks)
    assert repr(turns) == f"<Turns {size}: none | 0 waiting>"


async def test_who_waits_is_told() -> None:
    """For looks nobody waits; a call has its turn at once while a place is free."""
    turns = Turns(2, most_reads=1)
    guests = Guests(turns)
    told = [(turns.has_place("call"), turns.is_waited_for)]
    for name in ("look1", "look2", "call1", "call2"):
        await guests.come(name)
        told.append((turns.has_place("call"), turns.is_waited_for))
    assert told == [(True, False), (True, False), (True, False), (False, True), (False, True)]
    await guests.leave("call1")
    await guests.give_up("call2")
    assert (turns.has_place("call"), turns.is_waited_for) == (True, False)

"""The stand-in's calls end whole, whatever comes in the turn of the loop that ends them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import chain

import pytest

from demo.pbx.call import LocalAddress
from demo.pbx.calls import Exchange
from demo.pbx.clock import Clock
from demo.pbx.course import SOUND_S, ZOMBIE_S
from demo.pbx.profiles import PROFILES

pytestmark = pytest.mark.anyio


class Steps(Clock):
    """Each step that takes Local channels out waits for `come`; nobody hangs up by himself."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.waits = asyncio.Event()
        self.come = asyncio.Event()

    def since(self, moment: float) -> float:
        """As if no time had passed."""
        del moment
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Pass at once, but for those."""
        if seconds in {SOUND_S, SOUND_S / 2, ZOMBIE_S}:
            self.waits.set()
            await self.come.wait()
            self.come.clear()
        else:
            await asyncio.sleep(0 if seconds < 3 else 3600)  # longer than any phone rings


@pytest.mark.parametrize("sent_on", [True, False])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("version", ["11", "16", "22"])
async def test_an_end_in_the_turn_of_a_change_leaves_nothing(
    version: str, step: int, *, sent_on: bool
) -> None:
    """The change that was due does not come; only the phone that was sent on is left of it."""
    clock = Steps()
    exchange = Exchange(PROFILES[version], clock)
    async with aclosing(exchange), asyncio.timeout(30):
        call = exchange.originate(
            LocalAddress("156", "inoffice"), "Dial", "Local/+375290000006@inoffice,60"
        )
        for each in range(step):
            await clock.waits.wait()
            clock.waits.clear()
            clock.come.set()
            if each + 1 < step:
                await asyncio.sleep(0)
        there = exchange.channels.snapshot()
        *_, phone = (each.name for each in there if each.state == "Up" and not each.is_local)
        if sent_on:
            assert exchange.redirect(phone, "151", "inoffice")
        else:
            assert exchange.hang_up(phone)
        assert call.task is not None
        await asyncio.wait([call.task])
        assert call.task.exception() is None
        legs = set(chain.from_iterable(each.legs for each in exchange.calls))
        assert set(exchange.channels.snapshot()) <= legs
        assert len(exchange.calls) == sent_on

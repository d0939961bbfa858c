"""The calls inside the stand-in, and what is done to them: begun, hung up, sent elsewhere."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any

from demo.pbx.call import Call, Link, LocalAddress
from demo.pbx.cdr import OldRecords, Records
from demo.pbx.channels import Channel, ChannelTable, leave_bridge
from demo.pbx.clock import Clock
from demo.pbx.course import STEP_S, Course
from demo.pbx.dialplan import Destination, find_destination
from demo.pbx.kept import Counts, Latest
from demo.pbx.profiles import Profile


class Exchange:
    """Every call of one Asterisk; `originate` starts one and returns at once.

    Attributes:
        invites: How often each number's phone was rung.
        spied: (spying channel, tapped channel), in order of attaching.
        ledger: The call detail records, as Master.csv holds them.
        processed: Asterisk's `calls processed`: each run through the dialplan counts.
        refused: What was asked for and is not imitated, an unregistered application too.
        dialplan_loaded: False while Asterisk boots: every extension is then unknown.
    """

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self.profile = profile
        self.clock = clock
        self.channels = ChannelTable(profile, clock)
        self.invites: Counter[str] = Counts()
        self.spied: list[tuple[str, str]] = Latest()
        self.ledger = bytearray()
        self.processed = 0
        self.refused: list[str] = Latest()
        self.dialplan_loaded = True
        self.calls: list[Call] = []

    def originate(self, address: LocalAddress, app: str, data: str) -> Call:
        """Create the root channel now; everything else happens by itself, also failing."""
        root = self.channels.add_local(address.exten, address.context)
        kind = OldRecords if self.profile.old else Records
        records = kind(self.ledger, self.clock, self.profile)
        call = Call(root, records, [Link(None), Link(root)], [root])
        if self.profile.old:
            self.complete(call)
        self.calls.append(call)
        self._start(call, Course(self, call).live(address, app, data))
        return call

    def call_in(self, number: str, exten: str, trunk: str, context: str) -> Channel:
        """Let somebody call in by a trunk, or a phone call out; nobody here has asked for it."""
        name = f"{self.profile.technology}/{trunk}"
        channel = self.channels.add_caller(name, exten, context, number)
        kind = OldRecords if self.profile.old else Records
        records = kind(self.ledger, self.clock, self.profile)
        call = Call(channel, records, [Link(channel)], [channel])
        self.calls.append(call)
        self._start(call, Course(self, call).live_in())
        return channel

    def find_destination(self, exten: str, context: str) -> Destination | None:
        """Where the extension leads; nowhere while the dialplan is not loaded."""
        if not self.dialplan_loaded:
            return None
        return find_destination(exten, context, self.profile)

    def active(self) -> int:
        """Asterisk's `active calls`: channels that run the dialplan, a Local's `;2`."""
        return sum(live.name.endswith(";2") for live in self.channels.snapshot())

    def hang_up(self, name: str) -> bool:
        """End the call this channel belongs to; False if there is no such channel."""
        channel = self.channels.find(name)
        if channel is None:
            return False
        call = self._call_of(channel)
        self._end(call, call.link_of(channel) or call.own)
        return True

    def redirect(self, name: str, exten: str, context: str) -> bool:
        """Send a phone to an extension; all else of its call hangs up.

        As in Asterisk, an extension that is not there is accepted, and the phone lost. False for a
        Local channel and for one that is about to end: that is not imitated.
        """
        channel = self.channels.find(name)
        if channel is None or channel.is_local:
            return False
        call = self._call_of(channel)
        link = call.link_of(channel)
        if link is None or call.ending:
            return False
        call.records.post(channel)
        called = link.callee is channel
        if called and self.profile.old:
            self.channels.renew(channel)
        link.release(channel)
        leave_bridge(channel)
        call.legs.remove(channel)
        if self.profile.technology == "PJSIP":
            call.records.breaks_off()
        self._end(call, link)
        channel.exten, channel.context = exten, context
        own = Link(channel, None, link.phone if called else None, link.rung_at)
        onward = Call(channel, call.records, [own], [channel])
        self.calls.append(onward)
        self._start(onward, Course(self, onward).live_on())
        return True

    def hang_up_all(self) -> None:
        """End every call."""
        for call in list(self.calls):
            self._end(call, call.own)

    def lose_all(self) -> None:
        """End every call as its Asterisk dies: nothing is written of it."""
        for call in list(self.calls):
            call.records.lose()
            call.ending = True
            call.cut_short()

    async def aclose(self) -> None:
        """End every call and wait until each is gone."""
        tasks = [call.task for call in self.calls if call.task]
        self.lose_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        call.task = asyncio.create_task(work)
        call.task.add_done_callback(partial(self._ended, call))

    def complete(self, call: Call) -> None:
        """Give the root its other half: from 12 on a thread of its own does, a moment later."""
        half = self.channels.add_half(call.root)
        call.links[0].caller = half
        call.legs.append(half)

    def _end(self, call: Call, cause: Link) -> None:
        left = call.task
        if not call.ending and left is not None:
            call.ending = True
            if call.links.index(cause) <= call.links.index(call.own):
                call.records.gives_up(call.root)
            call.cut_short()
            self._start(call, self._end_from(call, cause, left))

    async def _end_from(self, call: Call, cause: Link, left: asyncio.Task[None]) -> None:
        await asyncio.wait([left])
        await self.tear_down(call, cause)

    def _call_of(self, channel: Channel) -> Call:
        return next(call for call in self.calls if channel in call.legs)

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        # A callback, not a `finally`: a task cancelled before its first step never runs one.
        if task is not call.task:
            return  # its channels still have to hang up
        self.calls.remove(call)
        for leg in call.legs:
            self.channels.remove(leg)
        call.dialled.set()
        if not task.cancelled():
            task.result()  # a fault of the stand-in's own must be heard

    async def tear_down(self, call: Call, cause: Link) -> None:
        """Let every channel hang up, from the one that did so first to both ends of the call."""
        for link in call.order(cause):
            for channel in link.channels:
                leave_bridge(channel)
            await self.clock.sleep(STEP_S)
            for channel in link.channels:
                self.channels.remove(channel)
                call.records.post(channel)
            if call.root in link.channels:
                call.dialled.set()
            await self.clock.sleep(STEP_S)

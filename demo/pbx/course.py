"""What becomes of a call inside the stand-in: what its phones and Local channels do, by phases.

Timings and channel states follow recordings of Asterisk 11, 13 and 16 (chan_sip) and 22 (PJSIP).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from demo.pbx.call import Answered, Call, Link, LocalAddress, parse_local
from demo.pbx.cdr import Record
from demo.pbx.channels import OUTGOING, Channel, join_bridge
from demo.pbx.dialplan import SILENT_S, Ending, Phone
from demo.pbx.spy import Spying

if TYPE_CHECKING:
    from demo.pbx.calls import Exchange

log = logging.getLogger(__name__)

ORIGINATE_LIMIT_S = 30.0
STEP_S = 0.002
"""Between two changes of one event, which a close look can tell apart."""
REPLY_S = 0.004
"""A phone's first provisional answer."""
SOUND_S = 0.04
"""From an answer to the first sound, with which Asterisk takes Local channels out."""
ZOMBIE_S = 0.03
BUSY_S = 10.0
"""How long up to Asterisk 11 a dialplan plays the busy tone to a phone that was not reached."""
PLAYS_BUSY = {Ending.BUSY, Ending.NOT_FOUND, Ending.UNREACHABLE}


class Course:
    """The course of one call, or of a phone that was sent on from one."""

    def __init__(self, exchange: "Exchange", call: Call) -> None:
        self.exchange = exchange
        self.call = call
        self.clock = exchange.clock
        self.channels = exchange.channels
        self.profile = exchange.profile

    async def live(self, address: LocalAddress, app: str, data: str) -> None:
        """From the first ring to the last hang-up, whatever becomes of it."""
        cause = await self._run(address, app, data)
        self.call.ending = True
        await self.exchange.tear_down(self.call, cause)

    async def _run(self, address: LocalAddress, app: str, data: str) -> Link:
        """Let the agent's phone ring and the application run; the link that ends it."""
        near, root = self.call.links[0], self.call.root
        if not self.profile.old:
            self.exchange.complete(self.call)
            root.app, root.data = "AppDial2", OUTGOING
        agent = await self._ring(near, root, ORIGINATE_LIMIT_S)
        if isinstance(agent, Ending):
            if self.profile.old and agent in PLAYS_BUSY:
                self.call.dialled.set()
                await self._play_busy(near)
            return near
        root.state, root.app, root.data = "Up", app, data
        record = self.call.records.begin(root, source=self._source(agent, address.exten))
        self.call.records.answered(record)
        self.call.dialled.set()
        run = partial(self._run_app, address, agent, record)
        return await self._first_of(run, partial(self._talk, address, agent))

    async def _talk(self, address: LocalAddress, agent: Answered) -> Link:
        """Let the agent's phone send sound and hang up when it does; the link that it is in."""
        start = self.clock.now()
        if self.profile.old and address.optimise:
            await self._hear(self.call.links[0], self.call.root)
        talks_s = SILENT_S if agent.phone.talks_s is None else agent.phone.talks_s
        await self.clock.sleep(talks_s - self.clock.since(start))
        self.call.records.gives_up(self.call.root)
        return self.call.links[0]

    async def _first_of(self, *works: Callable[[], Coroutine[Any, Any, Link]]) -> Link:
        """Run all until one has ended; what it says, while the others are cut short."""

        async def run(work: Callable[[], Coroutine[Any, Any, Link]]) -> Link:
            link = await work()
            for part in parts:  # in this turn: none takes one step more
                if part is not asyncio.current_task():
                    part.cancel()
            return link

        self.call.parts = parts = [asyncio.create_task(run(work)) for work in works]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(part.result() for part in parts if part.done() and not part.cancelled())
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def live_on(self) -> None:
        """Run the dialplan for a phone that was sent there; its call ends with it."""
        (link,) = self.call.links
        phone = link.phone or Phone()
        behave = partial(self._behave, self.call.root, link, phone, link.rung_at)
        await self._first_of(partial(self._dial_again, link), behave)
        self.call.ending = True
        await self.exchange.tear_down(self.call, link)

    async def live_in(self) -> None:
        """Run the dialplan for somebody who calls in, until one of the two hangs up."""
        (link,) = self.call.links
        await self._dial_again(link)
        self.call.ending = True
        await self.exchange.tear_down(self.call, link)

    async def _dial_again(self, link: Link) -> Link:
        answered = await self._ring(link, None, SILENT_S)
        if isinstance(answered, Answered):
            talks_s = answered.phone.talks_s
            await self.clock.sleep(SILENT_S if talks_s is None else talks_s)
        return link

    async def _behave(self, channel: Channel, link: Link, phone: Phone, rung_at: float) -> Link:
        """Let a phone that was sent elsewhere answer and hang up when it would have."""
        await self.clock.sleep(phone.rings_s - self.clock.since(rung_at))
        if phone.ending is Ending.ANSWER:
            channel.state = "Up"
            talks_s = SILENT_S if phone.talks_s is None else phone.talks_s
            await self.clock.sleep(phone.rings_s + talks_s - self.clock.since(rung_at))
        return link

    async def _run_app(self, address: LocalAddress, agent: Answered, record: Record) -> Link:
        data = record.data
        match record.app.lower():
            case "dial":
                return await self._dial(address, agent, record)
            case "chanspy":
                await Spying(self.channels, self.clock, self.exchange.spied).run(
                    self.call.root, data
                )
            case "echo":
                await self.clock.sleep(SILENT_S)
            case "wait":
                await self.clock.sleep(float(data or 0))
            case "noop" | "hangup":
                pass
            case _:
                self._refuse(f"application {record.app}")
        return self.call.own

    async def _dial(self, address: LocalAddress, agent: Answered, record: Record) -> Link:
        """Let the root call the customer; the link that ends it."""
        root = self.call.root
        target, _, rest = record.data.partition(",")
        timeout_s = float(rest.partition(",")[0] or SILENT_S)
        local = parse_local(target)
        if local is None:
            self._refuse(f"application Dial {record.data}")
            return self.call.own
        first = self.channels.add_local(local.exten, local.context, root.linkedid)
        second = self.channels.add_half(first)
        first.app, first.data = "AppDial", OUTGOING
        far = Link(second)
        self.call.own.callee = first
        self.call.links.append(far)
        self.call.legs += [first, second]
        first.exten = first.caller = root.exten
        self.call.records.tries(record, first.name)
        destination = self.exchange.find_destination(local.exten, local.context)
        if destination is None:
            await self.clock.sleep(0.01)
            return self.call.own
        row = self.call.records.dials(record, first.name)
        if self.profile.technology == "PJSIP":
            first.caller = local.exten
            if agent.leg and destination.peer:
                agent.record.source, second.caller = local.exten, root.exten
        customer = await self._ring(far, first, timeout_s)
        if isinstance(customer, Ending):
            self.call.records.missed(row, customer)
            return self.call.own
        start = self.clock.now()
        self.call.records.reached(row, first.name)
        first.state, first.exten = "Up", ""
        join_bridge(first, root)
        if self.profile.technology == "PJSIP":
            root.connected, first.connected = local.exten, root.exten
        if self.profile.old and local.optimise:
            await self._hear(far, first)
        elif local.optimise and address.optimise:
            await self._optimise(agent, customer, first)
        talks_s = SILENT_S if customer.phone.talks_s is None else customer.phone.talks_s
        await self.clock.sleep(talks_s - self.clock.since(start))
        return self.call.links[-1]

    def _source(self, agent: Answered, exten: str) -> str:
        """What the root's rows call the caller: PJSIP tells the agent's number, chan_sip none."""
        return exten if self.profile.technology == "PJSIP" and agent.leg else ""

    def _refuse(self, what: str) -> None:
        log.warning("the stand-in does not imitate: %s", what)
        self.exchange.refused.append(what)

    async def _optimise(self, agent: Answered, customer: Answered, local: Channel) -> None:
        """Take the Local channels out, if there is sound: the two phones share one bridge."""
        if not (agent.leg and customer.leg and (agent.phone.rtp or customer.phone.rtp)):
            return
        near, _, far = self.call.links
        await self.clock.sleep(SOUND_S)
        agent.leg.bridge, agent.leg.peer, local.peer = local.bridge, local, agent.leg
        self._drop(self.call.root, near.caller)
        self.call.links = [Link(agent.leg, local), far]
        self.call.records.joined(agent.leg, local.name)
        await self.clock.sleep(SOUND_S / 2)
        agent.leg.bridge, agent.leg.peer = customer.leg.bridge, customer.leg
        customer.leg.peer = agent.leg
        self._drop(local, far.caller)
        self.call.links = [Link(agent.leg, customer.leg, far.phone, far.rung_at)]
        self.call.records.post(agent.leg)
        self.call.records.joined(agent.leg, customer.leg.name)

    def _drop(self, *channels: Channel | None) -> None:
        for channel in channels:
            if channel is not None:
                self.channels.remove(channel)
                self.call.records.post(channel)

    async def _hear(self, link: Link, local: Channel) -> None:
        """Let a phone that sends sound take a Local channel's place, as up to Asterisk 11.

        `local` is that channel's `;1`; the link is that of its `;2` and the phone.
        """
        half, phone = link.caller, link.callee
        if half is None or phone is None or link.phone is None or not link.phone.rtp:
            return
        await self.clock.sleep(SOUND_S)
        self.channels.take_place(local, phone)
        self.call.records.taken(local)
        outer = self.call.link_of(local)
        if outer and outer.callee is local:
            outer.phone, outer.rung_at = link.phone, link.rung_at
        await self.clock.sleep(ZOMBIE_S)
        self.channels.remove(phone)
        await self.clock.sleep(STEP_S)
        self.channels.remove(half)
        self.call.records.post(half)
        self.call.links.remove(link)

    async def _play_busy(self, link: Link) -> None:
        """Let a dialplan that has not reached a phone play the busy tone, to nobody."""
        caller = link.caller
        assert caller, "it runs the dialplan"
        caller.state, caller.app, caller.data, caller.priority = "Busy", "", "", 2
        await self.clock.sleep(BUSY_S)

    async def _ring(self, link: Link, outer: Channel | None, limit_s: float) -> Answered | Ending:
        """Run the dialplan of the link's caller until its phone answers or will not.

        `outer` is the `;1` that belongs to a `;2`; it rings with the phone.
        """
        caller, records = link.caller, self.call.records
        assert caller, "it runs the dialplan"
        await self.clock.sleep(STEP_S)
        destination = self.exchange.find_destination(caller.exten, caller.context)
        if destination is None:
            await self.clock.sleep(0.01)
            return Ending.NOWHERE
        self.exchange.processed += 1
        caller.app, caller.data = destination.app, destination.data
        if destination.peer is None:
            caller.state, caller.priority = "Up", destination.priority
            record = records.begin(caller)
            records.answered(record)
            lasts_s = {"Hangup": 0.0, "Wait": float(destination.data or 0)}
            return Answered(None, Phone(talks_s=lasts_s.get(destination.app, SILENT_S)), record)
        phone = destination.phone
        if phone is None:  # no such peer: Dial gives up at once
            await self.clock.sleep(0.01)
            return Ending.UNREACHABLE
        await self.clock.sleep(STEP_S / 2)
        leg = self.channels.add_leg(destination.peer, caller.context, self.call.root.linkedid)
        self.call.legs.append(leg)
        await self.clock.sleep(STEP_S / 4)
        leg.exten = leg.caller = caller.exten
        leg.app, leg.data = "AppDial", OUTGOING
        link.callee, link.phone, link.rung_at = leg, phone, self.clock.now()
        self.exchange.invites[caller.exten] += 1
        record = records.calls(caller, leg.name)
        # What befalls an agent's channels was caught half done; a customer's change at one stroke.
        step_s = STEP_S / 4 if outer is self.call.root else 0.0
        limit_s = min(limit_s, destination.timeout_s)
        ending = await self._wait_for_answer(phone, outer, leg, limit_s, step_s)
        if ending is not Ending.ANSWER:
            records.unanswered(record, ending)
            self.channels.remove(leg)
            link.callee = None
            return ending
        leg.state = "Up"
        if step_s:
            await self.clock.sleep(step_s)
        records.answers(record)
        if caller.state == "Ring":
            caller.state = "Up"
        leg.exten = ""
        join_bridge(caller, leg)
        return Answered(leg, phone, record)

    async def _wait_for_answer(
        self, phone: Phone, outer: Channel | None, leg: Channel, limit_s: float, step_s: float
    ) -> Ending:
        start = self.clock.now()
        await self.clock.sleep(REPLY_S)
        if phone.rings and phone.rings_s:
            leg.state = "Ringing"
            if step_s:
                await self.clock.sleep(step_s)
            if outer:
                outer.state = "Ringing"
                if outer.app == "AppDial2" and self.profile.technology == "PJSIP":
                    outer.caller = leg.exten
        await self.clock.sleep(min(phone.rings_s, limit_s) - self.clock.since(start))
        return phone.ending if phone.rings_s < limit_s else Ending.SILENCE

"""The calls inside the stand-in: what its phones and Local channels do, phase by phase.

Timings and channel states follow recordings of Asterisk 16 (chan_sip) and 22 (PJSIP).
"""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from demo.pbx.cdr import BUSY, FAILED, NO_ANSWER, Record, Records
from demo.pbx.channels import Channel, ChannelTable, join_bridge
from demo.pbx.clock import Clock
from demo.pbx.dialplan import SILENT_S, Destination, Ending, Phone, find_destination
from demo.pbx.spy import Spying

log = logging.getLogger(__name__)

ORIGINATE_LIMIT_S = 30.0
PREFIX = "local/"
DISPOSITIONS = {Ending.BUSY: BUSY, Ending.NOT_FOUND: FAILED}


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """`LOCAL/154@inoffice` or, never to be optimised away, `LOCAL/154@inoffice/n`."""

    exten: str
    context: str
    optimise: bool = True


def parse_local(text: str) -> LocalAddress | None:
    """The address in `text`; None if it is not a Local channel's."""
    if not text.lower().startswith(PREFIX) or "@" not in text:
        return None
    exten, _, rest = text[len(PREFIX) :].partition("@")
    context, _, options = rest.partition("/")
    return LocalAddress(exten, context, "n" not in options)


@dataclass(slots=True)
class Call:
    """One originated call; every leg hangs up with it."""

    root: Channel
    records: Records
    legs: list[Channel] = field(default_factory=list)
    agent_hung_up: bool = False
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A phone that answered, what it will do from then on, and its row in the making."""

    leg: Channel | None
    phone: Phone
    record: Record


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

    def __init__(self, technology: str, clock: Clock, refused: list[str]) -> None:
        self.technology = technology
        self.clock = clock
        self.channels = ChannelTable(technology)
        self.invites: Counter[str] = Counter()
        self.spied: list[tuple[str, str]] = []
        self.ledger = bytearray()
        self.processed = 0
        self.refused = refused
        self.dialplan_loaded = True
        self.calls: dict[str, Call] = {}

    def originate(self, address: LocalAddress, app: str, data: str) -> None:
        """Create the root channel now; everything else happens by itself, also failing."""
        first, second = self.channels.add_pair(address.exten, address.context)
        call = Call(first, Records(self.ledger), [first, second])
        self.calls[first.uniqueid] = call
        call.task = asyncio.create_task(self._live(call, address, app, data))
        call.task.add_done_callback(partial(self._ended, call))

    def find_destination(self, exten: str, context: str) -> Destination | None:
        """Where the extension leads; nowhere while the dialplan is not loaded."""
        if not self.dialplan_loaded:
            return None
        return find_destination(exten, context, self.technology)

    def active(self) -> int:
        """Asterisk's `active calls`: channels that run the dialplan, a Local's `;2`."""
        return sum(live.name.endswith(";2") for live in self.channels.snapshot())

    def hang_up(self, name: str) -> bool:
        """End the call this channel belongs to; False if there is no such channel."""
        channel = self.channels.find(name)
        if channel is None:
            return False
        self._cancel(self.calls[channel.linkedid])
        return True

    def redirect(self, name: str, exten: str, context: str) -> bool:
        """Send a phone that talks to an extension; all else of its call hangs up.

        As in Asterisk, an extension that is not there is accepted, and the phone lost. False for a
        channel that talks with nobody: that is not imitated.
        """
        channel = self.channels.find(name)
        if channel is None or channel.name.startswith("Local/") or not channel.bridge:
            return False
        call = self.calls[channel.linkedid]
        call.records.end(agent_first=False)
        for leg in call.legs:
            if leg is not channel:
                self.channels.remove(leg)
        call.legs, left = [channel], call.task
        channel.exten, channel.context, channel.bridge = exten, context, ""
        call.task = asyncio.create_task(self._live_on(call, channel))
        call.task.add_done_callback(partial(self._ended, call))
        if left:
            left.cancel()
        return True

    def hang_up_all(self) -> None:
        """End every call."""
        for call in list(self.calls.values()):
            self._cancel(call)

    def lose_all(self) -> None:
        """End every call as its Asterisk dies: nothing is written of it."""
        for call in self.calls.values():
            call.records.lose()
        self.hang_up_all()

    async def aclose(self) -> None:
        """End every call and wait until each is gone."""
        tasks = [call.task for call in self.calls.values() if call.task]
        self.hang_up_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel(self, call: Call) -> None:
        if call.task:
            call.task.cancel()

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        # A callback, not a `finally`: a task cancelled before its first step never runs one.
        if task is not call.task:
            return  # the call goes on elsewhere in the dialplan
        self.calls.pop(call.root.uniqueid, None)
        for leg in call.legs:
            self.channels.remove(leg)
        call.records.end(agent_first=call.agent_hung_up)
        if not task.cancelled():
            task.result()  # a fault of the stand-in's own must be heard

    async def _live(self, call: Call, address: LocalAddress, app: str, data: str) -> None:
        first, second = call.legs
        agent = await self._ring(call, first, second, ORIGINATE_LIMIT_S)
        if agent is None:
            return
        first.state, first.app, first.data = "Up", app, data
        record = call.records.begin(first, source=self._source(agent, address.exten))
        record.answered()
        talks_s = SILENT_S if agent.phone.talks_s is None else agent.phone.talks_s
        app_task = asyncio.create_task(self._run_app(call, address, agent, record))
        hang_up = asyncio.create_task(self.clock.sleep(talks_s))
        try:
            await asyncio.wait((app_task, hang_up), return_when=asyncio.FIRST_COMPLETED)
            call.agent_hung_up = not app_task.done()
            if app_task.done():
                app_task.result()
        finally:
            app_task.cancel()
            hang_up.cancel()
            await asyncio.gather(app_task, hang_up, return_exceptions=True)

    async def _live_on(self, call: Call, channel: Channel) -> None:
        """Run the dialplan for a phone that was sent there; its call ends with it."""
        destination = self.find_destination(channel.exten, channel.context)
        if destination is None or destination.phone is None or destination.peer is None:
            await self.clock.sleep(0.01)
            return
        self.processed += 1
        phone = destination.phone
        channel.app, channel.data = destination.app, destination.data
        leg = self.channels.add_leg(
            destination.peer, channel.exten, channel.context, call.root.linkedid
        )
        call.legs.append(leg)
        self.invites[channel.exten] += 1
        record = call.records.begin(channel, leg.name, source=channel.caller, start=time.time())
        if not await self._wait_for_answer(phone, leg, leg, destination.timeout_s):
            return
        record.answered()
        leg.state, leg.exten = "Up", ""
        join_bridge(channel, leg)
        await self.clock.sleep(SILENT_S if phone.talks_s is None else phone.talks_s)

    async def _run_app(
        self, call: Call, address: LocalAddress, agent: Answered, record: Record
    ) -> None:
        data = record.data
        match record.app.lower():
            case "dial":
                await self._dial(call, address, agent, record)
            case "chanspy":
                await Spying(self.channels, self.clock, self.spied).run(call.root, data)
            case "echo":
                await self.clock.sleep(SILENT_S)
            case "wait":
                await self.clock.sleep(float(data or 0))
            case "noop" | "hangup":
                pass
            case _:
                self._refuse(f"application {record.app}")

    async def _dial(
        self, call: Call, address: LocalAddress, agent: Answered, record: Record
    ) -> None:
        target, _, rest = record.data.partition(",")
        timeout_s = rest.partition(",")[0]
        local = parse_local(target)
        if local is None:
            self._refuse(f"application Dial {record.data}")
            return
        first, second = self.channels.add_pair(local.exten, local.context, call.root.linkedid)
        call.legs += [first, second]
        destination = self.find_destination(local.exten, local.context)
        if destination is None:
            await self.clock.sleep(0.01)
            return
        record.finish()
        row = call.records.begin(call.root, first.name, source=record.source, start=record.end)
        row.answered()
        row.disposition = NO_ANSWER
        first.exten = call.root.exten
        first.caller = call.root.exten
        if self.technology == "PJSIP":
            first.caller = local.exten
            if agent.leg and destination.peer:
                agent.record.source, second.caller = local.exten, call.root.exten
        customer = await self._ring(call, first, second, float(timeout_s or SILENT_S))
        if customer is None:
            if destination.phone:
                row.disposition = DISPOSITIONS.get(destination.phone.ending, NO_ANSWER)
            return
        row.answered()
        row.answer = row.start
        first.state, first.exten = "Up", ""
        join_bridge(first, call.root)
        if self.technology == "PJSIP":
            call.root.connected, first.connected = local.exten, call.root.exten
        optimise = address.optimise and local.optimise
        if optimise and agent.leg and customer.leg and (agent.phone.rtp or customer.phone.rtp):
            await self.clock.sleep(0.04)
            self._optimise(call, agent.leg, customer.leg, first)
        talks_s = customer.phone.talks_s
        await self.clock.sleep(SILENT_S if talks_s is None else talks_s)

    def _source(self, agent: Answered, exten: str) -> str:
        """What the root's rows call the caller: PJSIP tells the agent's number, chan_sip none."""
        return exten if self.technology == "PJSIP" and agent.leg else ""

    def _refuse(self, what: str) -> None:
        log.warning("the stand-in does not imitate: %s", what)
        self.refused.append(what)

    def _optimise(self, call: Call, agent: Channel, customer: Channel, local: Channel) -> None:
        """Take the Local channels out: the two phones' legs share one bridge from now on.

        Their rows are written now; the last row, phone to phone, at the end.
        """
        agent.bridge = customer.bridge
        for leg in (agent,) if self.technology == "PJSIP" else (customer, agent):
            record = call.records.begin(leg, local.name, source=leg.caller, start=time.time())
            record.answered()
        call.records.write()
        talk = call.records.begin(agent, customer.name, source=agent.caller, start=time.time())
        talk.answered()
        for leg in call.legs:
            if leg.name.startswith("Local/"):
                self.channels.remove(leg)

    async def _ring(
        self, call: Call, first: Channel, second: Channel, limit_s: float
    ) -> Answered | None:
        """Run `second`'s dialplan until its phone answers; None if it does not."""
        await self.clock.sleep(0.002)
        destination = self.find_destination(second.exten, second.context)
        if destination is None:
            await self.clock.sleep(0.01)
            return None
        self.processed += 1
        second.app, second.data = destination.app, destination.data
        if destination.peer is None:
            second.state, second.priority = "Up", destination.priority
            record = call.records.begin(second)
            record.answered()
            lasts_s = {"Hangup": 0.0, "Wait": float(destination.data or 0)}
            return Answered(None, Phone(talks_s=lasts_s.get(destination.app, SILENT_S)), record)
        if destination.phone is None:  # no such peer: Dial gives up at once
            await self.clock.sleep(0.01)
            return None
        phone = destination.phone
        leg = self.channels.add_leg(
            destination.peer, second.exten, second.context, call.root.linkedid
        )
        call.legs.append(leg)
        self.invites[second.exten] += 1
        record = call.records.begin(second, leg.name, source=second.caller)
        if not await self._wait_for_answer(phone, first, leg, min(limit_s, destination.timeout_s)):
            if phone.ending is Ending.BUSY:
                record.disposition = BUSY
            self.channels.remove(leg)
            return None
        record.answered()
        leg.state, leg.exten, second.state = "Up", "", "Up"
        join_bridge(second, leg)
        return Answered(leg, phone, record)

    async def _wait_for_answer(
        self, phone: Phone, first: Channel, leg: Channel, limit_s: float
    ) -> bool:
        reply_s = 0.02  # the phone's first provisional answer
        await self.clock.sleep(reply_s)
        if phone.rings and phone.rings_s:
            leg.state = first.state = "Ringing"
            if first.app == "AppDial2" and self.technology == "PJSIP":
                first.caller = leg.exten
        await self.clock.sleep(max(0.0, min(phone.rings_s, limit_s) - reply_s))
        return phone.ending is Ending.ANSWER and phone.rings_s < limit_s

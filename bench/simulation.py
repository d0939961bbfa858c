"""PBXs without SSH and without phones: what Asterisk's command line says of calls that go on.

A stand-in has one call recorded, listing by listing; each simulated call goes through the same
listings under names of its own, at times of its own. Everything else is the service's: its parser,
its judgement, its database.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID, uuid4

from demo.standin import StandIn
from shared.asterisk.console import Console, Exchange
from shared.asterisk.models import CallPhase, Progress, Root
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import observe, steps
from shared.deadline import Deadline
from shared.errors import NotExecuted
from shared.pbx.hosts import Question
from shared.turns import Turn

T = TypeVar("T")
AGENT, CUSTOMER = "154", "+375290000005"
LIST, SHOW, CDR_STATUS = "core show channels concise", "core show channel ", "cdr show status"
_NAME = re.compile(r"^([^!]+-)([0-9a-f]{8})(;[12])?!", re.MULTILINE)
_BRIDGE = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}(?=![0-9.]+$)", re.MULTILINE)
_UNIQUEID = re.compile(r"[0-9]+\.([0-9]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """What is listed of a call from step to step, and with which of them each phase is seen."""

    steps: tuple[str, ...]
    seen_with: dict[CallPhase, int]


async def record() -> Script:
    """Have a stand-in place one call and write down its listings."""
    pbx = StandIn(time_scale=0.2)  # nobody logs in: it need not listen
    await pbx.run(
        f"channel originate LOCAL/{AGENT}@inoffice application Dial LOCAL/{CUSTOMER}@inoffice"
    )
    seen: dict[str, str] = {}
    talks = False
    until = time.monotonic() + 10
    while not talks and time.monotonic() < until:
        listing = await pbx.run(LIST)
        states = re.sub(r"![0-9]+!([^!]*)![0-9.]+$", "", listing, flags=re.MULTILINE)
        seen.setdefault(states, listing)
        talks = any("trunkslow-" in line and "!Up!" in line for line in listing.splitlines())
        await asyncio.sleep(0.002)
    for _ in range(50):  # bridges come after the answer
        seen["talk"] = await pbx.run(LIST)
        await asyncio.sleep(0.002)
    pbx.hang_up_all()
    listings = (*seen.values(), "")
    return Script(listings, _phases(listings))


def _phases(listings: Sequence[str]) -> dict[CallPhase, int]:
    root = next(c for c in parse_channels(listings[0]) if c.name.endswith(";1"))
    first = Root(root.name, root.uniqueid, "call", AGENT, CUSTOMER)
    progress, seen_with = Progress(), dict[CallPhase, int]()
    for number, listing in enumerate(listings):
        channels = parse_channels(listing)
        linkedids = {channel.uniqueid: root.uniqueid for channel in channels}
        after = observe(first, progress, channels, linkedids, at_s=float(number))
        for phase in steps(progress, after):
            seen_with.setdefault(phase, number)
        progress = after
    return seen_with


@dataclass
class SimulatedCall:
    """A call: when each step of the script begins, by `time.monotonic`."""

    call_id: UUID
    number: int
    at_s: tuple[float, ...]

    @property
    def root_channel(self) -> str:
        """The name of its first channel."""
        return f"Local/{AGENT}@inoffice-{self.number:07x}0;1"


class Host:
    """One PBX's calls."""

    def __init__(self, script: Script, calls: Sequence[SimulatedCall]) -> None:
        self._script = script
        self.calls = calls
        self._texts = {call.call_id: self._made(call) for call in calls}
        self.roots: dict[str, str] = {}
        for call in calls:
            for text in self._texts[call.call_id]:
                for channel in parse_channels(text):
                    self.roots[channel.name] = self.uniqueid(call)

    def uniqueid(self, call: SimulatedCall) -> str:
        """Tell the uniqueid of a call's first channel."""
        own = (c for c in parse_channels(self._texts[call.call_id][0]) if c.name.endswith(";1"))
        return next(own).uniqueid

    def _made(self, call: SimulatedCall) -> tuple[str, ...]:
        """Make a call's own listings: other numbers in the names of channels."""
        ends: dict[str, str] = {}

        def renamed(found: re.Match[str]) -> str:
            end = ends.setdefault(found[2], f"{call.number:07x}{len(ends):x}")
            return f"{found[1]}{end}{found[3] or ''}!"

        def numbered(found: re.Match[str]) -> str:
            return f"1795380000.{call.number}{int(found[1]):03}"

        def bridged(found: re.Match[str]) -> str:
            return f"{found[0][:-12]}{call.number:012x}"

        named = (_NAME.sub(renamed, step) for step in self._script.steps)
        return tuple(_UNIQUEID.sub(numbered, _BRIDGE.sub(bridged, step)) for step in named)

    def listing(self) -> str:
        """List the channels that there are now."""
        now = time.monotonic()
        return "".join(
            self._texts[call.call_id][sum(at <= now for at in call.at_s) - 1]
            for call in self.calls
            if call.at_s[0] <= now
        )


class SimulatedConsole(Console):
    """Answers for a host."""

    is_gapless = True

    def __init__(self, host: Host) -> None:
        self._host = host

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """Send nothing."""
        raise NotExecuted(f"{commands} within {deadline}: nothing is simulated that rings")

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Answer at once."""
        del deadline
        return tuple(map(self._answer, commands))

    def _answer(self, command: str) -> str:
        if command == LIST:
            return self._host.listing()
        root = self._host.roots.get(command.removeprefix(SHOW))
        return f"LinkedID: {root}\n" if root else ""


class SimulatedPbx:
    """All hosts, in the place of `shared.pbx.hosts.Pbx` for whoever follows calls."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._consoles = {name: SimulatedConsole(host) for name, host in hosts.items()}
        self.looks = 0

    async def ask(
        self, host: str, question: Question[T], deadline: Deadline, *, turn: Turn = "call"
    ) -> T:
        """Put a question to a host."""
        del turn
        self.looks += 1
        return await question(self._consoles[host], deadline=deadline)


def make_calls(script: Script, count: int, first: int, lasts_s: float) -> list[SimulatedCall]:
    """Make calls that last so long each; how far each of them is, chance decides."""
    now, chance = time.monotonic(), random.Random(first)
    made = []
    for number in range(count):
        began = now - lasts_s * chance.random()
        parts = len(script.steps) - 1
        at_s = tuple(began + lasts_s * part / parts for part in range(parts + 1))
        made.append(SimulatedCall(uuid4(), first + number, at_s))
    return made

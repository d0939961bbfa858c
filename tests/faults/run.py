"""The mixed run: many clicks at real services while everything around them breaks.

    python -m tests.faults.run --calls 1000 --seed 7 --version 22 [--processes 2]

Every click has an extension and a number of its own, both behind the PBX's trunk, so that each
INVITE there belongs to one click. At the end what the clients were told is compared with what
rang. Exit code 1: a phone rang twice, an answer lied, or a call was lost that nothing excuses.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import httpx

from tests.faults.process import ROOT, Process
from tests.faults.relay import Relay
from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, environment
from tests.postgres import Postgres

Said: TypeAlias = Literal["accepted", "placing", "no", "unknown", "silent", "unreached", "wrong"]

CLIENTS = 50
CLICK_INTERVAL_S = 0.18
# A click ends well within the time in which its repeats must be recognised.
CLICK_LIMIT_S = 40.0
SETTINGS = {
    "COMMAND_TIMEOUT_S": 1,
    "SSH_CONNECT_TIMEOUT_S": 3,
    "REQUEST_TIMEOUT_S": 6,
    "PBX_RETRY_S": 0.2,
    "POSTGRES_TIMEOUT_S": 2,
    "REPEAT_WINDOW_S": 90,
    "REPEAT_AFTER_END_S": 90,
    "UNKNOWN_HOLD_S": 90,
}
TRANSPORTS = ("auto", "exec")
# How long after an answer a killed Asterisk takes the call with it: it had not rung yet.
EXCUSED_S = 3.0
CALL_S = 8.0
# Without a call placed in this time, faults go on all the same.
QUIET_S = 4.0
# The service, which SIGUSR2 has die at a certain point.
MORTAL = Path(__file__).parent / "service_with_faults.py"
LEAST_ACCEPTED = 0.25  # a busy machine refuses, or does not know, of most


@dataclass
class Answer:
    """What a client was told, and when, on the monotonic clock."""

    said: Said
    begun: float
    ended: float
    text: str


@dataclass
class Click:
    """One click of somebody, with all its repeats."""

    number: int
    code: str
    phone: str
    answers: list[Answer] = field(default_factory=list)

    @property
    def told(self) -> Literal["accepted", "dialled: no", "unknown"]:
        """What all the answers together say of the call."""
        said = {answer.said for answer in self.answers} - {"unreached"}
        if "accepted" in said:
            return "accepted"
        return "dialled: no" if said <= {"no"} else "unknown"


class Clients:
    """Those who click, each in a way of its own."""

    def __init__(self, urls: Sequence[str], seed: int, prefix: str) -> None:
        self._urls = urls
        self._seed = seed
        self._prefix = prefix
        self._places = asyncio.Semaphore(CLIENTS)
        self.clicks: list[Click] = []
        self.requests = 0
        self.accepted = 0
        self.active = 0
        self.busiest = 0
        self._http = httpx.AsyncClient(
            timeout=CLICK_LIMIT_S, limits=httpx.Limits(max_connections=4 * CLIENTS)
        )

    async def run(self, count: int) -> None:
        """Click so many times, and wait until everybody knows or gave up."""
        async with self._http, asyncio.TaskGroup() as tasks:
            for number in range(count):
                digits = f"{self._prefix}{number:05d}"
                click = Click(number, f"2{digits}", f"+37529{digits}")
                self.clicks.append(click)
                tasks.create_task(self._click(click))
                await asyncio.sleep(CLICK_INTERVAL_S * random.Random(number).uniform(0.2, 1.8))

    async def _click(self, click: Click) -> None:
        chance = random.Random(f"{self._seed}:{click.number}")
        async with self._places:
            self.active += 1
            self.busiest = max(self.busiest, self.active)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLICK_LIMIT_S):
                    await self._behave(click, chance)
            self.active -= 1

    async def _behave(self, click: Click, chance: random.Random) -> None:
        match chance.choices(("patient", "twice", "hasty"), (5, 2, 3))[0]:
            case "twice":
                count = chance.randint(2, 4)
                await asyncio.gather(*(self._ask(click, chance, None) for _ in range(count)))
            case "hasty":
                for _ in range(chance.randint(1, 3)):
                    await self._ask(click, chance, chance.uniform(0.005, 0.6))
        for _ in range(12):
            answer = await self._ask(click, chance, None)
            if answer.said == "accepted" or self._knows_enough(click):
                break
            await asyncio.sleep(chance.uniform(0.1, 1.0))
        if chance.random() < 0.3:  # and somebody clicks once more
            await asyncio.sleep(chance.uniform(0.1, 3.0))
            await self._ask(click, chance, None)

    def _knows_enough(self, click: Click) -> bool:
        """After a few answers that it may ring, a client gives up."""
        return [answer.said for answer in click.answers].count("unknown") >= 3

    async def _ask(self, click: Click, chance: random.Random, limit_s: float | None) -> Answer:
        url, begun = chance.choice(self._urls), time.monotonic()
        self.requests += 1
        said: Said
        try:
            async with asyncio.timeout(limit_s):
                response = await self._http.get(
                    f"{url}/api/makecallexternal",
                    params={"code": click.code, "phone": click.phone},
                    headers={"Authorization": f"Bearer {SECRET}"},
                )
            said, text = _read(response), response.text
        except httpx.ConnectError:
            said, text = "unreached", "no connection"
        except (TimeoutError, httpx.TransportError) as error:
            said, text = "silent", repr(error)
        except asyncio.CancelledError:  # the click's time is up, and this answer never came
            click.answers.append(Answer("silent", begun, time.monotonic(), "given up"))
            raise
        self.accepted += said == "accepted"
        answer = Answer(said, begun, time.monotonic(), text)
        click.answers.append(answer)
        return answer


def _read(response: httpx.Response) -> Said:
    body = response.json()
    if response.is_success:
        if body["phase"] == "placing":
            return "placing"
        # An end of which nobody knows how may be that of a call that was never acknowledged.
        given_up = body["phase"] == "unknown" or body.get("reason") == "unknown"
        return "unknown" if given_up else "accepted"
    if response.status_code not in {500, 503}:
        return "wrong"  # this click is a good one: no rule is against it
    return "no" if body["dialled"] == "no" else "unknown"


@dataclass
class World:
    """All that can break."""

    lab: Lab
    postgres: Postgres
    processes: list[Process]
    ssh: Relay
    database: Relay
    struck: collections.Counter[str] = field(default_factory=collections.Counter)
    kills: list[float] = field(default_factory=list)


class Faults:
    """Strikes at random moments, mostly while an exchange is under way.

    Between two faults of a lane some calls get through, so that a slow machine is not broken all
    the time: it would prove nothing. `accepted` counts them. `only` names the faults to choose
    from, which then come in quicker succession; empty: all.
    """

    def __init__(
        self, world: World, seed: int, accepted: Callable[[], int], only: Sequence[str] = ()
    ) -> None:
        self._world = world
        self._seed = seed
        self._accepted = accepted
        self._only = only
        self._calls_between = (0, 2) if only else (1, 8)

    async def run(self) -> None:
        """Strike until cancelled; two lanes, so that faults overlap."""
        lanes: tuple[dict[Callable[[random.Random], Awaitable[None]], int], ...] = (
            {
                self.sshd_sessions_killed: 6,
                self.sshd_sessions_frozen: 3,
                self.link_cut: 6,
                self.link_stalled: 3,
                self.replies_lost: 8,
                self.database_link_cut: 4,
                self.database_restarted: 2,
                self.service_killed: 2,
                self.killed_before_it_settled: 2,
            },
            {self.asterisk_frozen: 8, self.asterisk_killed: 1},
        )
        async with asyncio.TaskGroup() as tasks:
            for number, every in enumerate(lanes):
                lane = {f: n for f, n in every.items() if not self._only or _name(f) in self._only}
                if not lane:
                    continue
                tasks.create_task(self._lane(random.Random(f"{self._seed}:{number}"), lane))

    async def _lane(
        self,
        chance: random.Random,
        lane: dict[Callable[[random.Random], Awaitable[None]], int],
    ) -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            await self._some_calls_placed(chance.randint(*self._calls_between))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._world.ssh.sends(chance.randint(1, 6))
            await asyncio.sleep(chance.choice((0, chance.uniform(0, 0.006))))
            fault = chance.choices(list(lane), list(lane.values()))[0]
            self._world.struck[_name(fault)] += 1
            await fault(chance)

    async def _some_calls_placed(self, count: int) -> None:
        """Wait until so many more are, or that seems to need another fault."""
        until, deadline = self._accepted() + count, time.monotonic() + QUIET_S
        while self._accepted() < until and time.monotonic() < deadline:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.01)

    async def sshd_sessions_killed(self, chance: random.Random) -> None:
        """The host's end of every connection, or of one."""
        pids = self._world.lab.sshd_connections()
        for pid in pids if chance.random() < 0.7 else chance.sample(pids, min(1, len(pids))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def sshd_sessions_frozen(self, chance: random.Random) -> None:
        """They stand still and go on."""
        pids = self._world.lab.sshd_connections()
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0.2, 2))
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def link_cut(self, chance: random.Random) -> None:
        """A reset."""
        await self._world.ssh.reset()

    async def link_stalled(self, chance: random.Random) -> None:
        """Nothing gets through for a while."""
        await self._world.ssh.stall(chance.uniform(0.2, 3))

    async def replies_lost(self, chance: random.Random) -> None:
        """What is sent arrives, no reply does, then a reset."""
        await self._world.ssh.mute(chance.choice((0.05, chance.uniform(0.05, 1.5))))

    async def database_link_cut(self, chance: random.Random) -> None:
        """At a random one of its next replies."""
        self._world.database.cut_at_reply(chance.randint(1, 6))

    async def database_restarted(self, chance: random.Random) -> None:
        """As after a crash."""
        await asyncio.to_thread(self._world.postgres.restart)

    async def service_killed(self, chance: random.Random) -> None:
        """One of the services dies and is started again."""
        process = chance.choice(self._world.processes)
        process.kill()
        await process.start()

    async def killed_before_it_settled(self, chance: random.Random) -> None:
        """One of them dies once the caller of its next call was answered, and is started again."""
        process = chance.choice(self._world.processes)
        process.send(signal.SIGUSR2)
        deadline = time.monotonic() + QUIET_S
        while not process.has_ended() and time.monotonic() < deadline:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        process.kill()
        await process.start()

    async def asterisk_frozen(self, chance: random.Random) -> None:
        """It stands still and goes on."""
        with contextlib.suppress(ProcessLookupError):
            self._world.lab.freeze()
            try:
                await asyncio.sleep(chance.uniform(0.2, 3))
            finally:
                self._world.lab.thaw()

    async def asterisk_killed(self, chance: random.Random) -> None:
        """It dies and is started again."""
        with contextlib.suppress(ProcessLookupError):
            self._world.kills.append(time.monotonic())
            await asyncio.to_thread(self._world.lab.kill)
        await asyncio.sleep(chance.uniform(0, 0.5))
        await asyncio.to_thread(self._world.lab.restart)


def _name(fault: Callable[[random.Random], Awaitable[None]]) -> str:
    return getattr(fault, "__name__", "").replace("_", " ")


async def hang_up_old_calls(lab: Lab) -> None:
    """Let no call last longer than a while; by AMI, which is no way of the service's."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(lab.host, lab.ami_port, limit=2**24)
            try:
                writer.write(
                    b"Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: off\r\n\r\n"
                )
                while True:
                    writer.write(b"Action: CoreShowChannels\r\n\r\n")
                    text = await reader.readuntil(b"Event: CoreShowChannelsComplete")
                    for part in text.decode(errors="replace").split("\r\n\r\n"):
                        name = re.search(r"^Channel: (\S+)", part, re.MULTILINE)
                        age = re.search(r"^Duration: (\d+):(\d+):(\d+)", part, re.MULTILINE)
                        if name and age and int(age[2]) * 60 + int(age[3]) >= CALL_S:
                            writer.write(f"Action: Hangup\r\nChannel: {name[1]}\r\n\r\n".encode())
                    await asyncio.sleep(2)
            finally:
                writer.close()
        await asyncio.sleep(0.5)


@dataclass
class Reckoning:
    """What rang, compared with what was said."""

    clicks: list[Click]
    rung: collections.Counter[str]
    kills: list[float]
    hung_up: collections.Counter[str]
    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    table: dict[str, collections.Counter[str]] = field(default_factory=dict)

    def reckon(self) -> None:
        """Judge every click."""
        self.table = {
            told: collections.Counter() for told in ("accepted", "dialled: no", "unknown")
        }
        for click in self.clicks:
            self._judge(click)
        if self.table["accepted"]["clicks"] < LEAST_ACCEPTED * len(self.clicks):
            self.violations.append("so few calls were placed that this run proves nothing")

    def _judge(self, click: Click) -> None:
        agent, customer = self.rung[click.code], self.rung[click.phone]
        row = self.table[click.told]
        row["clicks"] += 1
        who = f"{click.code} -> {click.phone}"
        allowed = 1 + self.hung_up[click.phone]
        if agent > allowed or customer > 1:
            row["twice"] += 1
            self._violated(f"{who} rang {agent} and {customer} times", click)
        elif agent:
            row["once"] += 1
        else:
            row["never"] += 1
        if agent > 1 and agent <= allowed:
            self.excused.append(f"{who}: came up late, was hung up, and was clicked again")
        if click.told == "dialled: no" and agent:
            self._violated(f"{who} rang, and every answer said no", click)
        if click.told == "accepted" and not customer and not self.hung_up[click.phone]:
            what = "the customer did not ring" if agent else "nobody rang"
            if self._died_with_asterisk(click):
                row["killed"] += 1
                self.excused.append(f"{who}: accepted, {what}: Asterisk was killed")
            else:
                self._violated(f"{who}: accepted, {what}", click)
        for answer in click.answers:
            if answer.said == "wrong":
                self._violated(f"{who}: a good click was refused: {answer.text}", click)

    def _died_with_asterisk(self, click: Click) -> bool:
        accepted = [answer for answer in click.answers if answer.said == "accepted"]
        first = click.answers[0].begun
        last = min(answer.ended for answer in accepted) + EXCUSED_S
        return any(first <= kill <= last for kill in self.kills)

    def _violated(self, text: str, click: Click) -> None:
        zero = click.answers[0].begun
        history = "\n".join(
            f"      {answer.begun - zero:6.2f}-{answer.ended - zero:5.2f} s "
            f"{answer.said}: {answer.text[-150:]}"
            for answer in click.answers
        )
        self.violations.append(f"{text}\n{history}")

    def __str__(self) -> str:
        lines = [f"  {'all answers say':<16}{'clicks':>8}{'rang':>8}{'twice':>8}{'never':>8}"]
        for told, row in self.table.items():
            counts = (row["clicks"], row["once"], row["twice"], row["never"])
            lines.append(f"  {told:<16}" + "".join(f"{count:>8}" for count in counts))
        lines += [f"  accounted for: {text}" for text in self.excused]
        lines += [f"  VIOLATION: {text}" for text in self.violations]
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """What to run."""

    version: Literal["16", "22"]
    calls: int
    seed: int
    processes: int = 2
    tree: Path = ROOT
    transports: tuple[str, ...] = TRANSPORTS
    faults: tuple[str, ...] = ()

    @property
    def limit_s(self) -> float:
        """The longest that the run may take."""
        return 300 + 3 * CLICK_INTERVAL_S * self.calls


async def mixed_run(plan: Plan) -> Reckoning:
    """Run, and say what rang; `reckon` has been done."""
    lab = Lab.of(plan.version)
    await asyncio.to_thread(_quieten, lab)
    before = len(lab.dialled("trunk"))
    started = time.monotonic()
    async with asyncio.timeout(plan.limit_s), _world(lab, plan) as world:
        # Other numbers than an earlier run's, whose calls may still be in Asterisk.
        clients = Clients([p.url for p in world.processes], plan.seed, f"{os.getpid() % 100:02d}")
        faults = asyncio.create_task(
            Faults(world, plan.seed, lambda: clients.accepted, plan.faults).run()
        )
        reaper = asyncio.create_task(hang_up_old_calls(lab))
        progress = asyncio.create_task(_progress(clients, world, plan))
        try:
            await clients.run(plan.calls)
        finally:
            for task in (faults, reaper, progress):
                task.cancel()
            done = await asyncio.gather(faults, reaper, progress, return_exceptions=True)
        if errors := [e for e in done if e and not isinstance(e, asyncio.CancelledError)]:
            raise errors[0]
        await asyncio.sleep(EXCUSED_S)  # what was late has come
        await asyncio.to_thread(_quieten, lab)
        rows = world.postgres.execute(
            "SELECT phone FROM callapi.calls WHERE error_code = 'late-call-hung-up'"
        )
    uris = lab.dialled("trunk")[before:]
    reckoning = Reckoning(
        clients.clicks,
        collections.Counter(uri.removeprefix("sip:").partition("@")[0] for uri in uris),
        world.kills,
        collections.Counter(str(row["phone"]) for row in rows),
    )
    reckoning.reckon()
    struck = ", ".join(f"{count} {name}" for name, count in world.struck.most_common())
    print(reckoning)
    print(f"  faults: {struck}")
    unknown = reckoning.table["unknown"]
    print(
        f"Asterisk {plan.version}, seed {plan.seed}: {plan.calls} clicks, {clients.requests} "
        f"requests, up to {clients.busiest} at once, {world.struck.total()} faults in "
        f"{time.monotonic() - started:.0f} s; rang twice: "
        f"{sum(row['twice'] for row in reckoning.table.values())}; "
        f"unknown: {unknown['clicks']}, of which {unknown['once']} rang; "
        f"violations: {len(reckoning.violations)}"
    )
    return reckoning


@contextlib.asynccontextmanager
async def _world(lab: Lab, plan: Plan) -> AsyncIterator[World]:
    postgres = Postgres()
    processes: list[Process] = []
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        stack.callback(_terminate, processes)
        stack.callback(postgres.stop)
        postgres.start().prepare()
        # What it has confirmed must survive its restarts, as on any server in earnest.
        postgres.execute("ALTER DATABASE postgres SET synchronous_commit = on")
        postgres.seed_enterprise("0367", "june", lab.host, SECRET)
        ssh = await stack.enter_async_context(Relay.to(lab.ssh_port, sources=True))
        database = await stack.enter_async_context(Relay.to(postgres.port))
        ports = {"SSH_PORT": ssh.port, "POSTGRES_PORT": database.port}
        transports = itertools.islice(itertools.cycle(plan.transports), plan.processes)
        for transport, precheck in zip(transports, itertools.cycle(("on", "off")), strict=False):
            own = {"ASTERISK_TRANSPORT": transport, "PRECHECK": precheck}
            settings = environment(postgres, lab, **SETTINGS, **ports, **own)
            processes.append(Process(folder, settings, "answered", str(plan.tree), script=MORTAL))
        await asyncio.gather(*(process.start() for process in processes))
        yield World(lab, postgres, processes, ssh, database)
        # Before the relays, which would wait for them.
        await asyncio.to_thread(_terminate, processes)


def _terminate(processes: list[Process]) -> None:
    for process in processes:
        process.terminate()


def _quieten(lab: Lab) -> None:
    with contextlib.suppress(ProcessLookupError):
        lab.thaw()
    lab.up()
    lab.hangup_all()
    lab.wait_idle()
    time.sleep(0.3)  # a phone's record is there some 20 ms after the INVITE


async def _progress(clients: Clients, world: World, plan: Plan) -> None:
    while True:
        await asyncio.sleep(10)
        print(
            f"  {len(clients.clicks)}/{plan.calls} clicks, {clients.active} under way, "
            f"{world.struck.total()} faults",
            flush=True,
        )


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", choices=("16", "22"), required=True)
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="one for each process")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the sources to run")
    parser.add_argument("--faults", default="", help="only these, e.g. 'link cut,replies lost'")
    given = parser.parse_args()
    plan = Plan(
        given.version,
        given.calls,
        given.seed,
        given.processes,
        given.tree,
        tuple(given.transports.split(",")),
        tuple(filter(None, given.faults.split(","))),
    )
    return 1 if asyncio.run(mixed_run(plan)).violations else 0


if __name__ == "__main__":
    sys.exit(main())

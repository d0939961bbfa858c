"""The warm makecallexternal beside other ways of placing the same call.

All services run at once, on one database server and one PBX, behind the same HTTP server. Alone:
one client, the services in turn, a gap between calls, since those placed before still cost Asterisk
time.
Together: so many clients, an own extension each, one service after the other, several times over.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from bench.client import Answer, Client
from bench.figures import percentile, ratio_of
from bench.machine import processor_s, versions
from bench.part import PBX, Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import SECRET, SERVER, Service, Stage, serving, stage
from demo.postgres import free_port
from tests.pbx.lab import Lab

SUMMARY = "the warm call beside other ways to place it"
PARAMETERS = {
    "pbx": PBX,
    "rounds": Parameter(200, 20, "calls of one client by each service"),
    "seconds": Parameter(5.0, 1.0, "how long clients of one service call, each time"),
    "blocks": Parameter(4, 1, "how often each service is called by so many clients"),
    "clients": Parameter("8,32,64,200", "8,32", "how many clients at once"),
}

OURS = "this service"
OTHERS = {
    "AMI, same admission": "bench.alternatives:ami",
    "AMI, same following": "bench.alternatives:ami_following",
    "ARI, same admission": "bench.alternatives:ari",
    "pooled exec": "bench.alternatives:pooled",
    "asyncssh per call": "bench.alternatives:connecting",
    "sshpass + ssh per call": "bench.alternatives:specification",
}
# The specification's own way logs in each time, and sshd drops what is more than a few of those.
MOST_CLIENTS = {"asyncssh per call": 8, "sshpass + ssh per call": 1}
EVERY = {"asyncssh per call": 5, "sshpass + ssh per call": 5}
# Refused in order: the caller is told to come again.
REFUSED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
GAP_S, QUIET_S = 0.05, 1.0
_numbers = itertools.count(1)


@dataclass
class Block:
    """What clients of one service got in so many seconds."""

    seconds: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Calls a second that were placed."""
        return sum(a.status == HTTPStatus.OK for a in self.answers) / self.seconds


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with ExitStack() as stack:
        on = stack.enter_context(stage(asked.pbx))
        environment = dict(on.environment)
        if on.lab is not None:
            port = stack.enter_context(with_ari(on.lab))
            environment |= {"ARI_PORT": str(port), "AMI_PORT": str(on.lab.ami_port)}
        apps = {OURS: "asterisk:app"} | {
            name: app
            for name, app in OTHERS.items()
            if (on.lab or name[:3] not in {"AMI", "ARI"})
            and (shutil.which("sshpass") or not name.startswith("sshpass"))
        }
        services = {}
        for number, (name, app) in enumerate(apps.items()):
            # Of each its own: no tracker of ours follows the calls of the others.
            on.postgres.copy(f"bench{number}")
            own = environment | {"POSTGRES_DB": f"bench{number}"}
            services[name] = stack.enter_context(serving(app, own))
        tables = [asyncio.run(alone(on, services, asked.rounds, progress))]
        two = stack.enter_context(serving("asterisk:app", environment, workers=2))
        services = {OURS: services[OURS], f"{OURS}, 2 workers": two} | services
        tables += [
            asyncio.run(together(services, int(clients), asked.seconds, asked.blocks, progress))
            for clients in asked.clients.split(",")
        ]
        return Found(tables, versions(on.versions, SERVER))


@contextmanager
def with_ari(lab: Lab) -> Iterator[int]:
    """Switch the lab's REST interface on for a while."""
    port = free_port()
    folder = lab.root / "etc/asterisk"
    said = {
        "http.conf": f"[general]\nenabled=yes\nbindaddr=127.0.0.1\nbindport={port}\n",
        "ari.conf": "[general]\nenabled=yes\n[lab]\ntype=user\npassword=lab\n",
    }
    before = {name: (folder / name).read_bytes() for name in said if (folder / name).exists()}
    try:
        for name, text in said.items():
            (folder / name).write_text(text)
        lab.rx("module reload http")
        lab.rx("module reload res_ari.so")
        yield port
    finally:
        for name in said:
            (folder / name).write_bytes(before.get(name, b""))
        lab.rx("module reload res_ari.so")
        lab.rx("module reload http")


async def alone(
    on: Stage, services: Mapping[str, Service], rounds: int, progress: Progress
) -> Table:
    """One client, the services in turn, in another order each time."""
    times: dict[str, list[float]] = defaultdict(list)
    processors: dict[str, float] = defaultdict(float)
    clients = {name: Client(service.port) for name, service in services.items()}
    for client in clients.values():
        for _ in range(3):  # the first one logs in
            await _placed(client, "900")
    await asyncio.sleep(QUIET_S)
    shuffle = random.Random(7).shuffle
    for number in progress.over(range(rounds), "one client"):
        names = [name for name in clients if number % EVERY.get(name, 1) == 0]
        shuffle(names)
        for name in names:
            before = processor_s(*services[name].pids)
            times[name].append((await _placed(clients[name], "900")).ms)
            await asyncio.sleep(GAP_S)
            processors[name] += processor_s(*services[name].pids) - before
    for client in clients.values():
        client.close()
    rows = [
        (
            name,
            statistics.median(values),
            percentile(values, 0.9),
            percentile(values, 0.99),
            str(ratio_of(times[OURS], values)) if name != OURS else None,
            1000 * processors[name] / len(values),
        )
        for name, values in sorted(times.items(), key=lambda item: statistics.median(item[1]))
    ]
    return Table(
        f"One client, {on.pbx}",
        ("service", "p50 ms", "p90 ms", "p99 ms", "this service / it", "its own CPU ms a call"),
        rows,
        f"{rounds} calls each, in turn, {1000 * GAP_S:.0f} ms between calls; those that log in"
        " for each call, a fifth of that. CPU: of the service's process, in the call and the gap.",
        drawn="p50 ms",
    )


async def together(
    services: Mapping[str, Service],
    clients: int,
    seconds: float,
    blocks: int,
    progress: Progress,
    *,
    hosts: int = 1,
) -> Table:
    """Many clients, one service after the other; each client is one enterprise's, of so many."""
    found: dict[str, list[Block]] = defaultdict(list)
    names = [name for name in services if clients <= MOST_CLIENTS.get(name, clients)]
    for name in names:  # each has been told of every extension
        await _block(services[name], clients, 0.0, hosts)
    for number in progress.over(range(blocks * len(names)), f"{clients} clients"):
        name = names[number % len(names)]
        await asyncio.sleep(QUIET_S)
        found[name].append(await _block(services[name], clients, seconds, hosts))
    ours = [block.rate for block in found[OURS]]
    where = f", {hosts} PBXs" if hosts > 1 else ""
    return Table(
        f"{clients} clients, an own extension each{where}",
        ("service", "calls/s", "this service / it", "p50 ms", "p99 ms", "429, 503", "errors"),
        [_told(name, made, ours) for name, made in found.items()],
        f"{blocks} blocks of {seconds:g} s each, the services in turn.",
        drawn="calls/s",
    )


def _told(name: str, blocks: Sequence[Block], ours: Sequence[float]) -> list[Cell]:
    answers = [answer for block in blocks for answer in block.answers]
    placed = [answer.ms for answer in answers if answer.status == HTTPStatus.OK]
    refused = sum(answer.status in REFUSED for answer in answers)
    rates = [block.rate for block in blocks]
    return [
        name,
        statistics.median(rates),
        str(ratio_of(ours, rates, statistics.fmean)) if name != OURS and all(rates) else None,
        statistics.median(placed) if placed else None,
        percentile(placed, 0.99) if placed else None,
        refused,
        len(answers) - len(placed) - refused,
    ]


async def _block(service: Service, clients: int, seconds: float, hosts: int) -> Block:
    block = Block(seconds)
    until = time.monotonic() + seconds

    async def call(number: int) -> None:
        secret = SECRET if hosts == 1 else f"{SECRET}-{number % hosts}"
        async with Client(service.port, secret) as client:
            while True:
                answer = await client.place(str(2000 + number), f"+48{next(_numbers):09}")
                block.answers.append(answer)
                if time.monotonic() >= until:
                    return

    began = time.monotonic()
    await asyncio.gather(*map(call, range(clients)))
    block.seconds = time.monotonic() - began
    return block


async def _placed(client: Client, code: str) -> Answer:
    """Place one call that repeats none. Raises RuntimeError where it was not placed."""
    answer = await client.place(code, f"+48{next(_numbers):09}")
    if answer.json().get("repeated"):
        raise RuntimeError("an order that was under way still: nothing was measured")
    return answer

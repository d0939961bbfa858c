"""Round trips to a PBX that is far away: how long operations take, in round trips.

A relay delays whatever passes it between the service and a stand-in PBX, in each direction; the
time that an operation takes, over that of a round trip, is the same on any machine. Connecting to
the PBX is one, too. The service follows its calls meanwhile, the database is near, and between two
operations there is time enough to make ready for the next.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator

from bench.client import Answer, Client
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.relay import delaying
from bench.report import Table
from bench.stage import Stage, serving, stage

SUMMARY = "round trips to a PBX that is far away"
PARAMETERS = {
    "rounds": Parameter(3, 1, "hosts, each asked everything once"),
    "delay_ms": Parameter(100, 50, "how much later it comes, in each direction"),
}
# Their phones ring for a moment; the customer talks on.
AGENT, OTHER, CUSTOMER = "154", "150", "+375290000005"
_RESTS_S = 2.0


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with stage("standin", time_scale=0.1) as on:
        times: dict[str, list[float]] = defaultdict(list)
        for _ in progress.over(range(asked.rounds), "hosts"):
            asyncio.run(_one_host(on, asked.delay_ms / 1000, times))
        trip_ms = 2 * asked.delay_ms
        rows = [
            (name, statistics.median(ms) / trip_ms, statistics.median(ms), max(ms) - min(ms))
            for name, ms in times.items()
        ]
        table = Table(
            f"Each direction delayed by {asked.delay_ms} ms",
            ("operation", "round trips", "p50 ms", "spread ms"),
            rows,
            f"Over HTTP, {asked.rounds} times each, each time by a new process, with the calls"
            " before followed. A fraction is what the machine took.",
            drawn="round trips",
        )
        return Found([table], versions(on.versions))


async def _one_host(on: Stage, delay_s: float, times: dict[str, list[float]]) -> None:
    """Measure two processes beside a host, by its port one that neither has met before."""
    async with delaying(int(on.environment["SSH_PORT"]), delay_s) as port:
        environment = on.environment | {"SSH_PORT": str(port)}
        for operations in (_first_call, _operations):
            service = serving("asterisk:app", environment)
            running = await asyncio.to_thread(service.__enter__)
            try:
                async with Client(running.port) as client:
                    async for name, answer in operations(client):
                        answer.json()
                        times[name].append(answer.ms)
            finally:
                await asyncio.to_thread(service.__exit__, None, None, None)


async def _first_call(client: Client) -> AsyncIterator[tuple[str, Answer]]:
    first = await client.place(AGENT, CUSTOMER)
    yield "first call, host never met", first
    await _end(client, first)  # the next process has nothing to follow, and is not connected


async def _end(client: Client, placed: Answer) -> None:
    path = f"/api/calls/{placed.json()['call_id']}"
    await client.ask("DELETE", path)
    phase = "accepted"
    while phase != "ended":
        phase = (await client.get(path, wait=25, phase=phase)).json()["phase"]


async def _operations(client: Client) -> AsyncIterator[tuple[str, Answer]]:
    first = await client.place(AGENT, CUSTOMER)
    yield "first call of a process", first
    await asyncio.sleep(_RESTS_S)
    yield "warm call, extension known", await client.place(AGENT, CUSTOMER)
    await asyncio.sleep(_RESTS_S)
    yield "warm call, extension not yet known", await client.place(OTHER, CUSTOMER)
    await asyncio.sleep(_RESTS_S)
    monitoring = {"action": "09", "target": AGENT, "monitor_from": OTHER}
    yield "monitor", await client.get("/api/monitor", **monitoring)
    await asyncio.sleep(_RESTS_S)
    yield "extension state", await client.get(f"/api/extensions/{AGENT}")
    to: dict[str, object] = {"to": AGENT}
    placed = (await client.place(OTHER, CUSTOMER)).json()["call_id"]
    await asyncio.sleep(_RESTS_S)
    yield "transfer", await client.ask("POST", f"/api/calls/{placed}/transfer", body=to)
    await asyncio.sleep(_RESTS_S)
    yield "hang up", await client.ask("DELETE", f"/api/calls/{first.json()['call_id']}")
    await asyncio.sleep(_RESTS_S)
    yield "history page", await client.get("/api/history")

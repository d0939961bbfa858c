"""What a process has in memory: at rest, and for each connection and each PBX more.

The whole service in a process of its own. Connections rest after a request, as a browser's do; of
each PBX a stand-in is connected to, over SSH, and its call is followed. What a listener takes is
told by `listeners`.
"""

from __future__ import annotations

import argparse
import asyncio

from bench.client import Client
from bench.machine import descriptors, resident_bytes, versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import SECRET, Service, Stage, serving, stage

SUMMARY = "memory at rest, of a connection, of a PBX"
PARAMETERS = {
    "connections": Parameter(400, 50, "that rest at once"),
    "hosts": Parameter(100, 10, "PBXs with a call each"),
    "seconds": Parameter(10, 2, "how long calls are followed before memory is read"),
}


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with (
        stage("standin", hosts=asked.hosts, time_scale=1.0) as on,
        serving("asterisk:app", on.environment) as service,
    ):
        rows = asyncio.run(_measure(on, service, asked, progress))
        table = Table(
            "Memory of its own, without what files and other processes share",
            ("", "value"),
            rows,
            f"{asked.connections} connections and {asked.hosts} PBXs, whose first requests also"
            " load what every process needs once.",
        )
        return Found([table], versions(on.versions))


async def _measure(
    on: Stage, service: Service, asked: argparse.Namespace, progress: Progress
) -> list[list[Cell]]:
    async with Client(service.port, f"{SECRET}-0") as client:
        await client.get("/api/calls")
        at_rest = resident_bytes(service.pid)
        open_before = descriptors(service.pid)
        clients = [Client(service.port, f"{SECRET}-0") for _ in range(asked.connections)]
        for one in progress.over(clients, "connections"):
            await one.get("/api/calls")
        connected = resident_bytes(service.pid)
        for one in clients:
            one.close()
        await asyncio.sleep(1)
        before = resident_bytes(service.pid)
        for number in progress.over(range(asked.hosts), "PBXs"):
            async with Client(service.port, f"{SECRET}-{number}") as caller:
                (await caller.place("154", "+375290000005")).json()
        await asyncio.sleep(asked.seconds)
        followed = resident_bytes(service.pid)
        database = resident_bytes(*on.postgres.pids)
    return [
        ["the process at rest, MB", at_rest / 1e6],
        ["a connection of HTTP, kB", (connected - at_rest) / asked.connections / 1e3],
        ["a PBX, with its SSH and a call, kB", (followed - before) / asked.hosts / 1e3],
        ["descriptors at rest", open_before],
        ["PostgreSQL's processes, MB", database / 1e6],
    ]

"""Many clients on many PBXs at once: stand-ins, all in one process beside the service.

No AMI stands beside it: a stand-in has none. What is told is what comes through, and how requests
fail that do not; the stand-ins take a part of the machine, as phones and Asterisk would not.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack

from bench.machine import versions
from bench.part import Found, Parameter
from bench.parts.calls import OURS, together
from bench.progress import Progress
from bench.stage import SERVER, serving, stage

SUMMARY = "many clients on twenty PBXs"
PARAMETERS = {
    "hosts": Parameter(20, 5, "stand-in PBXs"),
    "seconds": Parameter(5.0, 1.0, "how long clients of one service call, each time"),
    "blocks": Parameter(3, 1, "how often each service is called by so many clients"),
    "clients": Parameter("1,8,32,64,200", "8", "how many clients at once"),
}
APPS = {
    OURS: ("asterisk:app", 1),
    f"{OURS}, 2 workers": ("asterisk:app", 2),
    "pooled exec": ("bench.alternatives:pooled", 1),
}


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    with stage("standin", hosts=asked.hosts) as on, ExitStack() as stack:
        services = {}
        for number, (name, (app, workers)) in enumerate(APPS.items()):
            on.postgres.copy(f"bench{number}")
            own = on.environment | {"POSTGRES_DB": f"bench{number}"}
            services[name] = stack.enter_context(serving(app, own, workers=workers))
        tables = [
            asyncio.run(
                together(
                    *(services, int(clients), asked.seconds, asked.blocks, progress),
                    hosts=asked.hosts,
                )
            )
            for clients in asked.clients.split(",")
        ]
        return Found(tables, versions(on.versions, SERVER))

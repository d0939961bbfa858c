"""What looking at a PBX with many channels costs it, and costs here.

Real Asterisk. So many channels are up, of calls that go nowhere; then one call of ours is followed,
whose looks list them all. Processor time is told as a share of one core, with and without looks.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from bench.client import Client
from bench.machine import processor_s, versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.stage import LeftOut, Service, chosen, serving, stage
from tests.pbx.lab import Lab

SUMMARY = "what looks cost a PBX with many channels"
PARAMETERS = {
    "pbx": Parameter("auto", "auto", "16 or 22, the lab's Asterisk", ("auto", "16", "22")),
    "channels": Parameter("0,50,300", "0,50", "channels that are up"),
    "seconds": Parameter(20.0, 3.0, "how long each is measured"),
}
_CHANNELS_A_CALL = 2  # the halves of a Local channel
_STAYS = "901"
_SETTLES_S = 2.0


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    if chosen(asked.pbx) == "standin":
        raise LeftOut("It needs real Asterisk: root, and tests/pbx/lab")
    with (
        stage(asked.pbx) as on,
        serving("asterisk:app", on.environment | {"DIALPLAN_CONTEXT": "park"}) as service,
    ):
        assert on.lab is not None
        rows = []
        for count in map(int, asked.channels.split(",")):
            progress.show(f"{count} channels", 0.0)
            rows.append(asyncio.run(_measure(on.lab, service, count, asked.seconds)))
            progress.show(f"{count} channels", 1.0)
        table = Table(
            "Percent of one core",
            (
                *("channels", "Asterisk without looks", "with looks", "sshd with looks"),
                *("here without looks", "here with looks"),
            ),
            rows,
            f"{asked.seconds:g} s each. One call is followed, in the phase with the quickest looks:"
            " five a second.",
        )
        return Found([table], versions(on.versions))


async def _measure(lab: Lab, service: Service, count: int, seconds: float) -> list[Cell]:
    for _ in range(count // _CHANNELS_A_CALL):
        lab.rx(f"channel originate Local/{_STAYS}@park application Wait 3600")
    try:
        quiet = await _used(lab, service, seconds)
        async with Client(service.port) as client:
            (await client.place(_STAYS, _STAYS)).json()
        looked = await _used(lab, service, seconds)
    finally:
        lab.hangup_all()
        lab.wait_idle()
    await asyncio.sleep(_SETTLES_S)  # the end is told
    return [count, quiet[0], looked[0], looked[1], quiet[2], looked[2]]


async def _used(lab: Lab, service: Service, seconds: float) -> tuple[float, float, float]:
    """Tell what Asterisk, its sshd and we take meanwhile, in percent of a core."""
    await asyncio.sleep(_SETTLES_S)
    groups = ([lab.pid()], lab.sshd_connections(), service.pids)
    before = [processor_s(*pids) for pids in groups]
    began = time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    used = [processor_s(*pids) for pids in groups]
    asterisk, sshd, here = (
        100 * (after - first) / passed for first, after in zip(before, used, strict=True)
    )
    return asterisk, sshd, here

"""How many PBXs one follower can follow: how late it tells what becomes of ten calls on each.

One process follows all of them as a follower does: its trackers, its database. The PBXs are
simulated from Asterisk's console on: no SSH, no phones; their listings are those of a stand-in's
call. So what SSH costs is told beside it, of stand-ins behind real SSH, and is to be added. No call
records are read. A call goes through all its phases in the time that it lasts; late is the moment
when its change is written, after that from which on a listing shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from bench.figures import percentile
from bench.machine import processor_s, resident_bytes, versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Cell, Table
from bench.simulation import (
    AGENT,
    CUSTOMER,
    Host,
    Script,
    SimulatedPbx,
    make_calls,
    record,
)
from bench.stage import SSH_PASSWORD, Durable, address, database, standins
from shared.asterisk import client
from shared.deadline import Deadline
from shared.following.trackers import the_trackers
from shared.pbx.hosts import Pbx, the_pbx
from shared.process import forget_all, let_go_of_all
from shared.settings import Settings, the_settings
from shared.store.database import the_database
from shared.store.followed import Change, Following
from shared.store.leases import Lease
from shared.telemetry import LOG

SUMMARY = "how many PBXs one follower can follow"
PARAMETERS = {
    "hosts": Parameter("100,300,1000", "20,50", "how many PBXs"),
    "calls": Parameter(10, 10, "calls of each"),
    "lasts_s": Parameter(180.0, 60.0, "how long a call lasts"),
    "seconds": Parameter(30.0, 5.0, "how long it is measured, once all are followed"),
    "ssh_hosts": Parameter(20, 5, "stand-ins whose looks go through SSH"),
}
_SEED = """
INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase, root_channel,
                           root_uniqueid, settled_at)
SELECT call_id, enterprise, host, 'call', code, phone, 'executed', 'accepted', root_channel,
       root_uniqueid, clock_timestamp()
  FROM jsonb_to_recordset(CAST(:calls AS jsonb)) x (call_id uuid, enterprise text, host text,
       code text, phone text, root_channel text, root_uniqueid text)
"""
_ENTERPRISES = """
INSERT INTO enterprises SELECT (h ->> 0), 'bench', (h ->> 1), 'secret-' || (h ->> 0), true
  FROM jsonb_array_elements(CAST(:hosts AS jsonb)) h
"""
_BATCH = 500
_TAKEN_WITHIN_S = 120.0


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    rows: list[list[Cell]] = []
    version = ""
    for count in map(int, asked.hosts.split(",")):
        progress.show(f"{count} PBXs", 0.0)
        with database() as postgres, _process(postgres):
            version = postgres.version()
            rows.append(asyncio.run(_follow(postgres, count, asked, progress)))
    table = Table(
        f"{asked.calls} calls on each PBX, simulated from the console on",
        (
            *("PBXs", "changes/s", "late p50 s", "late p95 s", "late max s", "looks/s"),
            *("turns/s", "its CPU, cores", "PostgreSQL's CPU, cores", "memory a PBX, kB"),
        ),
        rows,
        f"Each call lasts {asked.lasts_s:g} s, and goes through its phases meanwhile. Turns are"
        " those at the database.",
        drawn="late p95 s",
    )
    ssh = asyncio.run(_look_by_ssh(asked.ssh_hosts, asked.seconds, progress))
    return Found([table, ssh], versions(version))


@contextmanager
def _process(postgres: Durable) -> Iterator[None]:
    """Be a follower's process; the next one begins anew."""
    with tempfile.TemporaryDirectory() as folder:
        forget_all()
        own = {"LOG_FILE": str(Path(folder) / "log"), "ROLE": "follower"}
        the_settings.put(Settings.from_environment(postgres.environment() | own))
        LOG.disabled = True  # it would tell of every end
        try:
            yield
        finally:
            LOG.disabled = False
            forget_all()


async def _follow(
    postgres: Durable, count: int, asked: argparse.Namespace, progress: Progress
) -> list[Cell]:
    script = await record()
    names = [f"10.{n // 250}.{n % 250}.1" for n in range(count)]
    hosts = {
        name: Host(script, make_calls(script, asked.calls, 1 + n * asked.calls, asked.lasts_s))
        for n, name in enumerate(names)
    }
    _seed(postgres, hosts)
    before = resident_bytes(_own_pid())
    pbx = SimulatedPbx(hosts)
    the_pbx.put(cast("Pbx", pbx))
    late = _Late(script, hosts)
    with patch.object(Lease, "write", late.write):
        trackers = the_trackers()
        trackers.start()
        until = time.monotonic() + _TAKEN_WITHIN_S
        while len(late.hosts) < count and time.monotonic() < until:
            await asyncio.sleep(0.1)
            progress.show(f"{count} PBXs", 0.5 * len(late.hosts) / count)
        await asyncio.sleep(2)  # what had become of them before is told
        late.begin()
        began, looks = time.monotonic(), pbx.looks
        pids = (_own_pid(), *postgres.pids)
        used = [processor_s(pid) for pid in pids]
        while (passed := time.monotonic() - began) < asked.seconds:
            await asyncio.sleep(0.2)
            progress.show(f"{count} PBXs", 0.5 + 0.5 * passed / asked.seconds)
        used = [_still(pid, so_far) - so_far for pid, so_far in zip(pids, used, strict=True)]
        memory = resident_bytes(_own_pid()) - before
        await trackers.close()
    the_database().close()
    seconds = late.told or [0.0]
    return [
        count,
        len(late.told) / passed,
        statistics.median(seconds),
        percentile(seconds, 0.95),
        max(seconds),
        (pbx.looks - looks) / passed,
        late.turns / passed,
        used[0] / passed,
        sum(used[1:]) / passed,
        memory / count / 1e3,
    ]


def _seed(postgres: Durable, hosts: dict[str, Host]) -> None:
    enterprises = [[f"{n:06}", name] for n, name in enumerate(hosts)]
    postgres.execute("ALTER TABLE enterprises ALTER number TYPE text")
    postgres.execute(_ENTERPRISES, hosts=json.dumps(enterprises))
    calls = [
        {
            "call_id": str(call.call_id),
            "enterprise": number,
            "host": name,
            "code": AGENT,
            "phone": CUSTOMER,
            "root_channel": call.root_channel,
            "root_uniqueid": hosts[name].uniqueid(call),
        }
        for number, name in enterprises
        for call in hosts[name].calls
    ]
    for begin in range(0, len(calls), _BATCH):
        postgres.execute(_SEED, calls=json.dumps(calls[begin : begin + _BATCH]))
    postgres.execute("ANALYZE callapi.calls")


class _Late:
    """Notes how late each change is written; of what had begun before the measuring, nothing."""

    def __init__(self, script: Script, hosts: dict[str, Host]) -> None:
        self._write = Lease.write
        self._due = {
            (call.call_id, phase): call.at_s[step]
            for host in hosts.values()
            for call in host.calls
            for phase, step in script.seen_with.items()
        }
        self._begun_at = float("inf")
        self.told: list[float] = []
        self.turns = 0
        self.hosts: set[str] = set()

    def begin(self) -> None:
        """Begin to measure."""
        self._begun_at = time.monotonic()
        self.turns = 0

    @property
    def write(self) -> Any:
        """What is called in the place of `Lease.write`."""

        async def write(
            lease: Lease, changes: Sequence[Change] = (), **kwargs: Any
        ) -> Following | None:
            following = await self._write(lease, changes, **kwargs)
            now = time.monotonic()
            self.turns += 1
            self.hosts.add(lease.host)
            for change in changes:
                due = self._due.get((change["call_id"], cast("Any", change.get("phase"))))
                if due is not None and due > self._begun_at:
                    self.told.append(now - due)
            return following

        return write


async def _look_by_ssh(count: int, seconds: float, progress: Progress) -> Table:
    """Look at stand-ins through real SSH, one after the other."""
    with (
        database() as postgres,
        standins(count, 1.0) as (port, far),
        _process(postgres),
    ):
        settings = the_settings().model_copy(update={"ssh_port": port})
        secret = type(settings.ssh_password)(SSH_PASSWORD)
        the_settings.put(settings.model_copy(update={"ssh_password": secret}))
        names = [address(n) if count > 1 else "127.0.0.1" for n in range(count)]
        for number, name in enumerate(names):
            postgres.seed_enterprise(f"{number:04}", "bench", name, f"secret-{number}")
        pbx = the_pbx()
        for name in names:
            await pbx.ask(name, client.list_channels, Deadline.after(30), turn="look")
        used, looks, began = processor_s(_own_pid()), 0, time.monotonic()
        while time.monotonic() - began < seconds:
            for name in progress.over(names, "SSH"):
                await pbx.ask(name, client.list_channels, Deadline.after(30), turn="look")
                looks += 1
        used = processor_s(_own_pid()) - used
        alive = processor_s(far) > 0
        await let_go_of_all()
    return Table(
        f"A look through SSH, of {count} stand-ins without calls",
        ("", "value"),
        [
            ("this process's CPU a look, ms", 1000 * used / looks),
            ("looks", looks),
        ],
        "To be added to the CPU of the table above, for each look." if alive else "",
    )


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def _still(pid: int, so_far: float) -> float:
    """Tell a process's time, also of one that has ended meanwhile."""
    try:
        return processor_s(pid)
    except OSError:
        return so_far

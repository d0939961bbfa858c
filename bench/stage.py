"""What is measured on: a database, PBXs, services; started here and ended afterwards."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from demo.postgres import free_port
from shared.store.connection import Native
from tests.pbx.lab import Lab
from tests.postgres import Postgres
from tests.processes import descendants

Pbx: TypeAlias = Literal["auto", "standin", "16", "22"]

SECRET = "bench-secret-0001"
SSH_PASSWORD = "bench"
# Of the lab, made for as long as it lasts: whatever is called answers and hangs up.
CONTEXT = "bench"
_LIMIT_S = 60.0
_DURABLE = """
fsync = on
synchronous_commit = on
shared_buffers = '128MB'
max_connections = 300
max_wal_size = '4GB'
"""


class LeftOut(Exception):
    """This machine lacks what a measurement needs; the text says what."""


class Durable(Postgres):
    """A server with PostgreSQL's own defaults of what a confirmed write is."""

    def create(self, *, configuration: str = "") -> None:
        """Make its folder."""
        super().create(configuration=configuration + _DURABLE)

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return [pid, *descendants(pid)]

    def copy(self, name: str) -> None:
        """Make a database beside the first, as that is now; nobody may be in it."""
        self.give_up_kept()
        login = ("postgres", "127.0.0.1", "template1", self.port, self.password)
        connection = Native(*login)
        connection.run(f'CREATE DATABASE "{name}" TEMPLATE postgres')
        connection.close()

    def version(self) -> str:
        """Name its version."""
        row = self.execute("SELECT current_setting('server_version') AS version")[0]
        return f"PostgreSQL {row['version'].split()[0]}, fsync on"


@dataclass(frozen=True)
class Stage:
    """A database and PBXs, and the environment of a service between them.

    `pbx` says what the PBXs are; `context` is where calls are placed; `pids` are the PBXs'.
    """

    postgres: Durable
    environment: dict[str, str]
    pbx: str
    context: str
    pids: tuple[int, ...]
    lab: Lab | None = None

    @property
    def versions(self) -> str:
        """Name what is not Python."""
        return f"{self.postgres.version()}, {self.pbx}"


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    port: int
    pid: int

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [self.pid, *descendants(self.pid)]


@contextlib.contextmanager
def database() -> Iterator[Durable]:
    """Run a database of its own."""
    with contextlib.ExitStack() as stack:
        postgres = Durable()
        stack.callback(postgres.stop)
        postgres.start().prepare()
        yield postgres


def chosen(pbx: Pbx) -> Literal["standin", "16", "22"]:
    """Take the real Asterisk where it is installed, else a stand-in."""
    if pbx != "auto":
        return pbx
    return "16" if os.geteuid() == 0 and Lab.of("16").root.exists() else "standin"


@contextlib.contextmanager
def stage(pbx: Pbx, *, hosts: int = 1, time_scale: float = 0.02) -> Iterator[Stage]:
    """Bring a database and PBXs up, each PBX with an enterprise: SECRET, or SECRET-0 and so on."""
    kind = chosen(pbx)
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {
            **os.environ,
            **postgres.environment(),
            "REPEAT_WINDOW_S": "0.000001",
            "UNKNOWN_HOLD_S": "0.000001",
            **dict.fromkeys(("RATE_LIMIT_EXTENSION", "RATE_LIMIT_ENTERPRISE"), "1000000/1"),
            "RATE_LIMIT_READS": "1000000/1",
            "RATE_LIMIT_PBX_READS": "1000000/1",
            "LOG_FILE": str(folder / "log"),
        }
        if kind == "standin" or hosts > 1:
            port, pid = stack.enter_context(standins(hosts, time_scale))
            addresses = [address(n) if hosts > 1 else "127.0.0.1" for n in range(hosts)]
            environment |= {"SSH_PORT": str(port), "SSH_PASSWORD": SSH_PASSWORD}
            names = "a stand-in PBX" if hosts == 1 else f"{hosts} stand-in PBXs in one process"
            made = Stage(postgres, environment, names, "inoffice", (pid,))
        else:
            lab = stack.enter_context(real(kind))
            addresses = ["127.0.0.1"]
            environment |= {"SSH_PORT": str(lab.ssh_port), "SSH_PASSWORD": lab.password}
            made = Stage(postgres, environment, _version(lab), CONTEXT, (lab.pid(),), lab)
        environment["DIALPLAN_CONTEXT"] = made.context
        for number, ip in enumerate(addresses):
            secret = SECRET if hosts == 1 else f"{SECRET}-{number}"
            postgres.seed_enterprise(f"{number:04}", "bench", ip, secret)
        yield made


def address(number: int) -> str:
    """Name a stand-in's address: all are on this machine, and on one port."""
    return f"127.1.{number // 250}.{1 + number % 250}"


@contextlib.contextmanager
def standins(count: int, time_scale: float) -> Iterator[tuple[int, int]]:
    """Run so many stand-ins in a process of their own; the port and the process."""
    port = free_port()
    command = [sys.executable, "-m", "bench.standins", str(count), str(port), str(time_scale)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the stand-ins did not start")
            yield port, process.pid
        finally:
            process.stdin.close()  # it ends


@contextlib.contextmanager
def real(version: Literal["16", "22"]) -> Iterator[Lab]:
    """Have the lab's Asterisk up, with a context where all calls answer and hang up."""
    if os.geteuid() != 0:
        raise LeftOut("The real Asterisk needs root")
    lab = Lab.of(version)
    was_up = lab.is_up()
    lab.up()
    try:
        for priority, application in enumerate(("Answer()", "Hangup()"), start=1):
            for pattern in ("_X.", "_+X."):
                lab.rx(f"dialplan add extension {pattern},{priority},{application} into {CONTEXT}")
        yield lab
        lab.rx(f"dialplan remove context {CONTEXT}")
    finally:
        if not was_up:
            lab.down()


def _version(lab: Lab) -> str:
    asterisk = lab.rx("core show version").split(" built")[0]
    done = subprocess.run(
        ["/usr/sbin/chroot", lab.root, "/usr/bin/ssh", "-V"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{asterisk} ({lab.technology}), {done.stderr.split(',')[0].replace('_', ' ')}"


@contextlib.contextmanager
def serving(app: str, environment: dict[str, str], *, workers: int = 1) -> Iterator[Service]:
    """Run a service on a free port, all by the same server: uvicorn, httptools, asyncio."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    command += ["--http", "httptools", "--loop", "asyncio", "--workers", str(workers)]
    command += ["--lifespan", "on"]
    command += ["--timeout-keep-alive", "75"]  # whoever has its turn rarely keeps its connection
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            try:
                _wait_for(port, process)
            except RuntimeError:
                output.seek(0)
                sys.stderr.write(output.read().decode(errors="replace")[-2000:])
                raise
            yield Service(port, process.pid)
        finally:
            process.terminate()
            process.wait()


SERVER = "uvicorn with httptools on asyncio, pg8000"


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the service does not answer") from None
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()

"""The service as the Services dialog shows it: its processes, and how to have it start anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DatabaseUnavailable
from shared.operate.command import explain
from shared.panel.refusals import Refused
from shared.settings import VERSION, Settings
from shared.store.database import Database
from shared.store.leases import untracked_hosts
from shared.store.migrations import check_schema

_PROC = Path("/proc")
_MIB = 2**20
_MIGRATE_LIMIT_S = 60
# In /proc/PID/stat, behind the name in brackets: the parent, the processor's time, the beginning.
_PARENT, _USER, _SYSTEM, _STARTED = 1, 11, 12, 19

_FOLLOWED = """
SELECT count(*) AS followed FROM callapi.trackers t WHERE t.lease_until > clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the service: how long it runs, its resident memory, the processor's time."""

    pid: int
    uptime_s: float
    memory_mib: int
    cpu_s: float

    @property
    def cpu_percent(self) -> float:
        """The share of one processor, since it began."""
        return round(100 * self.cpu_s / max(self.uptime_s, 0.1), 1)


@dataclass(frozen=True, slots=True)
class Family:
    """The processes that serve together; `main` is the one that asterisk.py began as.

    `supervisor` is the process of deploy/serve.py, None: there is none, and `name` where that
    keeps what becomes of a restart, if anywhere.
    """

    main: int
    workers: tuple[int, ...]
    supervisor: int | None
    name: Path | None

    @classmethod
    def load(cls) -> Family:
        """Find those of this process, as the system tells them."""
        main = os.getpid()
        if _runs(parent := _parent(main), "asterisk.py"):
            main = parent
        children = _PROC / str(main) / "task" / str(main) / "children"
        workers: tuple[int, ...] = ()
        with contextlib.suppress(OSError):
            workers = tuple(map(int, children.read_text().split()))
        supervisor = _parent(main)
        if not _runs(supervisor, "serve.py"):
            return cls(main, workers or (main,), None, None)
        arguments = _command_line(supervisor)
        folder = _PROC / str(supervisor) / "cwd"
        name = Path(folder, arguments[2]) if len(arguments) > 2 else None  # noqa: PLR2004
        return cls(main, workers or (main,), supervisor, name)

    @property
    def outcome(self) -> str:
        """What became of the last restart: `ok`, `failed`, or nothing yet."""
        if self.name is None:
            return ""
        with contextlib.suppress(OSError):
            return self.name.with_suffix(".outcome").read_text("utf-8")
        return ""


@dataclass(frozen=True, slots=True)
class Service:
    """What the dialog tells; `why` is why no call can be placed, empty: it can."""

    port: int
    version: str
    role: str
    main: int
    processes: tuple[Process, ...]
    can_restart: bool
    why: str
    followed: int | None
    unfollowed: tuple[str, ...]


async def look(database: Database, settings: Settings) -> Service:
    """Look at this service, as far as its database is there."""
    family = Family.load()
    why, followed = "", None
    unfollowed: tuple[str, ...] = ()
    try:
        await check_schema(database.reads)
        followed = (await database.reads.run(_FOLLOWED))[0]["followed"]
        unfollowed = await untracked_hosts(database)
    except DatabaseUnavailable as error:
        why = explain(error, database)
    return Service(
        port=settings.port,
        version=VERSION,
        role=settings.role,
        main=family.main,
        processes=tuple(filter(None, map(load_process, family.workers))),
        can_restart=family.supervisor is not None,
        why=why,
        followed=followed,
        unfollowed=unfollowed,
    )


def restart() -> int:
    """Have new code take the port over, as ./asterisk.sh restart does; the process of before.

    Blocking. Raises Refused: nothing was begun.
    """
    family = Family.load()
    if family.supervisor is None:
        raise Refused("restart_cannot")
    folder = (_PROC / str(family.main) / "cwd").readlink()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "shared.operate", "migrate"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MIGRATE_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused("restart_no_schema", why=str(error)) from None
    if done.returncode:
        raise Refused("restart_no_schema", why=done.stderr.strip()[-500:])
    if family.name is not None:
        family.name.with_suffix(".outcome").unlink(missing_ok=True)
    os.kill(family.supervisor, signal.SIGHUP)
    return family.main


def load_process(pid: int) -> Process | None:
    """Read what the system tells of a process; None: it is gone."""
    try:
        fields = _stat(pid)
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    # Since the machine's start, as the kernel counts it.
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Process(
        pid=pid,
        uptime_s=now_s - int(fields[_STARTED]) / ticks,
        memory_mib=pages * os.sysconf("SC_PAGE_SIZE") // _MIB,
        cpu_s=round((int(fields[_USER]) + int(fields[_SYSTEM])) / ticks, 1),
    )


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    return text.rpartition(")")[2].split()


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(_stat(pid)[_PARENT])
    return 0


def _command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_text("utf-8", "replace").split("\0")[:-1]
    return []


def _runs(pid: int, program: str) -> bool:
    return any(Path(word).name == program for word in _command_line(pid)[1:2])

"""On what was measured, in words: no name of a host, no path."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("fastapi", "uvicorn", "httptools", "asyncssh", "pg8000")


def machine() -> str:
    """Describe the machine."""
    model = _line("cpuinfo", r"model name\s*: (.+)")
    memory = _line("meminfo", r"MemTotal:\s+(\d+) kB")
    size = f", {int(memory) / 2**20:.0f} GiB" if memory else ""
    return f"{os.cpu_count()} cores ({model or platform.machine()}){size}, Linux"


def versions(*others: str) -> str:
    """Name the versions of what was measured, beside these."""
    packages = (f"{name} {version(name)}" for name in _PACKAGES)
    return ", ".join([f"Python {platform.python_version()}", *packages, *others])


def load() -> float:
    """Tell how many processes want a processor, over the last minute."""
    return os.getloadavg()[0]


def processor_s(*pids: int) -> float:
    """Tell how much processor time these processes have taken so far."""
    taken = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")[2].split()
        taken += int(fields[11]) + int(fields[12])
    return taken / os.sysconf("SC_CLK_TCK")


def resident_bytes(*pids: int) -> int:
    """Tell what these processes have in memory of their own, without files and what is shared."""
    sizes = (_line(f"{pid}/status", r"RssAnon:\s+(\d+) kB") for pid in pids)
    return sum(1024 * int(size) for size in sizes if size)


def descriptors(pid: int) -> int:
    """Count what a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Count a process's threads."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _line(file: str, pattern: str) -> str | None:
    """Find the first line of a file of /proc that matches; what its group is."""
    lines = Path("/proc", file).read_text("utf-8").splitlines()
    return next((found[1] for line in lines if (found := re.fullmatch(pattern, line))), None)

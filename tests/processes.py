"""What the kernel tells of processes; tests stop them, and end what those have started."""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_stopped(pid: int) -> bool:
    """Tell whether every thread of a process is stopped."""
    try:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except (FileNotFoundError, ProcessLookupError):  # a thread has just ended: look again
        return False
    return set(states) == {"T"}


def descendants(pid: int) -> list[int]:
    """List the processes that a process started, and those that they started."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found


def sockets_from(port: int) -> set[int]:
    """Find the far ends, as inodes, of this machine's TCP connections from a port of its own."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[9]) for row in rows if int(row[2].rpartition(":")[2], 16) == port}


def owner_of(sockets: set[int], pids: list[int]) -> int:
    """Tell which of these processes has one of these sockets open."""
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if str(link.readlink()) in {f"socket:[{inode}]" for inode in sockets}:
                    return pid
    raise LookupError(f"none of {pids} has it")


def runs(pid: int) -> bool:
    """Tell whether a process has not ended; one that only nobody has asked about yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

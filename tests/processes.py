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

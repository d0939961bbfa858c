"""The last requests, read from the log file's end: one file, which all workers write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 2 * 2**20
_MOST = 200
# As shared/telemetry.py writes a line of the file; a traceback's lines are set in.
_LINE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}),[0-9]{3} - \S+ - (DEBUG|INFO|WARNING|ERROR|CRITICAL)"
    r" - (.*?)(?: \[request_id=(\S+) call_id=(\S+)\])?"
)
_END = "🏁"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log, with what is set in below it."""

    at: str
    level: str
    text: str
    request_id: str
    call_id: str


def load_entries(path: str, wanted: str) -> tuple[Entry, ...] | None:
    """Find what has a text, the newest first; of no text how the requests ended. Blocking.

    None: there is no such file.
    """
    lines = _load_end(Path(path)) if path else None
    if lines is None:
        return None
    # A + is encoded where it stands in a request's line.
    sought = wanted.strip().lstrip("+").casefold()
    found = (
        entry
        for entry in _entries(lines)
        if (_is_in(sought, entry) if sought else entry.text.startswith(_END))
    )
    return tuple(found)[-_MOST:][::-1]


def _is_in(sought: str, entry: Entry) -> bool:
    return any(sought in text.casefold() for text in (entry.text, entry.request_id, entry.call_id))


def _load_end(path: Path) -> list[str] | None:
    try:
        with path.open("rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - _MOST_BYTES)
            file.seek(begin)
            data = file.read(_MOST_BYTES)
    except OSError:
        return None
    lines = data.decode("utf-8", "replace").split("\n")
    return lines[1:] if begin else lines  # the first one is not whole


def _entries(lines: list[str]) -> Iterator[Entry]:
    last: Entry | None = None
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            if last is not None and line:
                text = f"{last.text}\n{line}"
                last = Entry(last.at, last.level, text, last.request_id, last.call_id)
            continue
        if last is not None:
            yield last
        last = Entry(match[1], match[2], match[3], match[4] or "", match[5] or "")
    if last is not None:
        yield last

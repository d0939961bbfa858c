"""What the PBXs count of themselves, as text: this process's, and of all that share its folder.

Not by prometheus_client, which keeps for good what was told once and calls no counter as
res_prometheus does: so many are told as PBXs were asked lately, whatever they say.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.following.counting import Counted
from shared.metrics.families import COUNTED, Count
from shared.metrics.folder import counts_file

# Somebody reads who did so within it; the longest usual interval is two minutes.
_READ_S = 300.0
_OLDEST_S = 300.0
_READ = "read"
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

# A count, its value, and its labels in the family's order.
Told = tuple[Count, float, tuple[str, ...]]


class Counts:
    """Writes this process's into the folder, if there is one, and reads everybody's."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._own: dict[str, Any] = {}
        self._read_at = float("-inf")

    def note_reader(self) -> None:
        """Somebody reads metrics, of all these processes."""
        self._read_at = time.monotonic()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / _READ).touch()

    def are_read(self) -> bool:
        """Tell whether somebody did lately, by whichever process."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                return time.time() - (self._folder / _READ).stat().st_mtime < _READ_S
        return time.monotonic() - self._read_at < _READ_S

    def show(self, counted: Mapping[str, Counted]) -> None:
        """Have these, and no other."""
        own = {host: _plain(one) for host, one in counted.items()}
        if own == self._own:
            return
        self._own = own
        if self._folder is not None:
            file = counts_file(self._folder, os.getpid())
            written = file.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk: what is there grows old and is gone
                written.write_text(json.dumps(own), "utf-8")
                written.replace(file)

    def text(self) -> bytes:
        """Write them in Prometheus' text format; reads files."""
        samples: dict[Count, list[str]] = {name: [] for name in COUNTED}
        for host, one in sorted(self._newest().items()):
            for name, value, labels in _told(host, one):
                family = COUNTED[name]
                pairs = zip(family.labels, labels, strict=True)
                told = ",".join(f'{label}="{text.translate(_ESCAPED)}"' for label, text in pairs)
                samples[name].append(f"{family.full_name}{{{told}}} {value}\n")
        return "".join(
            f"# HELP {family.full_name} {family.help}\n"
            f"# TYPE {family.full_name} {family.kind}\n"
            f"{''.join(samples[name])}"
            for name, family in COUNTED.items()
        ).encode()

    def _newest(self) -> dict[str, Any]:
        """Take of each host what was counted last, whoever did."""
        newest: dict[str, Any] = {}
        earliest = time.monotonic() - _OLDEST_S
        for known in self._known():
            for host, one in known.items():
                if one["at"] >= max(earliest, newest.get(host, one)["at"]):
                    newest[host] = one
        return newest

    def _known(self) -> Iterable[dict[str, Any]]:
        yield self._own
        if self._folder is not None:
            for file in self._folder.glob(counts_file(self._folder, "*").name):
                with contextlib.suppress(OSError, ValueError):
                    yield json.loads(file.read_text("utf-8"))


def _plain(one: Counted) -> dict[str, Any]:
    counts, endpoints = one.counts, one.endpoints
    return {
        "at": one.at,
        "entity_id": one.about.entity_id,
        "version": one.about.version,
        "numbers": {
            "channels": counts.channels,
            "calls": counts.calls,
            "processed": counts.processed,
            "bridges": counts.bridges,
            "endpoints": endpoints and endpoints.total,
            "uptime": counts.uptime_s,
            "reload": counts.reload_s,
            "properties": 1 if one.about.version else None,
        },
        "states": endpoints and {"online": endpoints.online, "offline": endpoints.offline},
    }


def _told(host: str, one: dict[str, Any]) -> Iterator[Told]:
    """Yield each number that there is."""
    own = (one["entity_id"], host)
    for name, value in one["numbers"].items():
        if value is not None:
            yield name, value, (*own, one["version"]) if name == "properties" else own
    for state, value in (one["states"] or {}).items():
        yield "states", value, (*own, state)
    yield "age", round(max(0.0, time.monotonic() - one["at"]), 3), (host,)

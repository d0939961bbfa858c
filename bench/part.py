"""What every part is made of, and how its parameters are asked for."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias, cast

from bench.machine import load, machine
from bench.progress import Progress
from bench.report import Result, Table

Value: TypeAlias = int | float | str


@dataclass(frozen=True)
class Parameter:
    """What may be asked for: how much by default, how much for a quick look, and what it is."""

    full: Value
    quick: Value
    what: str
    choices: Sequence[str] | None = None


PBX = Parameter(
    "auto", "auto", "16 or 22, the lab's real Asterisk, or standin", ("auto", "standin", "16", "22")
)


@dataclass(frozen=True)
class Found:
    """Tables, and the versions of what they were found with."""

    tables: Sequence[Table]
    versions: str


class Part(Protocol):
    """A module of `bench.parts`."""

    SUMMARY: str
    PARAMETERS: Mapping[str, Parameter]

    def run(self, asked: argparse.Namespace, progress: Progress) -> Found:
        """Measure. Raises LeftOut."""


# In the order in which they run.
NAMES = (
    "calls",
    "trips",
    "hops",
    "hosts",
    "channels",
    "following",
    "follower",
    "records",
    "memory",
    "listeners",
    "rows",
    "retention",
    "soak",
    "cold_start",
)


def load_part(name: str) -> Part:
    """Import a part."""
    return cast(Part, importlib.import_module(f"bench.parts.{name}"))


def add_arguments(parser: argparse.ArgumentParser, part: Part) -> None:
    """Let a part's parameters be asked for."""
    for name, it in part.PARAMETERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(it.full),
            choices=it.choices,
            help=f"{it.what}; {it.full}, with --quick {it.quick}",
        )


def measure(name: str, given: Mapping[str, Value | None], *, is_quick: bool) -> Result:
    """Run a part with what was asked for, the rest by default. Raises LeftOut."""
    part = load_part(name)
    parameters: dict[str, Any] = {}
    for key, it in part.PARAMETERS.items():
        asked = given.get(key)
        parameters[key] = asked if asked is not None else it.quick if is_quick else it.full
    before = load()
    progress = Progress(name)
    try:
        found = part.run(argparse.Namespace(**parameters), progress)
    finally:
        progress.clear()
    busy = f", load {before:.1f} before" if before > 0.5 else ""  # noqa: PLR2004 - else it is quiet
    quick = ", a quick look" if is_quick else ""
    return Result(
        name,
        part.SUMMARY,
        f"{datetime.now(UTC):%Y-%m-%d}{quick}",
        f"{machine()}{busy}",
        found.versions,
        parameters,
        found.tables,
    )

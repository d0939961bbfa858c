"""What an Asterisk counts of itself: what its own res_prometheus tells, by the console alone.

Each number is there where the console says exactly what is known of it, or is missing: a text in
another form is not half understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from shared.asterisk.asking import parse_apart, read_unchecked
from shared.asterisk.commands import (
    COUNT_CHANNELS,
    SHOW_BRIDGES,
    SHOW_CHANNEL_TYPES,
    SHOW_SETTINGS,
    SHOW_UPTIME_IN_WORDS,
)
from shared.asterisk.console import Console
from shared.asterisk.drivers import DRIVERS
from shared.asterisk.endpoints import Endpoints
from shared.asterisk.models import Technology
from shared.asterisk.parsers import find_rejection, parse_entity_id, parse_technologies
from shared.deadline import Deadline

_CHANNELS = re.compile(r"^([0-9]{1,9}) active channels?$", re.MULTILINE)
_CALLS = re.compile(
    r"^([0-9]{1,9}) (?:of [0-9]{1,9} max )?active calls?(?: \( {0,4}[0-9]{1,9}\.[0-9]{2}%"
    r" of capacity\))?$",
    re.MULTILINE,
)
_PROCESSED = re.compile(r"^([0-9]{1,10}) calls? processed$", re.MULTILINE)
# The sentinel of the control socket tells the same in seconds, and so cannot be asked itself.
_SPAN = (
    r"(?:([0-9]{1,3}) years?,? {0,2})?(?:([0-9]{1,3}) weeks?,? {0,2})?"
    r"(?:([0-9]{1,3}) days?,? {0,2})?(?:([0-9]{1,3}) hours?,? {0,2})?"
    r"(?:([0-9]{1,3}) minutes?,? {0,2})?(?:([0-9]{1,3}) seconds? {0,2})?"
)
_UPTIME = re.compile(rf"^System uptime: {_SPAN}$", re.MULTILINE)
_RELOAD = re.compile(rf"^Last reload: {_SPAN}$", re.MULTILINE)
_UNITS_S = (31_536_000, 604_800, 86_400, 3_600, 60, 1)
_VERSION = re.compile(r"^  Version: {1,40}([0-9A-Za-z.+~/_-]{1,80})$", re.MULTILINE)
# `BRIDGE-ID [NAME] CHANNELS TYPE TECHNOLOGY [DURATION]`, its columns as wide as its texts.
_BRIDGES = re.compile(
    r"^Bridge-ID +(?:Name +)?Chans +Type +Technology(?: +Duration)? *$", re.MULTILINE
)
_BRIDGE = re.compile(r"(?<=\s)[0-9]{1,6} +\w{1,40} +\w{1,40}(?: +[0-9]{1,9}:[0-9]{2}:[0-9]{2})? *$")
_LONGEST_ROW = 1_000


class About(NamedTuple):
    """Which Asterisk it is, as it stays while it runs; "" what it does not tell."""

    entity_id: str
    version: str
    technologies: frozenset[Technology]
    has_bridges: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What it counts; `calls` are now, `processed` since it was started."""

    channels: int | None
    calls: int | None
    processed: int | None
    bridges: int | None
    uptime_s: int | None
    reload_s: int | None


async def load_counts(
    console: Console, about: About | None, deadline: Deadline
) -> tuple[About, Counts]:
    """Ask for all of them in one exchange; with that, who it is, unless `about` is known.

    Raises NotExecuted.
    """
    commands = [COUNT_CHANNELS, SHOW_UPTIME_IN_WORDS]
    if about is None or about.has_bridges:
        commands.append(SHOW_BRIDGES)
    if about is None:
        commands += [SHOW_SETTINGS, SHOW_CHANNEL_TYPES]
    replies = await read_unchecked(console, tuple(commands), deadline)
    said = dict(zip(commands, replies, strict=True))
    bridges = said.get(SHOW_BRIDGES, "")
    if about is None:
        settings = said[SHOW_SETTINGS]
        about = About(
            parse_entity_id(settings) or "",
            parse_running_version(settings) or "",
            parse_technologies(said[SHOW_CHANNEL_TYPES]),
            has_bridges=find_rejection(bridges) is None,
        )
    uptime_s, reload_s = parse_uptime(said[SHOW_UPTIME_IN_WORDS])
    channels, calls, processed = parse_totals(said[COUNT_CHANNELS])
    return about, Counts(
        channels,
        calls,
        processed,
        await parse_apart(parse_bridges, bridges),
        uptime_s,
        reload_s,
    )


async def load_endpoints(console: Console, about: About, deadline: Deadline) -> Endpoints | None:
    """Count the devices of all drivers; None where one of them is not understood.

    Raises NotExecuted.
    """
    drivers = [DRIVERS[technology] for technology in DRIVERS if technology in about.technologies]
    if not drivers:
        return None
    lists = await read_unchecked(console, tuple(driver.show_all for driver in drivers), deadline)
    total = Endpoints(0, 0, 0)
    for driver, text in zip(drivers, lists, strict=True):
        found = await parse_apart(driver.count, text)
        if found is None:
            return None
        total = Endpoints(*(one + other for one, other in zip(total, found, strict=True)))
    return total


def parse_totals(text: str) -> tuple[int | None, int | None, int | None]:
    """Parse `core show channels count`: channels, calls, and calls processed."""
    return (
        _only(_CHANNELS.findall(text)),
        _only(_CALLS.findall(text)),
        _only(_PROCESSED.findall(text)),
    )


def parse_uptime(text: str) -> tuple[int | None, int | None]:
    """Parse `core show uptime`: for how many seconds it runs, and since its last reload."""
    return _span_s(_UPTIME.findall(text)), _span_s(_RELOAD.findall(text))


def parse_bridges(text: str) -> int | None:
    """Count the rows of `bridge show all`; None where one of them is none."""
    head = _BRIDGES.search(text)
    if head is None:
        return None
    rows = [row for row in text[head.end() :].split("\n") if row.strip()]
    return len(rows) if all(map(_is_bridge, rows)) else None


def parse_running_version(text: str) -> str | None:
    """Parse the version in `core show settings`."""
    found = _VERSION.findall(text)
    return found[0] if len(found) == 1 else None


def _is_bridge(row: str) -> bool:
    return len(row) <= _LONGEST_ROW and _BRIDGE.search(row) is not None


def _only(found: list[str]) -> int | None:
    return int(found[0]) if len(found) == 1 else None


def _span_s(found: list[tuple[str, ...]]) -> int | None:
    if len(found) != 1:
        return None
    return sum(int(n or 0) * unit_s for n, unit_s in zip(found[0], _UNITS_S, strict=True))

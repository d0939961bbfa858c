"""How a PBX is reached, put together of what the processes have told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from shared.pbx.telling import EACH_S
from shared.store.told import ToldState

# A process that uses a host, or waits for it, tells so again each time; what is older has died.
_FRESH_S = 3 * EACH_S
_LATENCIES = 20


class Latency(NamedTuple):
    """Of the last exchanges, in milliseconds."""

    last: float
    median: float
    longest: float
    exchanges: int


class Breaker(NamedTuple):
    """Why connecting was not tried again at once, so long ago."""

    code: str
    ago_s: float


class Live(NamedTuple):
    """The channels that a PBX had, so long ago."""

    channels: int
    ago_s: float


@dataclass(frozen=True, slots=True)
class Reached:
    """What all processes together know.

    `processes` are those that have told lately; of others nothing is used or waited for. `size` is
    how many turns each process has. What nobody has told is None.
    """

    processes: int
    transport: str | None
    why: str | None
    retry_s: float | None
    version: str | None
    latency: Latency | None
    used: int
    size: int | None
    waiting: int
    breaker: Breaker | None
    live: Live | None


def merge(told: Sequence[ToldState], *, is_up: bool) -> Reached:
    """Put together what was told of one host, the newest first."""
    fresh = [one for one in told if one.ago_s <= _FRESH_S]
    connected = next((one for one in told if one.state["transport"]), None)
    gates = [one.state["gate"] for one in fresh]
    # One that is reached by the others has no breaker but of a process that says so now.
    failing = (one for one in (fresh if is_up else told) if one.state["breaker"])
    breakers = (
        Breaker(one.state["breaker"]["code"], one.state["breaker"]["ago_s"] + one.ago_s)
        for one in failing
    )
    lives = (
        Live(one.state["live"]["channels"], one.state["live"]["ago_s"] + one.ago_s)
        for one in told
        if one.state["live"]
    )
    return Reached(
        processes=len(fresh),
        transport=connected.state["transport"] if connected else None,
        why=connected.state["why"] if connected else None,
        retry_s=_left(connected),
        version=next((one.state["version"] for one in told if one.state["version"]), None),
        latency=_latency(told),
        used=sum(gate["leased"] for gate in gates),
        size=told[0].state["gate"]["size"] if told else None,
        waiting=sum(gate["waiting"] for gate in gates),
        breaker=min(breakers, key=lambda one: one.ago_s, default=None),
        live=min(lives, key=lambda one: one.ago_s, default=None),
    )


def _left(connected: ToldState | None) -> float | None:
    if connected is None or connected.state["retry_s"] is None:
        return None
    return max(0.0, float(connected.state["retry_s"]) - connected.ago_s)


def _latency(told: Sequence[ToldState]) -> Latency | None:
    newest = [ms for one in told for ms in reversed(one.state["latencies_ms"])][:_LATENCIES]
    if not newest:
        return None
    return Latency(newest[0], round(median(newest), 1), max(newest), len(newest))

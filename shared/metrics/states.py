"""What is looked at in a process: its connections, turns and trackers, as they are now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shared.following.counting import Counted, the_counting
from shared.following.trackers import the_trackers
from shared.metrics.families import State
from shared.pbx.hosts import the_pbx
from shared.settings import VERSION, Settings
from shared.store.database import the_database

# A host that nobody has asked for as long is no more told of: it may have been removed.
LATELY_S = 300.0


def look_at_states(settings: Settings) -> Iterator[tuple[State, float, tuple[str, ...]]]:
    """Yield each state's value and labels; what does not exist yet is not made."""
    yield "build", 1, (VERSION, settings.role)
    yield "processes", 1, ()
    if the_database.exists():
        load = the_database().load()
        yield "database_connections", load.idle, ("idle",)
        yield "database_connections", load.in_use, ("in_use",)
        yield "database_waiting", load.waiting, ()
    if the_pbx.exists():
        yield from _of_hosts()
    if the_trackers.exists():
        for host, seen_at in the_trackers().seen_at().items():
            yield "tracker_lease", 1, (host,)
            yield "tracker_look", seen_at, (host,)


def look_at_counts() -> dict[str, Counted]:
    """Tell what each PBX has counted of itself, of those that did so lately."""
    return the_counting().counted(LATELY_S) if the_counting.exists() else {}


def _of_hosts() -> Iterator[tuple[State, float, tuple[str, ...]]]:
    connections = leases = 0
    turns = Counter({(use, state): 0 for use in ("console", "file") for state in _STATES})
    fails: dict[str, bool] = {}
    for used in the_pbx().used(LATELY_S):
        connections += used.is_connected
        leases += used.leases
        fails[used.host] = fails.get(used.host, False) or used.fails
        for state, of_uses in zip(_STATES, (used.running, used.waiting), strict=True):
            for use, count in of_uses.items():
                turns[use, state] += count
    yield "ssh_connections", connections, ()
    yield "ssh_leases", leases, ()
    yield from (("turns", count, labels) for labels, count in turns.items())
    yield from (("pbx_failing", float(failing), (host,)) for host, failing in fails.items())


_STATES = ("running", "waiting")

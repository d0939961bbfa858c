"""The families of what is looked at, and of what a PBX counts; what is counted is in measures.

What a PBX counts of itself has the names, types and sentences of Asterisk's own res_prometheus, so
that dashboards made for that show it; `eid` is Asterisk's word for who it is.

No label is a call's, a number, an extension, an enterprise's or a secret; of `pbx` there are as
many as hosts that are followed, or were asked lately.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from shared.asterisk.models import Phase, Reason
from shared.measures import MEASURED, Family, Kind, Measure, Metric

Count: TypeAlias = Literal[
    "channels",
    "calls",
    "processed",
    "bridges",
    "endpoints",
    "states",
    "uptime",
    "reload",
    "properties",
    "age",
]
"""What a PBX counts of itself, and how old that is."""
State: TypeAlias = Literal[
    "build",
    "processes",
    "ssh_connections",
    "ssh_leases",
    "turns",
    "pbx_failing",
    "database_connections",
    "database_waiting",
    "tracker_lease",
    "tracker_look",
]
"""What is looked at whenever somebody asks, in the place of being counted."""

# The values of a label that are there from the beginning, where what a call is says them.
KNOWN: Mapping[Metric | Measure, tuple[str, ...]] = {
    "PhasesReached": get_args(Phase),
    "CallsEnded": get_args(Reason),
}

SHOWN: Mapping[State, Family] = {
    "build": Family(
        "build_info",
        "gauge",
        "The version that runs.",
        "an old version after a restart: the restart has failed, see its output",
        ("version", "role"),
        merging="max",
    ),
    "processes": Family(
        "processes",
        "gauge",
        "Processes that these numbers are of.",
        "below SERVICE_WORKERS for long: workers die, the log has `❌ Процесс`",
    ),
    "ssh_connections": Family(
        "ssh_connections",
        "gauge",
        "SSH connections that are open, to hosts asked lately.",
        "0 while calls are placed: no PBX can be reached, see `pbx_failing`",
    ),
    "ssh_leases": Family(
        "ssh_leases",
        "gauge",
        "Uses of these connections at this moment.",
        "near PBX_CONCURRENCY for long: a PBX answers slowly, see `command_seconds`",
    ),
    "turns": Family(
        "turns",
        "gauge",
        "Who has a turn at a PBX, or waits for one.",
        "`waiting` above 0 for long: callers get 503 `pbx-busy` soon; look at the PBX's"
        " load, then PBX_CONCURRENCY",
        ("use", "state"),
    ),
    "pbx_failing": Family(
        "pbx_failing",
        "gauge",
        "1 while a PBX could not be connected when last tried; gone 5 minutes after it was.",
        "1 for a minute: `./asterisk.sh check` says what is wrong with the host",
        ("pbx",),
        merging="max",
    ),
    "database_connections": Family(
        "database_connections",
        "gauge",
        "Connections to PostgreSQL.",
        "`in_use` at POSTGRES_POOL_SIZE: raise that, or look at PostgreSQL",
        ("state",),
    ),
    "database_waiting": Family(
        "database_waiting",
        "gauge",
        "Statements that wait for a connection.",
        "above 0 for long: 503 follows; as above",
    ),
    "tracker_lease": Family(
        "tracker_lease",
        "gauge",
        "1 while this service follows a PBX.",
        "none while calls go on: no process follows, one of ROLE=all or follower is needed",
        ("pbx",),
        merging="max",
    ),
    "tracker_look": Family(
        "tracker_look_age_seconds",
        "gauge",
        "Time since a PBX that is followed was last seen.",
        "above 10: phases and ends are told late; the PBX is away, or the database",
        ("pbx",),
        merging="age",
    ),
}

_OWN = ("eid", "pbx")


def _of_asterisk(
    name: str, kind: Kind, sentence: str, remedy: str, labels: tuple[str, ...] = _OWN
) -> Family:
    return Family(name, kind, sentence, remedy, labels, prefix="asterisk_")


COUNTED: Mapping[Count, Family] = {
    "channels": _of_asterisk(
        "channels_count",
        "gauge",
        "Current channel count.",
        "at the trunk's or the licence's limit: callers hear busy",
    ),
    "calls": _of_asterisk(
        "calls_count",
        "gauge",
        "Current call count.",
        "0 in working hours: nobody calls, or nobody can",
    ),
    "processed": _of_asterisk(
        "calls_sum",
        "counter",
        "Total call count.",
        "grows no more in working hours: as above",
    ),
    "bridges": _of_asterisk(
        "bridges_count",
        "gauge",
        "Current bridge count.",
        "grows while calls do not: bridges are left behind",
    ),
    "endpoints": _of_asterisk(
        "endpoints_count",
        "gauge",
        "Current endpoint count.",
        "falls: phones or trunks have left the configuration",
    ),
    "uptime": _of_asterisk(
        "core_uptime_seconds",
        "counter",
        "Asterisk instance uptime in seconds.",
        "falls: Asterisk was restarted, and every call on it has ended",
    ),
    "reload": _of_asterisk(
        "core_last_reload_seconds",
        "counter",
        "Time since last Asterisk reload in seconds.",
        "falls when nobody has changed anything: somebody has",
    ),
    "properties": _of_asterisk(
        "core_properties",
        "counter",
        "Asterisk instance properties. The value of this will always be 1.",
        "another version than the one that was tried",
        (*_OWN, "version"),
    ),
    "states": Family(
        "pbx_endpoints",
        "gauge",
        "Endpoints of a PBX, by their state.",
        "`offline` grows: phones are not registered, or their network is away",
        (*_OWN, "state"),
    ),
    "age": Family(
        "pbx_counts_age_seconds",
        "gauge",
        "Time since a PBX told what it counts of itself; gone after 5 minutes.",
        "above 120: the nine before it are of then; the PBX is away or slow",
        ("pbx",),
    ),
}

FAMILIES = (*SHOWN.values(), *MEASURED.values(), *COUNTED.values())

"""Every family of metrics: its name, its labels, what it says. docs/metrics.md has them too.

What a PBX counts of itself has the names, types and sentences of Asterisk's own res_prometheus, so
that dashboards made for that show it; `eid` is Asterisk's word for who it is.

No label is a call's, a number, an extension, an enterprise's or a secret; of `pbx` there are as
many as hosts that are followed, or were asked lately.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from shared.asterisk.models import Phase, Reason
from shared.measures import Measure, Metric

PREFIX = "asterisk_calls_"

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Merging: TypeAlias = Literal["sum", "max", "age"]
"""Of several processes' gauges: all together, the greatest, how long ago the latest moment is."""
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

# A page of the history takes seconds, a wait for an event 25; a warm call single milliseconds.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 27.0)
_PLACING_MS = (10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 15_000.0, 27_000.0)
_EXCHANGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One family; `known` are the values of its one label that are there from the beginning."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merging: Merging = "sum"
    prefix: str = PREFIX

    @property
    def full_name(self) -> str:
        """The name by which a monitoring system knows it."""
        return self.prefix + self.name


MEASURED: Mapping[Metric | Measure, Family] = {
    "Requests": Family(
        "requests_total",
        "counter",
        "Requests answered, or given up (status 0), by route.",
        ("route", "method", "status"),
    ),
    "RequestSeconds": Family(
        "request_seconds",
        "histogram",
        "Time until a request's answer began.",
        ("route", "method"),
        buckets=_REQUEST_S,
    ),
    "Refusals": Family("refusals_total", "counter", "Errors answered, by their code.", ("code",)),
    "CallsAccepted": Family(
        "accepted_total", "counter", "Calls and monitorings that Asterisk has accepted."
    ),
    "PlacingMs": Family(
        "placing_milliseconds",
        "histogram",
        "Time from a request until Asterisk had accepted its call.",
        buckets=_PLACING_MS,
    ),
    "CallsRepeated": Family(
        "repeated_total", "counter", "Repeats of a call: answered, and nothing was dialled."
    ),
    "CallsFailed": Family(
        "failed_total", "counter", "Calls that were admitted and certainly not dialled."
    ),
    "UnknownOutcomes": Family(
        "unknown_outcomes_total", "counter", "Times that nobody could tell whether a phone rings."
    ),
    "PhasesReached": Family(
        "phases_total",
        "counter",
        "Calls that have reached a phase, as followed.",
        ("phase",),
        known=get_args(Phase),
    ),
    "CallsEnded": Family(
        "ended_total",
        "counter",
        "Calls that have ended, as followed, by the reason.",
        ("reason",),
        known=get_args(Reason),
    ),
    "CommandSeconds": Family(
        "command_seconds",
        "histogram",
        "Time of an exchange with Asterisk.",
        ("transport", "outcome"),
        buckets=_EXCHANGE_S,
    ),
    "StatementSeconds": Family(
        "database_statement_seconds",
        "histogram",
        "Time of a statement of the database, after its turn had come.",
        ("outcome",),
        known=("ok", "failed", "given_up"),
        buckets=_EXCHANGE_S,
    ),
    "Listeners": Family(
        "listeners",
        "gauge",
        "Clients that listen to events now.",
        ("kind",),
        known=("websocket", "sse", "poll"),
    ),
    "WebhookDeliveries": Family(
        "webhook_deliveries_total",
        "counter",
        "Attempts to send a webhook's message, by the outcome.",
        ("outcome",),
        known=("accepted", "failed", "disabled"),
    ),
    "HostKeysChanged": Family(
        "host_keys_changed_total", "counter", "Connections refused for another host key."
    ),
    "ChannelsUnaskable": Family(
        "channels_unaskable_total", "counter", "Channels whose name no command can carry."
    ),
    "RecordsSkipped": Family(
        "records_skipped_total", "counter", "Lines of call records that could not be read."
    ),
    "InternalErrors": Family("internal_errors_total", "counter", "Defects of this service."),
    "ReleaseDefects": Family(
        "release_defects_total", "counter", "Defects that a request met, by release.", ("release",)
    ),
    "LogWriteErrors": Family(
        "log_write_errors_total", "counter", "Times that the log's file could not be written."
    ),
}

SHOWN: Mapping[State, Family] = {
    "build": Family(
        "build_info",
        "gauge",
        "The version that runs.",
        ("version", "role"),
        merging="max",
    ),
    "processes": Family("processes", "gauge", "Processes that these numbers are of."),
    "ssh_connections": Family(
        "ssh_connections", "gauge", "SSH connections that are open, to hosts asked lately."
    ),
    "ssh_leases": Family("ssh_leases", "gauge", "Uses of these connections at this moment."),
    "turns": Family(
        "turns", "gauge", "Who has a turn at a PBX, or waits for one.", ("use", "state")
    ),
    "pbx_failing": Family(
        "pbx_failing",
        "gauge",
        "1 while a PBX could not be connected when last tried; gone 5 minutes after it was.",
        ("pbx",),
        merging="max",
    ),
    "database_connections": Family(
        "database_connections", "gauge", "Connections to PostgreSQL.", ("state",)
    ),
    "database_waiting": Family(
        "database_waiting", "gauge", "Statements that wait for a connection."
    ),
    "tracker_lease": Family(
        "tracker_lease", "gauge", "1 while this service follows a PBX.", ("pbx",), merging="max"
    ),
    "tracker_look": Family(
        "tracker_look_age_seconds",
        "gauge",
        "Time since a PBX that is followed was last seen.",
        ("pbx",),
        merging="age",
    ),
}

_OWN = ("eid", "pbx")


def _of_asterisk(name: str, kind: Kind, sentence: str, labels: tuple[str, ...] = _OWN) -> Family:
    return Family(name, kind, sentence, labels, prefix="asterisk_")


COUNTED: Mapping[Count, Family] = {
    "channels": _of_asterisk("channels_count", "gauge", "Current channel count."),
    "calls": _of_asterisk("calls_count", "gauge", "Current call count."),
    "processed": _of_asterisk("calls_sum", "counter", "Total call count."),
    "bridges": _of_asterisk("bridges_count", "gauge", "Current bridge count."),
    "endpoints": _of_asterisk("endpoints_count", "gauge", "Current endpoint count."),
    "uptime": _of_asterisk(
        "core_uptime_seconds", "counter", "Asterisk instance uptime in seconds."
    ),
    "reload": _of_asterisk(
        "core_last_reload_seconds", "counter", "Time since last Asterisk reload in seconds."
    ),
    "properties": _of_asterisk(
        "core_properties",
        "counter",
        "Asterisk instance properties. The value of this will always be 1.",
        (*_OWN, "version"),
    ),
    "states": Family(
        "pbx_endpoints", "gauge", "Endpoints of a PBX, by their state.", (*_OWN, "state")
    ),
    "age": Family(
        "pbx_counts_age_seconds",
        "gauge",
        "Time since a PBX told what it counts of itself; gone after 5 minutes.",
        ("pbx",),
    ),
}

FAMILIES = (*SHOWN.values(), *MEASURED.values(), *COUNTED.values())

"""What is measured, and who takes it down: nobody, unless this process serves metrics.

A measure is told of here alone: its family says its labels, what it is, and what to do about it. No
label is a call's, a number, an extension, an enterprise's or a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.process import once

# What is counted everywhere; the alarms and the dashboard of template.yaml use these names.
Metric: TypeAlias = Literal[
    "CallsAccepted",
    "CallsRepeated",
    "CallsFailed",
    "PlacingMs",
    "CallsEnded",
    "UnknownOutcomes",
    "HostKeysChanged",
    "ChannelsUnaskable",
    "RecordsSkipped",
    "HostsUntracked",
    "PushesGivenUp",
    "InternalErrors",
    "ReleaseDefects",
]
# What a long-lived process measures beside that; CloudWatch would ask money for each.
Measure: TypeAlias = Literal[
    "Requests",
    "RequestSeconds",
    "Refusals",
    "PhasesReached",
    "CommandSeconds",
    "StatementSeconds",
    "Listeners",
    "WebhookDeliveries",
    "LogWriteErrors",
]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Merging: TypeAlias = Literal["sum", "max", "age"]
"""Of several processes' gauges: all together, the greatest, how long ago the latest moment is."""
Observer: TypeAlias = Callable[[Metric | Measure, float, dict[str, str]], None]
"""Takes down a measure, a value and its labels; it raises nothing, and is called by any thread."""

PREFIX = "asterisk_calls_"

# A page of the history takes seconds, a wait for an event 25; a warm call single milliseconds.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 27.0)
_PLACING_MS = (10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 15_000.0, 27_000.0)
_EXCHANGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One family of metrics: what it says, when that is bad and what to do then.

    `known` are the values of its one label that are there from the beginning.
    """

    name: str
    kind: Kind
    help: str
    remedy: str
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
        "`status` of 5xx grows: the log's lines `🏁` name the code",
        ("route", "method", "status"),
    ),
    "RequestSeconds": Family(
        "request_seconds",
        "histogram",
        "Time until a request's answer began.",
        "the median of a call above 0.1: see `command_seconds`, `database_statement_seconds`",
        ("route", "method"),
        buckets=_REQUEST_S,
    ),
    "Refusals": Family(
        "refusals_total",
        "counter",
        "Errors answered, by their code.",
        "docs/api.md's table of errors has each code's meaning",
        ("code",),
    ),
    "CallsAccepted": Family(
        "accepted_total",
        "counter",
        "Calls and monitorings that Asterisk has accepted.",
        "grows no more in working hours: nobody can call, or nobody asks",
    ),
    "PlacingMs": Family(
        "placing_milliseconds",
        "histogram",
        "Time from a request until Asterisk had accepted its call.",
        "the median above 100: see `command_seconds`, `database_statement_seconds`",
        buckets=_PLACING_MS,
    ),
    "CallsRepeated": Family(
        "repeated_total",
        "counter",
        "Repeats of a call: answered, and nothing was dialled.",
        "a third of all calls: a client sends each click twice",
    ),
    "CallsFailed": Family(
        "failed_total",
        "counter",
        "Calls that were admitted and certainly not dialled.",
        "grows: the log names the PBX and why",
    ),
    "UnknownOutcomes": Family(
        "unknown_outcomes_total",
        "counter",
        "Times that nobody could tell whether a phone rings.",
        "grows: an Asterisk freezes, or links are cut in the middle of an exchange",
    ),
    "PhasesReached": Family(
        "phases_total",
        "counter",
        "Calls that have reached a phase, as followed.",
        "`accepted` grows and `agent_ringing` does not: phones are not registered",
        ("phase",),
    ),
    "CallsEnded": Family(
        "ended_total",
        "counter",
        "Calls that have ended, as followed, by the reason.",
        "`failed`, `rejected` or `unknown` grow: the trunk or the dialplan, or no call records",
        ("reason",),
    ),
    "CommandSeconds": Family(
        "command_seconds",
        "histogram",
        "Time of an exchange with Asterisk.",
        "`exec` is used: the socket is refused, `check` says why; `failed`, `unknown`: the PBX",
        ("transport", "outcome"),
        buckets=_EXCHANGE_S,
    ),
    "StatementSeconds": Family(
        "database_statement_seconds",
        "histogram",
        "Time of a statement of the database, after its turn had come.",
        "`failed` grows: the log has `PostgreSQL недоступен` and why",
        ("outcome",),
        known=(
            "ok",
            "failed",
            "given_up",
        ),
        buckets=_EXCHANGE_S,
    ),
    "Listeners": Family(
        "listeners",
        "gauge",
        "Clients that listen to events now.",
        "near MAX_CONNECTIONS: streams push each other out; raise it",
        ("kind",),
        known=(
            "websocket",
            "sse",
            "poll",
        ),
    ),
    "WebhookDeliveries": Family(
        "webhook_deliveries_total",
        "counter",
        "Attempts to send a webhook's message, by the outcome.",
        "`failed` grows: `./asterisk.sh webhooks NUMBER log ID`; `disabled`: tell its owner",
        ("outcome",),
        known=(
            "accepted",
            "failed",
            "disabled",
        ),
    ),
    "HostKeysChanged": Family(
        "host_keys_changed_total",
        "counter",
        "Connections refused for another host key.",
        "any: a reinstalled PBX, or somebody between; `./asterisk.sh host-keys`",
    ),
    "ChannelsUnaskable": Family(
        "channels_unaskable_total",
        "counter",
        "Channels whose name no command can carry.",
        "grows: a peer has a name with odd characters; rename it",
    ),
    "RecordsSkipped": Family(
        "records_skipped_total",
        "counter",
        "Lines of call records that could not be read.",
        "grows: another program writes to CDR_FILE, or its disk is full",
    ),
    "InternalErrors": Family(
        "internal_errors_total",
        "counter",
        "Defects of this service.",
        "any: a defect, its traceback is in the log; report it",
    ),
    "ReleaseDefects": Family(
        "release_defects_total",
        "counter",
        "Defects that a request met, by release.",
        "any, of a new release: take the one before",
        ("release",),
    ),
    "LogWriteErrors": Family(
        "log_write_errors_total",
        "counter",
        "Times that the log's file could not be written.",
        "any: LOG_FILE's disk is full or its folder is not ours; the console names it",
    ),
}


def _nobody(_measure: Metric | Measure, _value: float, _labels: dict[str, str]) -> None:
    """Take down nothing."""


@once
def the_observer() -> Observer:
    """That of this process."""
    return _nobody


@once
def the_readers() -> Callable[[], bool]:
    """Whether anybody has read this process's metrics lately: nobody, unless it serves them."""
    return lambda: False


def observe(measure: Metric | Measure, value: float = 1.0, **labels: str) -> None:
    """Add a value to a measure: so many more of it, or so many seconds."""
    the_observer()(measure, value, labels)


@contextmanager
def being_there(measure: Measure, **labels: str) -> Iterator[None]:
    """Count one more for as long as the block lasts."""
    observe(measure, 1, **labels)
    try:
        yield
    finally:
        observe(measure, -1, **labels)

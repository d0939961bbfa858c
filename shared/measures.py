"""What is measured, by name, and who takes it down: nobody, unless this process serves metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from shared.process import once

# What is counted everywhere; the alarms and the dashboard of template.yaml use these names.
Metric: TypeAlias = Literal[
    "CallsAccepted",  # Asterisk has the call, or the monitoring
    "CallsRepeated",  # a repeat of one: nothing was dialled
    "CallsFailed",  # certainly not dialled, by no fault of the caller, though it was admitted
    "PlacingMs",  # from the request to Asterisk's acceptance; the wait for a phone comes after it
    "CallsEnded",  # by reason
    "UnknownOutcomes",  # a phone may be ringing of which nobody can tell
    "HostKeysChanged",  # connections refused, since it may be another host
    "ChannelsUnaskable",  # of a name that no command can carry: whose call it is stays unknown
    "RecordsSkipped",  # lines of a PBX's call records that are none, or too long
    "HostsUntracked",  # at the watchdog's look, each minute: 0 says that it looked
    "InternalErrors",  # defects of this service
    "ReleaseDefects",  # those that a request met, by release
]
# What a long-lived process measures beside that; CloudWatch would ask money for each.
Measure: TypeAlias = Literal[
    "Requests",  # by route, method and status
    "RequestSeconds",  # until the answer began, by route and method
    "Refusals",  # by the error's code
    "PhasesReached",  # of calls, as their tracker wrote them
    "CommandSeconds",  # one exchange with Asterisk, by transport and outcome
    "StatementSeconds",  # one statement of the database, by outcome
    "Listeners",  # to events, by kind: those that there are
    "WebhookDeliveries",  # attempts, by outcome
    "LogWriteErrors",  # lines that the log's file has not got
]
Observer: TypeAlias = Callable[[Metric | Measure, float, dict[str, str]], None]
"""Takes down a measure, a value and its labels; it raises nothing, and is called by any thread."""


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

"""Which alarm rings at which fault, and at what none does: docs/deploy.md has it, this is why.

Each is three hours of samples, as the service and AWS would write them, and every alarm's own
arithmetic over them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from shared.calls.placing import _tell_failure
from shared.errors import ConnectFailed, ServiceError, UnknownExtension
from shared.telemetry import LOG
from tests.deploy.cloudwatch import Samples, is_ringing, rule_key
from tests.deploy.template import ROOT, Template
from tests.deploy.test_template import rolls_back
from tests.orders import call_order
from tests.unit.test_readme import table

DOCS = (ROOT / "docs/deploy.md").read_text("utf-8")
MINUTES = 180
BEGIN, END = 60, 120  # of the fault
HOSTS = [f"192.0.2.{number}" for number in range(1, 101)]


def watchdog(to: Samples, minute: int, untracked: int = 0) -> None:
    """Look, as each minute."""
    to.add(minute, "HostsUntracked", untracked)
    executed(to, minute, "watchdog")


def executed(
    to: Samples, minute: int, function: str, *, crashed: bool = False, is_new: bool = True
) -> None:
    """Run a function, of its new version or of the one before."""
    for of in (function, *([f"{function}:new"] if is_new else [])):
        to.add(minute, "Invocations", of=of)
        to.add(minute, "Errors", crashed, of=of)
    to.add(minute, "Throttles", 0, of=function)


def answered(to: Samples, minute: int, status: int = 200) -> None:
    """Answer a request."""
    to.add(minute, "Count")
    to.add(minute, "5xx", status >= 500)
    executed(to, minute, "makecallexternal")


def accepted(to: Samples, minute: int, ms: float = 120) -> None:
    """Place a call."""
    answered(to, minute)
    to.add(minute, "CallsAccepted", 1)
    to.add(minute, "CallsFailed", 0)
    to.add(minute, "PlacingMs", ms)


def failed(to: Samples, minute: int, host: str = HOSTS[0]) -> None:
    """Fail to place one, by the PBX's or our fault."""
    answered(to, minute, 502)
    to.add(minute, "CallsAccepted", 0)
    to.add(minute, "CallsFailed", 1)
    to.failed_hosts.append((minute, host))


def unknown(to: Samples, minute: int, host: str = HOSTS[0]) -> None:
    """Place one of which nobody can tell."""
    answered(to, minute, 504)
    to.add(minute, "UnknownOutcomes")
    to.failed_hosts.append((minute, host))


Fault = Callable[[Samples, int], None]


def on_each(minute: int, every: int) -> bool:
    """Whether something happens in this minute that happens every so many."""
    return minute % every == 0


def few_fail(to: Samples, minute: int) -> None:
    """One call in ten minutes."""
    if on_each(minute, 10):
        failed(to, minute, HOSTS[minute // 10])


def all_fail(to: Samples, minute: int) -> None:
    """Ten a minute, on many hosts."""
    for turn in range(10):
        failed(to, minute, HOSTS[(minute * 10 + turn) % 100])


def one_host(to: Samples, minute: int) -> None:
    """Of 50 calls a minute, 100 hosts: one is dead, and has a call in four minutes."""
    for _ in range(50):
        accepted(to, minute)
    if on_each(minute, 4):
        failed(to, minute, HOSTS[7])


def frozen(to: Samples, minute: int) -> None:
    """One PBX takes what is sent and says nothing; others go on."""
    for _ in range(50):
        accepted(to, minute)
    if on_each(minute, 4):
        unknown(to, minute, HOSTS[7])


def database(to: Samples, minute: int) -> None:
    """503 before a call is admitted; the watchdog cannot look, and does not crash."""
    for _ in range(10):
        answered(to, minute, 503)
    executed(to, minute, "watchdog")


def database_at_night(to: Samples, minute: int) -> None:
    """Nobody calls."""
    executed(to, minute, "watchdog")


def slow(to: Samples, minute: int) -> None:
    """Ten calls a minute, two of them slow."""
    for turn in range(10):
        accepted(to, minute, 5_000 if turn < 2 else 120)


def host_key(to: Samples, minute: int) -> None:
    """One call, refused."""
    if minute == BEGIN:
        to.add(minute, "HostKeysChanged")
        failed(to, minute)


def defect_before(to: Samples, minute: int) -> None:
    """One request meets one."""
    if minute == BEGIN:
        answered(to, minute, 500)
        to.add(minute, "InternalErrors")


def defect(to: Samples, minute: int) -> None:
    """It is of the release that is being deployed."""
    defect_before(to, minute)
    if minute == BEGIN:
        to.add(minute, "ReleaseDefects", of=":new")


def crash(to: Samples, minute: int) -> None:
    """The new version's executions crash."""
    if on_each(minute, 5):
        executed(to, minute, "hangup", crashed=True)


def crash_before(to: Samples, minute: int) -> None:
    """Those of the version before do, and the new one's do not."""
    executed(to, minute, "hangup")
    if on_each(minute, 5):
        executed(to, minute, "hangup", crashed=True, is_new=False)


def crash_of_service(to: Samples, minute: int) -> None:
    """Likewise, where the service tells of itself."""
    if on_each(minute, 5):
        executed(to, minute, "ready", crashed=True)


def throttled(to: Samples, minute: int) -> None:
    """A request finds no execution."""
    if minute == BEGIN:
        to.add(minute, "Throttles", of="events")


def throttled_service(to: Samples, minute: int) -> None:
    """Likewise."""
    if minute == BEGIN:
        to.add(minute, "Throttles", of="audit")


def untracked(to: Samples, minute: int) -> None:
    """A host's calls are followed by nobody, minute for minute."""
    watchdog(to, minute, 1)


def crash_of_push(to: Samples, minute: int) -> None:
    """The new version of what tells WebSockets crashes."""
    if on_each(minute, 5):
        executed(to, minute, "push", crashed=True)


def throttled_sockets(to: Samples, minute: int) -> None:
    """A WebSocket finds no execution."""
    if minute == BEGIN:
        to.add(minute, "Throttles", of="sockets")


def late_push(to: Samples, minute: int) -> None:
    """The stream's oldest record is two minutes old."""
    executed(to, minute, "push")
    to.add(minute, "IteratorAge", 120_000, of="push")


def unsendable(to: Samples, minute: int) -> None:
    """API Gateway answers 5xx to whatever is sent to WebSockets, which are closed."""
    executed(to, minute, "push")
    to.add(minute, "PushesGivenUp", 3)


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "every call fails, one in ten minutes": (few_fail, {"CallsFailing"}),
    "every call fails, ten a minute, on all PBXs": (
        all_fail,
        {"ServerErrors", "CallsFailing"},
    ),
    "one PBX of a hundred is dead": (one_host, {"HostFailing"}),
    "one PBX of a hundred is frozen": (frozen, {"UnknownOutcomes", "HostFailing"}),
    "the database is lost": (database, {"ServerErrors", "TrackerStalled"}),
    "the database is lost at night": (database_at_night, {"TrackerStalled"}),
    "placing is slow for a fifth of the calls": (slow, {"SlowCalls"}),
    "a PBX shows another host key": (host_key, {"HostKeysChanged"}),
    "a request meets a defect": (defect, {"InternalErrors", "ReleaseDefects"}),
    "a request meets a defect, of the release before": (defect_before, {"InternalErrors"}),
    "`hangup` crashes": (crash, {"FunctionErrors", "HangupVersion"}),
    "`hangup` crashes, of the version before": (crash_before, {"FunctionErrors"}),
    "`ready` crashes": (crash_of_service, {"ServiceErrors", "ReadyVersion"}),
    "`events` has no free execution": (throttled, {"Throttles"}),
    "`audit` has no free execution": (throttled_service, {"ServiceThrottles"}),
    "a host's calls are followed by nobody": (untracked, {"TrackerStalled"}),
    "`push` crashes": (crash_of_push, {"PushErrors", "PushVersion"}),
    "`sockets` has no free execution": (throttled_sockets, {"PushThrottles"}),
    "events are told to WebSockets minutes late": (late_push, {"PushLate"}),
    "API Gateway takes no message for WebSockets": (unsendable, {"PushesGivenUp"}),
}


def nobody(to: Samples, minute: int) -> None:
    """A night, a holiday: the watchdog alone."""


def waits(to: Samples, minute: int) -> None:
    """API Gateway measures 27 s; the placing's own time is what it is."""
    for _ in range(10):
        accepted(to, minute)
        to.add(minute, "Latency", 27_000)


def few_slow(to: Samples, minute: int) -> None:
    """Of a handful nine of ten mean nothing."""
    if on_each(minute, 20):
        accepted(to, minute, 9_000)


def refused(to: Samples, minute: int) -> None:
    """4xx, many."""
    for _ in range(100):
        answered(to, minute, 422)


def one_flake(to: Samples, minute: int) -> None:
    """Now and then a connection is lost, each time another PBX's."""
    for _ in range(10):
        accepted(to, minute)
    if on_each(minute, 10):
        failed(to, minute, HOSTS[minute // 10])


def restarts(to: Samples, minute: int) -> None:
    """Two minutes of a PBX; nobody follows it for as long."""
    if minute in {BEGIN, BEGIN + 1}:
        failed(to, minute)
        to.values[next(key for key in to.values if key.name == "HostsUntracked")].pop()
        to.add(minute, "HostsUntracked", 1)


def one_unsendable(to: Samples, minute: int) -> None:
    """Now and then one is closed; a moment's delay, when many are told at once."""
    executed(to, minute, "push")
    to.add(minute, "IteratorAge", 5_000, of="push")
    if on_each(minute, 10):
        to.add(minute, "PushesGivenUp")


SILENT: dict[str, Fault] = {
    "nobody calls, a night or a holiday long": nobody,
    "a client waits for its phone by `Prefer: wait=25`": waits,
    "few calls, all slow": few_slow,
    "a hundred requests a minute are refused by a 4xx, a wrong extension's too": refused,
    "one call of a hundred fails, each time on another PBX": one_flake,
    "a PBX restarts at night, two minutes, and two calls fail": restarts,
    "one WebSocket in ten minutes cannot be sent to, and is closed": one_unsendable,
}
# What rolls a deployment back: faults of what is being deployed.
ROLLING_BACK = {
    "a request meets a defect",
    *(f"`{name}` crashes" for name in ("hangup", "ready", "push")),
}


def ringing(template: Template, fault: Fault) -> set[str]:
    """Names of the alarms that ring at some time around a fault."""
    samples = Samples()
    for minute in range(MINUTES):
        is_faulty = BEGIN <= minute < END
        if not is_faulty or fault not in {database, database_at_night, untracked}:
            watchdog(samples, minute)
        if is_faulty:
            fault(samples, minute)
    return {
        name.removesuffix("Alarm")
        for name in template.of_type("AWS::CloudWatch::Alarm")
        if is_ringing(template, name, samples, range(30, MINUTES + 1))
    }


@pytest.mark.parametrize(("fault", "alarms"), FAULTS.values(), ids=FAULTS)
def test_a_fault_rings(template: Template, fault: Fault, alarms: set[str]) -> None:
    """These alarms and no other."""
    assert ringing(template, fault) == alarms


@pytest.mark.parametrize("fault", SILENT.values(), ids=SILENT)
def test_what_is_no_fault_is_silent(template: Template, fault: Fault) -> None:
    """Nobody is woken, and nothing rolled back."""
    assert ringing(template, fault) == set()


def test_its_own_faults_alone_roll_a_deployment_back(template: Template) -> None:
    """What a PBX, the database or the version before does meanwhile is none; by the table."""
    guards = {name.removesuffix("Alarm") for name in rolls_back(template)}
    assert {fault for fault, (_, alarms) in FAULTS.items() if alarms & guards} == ROLLING_BACK


def test_every_alarm_has_a_fault(template: Template) -> None:
    """Of the new versions' own two stand for all, whose text is alike."""
    shown = set().union(*(alarms for _, alarms in FAULTS.values()))
    every = {n.removesuffix("Alarm") for n in template.of_type("AWS::CloudWatch::Alarm")}
    assert {name for name in every - shown if not name.endswith("Version")} == set()


def test_the_rule_is_asked_by_its_name(template: Template) -> None:
    """The alarm's expression has it as text, which nothing else compares."""
    rule = template.resources["FailingHosts"]["Properties"]["RuleName"]["Fn::Sub"]
    (worst,) = template.resources["HostFailingAlarm"]["Properties"]["Metrics"]
    asked = f'INSIGHT_RULE_METRIC("{rule}", "MaxContributorValue")'
    assert worst["Expression"] == {"Fn::Sub": asked}


def test_a_rate_without_zeros_would_never_ring(template: Template) -> None:
    """A missing side makes the quotient miss: that is why both are written."""
    samples = Samples()
    for minute in range(MINUTES):
        samples.add(minute, "CallsFailed")
    assert not is_ringing(template, "CallsFailingAlarm", samples, range(60, MINUTES))


def test_docs_have_both_tables() -> None:
    """Word for word, and in this order."""
    told = [(fault, set(alarms.split(", "))) for fault, alarms in table(DOCS, "fault")]
    assert len(told) > 10
    paging = {name: {f"`{one}Alarm`" for one in alarms} for name, (_, alarms) in FAULTS.items()}
    assert told == list(paging.items())
    assert [row[0] for row in table(DOCS, "no fault")] == list(SILENT)


@pytest.mark.parametrize(
    ("error", "is_told"),
    [(ConnectFailed("Refused"), True), (UnknownExtension("No such extension"), False)],
)
def test_the_log_names_the_failing_host(
    monkeypatch: pytest.MonkeyPatch,
    template: Template,
    error: ServiceError,
    *,
    is_told: bool,
) -> None:
    """By the rule's own field, and not where the caller is to blame."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", records.append)
    LOG.addHandler(handler)
    try:
        _tell_failure(error, call_order("150", "79990000001"), HOSTS[0])
    finally:
        LOG.removeHandler(handler)
    (record,) = records
    found = getattr(record, rule_key(template), None)
    assert found == (HOSTS[0] if is_told else None)

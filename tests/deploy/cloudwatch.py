"""What CloudWatch makes of an alarm and made-up samples, by its documentation; not tried on it.

A missing value stays missing through arithmetic; SUM(METRICS()) adds what there is.
"""

from __future__ import annotations

import ast
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.deploy.template import Template


class Metric(NamedTuple):
    """A metric by its name and the values of its dimensions that tell it from others."""

    name: str
    of: str = ""


@dataclass
class Samples:
    """What was written, each with its minute; and the log's lines that name a failing host."""

    values: dict[Metric, list[tuple[int, float]]] = field(default_factory=dict)
    failed_hosts: list[tuple[int, str]] = field(default_factory=list)

    def add(self, minute: int, name: str, value: float = 1, of: str = "") -> None:
        """Write a value."""
        self.values.setdefault(Metric(name, of), []).append((minute, value))


def is_ringing(template: Template, name: str, samples: Samples, minutes: range) -> bool:
    """Tell whether an alarm rings at any of these minutes' ends."""
    alarm = template.resources[name]["Properties"]
    stays = False
    for end in minutes:
        breaching = _breaching(template, alarm, samples, end)
        if breaching is not None:
            stays = breaching >= alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
        if stays:
            return True
    return False


def _breaching(template: Template, alarm: dict[str, Any], samples: Samples, end: int) -> int | None:
    """Count the breaching periods before `end`; None: the alarm stays as it is."""
    compare: dict[str, Callable[[float, float], bool]] = {
        "GreaterThanThreshold": float.__gt__,
        "GreaterThanOrEqualToThreshold": float.__ge__,
    }
    threshold = alarm["Threshold"]
    if isinstance(threshold, dict):
        threshold = template.parameters[threshold["Ref"]]["Default"]
    period = period_of(alarm) // 60
    found = 0
    for turn in range(alarm["EvaluationPeriods"]):
        window = range(end - (turn + 1) * period, end - turn * period)
        value = _value(alarm, samples, window)
        if value is None:
            found += alarm["TreatMissingData"] == "breaching"
        elif math.isnan(value):
            return None
        else:
            found += compare[alarm["ComparisonOperator"]](float(value), float(threshold))
    return found


def period_of(alarm: dict[str, Any]) -> int:
    """Tell how long a period of an alarm is, in seconds."""
    if "Period" in alarm:
        return int(alarm["Period"])
    (period,) = {
        item["MetricStat"]["Period"] if "MetricStat" in item else item["Period"]
        for item in alarm["Metrics"]
        if "MetricStat" in item or "Period" in item
    }
    return int(period)


def _value(alarm: dict[str, Any], samples: Samples, window: range) -> float | None:
    """One period's value; None where it is missing, NaN where there is too little of it."""
    if "Metrics" not in alarm:
        stat = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return _statistic(_of(alarm), stat, samples, window, alarm)
    metrics = {
        item["Id"]: _statistic(
            _of(item["MetricStat"]["Metric"]), item["MetricStat"]["Stat"], samples, window, alarm
        )
        for item in alarm["Metrics"]
        if "MetricStat" in item
    }
    (expression,) = [item["Expression"] for item in alarm["Metrics"] if "Expression" in item]
    if isinstance(expression, dict):
        expression = expression["Fn::Sub"]
    return _evaluated(ast.parse(expression, mode="eval").body, metrics, samples, window)


def _of(metric: dict[str, Any]) -> Metric:
    dimensions = {item["Name"]: item["Value"] for item in metric["Dimensions"]}
    function = str(dimensions.get("FunctionName", {}).get("Fn::Sub", "")).rpartition("}-")[2]
    is_new = {"ExecutedVersion", "release"} & dimensions.keys()
    return Metric(metric["MetricName"], f"{function}:new" if is_new else function)


def _statistic(
    metric: Metric, stat: str, samples: Samples, window: range, alarm: dict[str, Any]
) -> float | None:
    values = sorted(v for minute, v in samples.values.get(metric, ()) if minute in window)
    if not values:
        return None
    if stat.startswith("p"):
        share = float(stat[1:]) / 100
        is_few = len(values) < 10 / (1 - share) - 1e-6
        if is_few and alarm.get("EvaluateLowSampleCountPercentile") == "ignore":
            return math.nan
        return values[min(len(values) - 1, math.ceil(len(values) * share) - 1)]
    return (
        math.fsum(values) if stat == "Sum" else {"Minimum": values[0], "Maximum": values[-1]}[stat]
    )


def _evaluated(  # noqa: PLR0911 - a return for each kind of word
    node: ast.expr, metrics: dict[str, float | None], samples: Samples, window: range
) -> float | None:
    def value(inner: ast.expr) -> float | None:
        return _evaluated(inner, metrics, samples, window)

    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return metrics[name]
        case ast.BinOp(left=left, op=operator, right=right):
            return _calculated(operator, value(left), value(right))
        case ast.Compare(left=left, ops=[ast.GtE()], comparators=[right]):
            one, other = value(left), value(right)
            return None if one is None or other is None else float(one >= other)
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            holds = value(condition)
            return None if holds is None else value(then if holds else otherwise)
        case ast.Call(func=ast.Name(id="SUM")):
            found = [number for number in metrics.values() if number is not None]
            return math.fsum(found) if found else None
        case ast.Call(
            func=ast.Name(id="INSIGHT_RULE_METRIC"),
            args=[_, ast.Constant(value="MaxContributorValue")],
        ):
            hosts = Counter(host for minute, host in samples.failed_hosts if minute in window)
            return float(max(hosts.values())) if hosts else None
    raise AssertionError(ast.dump(node))


def _calculated(operator: ast.operator, one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    match operator:
        case ast.Add():
            return one + other
        case ast.Mult():
            return one * other
        case ast.Div():
            return one / other if other else None
    raise AssertionError(operator)


def rule_key(template: Template) -> str:
    """Name the log's field by which failing hosts are counted."""
    body = template.resources["FailingHosts"]["Properties"]["RuleBody"]["Fn::Sub"]
    rule = json.loads(body)
    assert rule["AggregateOn"] == "Count"
    (key,) = rule["Contribution"]["Keys"]
    return str(key).removeprefix("$.")

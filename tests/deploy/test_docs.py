"""docs/deploy.md says what template.yaml does: its numbers and names are counted there."""

from __future__ import annotations

import re

from shared.settings import Settings
from tests.deploy.template import ROOT, Template, load_template, parse
from tests.deploy.test_template import metrics_of, reserved
from tests.unit.test_readme import table

DOCS = (ROOT / "docs/deploy.md").read_text("utf-8")


def concurrency(template: Template, folder: str) -> int:
    """How many of a function run at once by default."""
    values = {name: item.get("Default") for name, item in template.parameters.items()}
    return reserved(template, folder, values)


def test_alarms_are_listed() -> None:
    """Each with what it means, and none that is not there."""
    listed = set(re.findall(r"^\| `(\w+Alarm)` \|", DOCS, re.MULTILINE))
    alarms = set(load_template().of_type("AWS::CloudWatch::Alarm"))
    of_versions = {name for name in alarms if name.endswith("VersionAlarm")}
    # They are alike, and one line tells of all.
    assert listed == alarms - of_versions | {"HangupVersionAlarm"}
    assert f"and so for each of the {len(of_versions)} functions" in DOCS


def test_alarms_are_counted() -> None:
    """They are paid for by their metrics."""
    template = load_template()
    for is_optional, paid in ((False, "alarms"), (True, "alarms of theirs")):
        alarms = [
            alarm
            for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items()
            if template.is_optional(name) == is_optional
        ]
        # A rule's metric is one too.
        metrics = sum(len(metrics_of(alarm)) or 1 for alarm in alarms)
        told = f"| {paid} | {len(alarms)}, of {metrics} metrics | {metrics * 0.10:.2f} |"
        assert told in DOCS


def test_own_metrics_are_counted() -> None:
    """Each name and each value of a dimension is one."""
    shown = {
        tuple(metric[1:-1])
        for widget in load_template().widgets("Dashboard")
        for metric in widget["properties"].get("metrics", [])
        if metric[0] == "${AWS::StackName}"
    }
    assert f"| {len(shown)} of the service | {len(shown) * 0.30:.2f} |" in DOCS


def test_snapshots_are_counted() -> None:
    """Each function keeps one of its size."""
    template = load_template()
    for is_optional, whose in (
        (False, "all functions; `SnapStart=None` saves it"),
        (True, "both functions"),
    ):
        memory_gb = (
            sum(
                function["MemorySize"]
                for function in template.functions.values()
                if template.is_optional(function["Logical"]) == is_optional
            )
            / 1024
        )
        cost = memory_gb * 30 * 86_400 * 0.0000015046
        assert f"| {memory_gb:g} GB kept, {whose} | {cost:.2f} |" in DOCS


def test_executions_are_counted() -> None:
    """By default so many at once, with so many connections."""
    template = load_template()
    groups = {folder: template.groups(folder) for folder in template.functions}
    every = sum(concurrency(template, folder) for folder in groups)
    database = sum(concurrency(template, f) for f, group in groups.items() if group)
    # Of trackers one has a PBX; the watchdog connects to none.
    ssh = 1 + sum(
        concurrency(template, folder)
        for folder, group in groups.items()
        if "PbxAccess" in group and folder not in {"tracker", "watchdog"}
    )
    pools = 2 * Settings().postgres_pool_size
    rows = (
        f"both versions | {database} |",
        f"last request | {database} |",
        f"replaced | {pools} |",
    )
    assert all(row in DOCS for row in rows)
    assert f"| **{2 * database + pools + 2 + 3}** |" in DOCS
    assert f"| {every} executions at once" in DOCS
    assert f"PostgreSQL: up to {database} by default" in DOCS
    assert f"up to {ssh} by\n  default" in DOCS


def test_parameters_and_resources_are_called_by_their_names() -> None:
    """What is written in code style and looks like one is one."""
    template = load_template()
    known = {*template.parameters, *template.resources, *template.outputs}
    for example in (ROOT / "deploy/examples").glob("*.yaml"):
        known |= parse(example)["Parameters"].keys()
    written = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:=\w+)?`", DOCS))
    assert len(written) > 10
    assert written <= known


def test_the_price_of_listeners_is_the_sum_of_its_parts() -> None:
    """And its units are those of the arithmetic beside them."""
    section = DOCS.partition("**What 1,000 listeners cost**")[2].partition("The same by long")[0]
    rows = {row[0]: float(row[2].strip("*")) for row in table(section, "a month")}
    total = rows.pop("**sum**")
    assert round(sum(rows.values()), 2) == total
    gb_s = 0.0000166667
    assert rows == {
        "connections": round(1_000 * 43_200 * 0.25e-6, 2),
        "pings, one in nine minutes, and their answers": round(2 * 4.8, 2),
        "pings, Lambda": round(4.8 * 0.20 + 48_000 * gb_s, 2),
        "events": 1.40,
        "pings, whether that connection is still told": round(4.8 * 0.125, 2),
        "outbox": round(700_000 * 2 * 0.625e-6, 2),
        "connections found": round(0.7 * 0.125, 2),
        "push, Lambda": round(0.7 * 0.20 + 17_500 * gb_s, 2),
        "opened anew, once in two hours": round(0.72 * 0.20 + 7_200 * gb_s + 0.72 * 0.625, 2),
    }

"""The dashboard answers what is asked at three in the morning, and few metrics are paid for."""

from __future__ import annotations

import ast
import re
from typing import Any, get_args

from shared import measures
from shared.asterisk.models import Reason
from shared.metrics.families import FAMILIES
from tests.deploy.template import ROOT, load_template
from tests.unit.test_layers import MODULES

DOCS = (ROOT / "docs/deploy.md").read_text("utf-8")
# What may be a dimension, and how many values it has: each is a metric that is paid for.
DIMENSIONS: dict[str, int] = {"reason": len(get_args(Reason)), "release": 1}
# Our own words, and of a PBX its address: an operator's. What callers choose has no end.
LABELS = {
    *("route", "method", "status", "code", "phase", "reason", "transport", "outcome", "kind"),
    *("release", "version", "role", "use", "state", "eid", "pbx", "component"),
}


def widgets() -> dict[str, dict[str, Any]]:
    """The dashboard's, by their titles."""
    return {
        widget["properties"]["title"]: widget["properties"]
        for widget in load_template().widgets("Dashboard")
        if "title" in widget["properties"]
    }


def test_each_question_is_answered_by_what_is_there() -> None:
    """Its first words name the widgets where the answers are."""
    (text,) = [w for w in load_template().widgets("Dashboard") if w["type"] == "text"]
    said = text["properties"]["markdown"]
    answers = dict(re.findall(r"[*]{2}([^*]+[?])[*]{2} ([^.]+)[.]", said))
    assert set(answers) == {
        *("Are calls being placed?", "Is any PBX away?", "What is slow?", "What do we pay?"),
    }
    for named in ", ".join(answers.values()).split(", "):
        assert any(title.startswith(named) for title in widgets()), named


def test_no_widget_lies_over_another() -> None:
    """Each has its own place in a grid of 24."""
    taken: set[tuple[int, int]] = set()
    for widget in load_template().widgets("Dashboard"):
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken, widget["properties"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_what_is_paid_is_reckoned_by_the_prices_of_the_docs() -> None:
    """Each function by its memory; the list prices are docs/deploy.md's."""
    pay = widgets()["Dollars an hour, about: what is paid by use"]
    time, requests, logs = (row[0]["expression"] for row in pay["metrics"][:3])
    counted = dict(re.findall(r"FILL[(](\w+), 0[)] [*] ([0-9.]+)", time))
    template = load_template()
    assert counted == {
        name: f"{function['MemorySize'] / 1024:g}"
        for name, function in template.functions.items()
        if "Condition" not in template.resources[function["Logical"]]
    }
    (per_gb_s,) = re.findall(r"million\s+requests and [$]([0-9.]+) per GB-s", DOCS)
    assert f"{float(per_gb_s) / 1000:.13f}" in time, "durations are milliseconds"
    assert requests.endswith("* 0.000001")
    assert "HTTP API $1.00 per million" in DOCS
    assert logs.endswith("* 0.0000000005")
    assert "logs $0.50 per GB" in DOCS


def test_no_dimension_has_values_without_end() -> None:
    """What is counted for CloudWatch has few dimensions, whose values are few."""
    used = {
        str(keyword.arg)
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "count"
        for keyword in node.keywords
    }
    assert {"reason", "release"} <= used <= DIMENSIONS.keys()
    most = len(get_args(measures.Metric)) + sum(DIMENSIONS.values())
    assert most < 50


def test_no_label_of_prometheus_has_values_without_end() -> None:
    """None is an enterprise's, a call's, a number, an extension or an address of a client."""
    used = {label for family in FAMILIES for label in family.labels}
    assert "pbx" in used
    assert used <= LABELS

"""docs/check.md is the code's own: every line that `check` can say, and what helps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from shared.errors import ServiceError
from shared.operate import hostlines, lines
from shared.operate.findings import MARKS, Line
from tests.describe import remedies
from tests.unit.test_readme import table

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "check.md").read_text("utf-8")
OPERATE = (ROOT / "docs" / "operate.md").read_text("utf-8")
ROOM = ROOT / "shared" / "operate"
LINES = {
    name: line
    for module in (lines, hostlines)
    for name, line in vars(module).items()
    if isinstance(line, Line)
}
# Their sentences say themselves what to do.
OF_ITSELF = {"DOUBT"}


def test_every_line_is_in_the_table() -> None:
    """In the code's order, with its state, its words and its remedy; and no other."""
    listed = [tuple(row) for row in table(DOCS, "line")]
    assert listed == [
        (line.name, MARKS[line.state], line.detail, line.remedy) for line in LINES.values()
    ]


def test_every_error_of_a_pbx_that_has_a_remedy_is_in_the_table() -> None:
    """By its code, with the first sentence of its class."""
    assert [tuple(row) for row in table(DOCS, "code")] == list(remedies())


def test_what_is_looked_at_is_explained() -> None:
    """Each name that a line may have, once."""
    told = {row[0]: row[1] for row in table(DOCS, "looked at")}
    assert list(told) == list(dict.fromkeys(line.name for line in LINES.values()))
    assert all(told.values())


@pytest.mark.parametrize("name", LINES)
def test_what_is_not_good_has_a_remedy(name: str) -> None:
    """Bad or a warning; what is good or skipped has none."""
    line = LINES[name]
    assert bool(line.remedy) == (line.state in {"bad", "warning"} and name not in OF_ITSELF)


def test_no_two_lines_are_told_by_the_same_words() -> None:
    """Of one name and one state; what the PBX's own words fill has a remedy that tells it apart."""
    said = [(line.name, line.state, line.detail, line.remedy) for line in LINES.values()]
    assert len(set(said)) == len(said)


def test_check_says_nothing_else() -> None:
    """No finding is made but of a line, and each line by somebody."""
    makers, named = set(), set()
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                makers.add(path.name)
            if isinstance(node, ast.Attribute):
                named.add(node.attr)
    assert makers == {"findings.py"}
    assert set(LINES) <= named


def test_every_error_that_has_a_remedy_is_one() -> None:
    """None hides behind another: of two that an error is, the nearer stands first."""
    kinds = list(hostlines.REMEDIES)
    for later, kind in enumerate(kinds):
        assert issubclass(kind, ServiceError)
        assert not [one for one in kinds[:later] if issubclass(kind, one)]


def pattern(line: Line) -> re.Pattern[str]:
    """Match the line as it is printed, whatever fills its gaps."""
    text = f"{MARKS[line.state]} {line.name}: {line.detail}"
    if line.remedy:
        text += f". {line.remedy}"
    return re.compile(".*".join(map(re.escape, re.split(r"\{\w+\}", text))))


def test_the_example_of_the_readme_says_what_check_says() -> None:
    """Each of its lines is one of the table's."""
    example = re.findall(r"^(?:✅|⚠️|❌|➖) [^:`]+: .*$", OPERATE, re.MULTILINE)
    assert len(example) > 15
    patterns = [pattern(line) for line in LINES.values()]
    assert not [said for said in example if not any(one.fullmatch(said) for one in patterns)]

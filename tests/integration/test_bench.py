"""What measures the service starts; nothing here looks at what it measures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.figures import percentile, ratio_of
from bench.marks import POINTS, Point
from bench.part import NAMES
from bench.report import Result, Table, page
from tests.integration.service import ROOT


def run_bench(*arguments: str) -> str:
    """Run it as a person does; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_part_is_told_of() -> None:
    """`--help` names each, and each can be imported and says what may be asked of it."""
    told = run_bench("--help")
    assert [name for name in NAMES if f"\n    {name}" not in told] == []


def test_a_part_measures() -> None:
    """One that needs a database alone prints its table."""
    told = run_bench("retention", "--old", "50", "--orders", "16")
    assert "beside a sweep" in told


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    """So great a share of them does not exceed it."""
    assert expected == percentile(list(range(1, 101)), share)


def test_a_ratio_lies_within_its_spread() -> None:
    """What is twice as slow in each round is twice as slow, and nothing else."""
    ours = [float(value) for value in range(20, 40)]
    told = ratio_of(ours, [value / 2 for value in ours])
    assert told.least <= told.value <= told.most
    assert told.value == pytest.approx(2.0)


def test_the_page_has_every_table() -> None:
    """With its date, its machine and its note; a bar in a name breaks no table."""
    table = Table("Calls", ("service", "ms"), [("a|b", 1.5), ("c", None)], "Of 3 calls.")
    told = page([Result("calls", "s", "2026-11-28", "2 cores", "Python", {"rounds": 3}, [table])])
    assert "| a\\|b | 1.50 |\n| c | - |" in told
    assert "2026-11-28; 2 cores; Python; rounds 3." in told
    assert "Of 3 calls." in told


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_what_is_marked_is_there(point: Point) -> None:
    """A function that moved would be a hop that nobody misses."""
    holder, name = point.holder()
    assert callable(getattr(holder, name))

"""What measures the service starts; nothing here looks at what it measures."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bench import report
from bench.figures import percentile, ratio_of
from bench.marks import POINTS, Point
from bench.part import NAMES
from bench.parts.hops import WHOLE
from bench.relay import delaying
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
    """It starts a database, a stand-in PBX and the service with marks, and prints its table."""
    told = run_bench("hops", "--pbx", "standin", "--rounds", "2", "--gap-ms", "0")
    assert "the PBX is asked to originate" in told
    assert WHOLE in told


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


def test_what_was_found_is_kept_beside_what_was_found_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that runs again replaces its own tables; the page, the numbers, the picture."""
    for name in ("PAGE", "NUMBERS", "PICTURE"):
        monkeypatch.setattr(report, name, tmp_path / name)
    for part, ms in (("calls", 1.0), ("hops", 2.0), ("calls", 3.0)):
        table = Table(part, ("what", "ms"), [("it", ms)], drawn="ms")
        report.write([Result(part, "s", "2026-11-28", "2 cores", "Python", {}, [table])])
    told = (tmp_path / "PAGE").read_text("utf-8")
    assert told.count("\n## calls: ") == told.count("\n## hops: ") == 1
    assert "| it | 3.00 |" in told
    assert "| it | 2.00 |" in told
    assert "| it | 1.00 |" not in told
    assert (tmp_path / "PICTURE").read_text("utf-8").count("<rect") == 2


@pytest.mark.anyio
async def test_what_is_far_away_comes_whole_and_in_order() -> None:
    """Both ways, and the end after all that was sent."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        delaying(server.sockets[0].getsockname()[1], 0.002) as port,
        asyncio.timeout(60),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = b"".join(b"%d " % number for number in range(5_000))
        for begin in range(0, len(sent), 997):
            writer.write(sent[begin : begin + 997])
            await asyncio.sleep(0)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()
        await writer.wait_closed()

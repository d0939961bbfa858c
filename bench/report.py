"""What the measurements found: tables for people, JSON for programs, all of it in one page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.picture import draw

FOLDER = Path(__file__).parent
PAGE, NUMBERS, PICTURE = (FOLDER / name for name in ("RESULTS.md", "results.json", "results.svg"))

Cell: TypeAlias = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table; the first column names a row. `note` says what one must know to read it.

    `drawn` is the column that the picture shows, if any.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    drawn: str | None = None


@dataclass(frozen=True)
class Result:
    """What one part found, when and where."""

    part: str
    summary: str
    date: str
    machine: str
    versions: str
    parameters: dict[str, Any]
    tables: Sequence[Table]


def as_text(table: Table) -> str:
    """Render a table for a terminal."""
    rows = [list(table.columns), *([_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"\n{table.title}", *lines, *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    """Render a table for the page."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [[_cell(cell).replace("|", "\\|") for cell in row] for row in table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines[1] = "|" + "---|" * len(table.columns)
    note = f"\n{table.note}\n" if table.note else ""
    return "\n".join([f"### {table.title}", "", *lines, note])


def write(results: Iterable[Result]) -> None:
    """Keep what was found beside what earlier runs found of other parts."""
    kept = json.loads(NUMBERS.read_text("utf-8")) if NUMBERS.exists() else {}
    kept |= {result.part: asdict(result) for result in results}
    NUMBERS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    told = [
        Result(**{**one, "tables": [Table(**table) for table in one["tables"]]})
        for one in kept.values()
    ]
    drawn = [table for result in told for table in result.tables if table.drawn]
    PICTURE.write_text(draw([_bars(table) for table in drawn]), "utf-8")
    PAGE.write_text(page(told), "utf-8")


def page(results: Sequence[Result]) -> str:
    """Render all of it."""
    parts = [
        "# Results",
        "",
        "Written by `python -m bench --write`. What follows from it says",
        "[docs/scaling.md](../docs/scaling.md).",
        "",
        "Ratios come with what lies between the 2.5th and the 97.5th percentile of 400 drawings.",
        "",
        f"![The figures as bars]({PICTURE.name})",
        "",
    ]
    for result in results:
        asked = ", ".join(f"{name} {value}" for name, value in result.parameters.items())
        parts += [
            f"## {result.part}: {result.summary}",
            "",
            f"{result.date}; {result.machine}; {result.versions}"
            + (f"; {asked}" if asked else "")
            + ".",
            "",
            *(as_markdown(table) for table in result.tables),
        ]
    return "\n".join(parts).rstrip() + "\n"


def _bars(table: Table) -> tuple[str, list[tuple[str, float]]]:
    column = list(table.columns).index(table.drawn or "")
    bars = [(str(row[0]), _number(row[column])) for row in table.rows]
    return f"{table.title}: {table.drawn}", [(name, value) for name, value in bars if value >= 0]


def _number(cell: Cell) -> float:
    """Read a cell; what is none is below every bar."""
    if isinstance(cell, str | None):
        cell = (cell or "").split(" ")[0]
        try:
            return float(cell)
        except ValueError:
            return -1.0
    return float(cell)


def _cell(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        if abs(cell) >= 100:  # noqa: PLR2004 - beyond that a fraction says nothing
            return f"{cell:,.0f}"
        return f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"  # noqa: PLR2004 - likewise
    return f"{cell:,}" if isinstance(cell, int) else cell

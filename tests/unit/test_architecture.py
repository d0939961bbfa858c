"""docs/architecture.md is the code's own: its rooms, its sentences, its table, its picture."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.unit.test_layers import GROUND, MAY_IMPORT
from tests.unit.test_readme import table

_LONG = 300

Check: TypeAlias = Callable[[str], Iterator[str]]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def first_sentence(path: Path) -> str:
    """Read the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, path
    return docstring.splitlines()[0]


def check_rooms(page: str) -> Iterator[str]:
    """Yield each room, or module of the ground, that the page does not tell in its own words."""
    rooms = {f"`{path.parent.name}`": path for path in ROOT.glob("shared/*/__init__.py")}
    ground = {f"`{name.split('.')[1]}`": ROOT / f"{name.replace('.', '/')}.py" for name in GROUND}
    for head, existing in (("room", rooms), ("module", ground)):
        told = [tuple(row) for row in table(page, head)]
        wanted = {(name, first_sentence(path)) for name, path in existing.items()}
        yield from (f"{name}: {sentence}" for name, sentence in set(told) ^ wanted)
        yield from (f"{row} twice" for row in set(told) if told.count(row) > 1)


def check_ground(page: str) -> Iterator[str]:
    """Yield each folder or module of shared/ that is neither a room nor of the ground."""
    told = {row[0].strip("`") for head in ("room", "module") for row in table(page, head)}
    for path in (ROOT / "shared").iterdir():
        is_code = path.suffix == ".py" or any(path.glob("*.py"))
        if is_code and path.stem not in told | {"__init__"}:
            yield path.name


def check_imports(page: str) -> Iterator[str]:
    """Yield each room whose row is not that of the table which the imports are held to."""
    told = {row[0]: row[1] for row in table(page, "importer")}
    wanted = {room: ", ".join(allowed) or "nothing" for room, allowed in MAY_IMPORT.items()}
    yield from (f"{room}: {allowed}" for room, allowed in told.items() ^ wanted.items())


def below(room: str) -> set[str]:
    """Collect the rooms that a room may import, by whatever way."""
    return set(MAY_IMPORT[room]).union(*map(below, MAY_IMPORT[room]))


def check_picture(page: str) -> Iterator[str]:
    """Yield each arrow that is drawn and not allowed, or allowed, not drawn and not made up."""
    drawn = {
        (importer, imported)
        for importer, all_imported in re.findall(r"^  (\w+) --> ([\w &]+)$", page, re.MULTILINE)
        for imported in all_imported.split(" & ")
    }
    wanted = {
        (room, imported)
        for room, allowed in MAY_IMPORT.items()
        for imported in allowed
        if not any(imported in below(other) for other in allowed)
    }
    yield from (f"{importer} --> {imported}" for importer, imported in drawn ^ wanted)


def check_paths(page: str) -> Iterator[str]:
    """Yield each path that does not exist; NAME is any name."""
    paths = re.findall(r"`([\w./]+(?:/|/[\w.]+|\.py|\.md|\.yaml))`", page)
    for path in paths:
        if not any(ROOT.glob(path.replace("NAME", "*"))):
            yield path


def check_tasks(page: str) -> Iterator[str]:
    """Yield each task whose files are not as many as it says."""
    for task, count, which in table(page, "task"):
        named = re.split(r", (?:and )?", which.partition(";")[0])
        if len(named) != int(count):
            yield f"{task}: {named}"


def check_sizes(page: str) -> Iterator[str]:
    """Yield each long module without a reason, and each that is not about as long as is said."""
    folders = ("shared", "functions", "demo", "deploy", "bench")
    paths = [
        *ROOT.glob("*.py"),
        *(path for name in folders for path in ROOT.glob(f"{name}/**/*.py")),
    ]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in paths
        if (lines := len(path.read_text("utf-8").splitlines())) > _LONG
    }
    told = {row[0].strip("`"): int(row[1]) for row in table(page, "long module")}
    yield from long.keys() ^ told.keys()
    for path, lines in told.items():
        if not lines - 50 < long.get(path, 0) <= lines + 10:
            yield f"{path}: {long.get(path, 0)}"


CHECKS = (
    check_rooms,
    check_ground,
    check_imports,
    check_picture,
    check_paths,
    check_tasks,
    check_sizes,
)


@pytest.mark.parametrize("check", CHECKS)
def test_page_is_the_codes_own(check: Check) -> None:
    """Nothing that the page says of the rooms is missing, invented or out of date."""
    assert list(check(PAGE)) == []


@pytest.mark.parametrize(
    ("check", "old", "new", "found"),
    [
        (check_rooms, "| `auth` | Who asks, and may they. |\n", "", "auth"),
        (check_rooms, "Who asks, and may they.", "Who asks.", "auth"),
        (check_rooms, "| `errors` | Every way", "| `errors` | Each way", "errors"),
        (check_rooms, "| `auth` |", "| `identity` |", "identity"),
        (check_ground, "| `store` | PostgreSQL: the only store. |\n", "", "store"),
        (check_imports, "| http | models, aws |\n", "", "http"),
        (check_imports, "| ssh | nothing |", "| ssh | aws |", "ssh"),
        (check_picture, "  following --> pbx\n", "", "following --> pbx"),
        (check_picture, "following --> pbx", "following --> pbx & history", "history"),
        (check_picture, "asterisk --> models", "asterisk --> ssh", "ssh"),
        (check_paths, "shared/calls/placing.py", "shared/calls/dialling.py", "dialling"),
        (check_paths, "functions/NAME/handler.py", "functions/NAME/handle.py", "NAME"),
        (check_paths, "`shared/store/schema`", "`shared/store/tables`", "tables"),
        (check_paths, "`template.yaml`, `docs/api.md` |", "`templates.yaml` |", "templates"),
        (check_sizes, "| `shared/errors.py` | 630 |", "| `shared/error.py` | 630 |", "error"),
        (check_sizes, "| `shared/errors.py` | 630 |", "| `shared/errors.py` | 330 |", "errors"),
        (check_tasks, "| an error code | 2 |", "| an error code | 1 |", "an error code"),
    ],
)
def test_a_page_that_lies_is_found_out(check: Check, old: str, new: str, found: str) -> None:
    """A row removed, another sentence, a path of yesterday: the check that looks for it tells."""
    assert old in PAGE
    assert any(found in complaint for complaint in check(PAGE.replace(old, new, 1)))

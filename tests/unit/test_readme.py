"""The documents' tables are the code's own: settings, errors, endpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from asterisk import app
from demo.numbers import AGENTS, CUSTOMERS
from shared import errors
from shared.description.problem import OF_HTTP
from shared.errors import ServiceError
from shared.operate.__main__ import _parser
from shared.settings import Rate, Settings
from tests.describe import TABLES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
API, SETTINGS, OPERATE, SECURITY = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    for name in ("api", "settings", "operate", "security")
)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUSSIAN = (ROOT / "docs" / "ru.md").read_text("utf-8")


def table(text: str, head: str) -> Iterator[list[str]]:
    """Yield the rows of the table whose first column is headed so."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {head} |"):
            break
    assert re.fullmatch(r"(\|---)+\|", next(lines))
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def shown(default: object) -> str:
    """Write a default as an operator would write it into the environment."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, Rate):
        return f"{default.count}/{default.per_s}"
    if default is None:
        return "off"
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default)


def test_settings_are_those_of_the_code() -> None:
    """Every variable in its order, its default and its description, and no other."""
    listed = [tuple(row) for row in table(SETTINGS, "variable")]
    expected = []
    for name, field in Settings.model_fields.items():
        default = shown(field.default)
        expected.append((f"`{name.upper()}`", default and f"`{default}`", field.description))
    assert listed == expected


def test_defaults_in_the_table_are_what_they_say() -> None:
    """Each default, read from the environment as it is written, is the default."""
    written = {row[0].strip("`"): row[1].strip("`") for row in table(SETTINGS, "variable")}
    assert Settings.from_environment(written) == Settings.from_environment({})


@cache
def raised() -> set[str]:
    """Find the classes that something shipped makes an error of."""
    made = set()
    for path in (*ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            thrown = node.exc if isinstance(node, ast.Raise) else node
            if isinstance(thrown, ast.Call) and isinstance(thrown.func, ast.Name):
                made.add(thrown.func.id)
            elif isinstance(node, ast.Raise) and isinstance(thrown, ast.Name):
                made.add(thrown.id)
    return made


def codes() -> dict[str, int]:
    """Collect every code that an answer may have, with its status."""
    found = {code: one.status for code, one in OF_HTTP.items()}
    waiting: list[type[ServiceError]] = [ServiceError]
    names = raised()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        # A broken exchange of the console is an outcome-unknown by another name.
        is_made = error.__name__ in names or error is errors.OutcomeUnknown
        if is_made and error.__module__ == errors.__name__:
            found[error.code] = error.status
    return found


def test_error_codes_are_those_of_the_code() -> None:
    """Every code that can be answered, with its status, once; and none that cannot."""
    rows = list(table(API, "code"))
    listed = {row[0].strip("`"): int(row[1]) for row in rows}
    assert listed == codes()
    assert len(rows) == len(listed)


@pytest.mark.parametrize(("page", "first", "rows"), TABLES)
def test_a_table_is_what_the_code_says(
    page: Path, first: str, rows: Callable[[], Iterable[tuple[str, ...]]]
) -> None:
    """`python -m tests.describe` writes it anew."""
    assert [tuple(row) for row in table(page.read_text("utf-8"), first)] == list(rows())


def test_codes_from_http_are_those_of_the_code() -> None:
    """Those that are not HTTP's own phrases are written out in the code."""
    text = "".join(p.read_text("utf-8") for p in (ROOT / "shared" / "http").glob("*.py"))
    for code in set(OF_HTTP) - {"not-found", "method-not-allowed"}:
        assert f'"{code}"' in text


def endpoints() -> dict[str, list[dict[str, Any]]]:
    """Give each endpoint, as `METHOD /path`, the parameters of its query."""
    return {
        f"{method.upper()} {path}": [p for p in told.get("parameters", ()) if p["in"] == "query"]
        for path, methods in app.openapi()["paths"].items()
        for method, told in methods.items()
    }


@pytest.mark.parametrize(("text", "head"), [(API, "endpoint"), (RUSSIAN, "запрос")])
def test_endpoints_are_those_of_the_code(text: str, head: str) -> None:
    """Each endpoint once, in both languages; a query names what the endpoint needs and takes."""
    existing, listed = endpoints(), []
    for row in table(text, head):
        match = re.match(r"`([A-Z]+ /[^`?]*)(?:\?([^`]*))?`", row[0])
        assert match is not None, row
        endpoint, query = match.groups()
        listed.append(endpoint)
        named = {part.removesuffix("=") for part in query.split("&")} if query else set()
        assert named <= {parameter["name"] for parameter in existing[endpoint]}
        assert named >= {p["name"] for p in existing[endpoint] if p["required"]}
    assert sorted(listed) == sorted(existing)


def test_the_numbers_to_try_are_those_of_the_stand_in() -> None:
    """In both languages; that they do so is for tests/integration/test_numbers.py to prove."""
    numbers = (*CUSTOMERS, *AGENTS)
    assert list(table(README, "number")) == [
        [f"`{n.number}`", n.does, f"`{n.ends}`"] for n in numbers
    ]
    told = [[f"`{n.number}`", n.does_ru, f"`{n.ends}`"] for n in numbers]
    assert list(table(RUSSIAN, "номер")) == told


def test_every_variable_that_is_named_exists() -> None:
    """A setting that the texts speak of is one of the table's, or a script's own."""
    own = {"CLIENT_ID", "ENV_FILE", "TEST_CODE", "TEST_PHONE", "SAM_BUILD"}
    own |= {"SERVICE_LIMIT_S", "ON_ERROR_STOP"}
    families = {"POSTGRES_", "RATE_LIMIT_", "OPEN_CALLS_", "DESTINATIONS_"}
    known = {name.upper() for name in Settings.model_fields} | own | families
    for text in (README, RUSSIAN, API, OPERATE, SECURITY):
        named = set(re.findall(r"`?\b([A-Z]+(?:_[A-Z]*)+)(?=[=*`. ])", text))
        assert named <= known, named - known


def test_every_option_of_a_rule_that_is_named_exists() -> None:
    """The examples of `rules` and `keys` are command lines that they take."""
    lines = re.findall(r"^\$ \./asterisk\.sh ((?:rules|keys) [^#\n]+)", SECURITY, re.MULTILINE)
    assert len(lines) > 2
    for line in lines:
        assert _parser().parse_args(line.split()).enterprise


@pytest.mark.parametrize("text", [CONTRIBUTING])
def test_every_run_of_the_tests_that_is_named_exists(text: str) -> None:
    """What `tests/run` is told to do in the texts is what it lists, and what it does."""
    script = (ROOT / "tests" / "run").read_text("utf-8")
    (cases,) = re.findall(r"^    ((?:\w+ \| )+all)\)$", script, re.MULTILINE)
    listed = set(re.findall(r"^  ([a-z]+) {2,}\S", script, re.MULTILINE))
    named = set(re.findall(r"\btests/run(?: ([a-z-]+))?`", text)) - {""}
    assert len(named) > 2
    assert named - {"--help"} <= listed == set(cases.split(" | "))


def anchors(page: Path) -> set[str]:
    """Collect what a link may lead to in a page: its headings, as they are made addresses of."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_project_leads_somewhere(page: Path) -> None:
    """A file that is linked is there, and so is its heading."""
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text("utf-8")):
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), path
        assert not anchor or anchor in anchors(linked), f"{path}#{anchor}"


def console(text: str) -> list[str]:
    """What the console blocks of a text show, without what follows a command's `#`."""
    blocks = re.findall(r"^```(?:console|sql)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r" +# .*$|'[^']*' *, true", "", block, flags=re.MULTILINE) for block in blocks]


def test_both_languages_say_the_same() -> None:
    """As far as the Russian page's own details: headings, commands and answers, and tables."""
    russian, _, _ = RUSSIAN.partition("# Подробно")
    assert console(russian) == console(README)
    assert len(console(README)) == 5
    for shape in (r"^#+ ", r"^\|", r"^- \*\*"):
        counts = [len(re.findall(shape, text, re.MULTILINE)) for text in (russian, README)]
        assert counts[0] == counts[1], shape


def test_the_readme_is_a_page_and_a_half() -> None:
    """Whoever wants more reads on: it stays short."""
    assert len(README.splitlines()) < 130

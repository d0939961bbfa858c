"""The documents' tables are the code's own: settings, errors, endpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from functions.calls.handler import router as calls
from functions.extensions.handler import router as extensions
from functions.hangup.handler import router as hangup
from functions.health.handler import router as health
from functions.history.handler import router as history
from functions.makecallexternal.handler import router as makecallexternal
from functions.monitor.handler import router as monitor
from functions.status.handler import router as status
from functions.transfer.handler import router as transfer
from shared import errors
from shared.errors import ServiceError
from shared.operate import _parser
from shared.settings import Rate, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
RUSSIAN = (ROOT / "docs" / "ru.md").read_text("utf-8")

# Errors that no class of the tree stands for: web.py makes them from HTTP itself, or of a crash.
FROM_HTTP = {
    "not-found": 404,
    "method-not-allowed": 405,
    "body-too-large": 413,
    "internal-error": 500,
}


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
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default)


def test_settings_are_those_of_the_code() -> None:
    """Every variable in its order, its default and its description, and no other."""
    listed = [tuple(row) for row in table(README, "variable")]
    expected = []
    for name, field in Settings.model_fields.items():
        default = shown(field.default)
        expected.append((f"`{name.upper()}`", default and f"`{default}`", field.description))
    assert listed == expected


def test_defaults_in_the_table_are_what_they_say() -> None:
    """Each default, read from the environment as it is written, is the default."""
    written = {row[0].strip("`"): row[1].strip("`") for row in table(README, "variable")}
    assert Settings.from_environment(written) == Settings.from_environment({})


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
    found = dict(FROM_HTTP)
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
    rows = list(table(README, "code"))
    listed = {row[0].strip("`"): int(row[1]) for row in rows}
    assert listed == codes()
    assert len(rows) == len(listed)
    assert all(len(row) == 3 and row[2] for row in rows)


def test_codes_from_http_are_those_of_the_code() -> None:
    """The two that are written out in web.py stand there; the others are HTTP's own phrases."""
    text = (ROOT / "shared" / "web.py").read_text("utf-8")
    assert '"body-too-large"' in text
    assert '"internal-error"' in text


def endpoints() -> dict[str, list[dict[str, Any]]]:
    """Give each endpoint, as `METHOD /path`, the parameters of its query."""
    app = FastAPI()
    for router in (
        *(makecallexternal, monitor, calls, hangup, transfer),
        *(extensions, history, health, status),
    ):
        app.include_router(router)
    return {
        f"{method.upper()} {path}": [p for p in told.get("parameters", ()) if p["in"] == "query"]
        for path, methods in app.openapi()["paths"].items()
        for method, told in methods.items()
    }


@pytest.mark.parametrize(("text", "head"), [(README, "endpoint"), (RUSSIAN, "запрос")])
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


def test_every_variable_that_is_named_exists() -> None:
    """A setting that the texts speak of is one of the table's, or one of the tests' own."""
    own = {"CLIENT_ID", "TEST_CODE", "TEST_PHONE", "SAM_BUILD"}
    families = {"POSTGRES_", "RATE_LIMIT_", "DESTINATIONS_"}
    known = {name.upper() for name in Settings.model_fields} | own | families
    for text in (README, RUSSIAN):
        named = set(re.findall(r"`?\b([A-Z]+(?:_[A-Z]*)+)(?=[=*`. ])", text))
        assert named <= known, named - known


def test_every_option_of_a_rule_that_is_named_exists() -> None:
    """The examples of `rules` are command lines that it takes."""
    lines = re.findall(r"^\$ \./asterisk\.sh (rules [^#\n]+)", README, re.MULTILINE)
    assert len(lines) > 2
    for line in lines:
        assert _parser().parse_args(line.split()).enterprise

"""Every line of the log that concerns a PBX has it as a field, by which it is found."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator

import pytest

from shared.telemetry import ENDING, AddIds, Ending, note_enterprise, of_host, of_pbx
from tests.unit.test_layers import MODULES

_LEVELS = {"debug", "info", "warning", "error", "exception", "log"}


def writes_host(node: ast.expr) -> bool:
    """Tell whether an argument is a PBX's address, by its name."""
    return any(
        (isinstance(inner, ast.Name) and inner.id == "host")
        or (isinstance(inner, ast.Attribute) and inner.attr in {"host", "_host"})
        for inner in ast.walk(node)
    )


def without_field(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of a module that log a PBX's address, and give no field."""
    for call in ast.walk(tree):
        match call:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="LOG"), attr=level)):
                extra = [word.value for word in call.keywords if word.arg == "extra"]
                given = "of_pbx(" in "".join(map(ast.unparse, extra))
                if level in _LEVELS and any(map(writes_host, call.args[1:])) and not given:
                    yield call.lineno


def test_whoever_writes_an_address_gives_it_as_a_field() -> None:
    """In shared/ and functions/, so that no line of a PBX is left out of what is found of it."""
    wrong = [
        f"{name}:{line}" for name, module in MODULES.items() for line in without_field(module.tree)
    ]
    assert wrong == []
    assert list(without_field(ast.parse('LOG.info("%s", self._host)'))) == [1]
    assert list(without_field(ast.parse('LOG.info("%s", host, extra=of_pbx(host))'))) == []


def filtered(**extra: object) -> object:
    """Log a line; the host that it has then."""
    record = logging.makeLogRecord({"msg": "made-up", **extra})
    AddIds().filter(record)
    return getattr(record, "host", None)


@pytest.fixture
def ending() -> Iterator[Ending]:
    """A request of an enterprise is served."""
    token = ENDING.set(Ending())
    note_enterprise("0367", "192.0.2.1")
    ending = ENDING.get()
    assert ending is not None
    yield ending
    ENDING.reset(token)


def test_a_requests_lines_have_its_enterprises_pbx(ending: Ending) -> None:
    """From the right secret on; while another one is asked, as by a tracker, that one's."""
    assert filtered() == "192.0.2.1"
    with of_host("192.0.2.2"):
        assert filtered() == "192.0.2.2"
        assert filtered(**of_pbx("192.0.2.3")) == "192.0.2.3"
    ending.host = ""
    assert filtered() is None

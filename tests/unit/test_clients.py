"""The clients of clients/ are of the API's version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asterisk_calls import answers

from shared.settings import VERSION

_CLIENTS = Path(__file__).parents[2] / "clients"


def test_both_have_the_apis_version() -> None:
    """Python's package takes its own from there too."""
    (js,) = re.findall(
        r'^export const VERSION = "(.+)"', (_CLIENTS / "js/calls.js").read_text(), re.MULTILINE
    )
    assert (answers.VERSION, js) == (VERSION, VERSION)


@pytest.mark.parametrize("path", sorted(_CLIENTS.rglob("*.[jp][sy]")), ids=lambda path: path.name)
def test_each_file_can_be_read_at_a_sitting(path: Path) -> None:
    """They are there to be copied and understood."""
    assert len(path.read_text("utf-8").splitlines()) < 300

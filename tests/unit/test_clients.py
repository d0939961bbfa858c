"""The clients of clients/ are of the API's version."""

from __future__ import annotations

import re
from pathlib import Path

import asterisk_calls
import pytest

from shared.settings import VERSION

_CLIENTS = Path(__file__).parents[2] / "clients"


def test_both_have_the_apis_version() -> None:
    """Python's package takes its own from there too."""
    (js,) = re.findall(
        r'^export const VERSION = "(.+)"', (_CLIENTS / "js/calls.js").read_text(), re.MULTILINE
    )
    assert (asterisk_calls.VERSION, js) == (VERSION, VERSION)


@pytest.mark.parametrize("client", ["js", "python"])
def test_each_can_be_read_at_a_sitting(client: str) -> None:
    """They are there to be copied and understood; all files of one together."""
    files = (_CLIENTS / client).rglob("*.[jp][sy]")
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) in range(100, 300)

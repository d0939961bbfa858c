"""What the fault cases share: the PBXs, the database and the service of tests/pbx."""

from __future__ import annotations

import pytest

from tests.faults.harm import Harm, Moments
from tests.pbx.conftest import (
    lab,
    phones,
    postgres,
    postgres_server,
    running_lab,
    start,
)
from tests.pbx.lab import Lab

__all__ = [
    "lab",
    "phones",
    "postgres",
    "postgres_server",
    "running_lab",
    "start",
]


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Lets a test act at a moment of the exchange that places a call."""
    return Moments(monkeypatch)


@pytest.fixture
def harm(lab: Lab) -> Harm:
    """What can be done to this PBX."""
    return Harm(lab)

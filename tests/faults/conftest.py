"""What the fault cases share: the PBXs, the database and the service of tests/pbx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.harm import Harm, Moments
from tests.pbx.conftest import (
    lab,
    make_peace,
    phones,
    postgres,
    postgres_server,
    start,
)
from tests.pbx.lab import VERSIONS, Lab

__all__ = [
    "lab",
    "phones",
    "postgres",
    "postgres_server",
    "start",
]


@pytest.fixture(scope="session", params=VERSIONS)
def running_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Each PBX in turn."""
    lab = Lab.of(request.param)
    make_peace(lab)
    yield lab
    make_peace(lab)


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Lets a test act at a moment of the exchange that places a call."""
    return Moments(monkeypatch)


@pytest.fixture
def harm(lab: Lab) -> Harm:
    """What can be done to this PBX."""
    return Harm(lab)

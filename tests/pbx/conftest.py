"""What the tests on real Asterisk share: both PBXs, a database, the service between them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.pbx.lab import VERSIONS, Lab
from tests.pbx.service import SECRET, Phones, Services
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL with `enterprises` and our migrations."""
    with Postgres.running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """That server with one enterprise, whose PBX is the lab's, and nothing else."""
    postgres_server.clear()
    postgres_server.seed_enterprise("0367", "june", "127.0.0.1", SECRET)
    return postgres_server


@pytest.fixture(scope="session", params=VERSIONS)
def running_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Each PBX in turn, brought up if it is down; without one the tests fail, none is skipped."""
    lab = Lab.of(request.param)
    make_peace(lab)
    yield lab
    make_peace(lab)


@pytest.fixture
def lab(running_lab: Lab) -> Lab:
    """A PBX that runs and has no calls, whatever the test before has done to it."""
    make_peace(running_lab)
    return running_lab


def make_peace(lab: Lab) -> None:
    """Undo what a test, or one that was interrupted, has done to a PBX."""
    with contextlib.suppress(ProcessLookupError):
        lab.thaw()
    lab.up()
    lab.end_commands()  # each might place a call yet
    lab.hangup_all()
    lab.wait_idle()


@pytest.fixture
def phones(lab: Lab) -> Phones:
    """Counts who rings from now on."""
    return Phones(lab)


@pytest.fixture
async def start(
    lab: Lab, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Services]:
    """Starts the service with the settings that a test wants; it is closed at the end."""
    services = Services(lab, postgres, monkeypatch)
    yield services
    await services.end()

"""What the tests of whole processes share: a database, stand-ins, and a service that is run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.conftest import database, operate, pbx, postgres, service, start
from tests.integration.playing import Play, playing
from tests.postgres import Postgres

__all__ = ["database", "operate", "pbx", "postgres", "service", "start"]


@pytest.fixture(scope="module")
async def running(
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Play]:
    """One process for all tests of a module."""
    async with playing(postgres, tmp_path_factory.mktemp("service")) as play:
        yield play


@pytest.fixture
async def play(running: Play) -> Play:
    """The same, with an empty database and a PBX that has rung nobody."""
    await running.anew()
    return running

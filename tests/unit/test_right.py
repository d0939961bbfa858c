"""Whether a stream may stay open is asked once for all streams of a secret."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.errors import DatabaseUnavailable
from shared.events.rights import Right
from shared.events.tickets import Grant
from shared.store.connection import Rows

pytestmark = pytest.mark.anyio


class Away:
    """A database that is waited for in vain."""

    def __init__(self) -> None:
        self.asked = 0

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Fail, once all the others wait."""
        self.asked += 1
        await asyncio.sleep(0)
        raise DatabaseUnavailable("away")


async def test_a_database_that_is_away_is_waited_for_once() -> None:
    """However many streams ask: one after the other they would be silent for minutes."""
    database = Away()
    right = Right(database, Grant("0367", "192.0.2.10", "ab" * 32))
    told = await asyncio.gather(*(right.check() for _ in range(100)), return_exceptions=True)
    assert [type(error) for error in told] == [DatabaseUnavailable] * 100
    assert database.asked == 1

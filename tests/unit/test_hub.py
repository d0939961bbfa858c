"""What a process keeps of the feed, and how it learns that the feed is another one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.events.feed import Wanted
from shared.events.hub import Hub
from shared.store.connection import Rows

pytestmark = pytest.mark.anyio


class Counter:
    """A database that tells an enterprise's newest number; None: it was told nothing."""

    newest: int | None = 5

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Tell it."""
        assert "event_counters" in sql
        (enterprise,) = parameters["enterprises"]
        return [] if self.newest is None else [{"enterprise": enterprise, "seq": self.newest}]


async def test_a_feed_that_has_begun_anew_is_noticed() -> None:
    """By a backup of before its first event: who waits for more than 0 does not find 5 for good."""
    database = Counter()
    hub = Hub(database, poll_s=0.001)
    hub.join("0367")
    async with asyncio.timeout(60):
        while hub.told_since("0367", 5, Wanted(), 1) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        database.newest = None
        while hub.told_since("0367", 0, Wanted(), 1) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    assert hub.told_since("0367", 5, Wanted(), 1) is None
    await hub.leave("0367")

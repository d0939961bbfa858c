"""What a process that follows no calls says where nobody else does: its calls would never end."""

from __future__ import annotations

import asyncio

from shared.errors import DatabaseUnavailable
from shared.store.database import Database
from shared.store.news import look_for_news
from shared.telemetry import LOG

# Longer than a host stays without a tracker when a follower dies.
_LOOK_S = 60.0
_MOST_NAMED = 5


async def tell_of_unfollowed(database: Database) -> None:
    """Look from time to time, and log the hosts that nobody follows at two looks in a row."""
    before: set[str] = set()
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            now = set((await look_for_news(database, ())).untracked)
        except DatabaseUnavailable:
            continue  # each request says so
        except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
            LOG.exception("❌ Поиск звонков без трекера")
            continue
        if left := sorted(before & now):
            LOG.error(
                "❌ За звонками не следит ни один процесс, нужен ROLE=follower; хостов: %d, %s",
                *(len(left), ", ".join(left[:_MOST_NAMED])),
            )
        before = now

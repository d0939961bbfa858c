"""What means nothing any more: claims, limits and views of a day ago, events of longer ago."""

from __future__ import annotations

from shared.store.database import Database

_SWEEP = """
SELECT callapi.sweep() + callapi.sweep_feed(:events_keep_days) AS removed
"""


async def remove_expired(database: Database, *, events_keep_days: float) -> int:
    """Remove some thousand rows; how many they were, 0 once none is left.

    Raises DatabaseUnavailable.
    """
    return int((await database.run(_SWEEP, events_keep_days=events_keep_days))[0]["removed"])

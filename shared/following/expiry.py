"""Removes what has expired, from whatever process runs: nobody need start one for that."""

from __future__ import annotations

import time

from shared.following.pace import Pace, the_pace
from shared.process import once
from shared.settings import the_settings
from shared.store.database import Database, the_database
from shared.store.expired import Kept, remove_expired
from shared.telemetry import LOG

# Some thousand rows each: what is left of more than that waits for the next time.
_MOST_TURNS = 20


class Expiry:
    """The removal of what has expired, not oftener than `pace.expiry_s`."""

    def __init__(self, database: Database, pace: Pace, kept: Kept) -> None:
        self._database = database
        self._pace = pace
        self._kept = kept
        self._due_at = 0.0

    async def remove_if_due(self) -> None:
        """Remove what has expired, if that was not done lately; a failure is logged only.

        The first time is due at once: most processes on AWS do not get to be an hour old.
        """
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + self._pace.expiry_s  # a failure is no reason to hurry
        try:
            for _ in range(_MOST_TURNS):
                if not await remove_expired(self._database, self._kept):
                    return
        except Exception as error:  # noqa: BLE001 - nothing depends on it: another time will do
            LOG.warning("⚠️ Устаревшие строки не удалены: %s", error)


@once
def the_expiry() -> Expiry:
    """That of this process."""
    return Expiry(the_database(), the_pace(), Kept.of(the_settings()))

"""What is not kept any more: claims, limits, views of a day ago; history as settings say."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from shared.settings import Settings
from shared.store.database import Database

_SWEEP = """
SELECT callapi.sweep() + callapi.sweep_feed(:events_days) + callapi.sweep_calls(:calls_days)
       + callapi.sweep_audit(:audit_days) AS removed
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days each is kept."""

    events_days: float
    calls_days: float
    audit_days: float

    @classmethod
    def of(cls, settings: Settings) -> Kept:
        """What an operator has set."""
        return cls(settings.events_keep_days, settings.calls_keep_days, settings.audit_keep_days)


async def remove_expired(database: Database, kept: Kept) -> int:
    """Remove some thousand rows; how many they were, 0 once none is left.

    Raises DatabaseUnavailable.
    """
    return int((await database.run(_SWEEP, **asdict(kept)))[0]["removed"])

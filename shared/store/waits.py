"""Places of an enterprise's requests that wait, counted over all executions of functions."""

from __future__ import annotations

from uuid import UUID

from shared.store.database import Door

_TAKE = "SELECT callapi.take_wait(:enterprise, :holder, :most, :lease_s) AS taken"
_GIVE_BACK = "DELETE FROM callapi.waits WHERE enterprise = :enterprise AND holder = :holder"


async def take_wait(
    database: Door, enterprise: str, holder: UUID, *, most: int, lease_s: float
) -> bool:
    """Take a place, which ends by itself after `lease_s`; False: none of `most` is free."""
    rows = await database.run(
        _TAKE, enterprise=enterprise, holder=holder, most=most, lease_s=lease_s
    )
    return bool(rows[0]["taken"])


async def give_back_wait(database: Door, enterprise: str, holder: UUID) -> None:
    """Let another request have the place."""
    await database.run(_GIVE_BACK, enterprise=enterprise, holder=holder)

"""Places of requests that wait, counted over all executions of functions."""

from __future__ import annotations

from uuid import UUID

from shared.store.database import Door

_TAKE = "SELECT callapi.begin_wait(:enterprise, :holder, :most, :together, :lease_s) AS taken"
_GIVE_BACK = "DELETE FROM callapi.waits WHERE enterprise = :enterprise AND holder = :holder"


async def take_wait(
    database: Door, enterprise: str, holder: UUID, *, most: int, together: int, lease_s: float
) -> bool:
    """Take a place, which ends by itself after `lease_s`.

    False: of the enterprise's `most`, or of the `together` that all enterprises have, none is free.
    """
    rows = await database.run(
        _TAKE,
        enterprise=enterprise,
        holder=holder,
        most=most,
        together=together,
        lease_s=lease_s,
    )
    return bool(rows[0]["taken"])


async def give_back_wait(database: Door, enterprise: str, holder: UUID) -> None:
    """Let another request have the place."""
    await database.run(_GIVE_BACK, enterprise=enterprise, holder=holder)

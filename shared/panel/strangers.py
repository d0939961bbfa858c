"""Wrong tokens: limited by address as wrong secrets are, and with them."""

from __future__ import annotations

from shared.settings import Settings
from shared.store.database import Database

# The tokens of wrong secrets: who tries both has no more of them.
_TAKE = "SELECT wait_s FROM callapi.take_token('a:' || :address, :count, :per_s)"


async def take_token(database: Database, settings: Settings, address: str | None) -> float:
    """Count a wrong token of an address: the seconds to wait, 0 within the limit.

    Raises DatabaseUnavailable.
    """
    rate = settings.rate_limit_address
    rows = await database.run(_TAKE, address=address, count=rate.count, per_s=rate.per_s)
    return float(rows[0]["wait_s"])

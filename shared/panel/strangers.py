"""Wrong tokens: limited by address as wrong secrets are, and told in the log without the token."""

from __future__ import annotations

from shared.process import once
from shared.settings import Settings, the_settings
from shared.store.database import Database
from shared.telemetry import LOG, Sparing

_MOST_ADDRESSES = 1_000
# The tokens of wrong secrets: who tries both has no more of them.
_TAKE = "SELECT wait_s FROM callapi.take_token('a:' || :address, :count, :per_s)"


@once
def the_strangers() -> Sparing:
    """The addresses whose line was written, within a window of RATE_LIMIT_ADDRESS."""
    return Sparing(window_s=the_settings().rate_limit_address.per_s, most=_MOST_ADDRESSES)


def log_wrong_token(address: str | None) -> None:
    """Log a wrong token, or count it for the next line."""
    left_out = the_strangers().left_out(address or "-")
    if left_out is not None:
        more = f"; до этого без записи: {left_out}" if left_out else ""
        LOG.warning("❌ Неверный ADMIN_TOKEN с адреса %s%s", address, more)


async def take_token(database: Database, settings: Settings, address: str | None) -> float:
    """Count a wrong token of an address: the seconds to wait, 0 within the limit.

    Raises DatabaseUnavailable.
    """
    rate = settings.rate_limit_address
    rows = await database.run(_TAKE, address=address, count=rate.count, per_s=rate.per_s)
    return float(rows[0]["wait_s"])

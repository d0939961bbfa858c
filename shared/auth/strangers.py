"""Wrong secrets in the log: one line a window and address, however many are sent."""

from __future__ import annotations

from shared.errors import InvalidClientId, LimitExceeded, ServiceError
from shared.process import once
from shared.settings import Settings, the_settings
from shared.telemetry import LOG, Sparing

_MOST_ADDRESSES = 1_000


def is_of_wrong_secret(error: ServiceError) -> bool:
    """Whether an order was refused because its secret is nobody's, however often that came."""
    if isinstance(error, LimitExceeded):
        return error.quota is not None and error.quota.name == "address"
    return isinstance(error, InvalidClientId)


@once
def the_strangers() -> Sparing:
    """The addresses whose line was written; a window is as long as that of RATE_LIMIT_ADDRESS."""
    return Sparing(window_s=the_settings().rate_limit_address.per_s, most=_MOST_ADDRESSES)


def log_wrong_secret(address: str | None, why: str = "", *, what: str = "clientId") -> None:
    """Log that a secret is nobody's, however it is refused, or count it for the next line."""
    left_out = the_strangers().left_out(f"{what} {address or '-'}")
    if left_out is not None:
        more = f"; до этого без записи: {left_out}" if left_out else ""
        LOG.warning("❌ Неверный %s с адреса %s%s%s", what, address, why, more)


def log_ambiguous_secret() -> None:
    """Log that a right secret is nobody's, since it does not name one enterprise alone."""
    LOG.warning(
        "⚠️ Отказ: clientId относится не к одному предприятию с номером, или его number отличается "
        "от другого лишь пробелами; проверьте secret и number в таблице enterprises"
    )


def check_length(secret: str, settings: Settings, address: str | None) -> None:
    """Refuse a secret that could be guessed, as a wrong one is; a blank one has no character.

    Raises InvalidClientId.
    """
    if len(secret.strip()) < settings.secret_min:
        log_wrong_secret(address, f": короче SECRET_MIN={settings.secret_min} знаков")
        raise InvalidClientId

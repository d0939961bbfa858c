"""Which enterprise asks, for what places no call; one round trip."""

from __future__ import annotations

from dataclasses import dataclass

from shared.caller import Caller
from shared.database import TextRefused, load_database
from shared.errors import ExtensionNotOwned, InvalidClientId, LimitExceeded, SharedHost
from shared.settings import load_settings
from shared.telemetry import LOG, cut_secret

_IDENTIFY = """
SELECT * FROM callapi.identify(
  p_secret => :secret, p_address => :address,
  p_address_count => :address_count, p_address_per_s => :address_per_s)
"""


@dataclass(frozen=True, slots=True)
class Enterprise:
    """The one active enterprise that has the caller's secret.

    `host` is `enterprises.ip` as it stands there, unchecked. `extensions` are those that an
    operator gave it, None where nobody said. `shares_host` tells that another active enterprise
    has the same PBX.
    """

    number: str
    name: str
    host: str
    extensions: frozenset[str] | None
    shares_host: bool

    def check_extension(self, extension: str) -> None:
        """Refuse another enterprise's extension. Raises ExtensionNotOwned, SharedHost."""
        if self.extensions is None:
            self.check_whole_host()
        elif extension not in self.extensions:
            raise ExtensionNotOwned(f"Extension {extension} is not this enterprise's")

    def check_whole_host(self) -> None:
        """Refuse what would show a neighbour's calls where nothing tells them apart.

        Raises SharedHost.
        """
        if self.extensions is None and self.shares_host:
            if load_settings().shared_hosts == "allow":
                return
            raise SharedHost(
                "Another enterprise has the same PBX, and nobody said which extensions are whose"
            )


async def identify(caller: Caller) -> Enterprise:
    """Find the caller's enterprise.

    Raises:
        InvalidClientId: nobody has this secret, or several have.
        LimitExceeded: too many wrong secrets came from this address.
        DatabaseUnavailable: not known.
    """
    settings = load_settings()
    try:
        rows = await load_database().run(
            _IDENTIFY,
            secret=caller.secret,
            address=caller.address,
            address_count=settings.rate_limit_address.count,
            address_per_s=settings.rate_limit_address.per_s,
        )
    except TextRefused:  # a secret that PostgreSQL cannot hold is nobody's
        raise InvalidClientId from None
    row = rows[0]
    if row["verdict"] == "known":
        given = row["extensions"]
        return Enterprise(
            number=row["number"],
            name=row["name"],
            host=row["host"],
            extensions=None if given is None else frozenset(given),
            shares_host=row["shares_host"],
        )
    LOG.warning("❌ Отказ (%s), clientId: %s", row["verdict"], cut_secret(caller.secret))
    if row["verdict"] == "limited":
        raise LimitExceeded(
            "Too many wrong secrets from this address; try again later",
            retry_after_s=row["retry_after_s"],
        )
    raise InvalidClientId

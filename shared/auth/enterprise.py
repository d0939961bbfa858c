"""Which enterprise asks, for what places no call; one round trip."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from shared.auth.caller import Caller, Learn
from shared.auth.cursors import Listing, Seal
from shared.auth.strangers import check_length, log_ambiguous_secret, log_wrong_secret
from shared.errors import (
    ExtensionNotOwned,
    HostUnverified,
    InvalidClientId,
    LimitExceeded,
    Quota,
    SharedHost,
)
from shared.settings import Rate, Settings
from shared.store.database import Door
from shared.store.sqlstates import TextRefused
from shared.telemetry import note_enterprise

Reading: TypeAlias = Literal["reads", "pbx_reads"]
"""What a request reads, the database or the PBX: by that its limit, `RATE_LIMIT_...`, is called."""

_IDENTIFY = """
SELECT callapi.identify(p_secret => :secret, p_asked => CAST(:asked AS jsonb)) AS told
"""
_TOO_MANY = {
    "address": "Too many wrong secrets from this address; try again later",
    "reads": "This enterprise reads its calls too often; try again later",
    "pbx_reads": "This enterprise asks its PBX too often; try again later",
}


@dataclass(frozen=True, slots=True)
class Enterprise:
    """The one active enterprise that has the caller's secret.

    `host` is `enterprises.ip` as it stands there, unchecked. `extensions` are those that an
    operator gave it, None where nobody said. `shares_host` tells that another active enterprise
    has the same PBX, None that nobody knows yet, or that it was not asked for; `may_share` that
    they may hear each other; `cursor_key` is the database's. `quota` is what is left of the limit
    that this request has cost a token of.
    """

    number: str
    name: str
    host: str
    extensions: frozenset[str] | None
    shares_host: bool | None
    may_share: bool
    cursor_key: str = field(repr=False)
    quota: Quota | None = None

    def seal(self, listing: Listing) -> Seal:
        """What signs its cursors of a listing."""
        return Seal(self.cursor_key, self.number, self.host, listing)

    def check_extension(self, extension: str) -> None:
        """Refuse another enterprise's extension.

        Raises ExtensionNotOwned, SharedHost, HostUnverified.
        """
        if self.extensions is None:
            self.check_whole_host()
        elif extension not in self.extensions:
            raise ExtensionNotOwned(f"Extension {extension} is not this enterprise's")

    def check_whole_host(self) -> None:
        """Refuse what would show a neighbour's calls where nothing tells them apart.

        Raises SharedHost, HostUnverified.
        """
        if self.extensions is not None or self.may_share or self.shares_host is False:
            return
        if self.shares_host is None:
            raise HostUnverified
        raise SharedHost(
            "Another enterprise has the same PBX, and nobody said which extensions are whose"
        )

    def check_prefix(self, target: str) -> None:
        """Refuse to tap every extension that begins with these digits, where some are others'.

        Raises ExtensionNotOwned, SharedHost, HostUnverified.
        """
        if self.extensions is not None:
            raise ExtensionNotOwned(
                f"MONITOR_MATCH=prefix taps every extension that begins with {target}, not only"
                " this enterprise's: it is refused where extensions are named"
            )
        self.check_whole_host()


async def identify(
    database: Door,
    settings: Settings,
    caller: Caller,
    reading: Reading | None = None,
    *,
    learn: Learn | None = None,
    sees_host: bool = False,
) -> Enterprise:
    """Find the caller's enterprise; whoever reads pays a token for it.

    Who shares its PBX is told to whoever asks the PBX, `sees_host`, or has `learn`, with which what
    is missing is found out; to others, what depends on that is refused.

    Raises:
        InvalidClientId: nobody has this secret, or several have.
        LimitExceeded: too many wrong secrets came from this address, or it has read too much.
        DatabaseUnavailable: not known.
        ServiceError: what `learn` raises.
    """
    check_length(caller.secret, settings, caller.address)
    # To compare all hosts costs more than the rest, and what is only its own needs none of it.
    sees_host = sees_host or learn is not None or reading == "pbx_reads"
    told = await _told(database, settings, caller, reading, sees_host=sees_host)
    is_open = told["verdict"] == "known" and told["shares_host"] is None
    if learn and is_open and told["extensions"] is None and settings.shared_hosts == "refuse":
        await learn(told["host"])
        # It has paid its token.
        told |= await _told(database, settings, caller, None, sees_host=sees_host)
    quota = None
    if reading is not None and "remaining" in told:
        rate = _rate(settings, reading)
        quota = Quota(reading, rate.count, rate.per_s, told["remaining"])
    if told["verdict"] == "known":
        given = told["extensions"]
        return Enterprise(
            number=told["number"],
            name=told["name"],
            host=told["host"],
            extensions=None if given is None else frozenset(given),
            shares_host=told["shares_host"],
            may_share=settings.shared_hosts == "allow",
            cursor_key=told["cursor_key"],
            quota=quota,
        )
    if told["verdict"] == "ambiguous":
        log_ambiguous_secret()
    if told["verdict"] == "unauthorized" or told.get("tightest") == "address":
        log_wrong_secret(caller.address)
    if told["verdict"] == "limited":
        raise LimitExceeded(
            _TOO_MANY[told["tightest"]], quota=quota, retry_after_s=told["retry_after_s"]
        )
    raise InvalidClientId


async def _told(
    database: Door,
    settings: Settings,
    caller: Caller,
    reading: Reading | None,
    *,
    sees_host: bool,
) -> dict[str, Any]:
    asked = {
        "address": caller.address,
        "address_limit": settings.rate_limit_address.model_dump(),
        "limit": _limit(settings, reading),
        "sees_host": sees_host,
    }
    try:
        rows = await database.run(_IDENTIFY, secret=caller.secret, asked=json.dumps(asked))
    except TextRefused:  # a secret that PostgreSQL cannot hold is nobody's
        log_wrong_secret(caller.address)
        raise InvalidClientId from None
    told: dict[str, Any] = rows[0]["told"]
    if "number" in told:
        note_enterprise(told["number"], told.get("host"), sandbox=bool(told.get("sandbox")))
    return told


def _rate(settings: Settings, reading: Reading) -> Rate:
    rate: Rate = getattr(settings, f"rate_limit_{reading}")
    return rate


def _limit(settings: Settings, reading: Reading | None) -> dict[str, Any] | None:
    return None if reading is None else {"name": reading, **_rate(settings, reading).model_dump()}

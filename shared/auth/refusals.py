"""Why the database refuses what would ring, as the error that its caller gets."""

from __future__ import annotations

from typing import Any

from shared.auth.strangers import log_ambiguous_secret
from shared.errors import (
    CallEnded,
    DestinationDenied,
    DiallingStopped,
    ExtensionNotOwned,
    FieldError,
    HostUnverified,
    InvalidClientId,
    KeyReused,
    LimitExceeded,
    NoSuchCall,
    Quota,
    ServiceError,
    SharedHost,
    TooManyOpen,
)
from shared.settings import Rate, Settings


def is_unverified(row: dict[str, Any]) -> bool:
    """Tell whether it is refused for what nobody knows yet; see callapi.refusal."""
    return row["verdict"] == "shared-host" and row["refused"] is not None


def quota_of(row: dict[str, Any], settings: Settings) -> Quota | None:
    """Tell what is left of the limit that has the least; None: it took no token."""
    name = row["tightest"]
    if name is None or row["remaining"] is None:
        return None
    rate: Rate = getattr(settings, f"rate_limit_{name}")  # one that is off refuses nothing
    return Quota(name, rate.count, rate.per_s, row["remaining"])


def refusal_of(
    row: dict[str, Any], extension: str, quota: Quota | None, settings: Settings
) -> ServiceError:
    """Turn a verdict of the database into its error."""
    if is_unverified(row):
        return HostUnverified()
    match row["verdict"]:
        case "key-reused":
            message = "belongs to a call with other parameters; use a new key"
            return KeyReused(FieldError("Idempotency-Key", message))
        case "limited":
            what = {
                "extension": f"calls of extension {extension}",
                "enterprise": "calls of this enterprise",
                "address": "wrong secrets from this address",
                "new_numbers": "calls of this enterprise to numbers that it had not called before",
            }[row["tightest"]]
            return LimitExceeded(
                f"Too many {what}; nothing was dialled, try again later",
                quota=quota,
                retry_after_s=row["retry_after_s"],
            )
        case "too-many-open":
            whose, most = {
                "extension": (f"of extension {extension}", settings.open_calls_extension),
                "enterprise": ("of this enterprise", settings.open_calls_enterprise),
            }[row["tightest"]]
            return TooManyOpen(
                f"Too many calls {whose} are open, {most} may be at once; nothing was dialled,"
                " try again once one has ended"
            )
        case "ambiguous":
            log_ambiguous_secret()
    forbidden = {
        "dialling-stopped": DiallingStopped("Dialling is stopped for this enterprise"),
        "destination-denied": DestinationDenied(f"Calls to {row['refused']} are not allowed"),
        "extension-not-owned": ExtensionNotOwned(
            f"Extension {row['refused']} is not this enterprise's"
        ),
        "shared-host": SharedHost(
            "Refused: another enterprise has the same PBX,"
            " and nobody said which extensions are whose"
        ),
        "no-such-call": NoSuchCall(),
        "being-ended": CallEnded("The call is being hung up at this moment"),
    }
    return forbidden.get(row["verdict"]) or InvalidClientId()

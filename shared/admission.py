"""Whether a call may be placed, and that it is placed once: one round trip before, one after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.asterisk.models import Channel
from shared.asterisk.phases import Reason
from shared.database import Database, TextRefused
from shared.errors import (
    DestinationDenied,
    DiallingStopped,
    ExtensionNotOwned,
    FieldError,
    InvalidClientId,
    KeyReused,
    LimitExceeded,
    Quota,
    ServiceError,
    SharedHost,
)
from shared.settings import Rate, Settings
from shared.telemetry import LOG

Kind: TypeAlias = Literal["call", "monitor"]
State: TypeAlias = Literal["placing", "executed", "not_executed", "unknown"]
Outcome: TypeAlias = Literal["executed", "not_executed", "unknown"]

_KEY_HOLD_S = 86_400.0

_ADMIT = """
SELECT * FROM callapi.admit(
  p_secret => :secret, p_call => :call_id, p_kind => :kind, p_code => :code, p_phone => :phone,
  p_action => :action, p_params => :params, p_key => :key,
  p_hold_s => :hold_s, p_key_hold_s => :key_hold_s,
  p_extension_count => :extension_count, p_extension_per_s => :extension_per_s,
  p_enterprise_count => :enterprise_count, p_enterprise_per_s => :enterprise_per_s,
  p_address => :address, p_address_count => :address_count, p_address_per_s => :address_per_s,
  p_allowed => CAST(:allowed AS text[]), p_denied => CAST(:denied AS text[]),
  p_shared_hosts => :shared_hosts)
"""

_SETTLE = """
SELECT * FROM callapi.settle(
  p_call => :call_id, p_state => :outcome, p_window_s => :window_s, p_hold_s => :hold_s,
  p_root_channel => :root_channel, p_root_uniqueid => :root_uniqueid,
  p_candidates => CAST(:candidates AS jsonb), p_error_code => :error_code, p_reason => :reason)
"""

_SETTLE_LATE = """
SELECT callapi.settle_late(
  p_call => :call_id, p_root_channel => :root_channel, p_root_uniqueid => :root_uniqueid,
  p_hung_up => :hung_up)
"""

# A call that is being placed has its row, and not yet its root: while one of the same extension is
# under way, or ended without a root that is known, no root is certainly an orphan.
_ORPHANS = """
SELECT u.uniqueid FROM unnest(CAST(:uniqueids AS text[])) u (uniqueid)
WHERE NOT EXISTS (SELECT 1 FROM callapi.calls c
                   WHERE c.host = :host AND c.root_uniqueid = u.uniqueid)
  AND NOT EXISTS (SELECT 1 FROM callapi.calls c
                   WHERE c.host = :host AND c.code = :code AND c.call_id <> :call_id
                     AND c.root_uniqueid IS NULL AND c.state <> 'not_executed'
                     AND c.created_at > clock_timestamp() - interval '1 hour')
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller wants: `code` rings first; of a monitor, `phone` is the tapped extension."""

    kind: Kind
    code: str
    phone: str
    action: str = ""

    @property
    def params(self) -> str:
        """The order as one text: equal texts within the repeat window are one call."""
        return f"{self.kind}:{self.code}:{self.phone}:{self.action}"


@dataclass(frozen=True, slots=True)
class Admitted:
    """An enterprise may place this order now, or (`repeated`) has placed it just before.

    `host` is `enterprises.ip` as it stands there, unchecked, and empty where it is NULL.
    `quota` is the rate limit with the least left; None of a repeat, which takes no token.
    """

    call_id: UUID
    enterprise_number: str
    enterprise_name: str
    host: str
    repeated: bool
    state: State
    created_at: datetime
    quota: Quota | None = None


async def admit(
    database: Database,
    settings: Settings,
    secret: str,
    order: Order,
    *,
    call_id: UUID,
    idempotency_key: str | None,
    address: str | None,
) -> Admitted:
    """Authenticate, apply the rules, find the call that this repeats, take the tokens, claim.

    `address` is where the request comes from; wrong secrets are limited by it.

    Admitting the same `call_id` again is not a repeat: that is how a lost reply is asked again.

    Raises:
        InvalidClientId, KeyReused, LimitExceeded, Forbidden: refused; nothing is claimed.
        DatabaseUnavailable: not known, so nothing may be dialled.
    """
    try:
        rows = await database.run(
            _ADMIT,
            secret=secret,
            call_id=call_id,
            kind=order.kind,
            code=order.code,
            phone=order.phone,
            action=order.action,
            params=order.params,
            # A digest: any text of any length is a key, and no index row is too long for it.
            key=_digest(idempotency_key) if idempotency_key else None,
            # The claim must outlive the placing even where the window is the longer one.
            hold_s=max(settings.unknown_hold_s, settings.repeat_window_s),
            key_hold_s=_KEY_HOLD_S,
            extension_count=settings.rate_limit_extension.count,
            extension_per_s=settings.rate_limit_extension.per_s,
            enterprise_count=settings.rate_limit_enterprise.count,
            enterprise_per_s=settings.rate_limit_enterprise.per_s,
            address=address,
            address_count=settings.rate_limit_address.count,
            address_per_s=settings.rate_limit_address.per_s,
            allowed=list(settings.destinations_allowed),
            denied=list(settings.destinations_denied),
            shared_hosts=settings.shared_hosts,
        )
    except TextRefused:  # a secret that PostgreSQL cannot hold is nobody's
        raise InvalidClientId from None
    row = rows[0]
    quota = _quota(row, settings)
    if row["verdict"] not in {"new", "repeat"}:
        raise _refusal(row, order, quota)
    return Admitted(
        call_id=row["call_id"],
        enterprise_number=row["number"],
        enterprise_name=row["name"],
        host=row["host"],
        repeated=row["verdict"] == "repeat",
        state=row["state"],
        created_at=row["created_at"],
        quota=quota,
    )


def _quota(row: dict[str, Any], settings: Settings) -> Quota | None:
    name = row["tightest"]
    if name is None:
        return None
    rate: Rate = getattr(settings, f"rate_limit_{name}")
    return Quota(name, rate.count, rate.per_s, row["remaining"])


def _refusal(row: dict[str, Any], order: Order, quota: Quota | None) -> ServiceError:
    """Turn a verdict of `callapi.admit` into its error."""
    match row["verdict"]:
        case "key-reused":
            message = "belongs to a call with other parameters; use a new key"
            return KeyReused(FieldError("Idempotency-Key", message))
        case "limited":
            what = {
                "extension": f"calls of extension {order.code}",
                "enterprise": "calls of this enterprise",
                "address": "wrong secrets from this address",
            }[row["tightest"]]
            return LimitExceeded(
                f"Too many {what}; nothing was dialled, try again later",
                quota=quota,
                retry_after_s=row["retry_after_s"],
            )
        case "ambiguous":
            LOG.warning(
                "⚠️ Отказ: clientId относится не к одному предприятию с номером; "
                "проверьте secret и number в таблице enterprises"
            )
    forbidden = {
        "dialling-stopped": DiallingStopped("Dialling is stopped for this enterprise"),
        "destination-denied": DestinationDenied(f"Calls to {order.phone} are not allowed"),
        "extension-not-owned": ExtensionNotOwned(
            "An extension of the request is not this enterprise's"
        ),
        "shared-host": SharedHost(
            "Monitoring is refused: another enterprise has the same PBX,"
            " and nobody said which extensions are whose"
        ),
    }
    return forbidden.get(row["verdict"]) or InvalidClientId()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an admitted call, as far as the one who sent it knows.

    `roots` are the channels that appeared with it, one of which is the call's own; `reason` is why
    nothing was executed.
    """

    outcome: Outcome
    roots: tuple[Channel, ...] = ()
    error_code: str | None = None
    reason: Reason | None = None


async def settle(
    database: Database, settings: Settings, call_id: UUID, settlement: Settlement
) -> bool:
    """Record the outcome, of which only the first counts; tell whether a tracker follows the host.

    Raises:
        DatabaseUnavailable: not recorded; the claim holds until UNKNOWN_HOLD_S has passed.
    """
    roots = settlement.roots
    root = roots[0] if len(roots) == 1 else None
    candidates = [{"channel": c.name, "uniqueid": c.uniqueid} for c in roots] if not root else []
    rows = await database.run(
        _SETTLE,
        call_id=call_id,
        outcome=settlement.outcome,
        window_s=settings.repeat_window_s,
        hold_s=settings.unknown_hold_s,
        root_channel=root.name if root else None,
        root_uniqueid=root.uniqueid if root else None,
        candidates=json.dumps(candidates),
        error_code=settlement.error_code,
        reason=settlement.reason,
    )
    return bool(rows[0]["tracked"])


async def settle_late(
    database: Database, call_id: UUID, *, root_channel: str, root_uniqueid: str, hung_up: bool
) -> None:
    """Record that a call of unknown outcome came up after all, and whether it was hung up."""
    await database.run(
        _SETTLE_LATE,
        call_id=call_id,
        root_channel=root_channel,
        root_uniqueid=root_uniqueid,
        hung_up=hung_up,
    )


async def find_orphans(
    database: Database, call_id: UUID, *, host: str, code: str, uniqueids: Sequence[str]
) -> frozenset[str]:
    """Tell which of these roots of an extension can be no other call's than this one's.

    Ask it after the channels were listed: a call is recorded before its root appears.
    """
    rows = await database.run(
        _ORPHANS, call_id=call_id, host=host, code=code, uniqueids=list(uniqueids)
    )
    return frozenset(row["uniqueid"] for row in rows)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

"""Whether a call may be placed, and that it is placed once: one round trip before, one after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.asterisk.models import Channel, Order, Phase, Reason
from shared.auth.caller import Caller, Learn
from shared.auth.orders import columns_of, dialled_by, rules_for
from shared.auth.refusals import is_unverified, quota_of, refusal_of
from shared.auth.strangers import check_length, log_wrong_secret
from shared.errors import (
    InvalidClientId,
    PbxError,
    Quota,
)
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.breakers import Broken, parse_broken
from shared.store.database import Database
from shared.store.sqlstates import TextRefused
from shared.telemetry import note_enterprise

State: TypeAlias = Literal["placing", "executed", "not_executed", "unknown"]
Outcome: TypeAlias = Literal["executed", "not_executed", "unknown"]

_KEY_HOLD_S = 86_400.0
# How long after the limit of connecting whoever tries a broken PBX has told how that ended.
_PROBED_WITHIN_S = 2.0

_ADMIT = """
SELECT x.*, coalesce((SELECT k.sandbox FROM callapi.calls k WHERE k.call_id = x.call_id),
                     callapi.is_sandbox(x.host)) AS sandbox,
       CASE x.verdict WHEN 'new' THEN callapi.note(
         x.number, :kind, x.call_id, :code, :phone, x.created_at, CAST(:who AS jsonb)) END AS noted,
       CASE x.verdict WHEN 'new' THEN callapi.broken(x.host, x.call_id, :probe_s) END AS broken
  FROM callapi.claim_order(
  p_secret => :secret, p_call => :call_id, p_kind => :kind, p_code => :code, p_phone => :phone,
  p_action => :action, p_params => :params, p_key => :key,
  p_hold_s => :hold_s, p_key_hold_s => :key_hold_s, p_after_end_s => :after_end_s,
  p_address => :address, p_limits => CAST(:limits AS jsonb),
  p_digits => :digits, p_allowed => CAST(:allowed AS text[]),
  p_denied => CAST(:denied AS text[]) || CASE WHEN :is_spelled THEN callapi.denied_otherwise(
    (SELECT number FROM callapi.enterprise_of(:secret)),
    CAST(:dialled AS text[]), CAST(:spelled AS text[])) END,
  p_shared_hosts => :shared_hosts) x
"""

_ADMIT_TRANSFER = """
SELECT x.*, CASE x.verdict WHEN 'new' THEN callapi.note(
         :enterprise, 'transfer', :call_id, NULL, :target, :at, CAST(:who AS jsonb)) END AS noted
  FROM callapi.claim_transfer(
  p_enterprise => :enterprise, p_host => :host, p_call => :call_id, p_to => :target, p_at => :at,
  p_window_s => :window_s, p_limits => CAST(:limits AS jsonb),
  p_digits => :digits, p_allowed => CAST(:allowed AS text[]),
  p_denied => CAST(:denied AS text[]) || CASE WHEN :is_spelled THEN callapi.denied_otherwise(
    :enterprise, CAST(:dialled AS text[]), CAST(:spelled AS text[])) END,
  p_shared_hosts => :shared_hosts) x
"""

_SETTLE = """
SELECT * FROM callapi.settle_order(
  p_call => :call_id, p_state => :outcome, p_window_s => :window_s, p_hold_s => :hold_s,
  p_root_channel => :root_channel, p_root_uniqueid => :root_uniqueid,
  p_candidates => CAST(:candidates AS jsonb), p_error_code => :error_code,
  p_error_detail => :error_detail, p_reason => :reason)
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An enterprise may place this order now, or (`repeated`) has placed it just before.

    `host` is `enterprises.ip` as it stands there, unchecked, and empty where it is NULL; of a call
    that is repeated, as it stood there then.
    `quota` is the rate limit with the least left; None of a repeat, which takes no token.
    `failure` is why the host cannot be reached: nothing may be sent, and so it is to be settled.
    `broken` is what other processes know of connecting it, None while that is nothing.
    """

    call_id: UUID
    enterprise_number: str
    enterprise_name: str
    host: str
    repeated: bool
    state: State
    phase: Phase
    reason: Reason | None
    created_at: datetime
    quota: Quota | None = None
    failure: PbxError | None = None
    broken: Broken | None = None


@dataclass(frozen=True, slots=True)
class AdmittedTransfer:
    """A transfer may be sent now, or (`repeated`) was just before; `quota` as in `Admitted`."""

    repeated: bool
    quota: Quota | None


def _hold_s(settings: Settings) -> float:
    """Tell how long a claim holds that nobody settles.

    It outlives the request that has it: whoever took it over before would dial beside it.
    """
    return max(settings.unknown_hold_s, settings.repeat_window_s, settings.settled_within_s)


async def admit(
    database: Database,
    settings: Settings,
    caller: Caller,
    order: Order,
    *,
    call_id: UUID,
    idempotency_key: str | None,
    learn: Learn | None = None,
) -> Admitted:
    """Authenticate, apply the rules, find the call that this repeats, take the tokens, claim, note.

    `learn` is asked only where nobody knows yet who shares the PBX, and the order depends on that;
    without it such an order is refused.

    Admitting the same `call_id` again is not a repeat: that is how a lost reply is asked again.

    Raises:
        InvalidClientId, KeyReused, LimitExceeded, Forbidden, HostUnverified: refused; nothing is
            claimed.
        DatabaseUnavailable: not known, so nothing may be dialled.
    """
    address = caller.address
    check_length(caller.secret, settings, address)

    async def ask(shared_hosts: str) -> dict[str, Any]:
        try:
            rows = await database.run(
                _ADMIT,
                secret=caller.secret,
                call_id=call_id,
                **columns_of(order, settings.region),
                # A digest: any text of any length is a key, and no index row is too long for it.
                key=_digest(idempotency_key) if idempotency_key else None,
                hold_s=_hold_s(settings),
                key_hold_s=_KEY_HOLD_S,
                after_end_s=settings.repeat_after_end_s,
                address=address,
                who=caller.doer.render(),
                probe_s=settings.ssh_connect_timeout_s + _PROBED_WITHIN_S,
                **rules_for(settings, *dialled_by(order)) | {"shared_hosts": shared_hosts},
            )
        except TextRefused:  # a secret that PostgreSQL cannot hold is nobody's
            log_wrong_secret(address)
            raise InvalidClientId from None
        if rows[0]["number"] is not None:
            note_enterprise(rows[0]["number"], rows[0]["host"], sandbox=rows[0]["sandbox"])
        return rows[0]

    row = await ask(settings.shared_hosts)
    failure = None
    if learn is not None and is_unverified(row):
        try:
            await learn(row["refused"])
        except PbxError as error:
            failure = error
        # Where nobody can be heard, nobody need be protected: it is recorded, and has failed.
        row = await ask("allow" if failure else settings.shared_hosts)
    quota = quota_of(row, settings)
    if row["verdict"] not in {"new", "repeat"}:
        if row["verdict"] == "unauthorized" or row["tightest"] == "address":
            log_wrong_secret(address)
        raise refusal_of(row, order.extension.number, quota, settings)
    return Admitted(
        call_id=row["call_id"],
        enterprise_number=row["number"],
        enterprise_name=row["name"],
        host=row["host"],
        repeated=row["verdict"] == "repeat",
        state=row["state"],
        phase=row["phase"],
        reason=row["reason"],
        created_at=row["created_at"],
        quota=quota,
        failure=failure,
        broken=parse_broken(row["broken"]),
    )


async def admit_transfer(
    database: Database,
    settings: Settings,
    *,
    enterprise: str,
    host: str,
    call_id: UUID,
    target: str,
    at: datetime,
    doer: Doer,
    learn: Learn | None = None,
) -> AdmittedTransfer:
    """Admit a transfer as a call is: the rules, a repeat, the tokens, the right to send it once.

    Asking again with the same moment is no repeat: that is how a lost reply is asked again.
    `learn` as in `admit`.

    Raises:
        NoSuchCall, CallEnded, LimitExceeded, Forbidden, HostUnverified: refused, nothing claimed.
        DatabaseUnavailable: not known, so nothing may be sent.
        ServiceError: what `learn` raises; nothing is claimed.
    """

    async def ask() -> dict[str, Any]:
        rows = await database.run(
            _ADMIT_TRANSFER,
            enterprise=enterprise,
            host=host,
            call_id=call_id,
            target=target,
            at=at,
            window_s=_hold_s(settings),
            who=doer.render(),
            **rules_for(settings, target),
        )
        return rows[0]

    row = await ask()
    if learn is not None and is_unverified(row):
        await learn(row["refused"])
        row = await ask()
    quota = quota_of(row, settings)
    if row["verdict"] not in {"new", "repeat"}:
        raise refusal_of(row, target, quota, settings)
    return AdmittedTransfer(row["verdict"] == "repeat", quota)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an admitted call, as far as the one who sent it knows.

    `roots` are the channels that appeared with it, one of which is the call's own; `reason` is why
    nothing was executed. Of `error_code` and `error_detail` the error is made again for repeats.
    """

    outcome: Outcome
    roots: tuple[Channel, ...] = ()
    error_code: str | None = None
    error_detail: str | None = None
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
        error_detail=settlement.error_detail,
        reason=settlement.reason,
    )
    return bool(rows[0]["tracked"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

"""An order, and the rules that hold for it, as the functions that admit it are asked; pure."""

from __future__ import annotations

import json
from typing import Any

from shared.asterisk.models import CallOrder, MonitorOrder, Order
from shared.numbering import international, spellings
from shared.settings import Settings


def dialled_by(order: Order) -> tuple[str, ...]:
    """List what is dialled, or rings, for an order."""
    phone = (order.phone.number,) if isinstance(order, CallOrder) else ()
    return (order.extension.number, *phone)


def columns_of(order: Order, region: str) -> dict[str, str]:
    """Write an order as a row has it; equal `params` within the repeat window are one call."""
    code = order.extension.number
    match order:
        case CallOrder():
            other, action = order.phone.number, ""
            meant = international(other, region)
        case MonitorOrder():
            other, action = order.target.number, order.mode.value
            meant = other
    return {
        "kind": order.kind,
        "code": code,
        "phone": other,  # as the column is called: of a monitoring, the tapped extension
        "action": action,
        "params": f"{order.kind}:{code}:{meant}:{action}",
    }


def rules_for(settings: Settings, *dialled: str) -> dict[str, Any]:
    """What holds for everything that rings; `dialled` are the numbers.

    What a PBX makes of a spelling is not known, so a number is denied in any of them, and allowed
    in the one that is dialled.
    """
    others = [(n, other) for n in dialled for other in spellings(n, settings.region)[1:]]
    denied = {n for n, other in others if other.startswith(settings.destinations_denied)}
    return {
        "limits": _limits(settings),
        "digits": settings.extension_digits,
        "allowed": list(settings.destinations_allowed),
        "denied": [*settings.destinations_denied, *sorted(denied)],
        "shared_hosts": settings.shared_hosts,
        "is_spelled": bool(others),
        "dialled": [n for n, _ in others],
        "spelled": [other for _, other in others],
    }


def _limits(settings: Settings) -> str:
    """Write the limits as callapi.take_allowance reads them: one more changes no signature."""
    rates = {
        "address": settings.rate_limit_address,
        "extension": settings.rate_limit_extension,
        "enterprise": settings.rate_limit_enterprise,
        "new_numbers": settings.rate_limit_new_numbers,
    }
    limits: dict[str, Any] = {name: rate and rate.model_dump() for name, rate in rates.items()}
    limits["open_extension"] = settings.open_calls_extension
    limits["open_enterprise"] = settings.open_calls_enterprise
    limits["unseen_s"] = settings.unknown_hold_s
    return json.dumps(limits)

"""Orders as tests write them, by numbers, and who gives them."""

from __future__ import annotations

from shared.asterisk.models import CallOrder, Extension, MonitorOrder, Phone, SpyMode
from shared.auth.caller import Caller
from shared.deadline import Deadline


def caller_of(secret: str, address: str | None = None) -> Caller:
    """Somebody who has this secret, and time enough."""
    return Caller(secret, address, Deadline.after(27))


def call_order(code: str, phone: str) -> CallOrder:
    """Ring `code`, then call `phone`."""
    return CallOrder(Extension(code), Phone(phone))


def monitor_order(code: str, target: str, action: str) -> MonitorOrder:
    """Ring `code`, then let it into `target`'s call."""
    return MonitorOrder(Extension(code), Extension(target), SpyMode(action))

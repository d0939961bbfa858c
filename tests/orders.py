"""Orders as tests write them: by numbers."""

from __future__ import annotations

from shared.asterisk.models import CallOrder, Extension, MonitorOrder, Phone, SpyMode


def call_order(code: str, phone: str) -> CallOrder:
    """Ring `code`, then call `phone`."""
    return CallOrder(Extension(code), Phone(phone))


def monitor_order(code: str, target: str, action: str) -> MonitorOrder:
    """Ring `code`, then let it into `target`'s call."""
    return MonitorOrder(Extension(code), Extension(target), SpyMode(action))

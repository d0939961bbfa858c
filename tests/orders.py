"""Orders as tests write them, by numbers, who gives them, and what is let in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.asterisk.models import CallOrder, Extension, MonitorOrder, Phone, SpyMode
from shared.auth.admission import Admitted
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


def admitted(call_id: UUID, **fields: Any) -> Admitted:
    """Let an order in just now, newly and with nothing sent yet, or with other `fields`."""
    new = Admitted(
        call_id,
        "0367",
        "june",
        "192.0.2.1",
        repeated=False,
        state="placing",
        phase="placing",
        reason=None,
        created_at=datetime.now(UTC),
    )
    return replace(new, **fields)

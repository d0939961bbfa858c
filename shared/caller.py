"""Who asks, and how long they wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Caller:
    """The enterprise's secret, the client's address, and what the headers ask for.

    `wait_s` is `Prefer: wait=N`; the secret is checked where the call is admitted.
    """

    secret: str = field(repr=False)
    address: str | None
    idempotency_key: str | None
    wait_s: float
    deadline: Deadline

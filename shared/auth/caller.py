"""Who asks, and what they ask for beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from shared.deadline import Deadline

# Finds out what the database does not know yet of a host, so that it can tell who shares it.
Learn: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks, to place, read or end calls.

    The enterprise's secret, which is checked later, the client's address, and until when an answer
    is owed.
    """

    secret: str = field(repr=False)
    address: str | None
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request that rings a phone asks for in its headers; `wait_s` is `Prefer: wait=N`."""

    idempotency_key: str | None = None
    wait_s: float = 0.0

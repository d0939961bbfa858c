"""Who asks, and what they ask for beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from shared.deadline import Deadline
from shared.store.audit import Doer
from shared.telemetry import REQUEST_ID

# Finds out what the database does not know yet of a host, so that it can tell who shares it.
Learn: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks, to place, read or end calls.

    The enterprise's secret, which is checked later, the address by which its wrong secrets are
    limited, and until when an answer is owed. `client` is the address itself, and `actor` whom the
    enterprise's own program says that it asks for.
    """

    secret: str = field(repr=False)
    address: str | None
    deadline: Deadline
    client: str | None = None
    actor: str | None = None

    @property
    def doer(self) -> Doer:
        """Who does what is asked for, as it is noted."""
        return Doer("client", self.secret, self.actor, self.client, REQUEST_ID.get())


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request that rings a phone asks for in its headers; `wait_s` is `Prefer: wait=N`."""

    idempotency_key: str | None = None
    wait_s: float = 0.0


class Dialler(NamedTuple):
    """Whoever places a call, with what the same request asks for beside it."""

    caller: Caller
    wishes: Wishes

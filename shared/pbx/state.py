"""What is known of a host, for whoever watches over it; nothing of it is secret."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from shared.errors import PbxError
from shared.ssh.pool import Gate

# As many as show a trend, and as few as cost nothing.
_LATENCIES = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """An error's code, and how many seconds ago it was met."""

    code: str
    ago_s: float


@dataclass(frozen=True, slots=True)
class HostState:
    """How a host is reached.

    `transport` is None while it is not connected; `version` is Asterisk's, where the transport
    tells it. `latencies_ms` are those of the last exchanges, the newest last. `breaker` is the
    failure for which connecting is not tried just now, `last_error` the last of an exchange.
    `host_key` is the fingerprint of the key that the host has shown.
    """

    transport: str | None
    version: str | None
    latencies_ms: tuple[float, ...]
    gate: Gate
    breaker: Failure | None
    last_error: Failure | None
    host_key: str | None


@dataclass(slots=True)
class Observed:
    """What the exchanges with a host have shown."""

    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    _error: tuple[str, float] | None = None

    def note(self, began: float, error: PbxError | None = None) -> None:
        """Take in an exchange that began at a moment of the performance counter."""
        if error is None:
            self.latencies_ms.append(round((time.perf_counter() - began) * 1000, 1))
        else:
            self._error = error.code, time.monotonic()

    @property
    def last_error(self) -> Failure | None:
        """The last error of an exchange."""
        if self._error is None:
            return None
        code, at = self._error
        return Failure(code, time.monotonic() - at)

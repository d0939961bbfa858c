"""What is known of a host, for whoever watches over it; nothing of it is secret."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shared.errors import (
    CdrUnreadable,
    ChannelUnaskable,
    CommandRejected,
    ContextMissing,
    NoChannel,
    PbxBusy,
    PbxError,
    TooMuchSent,
)
from shared.ssh.pool import Gate

Why: TypeAlias = Literal["set", "quickest", "socket-refused"]
"""Why a transport is used: ASTERISK_TRANSPORT says so, none is quicker, or that one is refused."""

# As many as show a trend, and as few as cost nothing.
_LATENCIES = 20
# Somebody answered, or nobody was asked.
_NOT_AWAY = (
    *(PbxBusy, NoChannel, CommandRejected, ContextMissing, ChannelUnaskable),
    *(CdrUnreadable, TooMuchSent),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error's code, and how many seconds ago it was met."""

    code: str
    ago_s: float


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a host was reached when it was last asked, so long ago; and how long it is so."""

    is_up: bool
    lasts_s: float
    ago_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """How many channels a host had, so many seconds ago."""

    channels: int
    ago_s: float


@dataclass(frozen=True, slots=True)
class HostState:
    """How a host is reached.

    `transport` is None while it is not connected, `why` that one, `retry_s` in how many seconds the
    quickest one is tried again. `version` is Asterisk's, where the transport tells it.
    `latencies_ms` are those of the last exchanges, the newest last. `breaker` is the failure for
    which connecting is not tried just now, `last_error` the last of an exchange, or of connecting.
    `host_key` is the fingerprint of the key that the host has shown. `reach` is None before
    anything was asked, `live` before its channels were.
    """

    transport: str | None
    why: Why | None
    retry_s: float | None
    version: str | None
    latencies_ms: tuple[float, ...]
    gate: Gate
    breaker: Failure | None
    last_error: Failure | None
    host_key: str | None
    reach: Reach | None
    live: Count | None


@dataclass(slots=True)
class Observed:
    """What the exchanges with a host have shown."""

    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    _error: tuple[str, float] | None = None
    _is_up: bool | None = None
    _since: float = 0.0
    _seen_at: float = 0.0
    _live: tuple[int, float] | None = None

    def note(self, began: float, error: PbxError | None = None) -> None:
        """Take in an exchange that began at a moment of the performance counter."""
        if error is None:
            self.latencies_ms.append(round((time.perf_counter() - began) * 1000, 1))
            self._note_reach(is_up=True)
        else:
            self._error = error.code, time.monotonic()

    def note_away(self, error: PbxError) -> None:
        """Take in that an exchange, or the connection for it, was given up for an error."""
        if not isinstance(error, _NOT_AWAY):
            self._error = error.code, time.monotonic()
            self._note_reach(is_up=False)

    def note_live(self, channels: int) -> None:
        """Take in how many channels there are."""
        self._live = channels, time.monotonic()

    def _note_reach(self, *, is_up: bool) -> None:
        self._seen_at = time.monotonic()
        if self._is_up is not is_up:
            self._is_up, self._since = is_up, self._seen_at

    @property
    def last_error(self) -> Failure | None:
        """The last error of an exchange, or of connecting."""
        if self._error is None:
            return None
        code, at = self._error
        return Failure(code, time.monotonic() - at)

    @property
    def reach(self) -> Reach | None:
        """Whether it could be reached when it was last asked."""
        if self._is_up is None:
            return None
        now = time.monotonic()
        return Reach(self._is_up, now - self._since, now - self._seen_at)

    @property
    def live(self) -> Count | None:
        """How many channels there were when they were last listed."""
        return (
            None if self._live is None else Count(self._live[0], time.monotonic() - self._live[1])
        )

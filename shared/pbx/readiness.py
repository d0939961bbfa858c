"""The way to a host that nobody asks just now, made ready for its next question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Where one question follows the other, making ready would only come in their way.
_IDLE_S = 0.05


class Readiness:
    """Calls `make_ready` of each host once nobody has used it for a moment; unless it is off."""

    def __init__(self, make_ready: Callable[[str], None], *, is_on: bool) -> None:
        self._make_ready = make_ready
        self._is_on = is_on
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def note_use(self, host: str) -> None:
        """Wait anew: it was used at this moment."""
        if self._is_on:
            if host in self._timers:
                self._timers[host].cancel()
            loop = asyncio.get_running_loop()
            self._timers[host] = loop.call_later(_IDLE_S, self._make_ready, host)

    def close(self) -> None:
        """Wait for none any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

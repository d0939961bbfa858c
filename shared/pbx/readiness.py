"""The way to a host that nobody waits for just now, made ready for its next question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.turns import Turn

# Where one question follows the other, making ready would only come in their way.
_IDLE_S = 0.05


class Readiness:
    """Calls `make_ready` of each host once nobody has used it for a moment; unless it is off."""

    def __init__(self, make_ready: Callable[[str], None], *, is_on: bool) -> None:
        self._make_ready = make_ready
        self._is_on = is_on
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def note_use(self, host: str, turn: Turn) -> None:
        """Wait anew: it was used at this moment. For looks it is not, which may never pause."""
        timer = self._timers.get(host)
        if not self._is_on or (timer is not None and turn == "look"):
            return
        if timer is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._timers[host] = loop.call_later(_IDLE_S, self._ended, host)

    def _ended(self, host: str) -> None:
        del self._timers[host]
        self._make_ready(host)

    def close(self) -> None:
        """Wait for none any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

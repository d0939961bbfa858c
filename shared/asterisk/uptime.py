"""What tells Asterisk's own word from a caller's, whose number may have whole lines in it."""

from __future__ import annotations

import time
from collections.abc import Callable

# Between two clocks, one of which is set meanwhile; nobody outside knows an uptime so well.
_APART_S = 60


class Uptime:
    """How long one Asterisk runs: learnt from what no caller has words in, then foretold.

    A number that a caller chooses is listed as it is, newlines included, and may so have the very
    line by which Asterisk tells its uptime, but for the number of seconds. `is_younger` tells that
    it turned out to have begun later than was known: it may be another Asterisk.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._begun_at: float | None = None
        self.is_younger = False

    def now(self) -> float:
        """Tell the moment, by the wall's clock: a frozen environment may stop any other."""
        return self._clock()

    def learn(self, seconds: int) -> None:
        """Take this for the uptime of now."""
        begun_at = self.now() - seconds
        self.is_younger |= self._begun_at is not None and begun_at > self._begun_at
        self._begun_at = begun_at

    def may_be(self, seconds: int, since: float) -> bool:
        """Tell whether it may have been this at any time since a moment; the first is believed."""
        if self._begun_at is None:
            self.learn(seconds)
            return True
        earliest, latest = since - self._begun_at, self.now() - self._begun_at
        return earliest - _APART_S <= seconds <= latest + _APART_S

"""What requests show of the enterprises whose right secret they had, until it is told to others.

A request costs no question for it: it is counted in the process, by an enterprise that the database
has named. What strangers send is nobody's, and makes nothing grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.process import once

SECRET_IN_URL = "secret-in-url"  # noqa: S105 - that it stood there, not the secret
# Each enterprise has a handful of them.
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Notice:
    """How often something was noticed of an enterprise, the first and last time so long ago.

    `what` is SECRET_IN_URL, or the limit that refused a request: a rate limit's name, else the
    error's code.
    """

    enterprise: str
    what: str
    times: int
    first_ago_s: float
    last_ago_s: float


@dataclass(slots=True)
class _Counted:
    times: int
    first_at: float
    last_at: float


class Notices:
    """Those that were not told yet. `clock` counts seconds and only goes forward."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted: dict[tuple[str, str], _Counted] = {}

    def note(self, enterprise: str, what: str) -> None:
        """Count one more."""
        now = self._clock()
        self._add((enterprise, what), _Counted(1, now, now))

    def take(self) -> tuple[Notice, ...]:
        """Take all of them away, to tell them."""
        now = self._clock()
        counted, self._counted = self._counted, {}
        return tuple(
            Notice(*key, one.times, now - one.first_at, now - one.last_at)
            for key, one in counted.items()
        )

    def put_back(self, untold: Iterable[Notice]) -> None:
        """Have those told later that could not be told now."""
        now = self._clock()
        for one in untold:
            counted = _Counted(one.times, now - one.first_ago_s, now - one.last_ago_s)
            self._add((one.enterprise, one.what), counted)

    def _add(self, key: tuple[str, str], more: _Counted) -> None:
        known = self._counted.get(key)
        if known is not None:
            known.times += more.times
            known.first_at = min(known.first_at, more.first_at)
            known.last_at = max(known.last_at, more.last_at)
        elif len(self._counted) < _MOST:
            self._counted[key] = more


@once
def the_notices() -> Notices:
    """Those of this process."""
    return Notices()

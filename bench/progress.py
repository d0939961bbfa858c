"""How far a measurement is, for a person at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
_WIDTH = 30


class _Countable(Sized, Iterable[T_co], Protocol[T_co]):
    """What has a length and can be gone through."""


class Progress:
    """A bar on standard error, if that is a terminal; nothing else is printed there."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._is_seen = sys.stderr.isatty()
        self._shown_at = 0.0

    def over(self, items: _Countable[T_co], what: str) -> Iterator[T_co]:
        """Go through items and show how many are done."""
        for done, item in enumerate(items):
            self.show(what, done / len(items))
            yield item
        self.show(what, 1.0)

    def show(self, what: str, share: float) -> None:
        """Show how far one thing is, 0.0 to 1.0."""
        now = time.monotonic()
        if self._is_seen and (now - self._shown_at > 0.1 or share == 1):  # noqa: PLR2004 - ten times a second is enough
            self._shown_at = now
            bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
            print(f"\r{self._part} [{bar}] {what:<40.40}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away, before a table is printed."""
        if self._is_seen:
            print(f"\r{'':<{_WIDTH + 60}}\r", end="", file=sys.stderr, flush=True)

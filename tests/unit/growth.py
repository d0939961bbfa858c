"""Whether work grows in proportion to its input, by the processor's time that it takes."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NoReturn, TypeVar

T = TypeVar("T")

# Each eight times the one before. What is worse than linear shows at the small ones, fast.
SIZES = (128, 1_024, 8_192, 65_536)
# Eight times the input may cost so many times more: linear work costs 8 times, quadratic 64.
_MOST_TIMES = 24
# Less than this cannot be told from a disturbance, and stops nobody.
_FLOOR_NS = 2_000_000
# Linear work on the largest takes a quarter of a second of a machine that has nothing else to do.
_BUDGET_S = 2.0
_TRIALS = 6


class TooSlow(Exception):
    """One run took more than two seconds of the processor: far too long for any of the sizes."""


def grows_no_faster(make: Callable[[int], T], work: Callable[[T], object]) -> bool:
    """Tell whether work on eight times the input costs at most 24 times as much."""
    try:
        for small, large in pairwise(map(make, SIZES)):
            # Measured again before it is believed: others use the processor's caches too.
            if not any(_is_in_proportion(small, large, work) for _ in range(_TRIALS)):
                return False
    except TooSlow:
        return False
    return True


def _is_in_proportion(small: T, large: T, work: Callable[[T], object]) -> bool:
    cost = _cost_ns(work, large)
    return cost <= _FLOOR_NS or cost <= _MOST_TIMES * min(
        _cost_ns(work, small), _cost_ns(work, small)
    )


def _cost_ns(work: Callable[[T], object], value: T) -> int:
    with _budget(), _no_collection():
        began = time.thread_time_ns()
        work(value)
        return time.thread_time_ns() - began


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage: that takes as long as all that the tests before have left is large."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _budget() -> Iterator[None]:
    """End what would take for ever; a regular expression looks for signals too."""

    def end(_signal: int, _frame: object) -> NoReturn:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _BUDGET_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

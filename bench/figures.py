"""What is told of measured values: percentiles, and ratios with their spread."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

_RESAMPLES = 400
_WITHIN = 0.95


def percentile(values: Sequence[float], share: float) -> float:
    """Tell what so great a share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


class Ratio(NamedTuple):
    """A ratio, and between what it lies: what 95 of 100 repetitions of the run would tell."""

    value: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:  # of one round nobody can tell
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.least:.3g} to {self.most:.3g})"


def ratio_of(
    ours: Sequence[float],
    theirs: Sequence[float],
    by: Callable[[Sequence[float]], float] = statistics.median,
) -> Ratio:
    """Tell the ratio of what both come to; its spread by drawing from the values again and again.

    Where both have as many values, those of one round belong together: a slow moment of the machine
    hits both, and is drawn with both or not at all.
    """
    draw = random.Random(1).choices  # the same for the same values
    is_paired = len(ours) == len(theirs)
    told = []
    for _ in range(_RESAMPLES):
        rounds = draw(range(len(ours)), k=len(ours))
        others = rounds if is_paired else draw(range(len(theirs)), k=len(theirs))
        told.append(by([ours[i] for i in rounds]) / by([theirs[i] for i in others]))
    outside = (1 - _WITHIN) / 2
    return Ratio(by(ours) / by(theirs), percentile(told, outside), percentile(told, 1 - outside))

"""When a message is sent again, and when its receiver is given up: pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Why: TypeAlias = Literal["answered-410", "failing"]

FIRST_S = 5.0
DAY_S = 86_400.0
GIVEN_UP_AFTER_S = 5 * DAY_S
# So many in a row, which the first pauses let happen within a minute, and the clock runs.
SEVERAL = 3
# No pause is as long: whoever sends was away himself, which says nothing of the receiver.
_LONGEST_SILENCE_S = DAY_S + 3600.0
_JITTER = 0.25
_SLOW_S = 3.0
_OK, _REDIRECTED, _GONE = 200, 300, 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an attempt: HTTP's status, or the error in whose place there is none.

    `retry_after_s` is what the receiver asked for, None: nothing.
    """

    status: int | None
    error: str | None
    retry_after_s: float | None
    took_s: float

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver has the message."""
        return self.status is not None and _OK <= self.status < _REDIRECTED


@dataclass(frozen=True, slots=True)
class Health:
    """How it stands with a receiver.

    `failures` are those in a row, `failed_s` is how long ago the last of them was, `failing_s` how
    long the clock has run; None: there was none, it does not run.
    """

    failures: int = 0
    failed_s: float | None = None
    failing_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows: how it stands now, in how long the next attempt is, whether it is the last.

    `is_slow`: whoever took it readily is not to wait behind it.
    """

    health: Health
    retry_s: float
    is_slow: bool
    disabled_why: Why | None = None


def judge(
    health: Health, answer: Answer, draw: Callable[[float, float], float] = random.uniform
) -> Verdict:
    """Judge an attempt; `draw` makes those that failed together come back apart."""
    if answer.is_accepted:
        return Verdict(Health(), 0.0, is_slow=answer.took_s > _SLOW_S)
    was_away = health.failed_s is not None and health.failed_s > _LONGEST_SILENCE_S
    known = Health() if was_away else health
    failures = known.failures + 1
    failing_s = known.failing_s
    if failing_s is None and failures >= SEVERAL:
        failing_s = 0.0
    why: Why | None = None
    if answer.status == _GONE:
        why = "answered-410"
    elif failing_s is not None and failing_s >= GIVEN_UP_AFTER_S:
        why = "failing"
    pause_s = pause_after(failures) * draw(1 - _JITTER, 1 + _JITTER)
    asked_s = answer.retry_after_s or 0.0
    return Verdict(
        Health(failures, 0.0, failing_s),
        min(max(pause_s, asked_s), DAY_S),
        is_slow=True,
        disabled_why=why,
    )


def pause_after(failures: int) -> float:
    """Tell how long the pause is after so many failures in a row: twice as long each time."""
    doublings = min(failures - 1, 20)  # 2 ** 20 times 5 s is beyond any day
    return min(FIRST_S * 2.0**doublings, DAY_S)

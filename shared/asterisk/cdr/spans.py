"""Spans of time, and how many seconds they are. Pure; all in proportion to their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

Span: TypeAlias = tuple[datetime, datetime]

_LONGEST_S = 10**9


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Order them, and leave out what two of them have in common; those that touch stay apart."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        begins = max(begin, found[-1][1]) if found else begin
        if begins < end or not found or begin > found[-1][1]:
            found.append((begins, max(begins, end)))
    return found


def meet(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """Find what two disjoint lists have in common; a moment is a span of no seconds."""
    found: list[Span] = []
    mine, theirs = 0, 0
    while mine < len(one) and theirs < len(other):
        begin = max(one[mine][0], other[theirs][0])
        end = min(one[mine][1], other[theirs][1])
        if begin <= end:
            found.append((begin, end))
        if one[mine][1] < other[theirs][1]:
            mine += 1
        else:
            theirs += 1
    return found


def seconds_of(spans: Iterable[Span], counted: Mapping[Span, int]) -> int:
    """Count their seconds: those that a record has counted by its own, exact clock are its."""
    return bounded(
        sum(counted.get(span, (span[1] - span[0]).total_seconds()) for span in disjoint(spans))
    )


def bounded(count: float) -> int:
    """Keep what a record says within what a call can last, and a column hold."""
    return min(max(0, round(count)), _LONGEST_S)

"""How far a PBX's clock is ahead of UTC, as its own records tell. Pure.

cdr_csv writes local times unless `usegmtime` is set, and no zone. But a channel's uniqueid has the
time of its birth in UTC, and its first row begins with it; any later row, as of a caller who waits
in a queue, begins later by what nobody knows. So a channel is one witness, by its earliest row, and
none may say that a row began before its channel was born. What several say in a row is the zone of
that stretch of time; who alone says otherwise has waited for just so long.

A talk across the change of summer time says so itself: its seconds are not those between its times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from shared.asterisk.cdr.files import Row, born_s

# Every offset that a clock of this century shows, in minutes.
_HOURS = range(-12 * 60, 14 * 60 + 1, 60)
_BETWEEN = (-570, -270, -210, -150, 210, 270, 330, 345, 390, 510, 525, 570, 630, 690, 765, 825)
_ZONES_S = sorted(60 * minutes for minutes in (*_HOURS, *_BETWEEN))
_HALF_HOUR_S = 1800
_FEASIBLE_S = range(_ZONES_S[0], _ZONES_S[-1] + 1)
# Rows have whole seconds, some rounded; a channel's first row may be a moment younger than it.
_ROUNDED_S = 2
_AT_ONCE_S = 5
# By what the clock is put forward and back.
_STEPS_S = (1800, 3600, 7200)
# When, in most countries that do: from March to April, and from September to early November.
_CHANGING = {3, 4, 9, 10}
_LAST_OF_CHANGING = (11, 7)
# A row is in its file this soon after it has ended: within cdr.conf's `time` if it is batched.
_WRITTEN_WITHIN_S = 600
# A reader who goes on remembers so many channels.
_MOST_WITNESSES = 1000


class Offsets(NamedTuple):
    """How far the clock was ahead of UTC, in seconds, at a row's begin, its answer and its end."""

    start_s: int
    answer_s: int
    end_s: int


class Witness(NamedTuple):
    """A channel: its birth, and how far its earliest row's clock was ahead of that."""

    born_s: int
    ahead_s: int

    @property
    def zone_s(self) -> int | None:
        """The zone in which that row began soonest after the birth."""
        return _zone_of(self.ahead_s)

    @property
    def is_certain(self) -> bool:
        """Whether that row began with the birth, if it did so in a zone that there is."""
        zone_s = self.zone_s
        return zone_s is not None and self.ahead_s - zone_s <= _AT_ONCE_S

    def may_have(self, zone_s: int) -> bool:
        """Tell whether that row did not begin before the birth in a zone."""
        return zone_s <= self.ahead_s + _ROUNDED_S


@lru_cache(maxsize=256)  # a thousand witnesses, asked at each reading, say the same few
def _zone_of(ahead_s: int) -> int | None:
    # One that no country has is believed where it fits to the second.
    odd_s = (ahead_s + _ROUNDED_S) // _HALF_HOUR_S * _HALF_HOUR_S
    if odd_s in _FEASIBLE_S and ahead_s - odd_s <= _AT_ONCE_S:
        return odd_s
    index = bisect_right(_ZONES_S, ahead_s + _ROUNDED_S)
    return _ZONES_S[index - 1] if index else None


class _Stretch(NamedTuple):
    """A zone, and the births of the first and last channel that tell it."""

    begin_s: int
    end_s: int
    zone_s: int


class Clock:
    """A host's clock, as some rows show it; `witnesses` are those of earlier rows.

    `asked_s` is the zone that the host was found to have, for rows without any uniqueid.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        asked_s: int | None = None,
        witnesses: Mapping[str, Witness] | None = None,
    ) -> None:
        self.witnesses = dict(witnesses or {})
        self._asked_s = asked_s
        is_stepped = False
        for row in rows:
            name, born = _birth(row)
            if born is not None:
                one = Witness(born, round(row.started.timestamp()) - born)
                known = self.witnesses.get(name, one)
                # Earlier by a clock that was put back meanwhile is no earlier.
                if one.ahead_s <= known.ahead_s and one.is_certain >= known.is_certain:
                    self.witnesses[name] = one
            is_stepped = is_stepped or _step_s(row) != 0
        if len(self.witnesses) > _MOST_WITNESSES and witnesses is not None:
            latest = sorted(self.witnesses.items(), key=lambda pair: pair[1].born_s)
            self.witnesses = dict(latest[-_MOST_WITNESSES:])
        stretches = _stretches(sorted(self.witnesses.values()), is_stepped=is_stepped)
        self._begins = [stretch.begin_s for stretch in stretches]
        self._ends = [stretch.end_s for stretch in stretches]
        self._zones = [stretch.zone_s for stretch in stretches]
        self._changes = sorted(set(self._zones)) if len(self._zones) > 1 else []

    @property
    def zone_s(self) -> int | None:
        """The latest zone; None if nothing tells it."""
        return self._zones[-1] if self._zones else self._asked_s

    def offsets(self, rows: Sequence[Row]) -> list[Offsets]:
        """Tell how far ahead of UTC the clock was for each row of a file, in its order."""
        known = [self._offsets(row) for row in rows]
        # One without a uniqueid has the clock of the row before it, the first ones of the next.
        following = next((one.start_s for one in known if one is not None), None)
        before = following if following is not None else (self.zone_s or 0)
        told = []
        for row, own in zip(rows, known, strict=True):
            told.append(own or _of_start(row, before))
            before = told[-1].end_s
        return told

    def _offsets(self, row: Row) -> Offsets | None:
        witness = self.witnesses.get(_birth(row)[0])
        if witness is None:
            return None
        zone_s = self._at_birth(witness)
        if zone_s is None:
            return None
        return _of_start(row, self._later(row, witness, zone_s))

    def _at_birth(self, witness: Witness) -> int | None:
        """Tell the zone of a channel's first row."""
        index = self._index(witness.born_s)
        for zone_s in self._zones[index : index + 2] + self._zones[:index][-1:]:
            if witness.may_have(zone_s):
                return zone_s
        if self._asked_s is not None and witness.may_have(self._asked_s):
            return self._asked_s
        return witness.zone_s

    def _later(self, row: Row, witness: Witness, zone_s: int) -> int:
        """Tell the zone of a row that may have begun in another stretch than its channel."""
        for other_s in (zone_s, *self._changes):
            began_s = row.started.timestamp() - other_s
            if began_s >= witness.born_s - _ROUNDED_S and self._may_be(began_s, other_s):
                return other_s
        # Nothing begins before its channel is born: the clock was put back meanwhile.
        back = (zone_s - step_s for step_s in (0, *_STEPS_S))
        born_s = witness.born_s - _ROUNDED_S
        return next((s for s in back if row.started.timestamp() - s >= born_s), zone_s)

    def _may_be(self, moment_s: float, zone_s: int) -> bool:
        """Tell whether a zone was the clock's then; between two stretches either may have been."""
        index = self._index(moment_s)
        last = index + 1 if self._ends and moment_s > self._ends[index] else index
        return zone_s in self._zones[index : last + 1]

    def _index(self, moment_s: float) -> int:
        return max(0, bisect_right(self._begins, moment_s) - 1)


def has_births(rows: Iterable[Row]) -> bool:
    """Tell whether any row tells when its channel was born."""
    return any(_birth(row)[1] is not None for row in rows)


def zone_of_writing(last: Row, written_s: float) -> int | None:
    """Tell the zone by when a file's last row was written; None where it was not written then."""
    ahead_s = last.ended.timestamp() - written_s
    zones = [zone for zone in _ZONES_S if 0 <= zone - ahead_s + _ROUNDED_S <= _WRITTEN_WITHIN_S]
    return zones[0] if zones else None


def _birth(row: Row) -> tuple[str, int | None]:
    name = row.uniqueid or row.linkedid
    return name, born_s(name)


def _of_start(row: Row, start_s: int) -> Offsets:
    end_s = start_s + _step_s(row)
    answer_s = start_s
    if end_s != start_s and row.answered is not None:
        talk_s = (row.ended - row.answered).total_seconds()
        answer_s = end_s if abs(talk_s - row.talk_s) <= _ROUNDED_S else start_s
    return Offsets(start_s, answer_s, end_s)


def _step_s(row: Row) -> int:
    """Tell by how much the clock was put forward between a row's begin and its end."""
    between_s = (row.ended - row.started).total_seconds() - row.duration_s
    return next(
        (
            step if between_s > 0 else -step
            for step in _STEPS_S
            if abs(abs(between_s) - step) <= _ROUNDED_S
        ),
        0,
    )


def _stretches(witnesses: Sequence[Witness], *, is_stepped: bool) -> list[_Stretch]:
    """Tell when which zone was the clock's, in the order of time."""
    runs: list[list[Witness]] = []
    for witness in witnesses:
        if not witness.is_certain:
            continue
        if runs and runs[-1][0].zone_s == witness.zone_s:
            runs[-1].append(witness)
        else:
            runs.append([witness])
    zones = [None, *(run[0].zone_s for run in runs), None]
    told: list[_Stretch] = []
    for index, run in enumerate(runs):
        zone_s = run[0].zone_s or 0
        around = zones[index], zones[index + 2]
        if len(run) == 1 and _has_waited(run[0], zone_s, around, is_stepped=is_stepped):
            continue
        begin_s = run[0].born_s
        if told and told[-1].zone_s == zone_s:
            begin_s = told.pop().begin_s
        told.append(_Stretch(begin_s, run[-1].born_s, zone_s))
    return told


def _has_waited(
    witness: Witness, zone_s: int, around: tuple[int | None, int | None], *, is_stepped: bool
) -> bool:
    """Tell whether a channel alone says what is better told by its having waited."""
    others = {zone for zone in around if zone is not None}
    if not any(other < zone_s for other in others):
        return False
    # The first or the last one seen may be on the other side of a change.
    is_at_edge = None in around or len(others) > 1
    is_step = all(abs(other - zone_s) in _STEPS_S for other in others)
    return not (is_at_edge and is_step and (is_stepped or _is_changing(witness.born_s)))


def _is_changing(moment_s: float) -> bool:
    day = datetime.fromtimestamp(moment_s, UTC)
    begin, last = _LAST_OF_CHANGING
    return day.month in _CHANGING or (day.month == begin and day.day <= last)

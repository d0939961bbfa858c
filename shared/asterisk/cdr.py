"""Asterisk's call detail records, as its module cdr_csv writes them. Pure.

One line is what one channel did with one other, or alone; a call leaves several lines, in no
certain order. `shared.asterisk.outcome` and `shared.asterisk.history` say what they mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_LEAST_COLUMNS = 16  # cdr.conf may leave the uniqueid out, and the userfield
_UNIQUEID = re.compile(r"(?:.*-)?([0-9]{9,11})\.[0-9]+", re.DOTALL)
_YEARS = (1970, 9000)
_ZONE_STEP_S = 900
_ZONES_S = range(-12 * 3600, 14 * 3600 + 1)
# A channel that waited, e.g. in a queue, is older than its line: the zone is that of the lines
# around, which are about younger ones.
_ZONE_LINES = 8


@dataclass(frozen=True, slots=True)
class Record:
    """What `channel` did with `dst_channel`, which may be nobody: an empty text.

    `talk_s` is Asterisk's billsec, `uniqueid` the first channel's, empty where it is not logged.
    """

    src: str
    dst: str
    context: str
    channel: str
    dst_channel: str
    application: str
    data: str
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    duration_s: int
    talk_s: int
    disposition: str
    uniqueid: str


class Line(NamedTuple):
    """A record and where its line lies, from the first byte up to that after its newline."""

    begin: int
    end: int
    record: Record


class _Raw(NamedTuple):
    """A line whose times are still those of an unknown zone."""

    begin: int
    end: int
    fields: list[str]
    started: datetime
    answered: datetime | None
    ended: datetime
    duration_s: int
    talk_s: int

    @property
    def uniqueid(self) -> str:
        field = "".join(self.fields[_LEAST_COLUMNS : _LEAST_COLUMNS + 1])
        return field if _UNIQUEID.fullmatch(field) else ""


def parse_records(text: str) -> tuple[Record, ...]:
    """Parse lines of Master.csv; what is cut off or no such line is left out.

    Who reads on in a growing file goes on after `whole_lines` of the bytes that were read.
    """
    return tuple(line.record for line in parse_lines(text.encode("utf-8", "replace")))


def parse_lines(data: bytes, offset: int = 0) -> tuple[Line, ...]:
    """Parse likewise, and tell where each line lies in the file that has the bytes at `offset`."""
    raw = list(_find_lines(data, offset))
    zones = [_zone_s(line) for line in raw]
    return tuple(
        _line(line, min((zone for zone in _around(zones, index) if zone is not None), default=0))
        for index, line in enumerate(raw)
    )


def whole_lines(data: bytes) -> int:
    """Count the bytes up to and with the last newline; what follows is still being written."""
    return data.rfind(b"\n") + 1


def age_of(record: Record) -> tuple[datetime, int]:
    """Order records by their begin, those of one second by the order of their channels."""
    return record.started_at, int(record.uniqueid.rpartition(".")[2] or 0)


def epoch_of(uniqueid: str) -> datetime | None:
    """Tell when a channel was created: its uniqueid is `[SYSTEM-]EPOCH.NUMBER`."""
    match = _UNIQUEID.fullmatch(uniqueid)
    return datetime.fromtimestamp(int(match[1]), UTC) if match else None


def _find_lines(data: bytes, begin: int) -> Iterator[_Raw]:
    # Each line by itself, since a quote that a cut has opened would swallow all that follow it.
    for text in data[: whole_lines(data)].split(b"\n")[:-1]:
        end = begin + len(text) + 1
        raw = _raw(begin, end, text.decode("utf-8", "replace"))
        if raw is not None:
            yield raw
        begin = end


def _raw(begin: int, end: int, text: str) -> _Raw | None:
    try:
        (fields,) = csv.reader([text])
        if len(fields) < _LEAST_COLUMNS:
            return None
        started, ended = _time(fields[9]), _time(fields[11])
        answered = _time(fields[10]) if fields[10] else None
        seconds = int(fields[12]), int(fields[13])
    except (ValueError, csv.Error):
        return None
    return _Raw(begin, end, fields, started, answered, ended, *seconds)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    if not _YEARS[0] <= moment.year < _YEARS[1]:
        raise ValueError("not a time that a clock shows")
    return moment


def _zone_s(line: _Raw) -> int | None:
    """How far the line's clock is ahead of UTC, if its channel began with it."""
    created = epoch_of(line.uniqueid)
    if created is None:
        return None
    ahead_s = (line.started - created).total_seconds()
    zone_s = round(ahead_s / _ZONE_STEP_S) * _ZONE_STEP_S
    return zone_s if zone_s in _ZONES_S else None


def _around(zones: list[int | None], index: int) -> list[int | None]:
    return zones[max(0, index - _ZONE_LINES) : index + _ZONE_LINES + 1]


def _line(raw: _Raw, zone_s: int) -> Line:
    zone = timedelta(seconds=zone_s)
    fields = raw.fields
    record = Record(
        src=fields[1],
        dst=fields[2],
        context=fields[3],
        channel=fields[5],
        dst_channel=fields[6],
        application=fields[7],
        data=fields[8],
        started_at=raw.started - zone,
        answered_at=raw.answered - zone if raw.answered else None,
        ended_at=raw.ended - zone,
        duration_s=raw.duration_s,
        talk_s=raw.talk_s,
        disposition=fields[14],
        uniqueid=raw.uniqueid,
    )
    return Line(raw.begin, raw.end, record)

"""Asterisk's call detail records, as its module cdr_csv writes them. Pure.

One row is what one channel did with one other, or alone; a call leaves several, in no certain
order. `files` finds them, `zones` tells their clock, `outcome` and `pastcalls` say what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.asterisk.cdr.files import Row, born_s, read_part
from shared.asterisk.cdr.zones import Clock, Offsets


@dataclass(frozen=True, slots=True)
class Record:
    """What `channel` did with `dst_channel`, which may be nobody: an empty text.

    `talk_s` is Asterisk's billsec, `uniqueid` the first channel's, `linkedid` the call's first
    channel's; both are empty where they are not logged.
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
    linkedid: str = ""


class Line(NamedTuple):
    """A record and where its row lies, from the first byte up to that after its newline."""

    begin: int
    end: int
    record: Record


class Form(NamedTuple):
    """How a file's rows look.

    `skipped` counts the lines that are of no record. `columns` are those of the last record;
    `zone_s`, how far its clock is ahead of UTC, is None where no record tells it; `last` is it.
    """

    records: int
    skipped: int
    columns: int
    zone_s: int | None
    last: Row | None


def lines_of(rows: Sequence[Row], clock: Clock) -> tuple[Line, ...]:
    """Make records of a file's rows, which follow each other there."""
    return tuple(
        Line(row.begin, row.end, _record(row, offsets))
        for row, offsets in zip(rows, clock.offsets(rows), strict=True)
    )


def describe(data: bytes, offset: int = 0) -> Form:
    """Tell how the rows look that a file has at `offset`."""
    rows, _, skipped = read_part(data, offset)
    last = rows[-1] if rows else None
    zone_s = Clock(rows).zone_s
    return Form(len(rows), skipped, last.columns if last else 0, zone_s, last)


def age_of(record: Record) -> tuple[datetime, int]:
    """Order records by their begin, those of one second by the order of their channels."""
    return record.started_at, int(record.uniqueid.rpartition(".")[2] or 0)


def epoch_of(uniqueid: str) -> datetime | None:
    """Tell when a channel was created: its uniqueid is `[SYSTEM-]EPOCH.NUMBER`."""
    born = born_s(uniqueid)
    return None if born is None else datetime.fromtimestamp(born, UTC)


def _record(row: Row, offsets: Offsets) -> Record:
    start, answer, end = (timedelta(seconds=seconds) for seconds in offsets)
    src, dst, context, channel, dst_channel, application, data, disposition = row.texts
    return Record(
        src=src,
        dst=dst,
        context=context,
        channel=channel,
        dst_channel=dst_channel,
        application=application,
        data=data,
        started_at=row.started - start,
        answered_at=row.answered - answer if row.answered else None,
        ended_at=row.ended - end,
        duration_s=row.duration_s,
        talk_s=row.talk_s,
        disposition=disposition,
        uniqueid=row.uniqueid,
        linkedid=row.linkedid,
    )

"""A host's file of call detail records, read backwards: the newest calls stand at its end.

A cursor names the byte where the next older page is read from, backwards, and the begin of the last
call told. A call that lasted long stands far above those that began with it: what was read of such
ones, and not told, the cursor names as islands, to be read beside.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeAlias

from shared.asterisk.cdr.files import LONGEST_ROW, Row, read_part
from shared.asterisk.cdr.rows import Line, age_of, lines_of
from shared.asterisk.cdr.zones import Clock, has_births, zone_of_writing
from shared.deadline import Deadline
from shared.errors import CdrUnreadable
from shared.pbx.hosts import Pbx

# A call's begin in seconds of the epoch, its first channel's number, and its row's first byte. What
# is only a part of a call has no earlier one than the whole.
Key: TypeAlias = tuple[int, int, int]
Span: TypeAlias = tuple[int, int]
# How many bytes, and their checksum.
Mark: TypeAlias = tuple[int, int]

# A record takes a kilobyte of memory, however short its row is.
MAX_BYTES, MAX_LINES = 4 * 2**20, 16_000
_FIRST_BYTES = 2**16
_MARK_BYTES = 64
# What is told within an island is read again: less than so many bytes are not worth a reading.
_GAP_BYTES = 2**14
_MOST_ISLANDS = 8
MAX_TOLD = 1000
# Rows are written when they end, but cdr.conf may let them wait for others (batch=yes), and a row
# of a Local channel may wait for the call's end: what its neighbours say is the time of writing.
_WRITTEN_WITHIN = timedelta(minutes=5)
_NEIGHBOURS = 20
_LATEST = datetime.max.replace(tzinfo=UTC)
_NO_RECORDS = (
    "{path} has no records as Asterisk's module cdr_csv writes them, in its last {count} lines: set"
    " CDR_FILE to that module's own file"
)
_NO_ZONE = (
    "The records of {path} tell no uniqueid, and nothing else tells in which zone their times are:"
    " set loguniqueid=yes in the section [csv] of cdr.conf"
)


class Replaced(Exception):
    """The file is not the one that it was: rotated, or emptied."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on reading, what precedes that, and what is told already.

    Those are the calls from `before` on, and the rows that begin at the bytes `told`. `zone_s` is
    the zone that the PBX was found to have, if it had to be asked.
    """

    end: int
    mark: Mark
    before: Key | None = None
    islands: tuple[Span, ...] = ()
    told: frozenset[int] = frozenset()
    zone_s: int | None = None

    def render(self) -> bytes:
        """Write it, to be signed."""
        told = sorted(self.end - begin for begin in self.told)[:MAX_TOLD]
        parts = [self.end, self.mark, self.before, self.islands, told, self.zone_s]
        return zlib.compress(json.dumps(parts, separators=(",", ":")).encode())

    @classmethod
    def parse(cls, content: bytes) -> Cursor:
        """Read it again, once its signature was checked.

        Raises:
            Replaced: it is of a release that read the file otherwise.
        """
        parts = json.loads(zlib.decompress(content))
        if len(parts) != len(fields(cls)):
            raise Replaced
        end, (length, checksum), before, islands, told, zone_s = parts
        return cls(
            end,
            (length, checksum),
            None if before is None else (before[0], before[1], before[2]),
            tuple((first, last) for first, last in islands),
            frozenset(end - back for back in told),
            zone_s,
        )


class Tail:
    """The last rows of a host's file, or those before a cursor; `read_more` adds older ones.

    Nothing is read before `after` is set.

    `begin` is where the oldest of them lies, what is before it was not read; `end` is where they
    end, but for those of a cursor's islands, which come last.
    """

    def __init__(
        self,
        pbx: Pbx,
        host: str,
        path: str,
        deadline: Deadline,
        *,
        after: asyncio.Event | None = None,
    ) -> None:
        self._read = partial(pbx.read_file, host, path, after=after)
        self._path = path
        self._deadline = deadline
        self._data = b""
        self._offset = 0
        self._rows: list[Row] = []
        self._far: list[Row] = []
        self._islands: tuple[Span, ...] = ()
        self._skipped = 0
        self._zone_s: int | None = None
        self.lines: Sequence[Line] = ()
        self.size = 0
        self.begin = self.end = 0
        self.bytes_read = 0

    async def start(self, cursor: Cursor | None) -> None:
        """Read the newest rows.

        Raises:
            Replaced: the cursor is of another file.
            CdrUnreadable, PbxError: the file cannot be had, or not be understood.
        """
        if cursor is None:
            part = await self._read(-_FIRST_BYTES, _FIRST_BYTES, self._deadline)
            self.begin = part.offset + len(part.data)
        else:
            begin = max(0, cursor.end - _FIRST_BYTES)
            part = await self._read(begin, cursor.end - begin, self._deadline)
            if len(part.data) < cursor.end - begin or _mark(part.data, cursor.mark) != cursor.mark:
                raise Replaced
            self.begin, self._zone_s, self._islands = cursor.end, cursor.zone_s, cursor.islands
            for first, last in cursor.islands:
                await self._visit(first, last)
        self.size, self.end = part.size, self.begin
        await self._take(part.offset, part.data)

    async def _visit(self, begin: int, end: int) -> None:
        island = await self._read(begin, end - begin, self._deadline)
        self.bytes_read += len(island.data)
        self._far += (await asyncio.to_thread(read_part, island.data, begin)).rows

    async def read_more(self) -> bool:
        """Read as much again, older; False if there is no more, or it would be too much."""
        length = min(self.bytes_read, MAX_BYTES - self.bytes_read, self._offset)
        if length <= 0 or len(self._rows) + len(self._far) >= MAX_LINES:
            return False
        offset = self._offset - length
        part = await self._read(offset, length, self._deadline)
        if len(part.data) < length:
            raise Replaced
        await self._take(offset, part.data)
        return True

    def check_readable(self) -> None:
        """Refuse a file that has lines, none of which is a record. Raises CdrUnreadable."""
        if self._skipped and not self._rows:
            raise CdrUnreadable(_NO_RECORDS.format(path=self._path, count=self._skipped))

    def horizon(self) -> datetime | None:
        """Tell by when all had ended that was not read; None where everything was."""
        if not self.begin:
            return None
        lines = self.lines[: len(self._rows)]
        # All rows of a caller who waited are written when he leaves: the last of them tells when.
        oldest = {_caller(line) for line in lines[:_NEIGHBOURS]}
        ends = (line.record.ended_at for line in lines if _caller(line) in oldest)
        latest = max(ends, default=_LATEST)
        return latest if latest == _LATEST else latest + _WRITTEN_WITHIN

    def cursor(self, untold: Iterable[Line], before: Key | None, told: frozenset[int]) -> Cursor:
        """Make the cursor of what is not told yet: these lines, and all that was not read."""
        end, islands = self._rest(sorted((line.begin, line.end) for line in untold))
        data = self._data[max(0, end - self._offset - _MARK_BYTES) : end - self._offset]
        mark = _mark(data, (len(data), 0))
        spans = [(0, end), *islands]
        still = frozenset(b for b in told if any(first <= b < last for first, last in spans))
        return Cursor(end, mark, before, islands, still, self._zone_s)

    def _rest(self, spans: Sequence[Span]) -> tuple[int, tuple[Span, ...]]:
        """Tell from where to go on, and what above that is to be read beside."""
        top = self._offset + len(self._data)
        clusters: list[Span] = []
        for begin, end in spans:
            if begin >= top:
                break
            if clusters and begin - clusters[-1][1] <= _GAP_BYTES:
                clusters[-1] = (clusters[-1][0], end)
            else:
                clusters.append((begin, end))
        begins = [begin for begin, _ in spans]
        islands = [
            (first, last)
            for first, last in self._islands
            if bisect_left(begins, first) < bisect_left(begins, last)
        ]
        left = MAX_BYTES // 4 - sum(last - first for first, last in islands)
        while clusters and len(islands) < _MOST_ISLANDS:
            begin, end = clusters[-1]
            if begin - self.begin <= _GAP_BYTES or end - begin > left:
                break
            left -= end - begin
            islands.insert(0, clusters.pop())
        # Without a row in all that was read, the begin of one may be cut off where it begins.
        oldest = self.begin if self._rows else min(self.begin, self._offset + LONGEST_ROW)
        return (clusters[-1][1] if clusters else oldest), tuple(islands)

    async def _take(self, offset: int, data: bytes) -> None:
        """Put older bytes in front; what lies before their first newline is not whole yet."""
        self._data, self._offset = data + self._data, offset
        self.bytes_read += len(data)
        cut = self._data.find(b"\n", 0, self.begin - offset) + 1 if offset else 0
        if offset and not cut:
            return
        whole = self._data[cut : self.begin - offset]
        most = max(0, MAX_LINES - len(self._rows) - len(self._far))
        # Not on the loop: a large part takes longer than other requests should wait.
        part = await asyncio.to_thread(read_part, whole, offset + cut, most=most)
        self._rows = part.rows + self._rows
        self._skipped += part.skipped
        if part.rows and (offset or len(part.rows) == most):
            self.begin = part.rows[0].begin
        else:
            self.begin = offset and min(self.begin, offset + cut + part.settled)
        if self._zone_s is None and self._rows and not has_births([*self._rows, *self._far]):
            self._zone_s = await self._find_zone()
        self.lines = await asyncio.to_thread(self._judge)

    def _judge(self) -> Sequence[Line]:
        rows = [*self._rows, *self._far]
        return lines_of(rows, Clock(rows, self._zone_s))

    async def _find_zone(self) -> int:
        """Find the zone of records that tell none: by when the file's last one was written.

        Raises:
            CdrUnreadable: nobody can know it.
        """
        part = await self._read(-_FIRST_BYTES, _FIRST_BYTES, self._deadline)
        rows = (await asyncio.to_thread(read_part, part.data, part.offset)).rows
        zone_s = Clock(rows).zone_s
        if zone_s is None and rows and part.written_s is not None:
            zone_s = zone_of_writing(rows[-1], part.written_s)
        if zone_s is None:
            raise CdrUnreadable(_NO_ZONE.format(path=self._path))
        return zone_s


def key_of(lines: Iterable[Line]) -> Key:
    """Order calls by their begin; see `Key`."""

    def key(line: Line) -> Key:
        began, number = age_of(line.record)
        return int(began.timestamp()), number, line.begin

    return min(map(key, lines))


def _caller(line: Line) -> str:
    return line.record.uniqueid or line.record.channel


def _mark(data: bytes, mark: Mark) -> Mark:
    """Mark the last bytes of what precedes a place, as many as another mark has."""
    length = mark[0]
    return length, zlib.crc32(data[-length:])

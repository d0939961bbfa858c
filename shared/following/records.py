"""The call records (CDR) that a PBX writes: its file read on from where it was read to, and how.

Asterisk itself says whether it writes records, at once or in batches; nothing is guessed from a
row that is not there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from shared.asterisk import client
from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.files import Row, read_part
from shared.asterisk.cdr.rows import Record, lines_of
from shared.asterisk.cdr.zones import Clock, Witness, has_births, zone_of_writing
from shared.asterisk.models import CdrMode, CdrState
from shared.deadline import Deadline
from shared.errors import CdrUnreadable, PbxError
from shared.following.pace import Pace
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.telemetry import LOG, count, of_pbx

_READ_TIMEOUT_S = 5.0
# A look begins no other reading after that: it is not to outlast the lease.
_CATCH_UP_S = 1.5
# Some 700 rows, 100 calls: as far back as a tracker that replaces another may have to look.
_TAIL_BYTES = 256 * 1024
_MOST_BYTES = 512 * 1024
# Kept for calls whose records are yet to come; a thousand calls leave as many.
_KEPT_BYTES, _KEPT_RECORDS = 2 * 1024 * 1024, 10_000
_NO_RECORDS = "{path} has lines, but no records as Asterisk's module cdr_csv writes them"
_NO_ZONE = "The records of {path} do not tell in which zone their times are: set loguniqueid=yes"
_STATES: dict[CdrMode, CdrState] = {"simple": "none", "batch": "pending", "off": "off"}


class Records:
    """The records of one host, as far as they were read."""

    def __init__(self, pbx: Pbx, host: str, settings: Settings, pace: Pace) -> None:
        self._pbx = pbx
        self._host = host
        self._path = settings.cdr_file
        self._mode_s = pace.cdr_mode_s
        self._offset = -_TAIL_BYTES  # from the file's end, as long as nothing was read
        self._is_behind = False
        self._mode_until = 0.0
        self._is_told = False
        self._zone_s: int | None = None
        self._witnesses: Mapping[str, Witness] = {}
        self._state: CdrState = "pending"
        self.seen = Book()
        self._kept: deque[tuple[int, tuple[Record, ...]]] = deque()
        self._kept_bytes = 0

    @property
    def state(self) -> CdrState:
        """What a row that is missing means; while not all was read, it may yet come."""
        return "pending" if self._is_behind and self._state == "none" else self._state

    async def read_on(self) -> bool:
        """Read what was written since: whether there was a record; `seen` has it.

        A host may be followed for days in which no record is waited for: what it has written
        meanwhile is more than a reading takes, and the record that is waited for stands at its end.

        Raises:
            PbxError: the host cannot be asked; what was read stays.
        """
        if time.monotonic() > self._mode_until:
            mode = await self._pbx.ask(
                self._host, client.load_cdr_mode, Deadline.after(_READ_TIMEOUT_S), turn="look"
            )
            self._state = _STATES[mode]
            self._mode_until = time.monotonic() + self._mode_s
        if self._state == "off":
            return False
        enough = Deadline.after(_CATCH_UP_S)
        try:
            is_news = await self._read()
            with suppress(PbxError):  # what was read is news: the next look reads on
                while self._is_behind and enough.remaining_s():
                    is_news |= await self._read()
        except CdrUnreadable as error:
            LOG.warning("⚠️ CDR на %s не читается: %s", self._host, error, extra=of_pbx(self._host))
            self._state = "unreadable"
            self._mode_until = time.monotonic() + self._mode_s
            return False
        return is_news

    async def _read(self) -> bool:
        """Read one part; of what is more than is kept the last alone."""
        offset, deadline = self._offset, Deadline.after(_READ_TIMEOUT_S)
        piece = await self._pbx.read_file(
            self._host, self._path, offset, _MOST_BYTES, deadline, turn="look"
        )
        if piece.size < offset:  # another file has this name now
            self._offset = 0
            return await self._read()
        if offset >= 0 and piece.size - offset > _KEPT_BYTES:
            self._offset = -_KEPT_BYTES
            return await self._read()
        is_cut, offset = offset < 0 < piece.offset, piece.offset
        self._is_behind = offset + len(piece.data) < piece.size
        # Not on the loop: what was written meanwhile may take seconds.
        part = await asyncio.to_thread(read_part, piece.data, offset if is_cut else 0)
        # What fills a whole reading is no line: without its end it would be read again for ever.
        is_endless = not part.settled and len(piece.data) == _MOST_BYTES
        self._offset = offset + (len(piece.data) if is_endless else part.settled)
        self._tell_of_skipped(part.skipped)
        is_last = self._offset == piece.size
        self._note_zone(part.rows, piece.written_s if is_last else None)
        if part.rows:
            if self._state == "unreadable":
                self._mode_until = 0.0
            await asyncio.to_thread(self._keep, part.settled, part.rows)
        elif part.skipped and not self.seen:
            raise CdrUnreadable(_NO_RECORDS.format(path=self._path))
        return bool(part.rows)

    def _note_zone(self, rows: Sequence[Row], written_s: float | None) -> None:
        """Find the zone of records that tell none: by when the file's last one was written.

        Raises:
            CdrUnreadable: nobody can know it.
        """
        if not rows or self._witnesses or has_births(rows):
            return
        asked_s = None if written_s is None else zone_of_writing(rows[-1], written_s)
        self._zone_s = self._zone_s if asked_s is None else asked_s
        if self._zone_s is None:
            raise CdrUnreadable(_NO_ZONE.format(path=self._path))

    def _records_of(self, rows: Sequence[Row]) -> tuple[Record, ...]:
        """Judge rows by the clock of those before them: one alone may be a waiting channel's."""
        clock = Clock(rows, self._zone_s, self._witnesses)
        self._witnesses = clock.witnesses
        return tuple(line.record for line in lines_of(rows, clock))

    def _tell_of_skipped(self, lines: int) -> None:
        if lines <= 0:
            return
        count("RecordsSkipped", lines)
        if not self._is_told:
            self._is_told = True
            LOG.warning(
                "⚠️ CDR на %s: пропущено строк, которые не записи: %d",
                self._host,
                lines,
                extra=of_pbx(self._host),
            )

    def _keep(self, size: int, rows: Sequence[Row]) -> None:
        """Add what was read. Of what is too much a quarter goes at once: rarely, and so cheaply."""
        new = self._records_of(rows)
        self._kept.append((size, new))
        self._kept_bytes += size
        self.seen.add(new)
        if self._kept_bytes <= _KEPT_BYTES and len(self.seen) <= _KEPT_RECORDS:
            return
        count = len(self.seen)
        while len(self._kept) > 1 and (
            self._kept_bytes > _KEPT_BYTES * 3 // 4 or count > _KEPT_RECORDS * 3 // 4
        ):
            size, oldest = self._kept.popleft()
            self._kept_bytes -= size
            count -= len(oldest)
        self.seen = Book(record for _, records in self._kept for record in records)

"""The call records (CDR) that a PBX writes: its file read on from where it was read to, and how.

Asterisk itself says whether it writes records, at once or in batches; nothing is guessed from a
row that is not there.
"""

from __future__ import annotations

import time

from shared.asterisk.cdr import Record, parse_records, whole_lines
from shared.asterisk.models import CdrMode
from shared.deadline import Deadline
from shared.errors import CdrUnreadable
from shared.following import CdrState
from shared.pbx import Pbx
from shared.settings import Settings
from shared.telemetry import LOG

_READ_TIMEOUT_S = 5.0
_MODE_S = 60.0
# Some 700 rows, 100 calls: as far back as a tracker that replaces another may have to look.
_TAIL_BYTES = 256 * 1024
_MOST_BYTES = 4 * 1024 * 1024
_MOST_RECORDS = 20_000
_STATES: dict[CdrMode, CdrState] = {"simple": "none", "batch": "pending", "off": "off"}


class Records:
    """The records of one host, as far as they were read."""

    # A batch is written every 5 minutes unless somebody set it longer.
    longest_s = 900.0

    def __init__(self, pbx: Pbx, host: str, settings: Settings) -> None:
        self._pbx = pbx
        self._host = host
        self._path = settings.cdr_file
        self._offset: int | None = None
        self._mode_until = 0.0
        self.state: CdrState = "pending"
        self.seen: tuple[Record, ...] = ()

    async def read_on(self) -> None:
        """Read what was written since; `state` says what a row that is missing means.

        Raises:
            PbxError, PbxBusy: the host cannot be asked; what was read stays.
        """
        if time.monotonic() > self._mode_until:
            mode = await self._pbx.find_cdr_mode(self._host, Deadline.after(_READ_TIMEOUT_S))
            self.state = _STATES[mode]
            self._mode_until = time.monotonic() + _MODE_S
        if self.state == "off":
            return
        try:
            await self._read()
        except CdrUnreadable as error:
            LOG.warning("⚠️ CDR на %s не читается: %s", self._host, error)
            self.state = "unreadable"
            self._mode_until = time.monotonic() + _MODE_S

    async def _read(self) -> None:
        offset, length = self._offset, _MOST_BYTES
        if offset is None:
            offset, length = -_TAIL_BYTES, _TAIL_BYTES
        deadline = Deadline.after(_READ_TIMEOUT_S)
        piece = await self._pbx.read_file(self._host, self._path, offset, length, deadline)
        if offset < 0:
            offset = max(0, piece.size - _TAIL_BYTES)
        elif piece.size < offset:  # another file has this name now
            self._offset = 0
            await self._read()
            return
        whole = piece.data[: whole_lines(piece.data)]
        self._offset = offset + len(whole)
        new = parse_records(whole.decode("utf-8", errors="replace"))
        self.seen = (*self.seen, *new)[-_MOST_RECORDS:]

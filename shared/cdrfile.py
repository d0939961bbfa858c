"""A host's file of call detail records, read backwards: the newest calls stand at its end.

A cursor names the byte where the next older page ends. The lines below it that belong to calls
already told go with it, since the rows of a long call lie far apart and among other calls' rows.
"""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from shared.asterisk.cdr import Line, parse_lines, whole_lines
from shared.deadline import Deadline
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.ssh.connection import FileSlice

MAX_BYTES = 8 * 2**20
_FIRST_BYTES = 2**16
_MARK_BYTES = 64
# A page's rows lie among those of the calls that went on meanwhile: tens, not thousands.
_MAX_TOLD = 1000
_MAX_CURSOR_CHARACTERS = 16_384


class Replaced(Exception):
    """The file is not the one that it was: rotated, or emptied."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ends, how the file goes on there, and which lines before it are told already."""

    end: int
    mark: int
    told: frozenset[int] = frozenset()

    def render(self) -> str:
        """Write it as an opaque text."""
        told = sorted(self.end - begin for begin in self.told)[:_MAX_TOLD]
        text = json.dumps([self.end, self.mark, told], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read it again. Raises ValueError: it is no such text."""
        padded = text[:_MAX_CURSOR_CHARACTERS] + "=" * (-len(text) % 4)
        try:
            packed = base64.urlsafe_b64decode(padded)
            end, mark, told = json.loads(_unpack(packed))
        except (ValueError, TypeError, zlib.error, RecursionError) as error:
            raise ValueError("not a cursor") from error
        numbers = [end, mark, *told] if isinstance(told, list) else [None]
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            raise ValueError("not a cursor")
        return cls(end, mark, frozenset(end - before for before in told))


class Tail:
    """The last lines of a host's file, or those before a cursor; `read_more` adds older ones."""

    def __init__(self, host: str, deadline: Deadline) -> None:
        self._host = host
        self._deadline = deadline
        self._path = load_settings().cdr_file
        self._data = b""
        self._offset = 0
        self.lines: list[Line] = []
        self.size = 0
        self.begin = 0

    @property
    def bytes_read(self) -> int:
        """How much was read."""
        return len(self._data)

    async def start(self, cursor: Cursor | None) -> None:
        """Read the newest lines.

        Raises:
            Replaced: the cursor is of another file.
            CdrUnreadable, PbxError: the file cannot be had.
        """
        if cursor is None:
            part = await self._read(-_FIRST_BYTES, _FIRST_BYTES)
            end = part.offset + whole_lines(part.data)
        else:
            end = cursor.end
            start = max(0, end - _FIRST_BYTES)
            part = await self._read(start, end - start + _MARK_BYTES)
            if _mark(part.data[end - start :]) != cursor.mark:
                raise Replaced
        self.size, self.begin = part.size, end
        await self._take(part.offset, part.data)

    async def read_more(self) -> bool:
        """Read as much again, older; False if there is no more, or it would be too much."""
        length = min(self.bytes_read, MAX_BYTES - self.bytes_read, self._offset)
        if length <= 0:
            return False
        offset = self._offset - length
        part = await self._read(offset, length)
        if len(part.data) < length:
            raise Replaced
        await self._take(offset, part.data)
        return True

    def cursor_at(self, end: int, told: AbstractSet[int]) -> Cursor:
        """Make the cursor of the page before a byte; one line that is too long is left out."""
        if not self.lines:
            end = self._offset
        mark = _mark(self._data[end - self._offset :])
        return Cursor(end, mark, frozenset(begin for begin in told if begin < end))

    async def _read(self, offset: int, length: int) -> FileSlice:
        return await load_pbx().read_file(self._host, self._path, offset, length, self._deadline)

    async def _take(self, offset: int, data: bytes) -> None:
        """Put older bytes in front; what lies before their first newline is not whole yet."""
        self._data, self._offset = data + self._data, offset
        cut = self._data.find(b"\n", 0, self.begin - offset) + 1 if offset else 0
        if offset and not cut:
            return
        whole = self._data[cut : self.begin - offset]
        # Not on the loop: a large part takes longer than other requests should wait.
        lines = await asyncio.to_thread(parse_lines, whole, offset + cut)
        self.lines = [*lines, *self.lines]
        self.begin = offset + cut


def _unpack(packed: bytes) -> bytes:
    """Decompress no more than a cursor has: a few bytes may stand for very many."""
    return zlib.decompressobj().decompress(packed, _MAX_CURSOR_CHARACTERS)


def _mark(data: bytes) -> int:
    return zlib.crc32(data[:_MARK_BYTES])

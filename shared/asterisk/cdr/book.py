"""Records by whose they are, and by when they began. Pure.

Hundreds of calls may wait for theirs among ten thousand: those are sorted once for all of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import overload

from shared.asterisk.cdr.rows import Record

_begin = attrgetter("started_at")


class Book(Sequence[Record]):
    """The records of one host in the order in which they were written.

    `add` is for whoever reads on, while nobody looks: what it costs is told by what is new alone.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[Record] = []
        self._places: dict[int, int] = {}
        self._by_begin: list[Record] = []
        self._by_caller: defaultdict[str, list[Record]] = defaultdict(list)
        self._by_name: defaultdict[str, list[Record]] = defaultdict(list)
        self.dialled: set[str] = set()
        self.dispositions: set[str] = set()
        self.add(records)

    def add(self, records: Iterable[Record]) -> None:
        """Add what was written after all that it has."""
        for row in records:
            self._places[id(row)] = len(self._records)
            self._records.append(row)
            insort(self._by_begin, row, key=_begin)
            insort(self._by_caller[row.channel], row, key=_begin)
            insort(self._by_name[row.channel], row, key=_begin)
            if row.dst_channel and row.dst_channel != row.channel:
                insort(self._by_name[row.dst_channel], row, key=_begin)
            self.dialled.add(row.dst_channel)
            self.dispositions.add(row.disposition)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Book:
        """Make one of records; one that is a book already stays itself."""
        return records if isinstance(records, Book) else cls(records)

    def called_by(self, channel: str) -> Sequence[Record]:
        """List what a channel did, the earliest first."""
        return self._by_caller.get(channel, ())

    def naming(self, channel: str) -> Sequence[Record]:
        """List what a channel took part in, by its calling or being called, the earliest first."""
        return self._by_name.get(channel, ())

    def begun_within(self, first: datetime, last: datetime) -> Sequence[Record]:
        """List what began in a time, its bounds included, the earliest first."""
        begin = bisect_left(self._by_begin, first, key=_begin)
        return self._by_begin[begin : bisect_right(self._by_begin, last, key=_begin)]

    def place_of(self, row: Record) -> int:
        """Tell the how manieth of these records one of them was written."""
        return self._places[id(row)]

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...

    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        return self._records[place]

    def __len__(self) -> int:
        return len(self._records)

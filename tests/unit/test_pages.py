"""Pages of a history: by the calls' begin, over a file that is written by their end."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.auth.cursors import MAX_CURSOR_CHARACTERS, Seal
from shared.deadline import Deadline
from shared.errors import CdrUnreadable
from shared.history import tail
from shared.history.page import Page, Wanted, load_page
from shared.ssh.files import FileSlice
from tests.unit.cdr_rows import EPOCH, line

often = settings(max_examples=60, deadline=None, database=None, derandomize=True)


class File:
    """A PBX with one file, on which nobody calls now."""

    def __init__(self, data: bytes, written_s: float | None = None) -> None:
        self.data = data
        self.written_s = written_s
        self.bytes_read = 0

    async def ask(self, *_: Any, **__: Any) -> tuple[()]:
        """List no channels."""
        return ()

    async def read_file(
        self,
        _host: str,
        _path: str,
        offset: int,
        length: int,
        _deadline: Deadline,
        *,
        after: asyncio.Event | None,
    ) -> FileSlice:
        """Read it, once the channels are known."""
        if after is not None:
            await after.wait()
        start = max(0, len(self.data) + offset) if offset < 0 else offset
        data = self.data[start : start + length]
        self.bytes_read += len(data)
        return FileSlice(len(self.data), start, data, self.written_s)


async def _no_rows(*_: Any, **__: Any) -> list[Any]:
    return []


DATABASE: Any = SimpleNamespace(run=_no_rows)
ENTERPRISE: Any = SimpleNamespace(
    check_whole_host=lambda: None,
    seal=lambda listing: Seal("key", "0367", "192.0.2.10", listing),
    host="192.0.2.10",
    name="june",
    number="0367",
)


async def load(file: File, cursor: str | None = None, **wanted: Any) -> Page:
    """Load a page."""
    pbx: Any = file
    return await load_page(
        pbx,
        DATABASE,
        ENTERPRISE,
        Wanted(**wanted),
        cursor,
        path="/Master.csv",
        deadline=Deadline.after(60),
    )


def every_page(file: File, most: int = 3_000, **wanted: Any) -> list[list[str]]:
    """Follow `next` to the end; the calls' channels."""

    async def follow() -> list[list[str]]:
        pages: list[list[str]] = []
        cursor = None
        while len(pages) < most:
            page = await load(file, cursor, **wanted)
            pages.append([entry.call.channel for entry in page.entries])
            cursor = page.next
            if cursor is None:
                return pages
            assert len(cursor) <= MAX_CURSOR_CHARACTERS
        raise AssertionError("there is no end")

    return asyncio.run(follow())


def written(calls: list[tuple[int, int]], *, legs: int = 1) -> tuple[bytes, list[str]]:
    """Write calls that begin and last so, in the order of their ends; their channels by begin."""
    rows = []
    for number, (at, lasts) in enumerate(calls):
        channel = f"SIP/trunk-{number:08x}"
        for leg in range(legs):
            begins, ends = at + leg * (lasts // legs), at + (leg + 1) * (lasts // legs)
            row = line(
                *(channel, f"SIP/150-{legs * number + leg:08x}"),
                at=begins,
                talks=ends - begins,
                uniqueid=f"{EPOCH + at}.{number}",
                src='two\nlines, "quoted"' if number % 7 == 0 else "",
            )
            rows.append((ends, number, row))
    rows.sort()
    order = sorted(range(len(calls)), key=lambda number: (calls[number][0], number), reverse=True)
    data = "".join(row for *_, row in rows).encode()
    return data, [f"SIP/trunk-{number:08x}" for number in order]


CALLS = st.lists(
    st.tuples(st.integers(0, 6_000), st.sampled_from([0, 1, 5, 60, 600, 4_000])),
    min_size=1,
    max_size=40,
)


@often
@given(calls=CALLS, limit=st.integers(1, 12), legs=st.integers(1, 3))
def test_pages_are_exact(calls: list[tuple[int, int]], limit: int, legs: int) -> None:
    """Every call once, the newest begin first, whatever lasts how long and ends when."""
    data, expected = written(calls, legs=legs)
    pages = every_page(File(data), limit=limit)
    assert [channel for page in pages for channel in page] == expected
    assert all(len(page) == limit for page in pages[:-1])


@pytest.mark.parametrize("seed", range(2))
def test_pages_are_exact_where_little_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Long calls stand far above those that began with them: they are read beside."""
    monkeypatch.setattr(tail, "_FIRST_BYTES", 10_000)
    monkeypatch.setattr(tail, "_GAP_BYTES", 2_000)
    monkeypatch.setattr(tail, "MAX_BYTES", 100_000)
    dice = random.Random(seed)
    lasts = [5, 5, 5, 5, 30, 30, 90, 20_000]
    calls = [(60 * number + dice.randint(0, 50), dice.choice(lasts)) for number in range(700)]
    data, expected = written(calls)
    file = File(data)
    pages = every_page(file, limit=25)
    assert [channel for page in pages for channel in page] == expected
    assert file.bytes_read < 40 * len(data)


def test_what_was_told_is_not_told_again() -> None:
    """A call of thousands of rows that lie among those of all later pages."""
    rows = []
    for number in range(1_200):
        at = 10 * number
        rows.append(
            line(
                *("SIP/trunk-ffffffff", f"SIP/150-{number:08x}", "NO ANSWER"),
                at=at,
                rings=9,
                uniqueid=f"{EPOCH}.1",
            )
        )
        if number % 3 == 0:
            rows.append(
                line(f"SIP/trunk-{number:08x}", at=at, talks=9, uniqueid=f"{EPOCH + at}.{number}")
            )
    pages = every_page(File("".join(rows).encode()), limit=100)
    told = [channel for page in pages for channel in page]
    assert len(told) == len(set(told)) == 401
    assert told[-1] == "SIP/trunk-00000000" or told[-2:] == ["SIP/trunk-ffffffff", told[-1]]


def test_pages_go_on_where_nothing_has_begun_so_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls last longer than one request may read back: they come by their end, each once."""
    monkeypatch.setattr(tail, "_FIRST_BYTES", 10_000)
    monkeypatch.setattr(tail, "MAX_BYTES", 20_000)
    data, expected = written([(number, 90_000) for number in range(400)])
    pages = every_page(File(data), limit=20)
    told = [channel for page in pages for channel in page]
    assert sorted(told) == sorted(expected)


@pytest.mark.parametrize("noise", ["x" * 200_000 + "\n", '"' + "\n" * 100_000, "other\n" * 20_000])
def test_noise_hides_no_call(monkeypatch: pytest.MonkeyPatch, noise: str) -> None:
    """More of it than one request reads: the page is empty then, and the next ones are not."""
    monkeypatch.setattr(tail, "_FIRST_BYTES", 10_000)
    monkeypatch.setattr(tail, "MAX_BYTES", 40_000)
    calls = [(100 * number, 5) for number in range(20)]
    data, expected = written(calls)
    middle = data.rindex(b'\n"","', 0, data.index(b"SIP/trunk-00000009")) + 1
    file = File(data[:middle] + noise.encode() + b"\n" + data[middle:])
    told = [channel for page in every_page(file, limit=3) for channel in page]
    assert told == expected


def test_rows_cut_by_a_reading_are_whole_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a reading begins, also within a row or its quotes."""
    data, expected = written([(100 * number, 5) for number in range(14)])
    for first in range(200, 900, 7):
        monkeypatch.setattr(tail, "_FIRST_BYTES", first)
        told = [channel for page in every_page(File(data), limit=4) for channel in page]
        assert told == expected


@pytest.mark.parametrize("zone_h", [-5, 0, 3])
def test_records_without_uniqueid_are_read_by_the_time_of_writing(zone_h: float) -> None:
    """Nothing in them tells the zone; the file was last written as the last of them ended."""
    rows = [
        line(f"SIP/{n}-1", f"SIP/{n}-2", at=100 * n, talks=9, zone_h=zone_h, uniqueid="-")
        for n in range(1, 6)
    ]
    file = File("".join(rows).encode(), written_s=EPOCH + 509)

    async def begins() -> list[float]:
        told, cursor = [], None
        while True:
            page = await load(file, cursor, limit=2)
            told += [entry.call.started_at.timestamp() - EPOCH for entry in page.entries]
            cursor = page.next
            if cursor is None:
                return told
            file.written_s = None  # what a cursor knows is not asked again

    assert asyncio.run(begins()) == [500, 400, 300, 200, 100]


@pytest.mark.parametrize("written_s", [None, EPOCH + 100_000])
def test_records_of_an_unknown_zone_are_unreadable(written_s: float | None) -> None:
    """Rather than hours off; and it is said what to do."""
    file = File(line("SIP/1-1", talks=9, uniqueid="-").encode(), written_s)
    with pytest.raises(CdrUnreadable, match="loguniqueid=yes"):
        asyncio.run(load(file))


# cdr_custom's own example.
CUSTOM = (
    '"""A"" <150>","150","151","inoffice","SIP/150-1","SIP/151-2","Dial","SIP/151",'
    '"2026-11-22 20:43:16","2026-11-22 20:43:17","2026-11-22 20:43:19","3","2","ANSWERED",'
    '"DOCUMENTATION","","1795380196.1","",7\n'
)


@pytest.mark.parametrize("text", [CUSTOM, CUSTOM * 2_000, "other rows\n" * 3, "a,b\n"])
def test_another_layout_is_unreadable(text: str) -> None:
    """A history without calls would be untrue."""
    with pytest.raises(CdrUnreadable, match="cdr_csv"):
        asyncio.run(load(File(text.encode())))


@pytest.mark.parametrize("text", ["", "\ufeff", "unfinished", '"un\nfinished'])
def test_a_file_without_a_line_has_no_calls(text: str) -> None:
    """Nothing was written to it yet, or not to its end."""
    page = asyncio.run(load(File(text.encode())))
    assert (page.entries, page.next) == ((), None)


@often
@given(
    parts=st.lists(
        st.sampled_from(
            [
                *(
                    line("SIP/1-1", at=9),
                    line("SIP/2-2", at=5, talks=60),
                    line("SIP/3-3", uniqueid="-"),
                ),
                *('"', "\n", ",", '"\n', "\r\n", "\0", "\ufeff", '""', "a", CUSTOM, line("x")[:99]),
            ]
        ),
        max_size=12,
    ),
    limit=st.integers(1, 3),
)
def test_any_file_has_pages_or_is_unreadable(parts: list[str], limit: int) -> None:
    """And no call is told twice."""
    file = File("".join(parts).encode("utf-8"), EPOCH + 65)
    try:
        pages = every_page(file, limit=limit)
    except CdrUnreadable:
        return
    assert sum(map(len, pages)) <= len(parts)

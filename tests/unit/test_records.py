"""Reading on in the PBX's file of call records."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from shared.asterisk import client
from shared.asterisk.cdr.book import Book
from shared.asterisk.cdr.files import Part, read_part
from shared.asterisk.cdr.outcome import confirm
from shared.asterisk.cdr.rows import Record
from shared.deadline import Deadline
from shared.errors import ConnectionLost
from shared.following import records
from shared.following.pace import Pace
from shared.following.records import Records
from shared.settings import Settings
from shared.ssh.files import FileSlice
from shared.turns import Turn
from tests.unit.cdr_rows import BEGINNING, EPOCH, line

pytestmark = pytest.mark.anyio


class Pbx:
    """Stands for a PBX with one file; tells from where it was read."""

    def __init__(self, data: bytes, written_s: float | None = None) -> None:
        self.data = data
        self.written_s = written_s
        self.offsets: list[int] = []

    async def ask(self, _host: str, question: object, _deadline: Deadline, turn: Turn) -> str:
        """Say that records are written at once."""
        assert turn == "look"
        assert question is client.load_cdr_mode
        return "simple"

    async def read_file(
        self, _host: str, _path: str, offset: int, length: int, _deadline: Deadline, turn: Turn
    ) -> FileSlice:
        """Read it."""
        assert turn == "look", "not behind those who read history"
        self.offsets.append(offset)
        start = max(0, len(self.data) + offset) if offset < 0 else offset
        data = self.data[start : start + length]
        return FileSlice(len(self.data), start, data, self.written_s)


async def test_a_line_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fills a whole reading is passed over; what is not whole yet is read again."""
    monkeypatch.setattr(records, "_MOST_BYTES", 1_000)
    pbx: Any = Pbx(line("SIP/150-1").encode())
    read = Records(pbx, "192.0.2.1", Settings.from_environment({}), Pace())
    await read.read_on()
    whole = len(pbx.data)
    pbx.data += b"x" * 2_500
    for _ in range(2):
        await read.read_on()
    pbx.data += b"\n" + line("SIP/151-1").encode()
    await read.read_on()
    assert pbx.offsets[1:] == [whole, whole + 1_000, whole + 2_000, whole + 2_000, whole + 2_000]
    assert [row.channel for row in read.seen] == ["SIP/150-1", "SIP/151-1"]


async def test_the_loop_does_not_wait_for_what_a_pbx_has_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Megabytes of rows are parsed in a thread, while other requests go on."""
    threads: list[int] = []

    def read(data: bytes, offset: int) -> Part:
        threads.append(threading.get_ident())
        return read_part(data, offset)

    monkeypatch.setattr(records, "read_part", read)
    pbx: Any = Pbx(line("SIP/150-1").encode())
    reader = Records(pbx, "192.0.2.1", Settings.from_environment({}), Pace())
    await reader.read_on()
    assert [row.channel for row in reader.seen] == ["SIP/150-1"]
    assert threads
    assert threading.get_ident() not in threads


def reader_of(pbx: Any) -> Records:
    """Make the reader of a PBX's records."""
    return Records(pbx, "192.0.2.1", Settings.from_environment({}), Pace())


ROOT, CUSTOMER = "Local/154@inoffice-0000002a;", "Local/+375290000001@inoffice-0000002b;"
# A call of ours: 500 s of talk, then the customer is handed over to 151, 120 s more.
TRANSFERRED = [
    line(f"{ROOT}2", "SIP/154-1f", rings=2, talks=3, uniqueid=f"{EPOCH}.8", dst="154"),
    line(f"{ROOT}1", at=2, talks=3, uniqueid=f"{EPOCH}.7"),
    line(f"{ROOT}1", f"{CUSTOMER}1", at=2, talks=3, uniqueid=f"{EPOCH}.7"),
    line(f"{CUSTOMER}2", "SIP/trunk-20", at=2, rings=3, uniqueid=f"{EPOCH + 2}.10"),
    line("SIP/154-1f", "SIP/trunk-20", at=5, talks=500, uniqueid=f"{EPOCH}.9"),
    line("SIP/trunk-20", "SIP/151-21", at=505, talks=120, uniqueid=f"{EPOCH + 2}.11", dst="151"),
]


@pytest.mark.parametrize("alone", range(len(TRANSFERRED)))
async def test_both_talks_of_a_transferred_call_count(alone: int) -> None:
    """500 and 120 seconds, whichever row is read last, and alone."""
    others = [row for index, row in enumerate(TRANSFERRED) if index != alone]
    pbx = Pbx("".join(others).encode())
    reader = reader_of(pbx)
    await reader.read_on()
    root = f"{ROOT}1", f"{EPOCH}.7"
    early = confirm(reader.seen, *root, is_transferred=True)
    assert early is None or early.talk_s == 620  # one row says nothing that others do not
    pbx.data += TRANSFERRED[alone].encode()
    await reader.read_on()
    told = confirm(reader.seen, *root, is_transferred=True)
    assert told is not None
    assert (told.reason, told.talk_s) == ("answered", 620)


async def test_a_waiting_channel_moves_no_clock_between_readings() -> None:
    """What an earlier reading has shown of a channel, and of the zone, holds in the next."""
    pbx = Pbx(line("SIP/1-1", talks=9, uniqueid=f"{EPOCH}.1", zone_h=3).encode())
    reader = reader_of(pbx)
    await reader.read_on()
    for waited in (900, 1_800, 3_600):
        row = line("SIP/1-1", at=waited, talks=9, uniqueid=f"{EPOCH}.1", zone_h=3)
        pbx.data += row.encode()
        await reader.read_on()
        assert reader.seen[-1].started_at == BEGINNING + timedelta(seconds=waited)


@pytest.mark.parametrize("cut", range(0, 200, 3))
async def test_a_record_is_read_when_it_is_whole(cut: int) -> None:
    """Also where a reading ends within its quotes, behind a newline that is its own."""
    row = line("SIP/150-1", src='a\n"b",\n\nc', talks=9)
    whole = line("SIP/151-2") + row + line("SIP/152-3", at=60)
    first = whole.encode()[: len(line("SIP/151-2")) + cut]
    pbx = Pbx(first)
    reader = reader_of(pbx)
    await reader.read_on()
    pbx.data = whole.encode()
    await reader.read_on()
    channels = [record.channel for record in reader.seen]
    assert channels == ["SIP/151-2", "SIP/150-1", "SIP/152-3"]


async def test_what_is_too_long_is_skipped_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A field of 200 kB: counted, told, and nothing after it is lost."""
    long = line("SIP/150-1", src="x" * 100_000)
    pbx = Pbx((line("SIP/151-2") + long + line("SIP/152-3", at=60)).encode())
    reader = reader_of(pbx)
    await reader.read_on()
    assert [record.channel for record in reader.seen] == ["SIP/151-2", "SIP/152-3"]
    assert "пропущено строк, которые не записи: 1" in caplog.text


@pytest.mark.parametrize("zone_h", [-5, 3])
async def test_the_zone_is_that_of_the_time_of_writing(zone_h: float) -> None:
    """Where records tell no uniqueid: the last one was written as it ended."""
    text = line("SIP/1-1", talks=9, uniqueid="-", zone_h=zone_h)
    reader = reader_of(Pbx(text.encode(), EPOCH + 9))
    await reader.read_on()
    assert (reader.state, reader.seen[0].started_at) == ("none", BEGINNING)


@pytest.mark.parametrize(
    "text", [line("SIP/1-1", uniqueid="-"), '"one","of","another","layout"\n' * 3]
)
async def test_records_that_cannot_be_understood_are_unreadable(text: str) -> None:
    """Of an unknown zone, or of another module; until there are some that can be."""
    pbx = Pbx(text.encode())
    reader = reader_of(pbx)
    await reader.read_on()
    assert (reader.state, len(reader.seen)) == ("unreadable", 0)
    pbx.data += line("SIP/150-1").encode()
    for _ in range(2):
        await reader.read_on()
    assert reader.state == "none"
    assert [record.channel for record in reader.seen] == ["SIP/150-1"]


def rows_from(first: int, count: int) -> bytes:
    """Make rows of so many calls."""
    return "".join(line(f"SIP/150-{n}", at=n) for n in range(first, first + count)).encode()


async def test_a_record_behind_days_of_others_is_found_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where calls elsewhere alone were followed: what nobody waited for is no more than is kept."""
    monkeypatch.setattr(records, "_MOST_BYTES", 1_000)
    monkeypatch.setattr(records, "_KEPT_BYTES", 4_000)
    monkeypatch.setattr(records, "_CATCH_UP_S", 60.0)
    pbx = Pbx(rows_from(0, 1))
    reader = reader_of(pbx)
    await reader.read_on()
    pbx.data += rows_from(1, 500)
    pbx.offsets.clear()
    assert await reader.read_on()
    assert (reader.seen[-1].channel, reader.state) == ("SIP/150-500", "none")
    assert len(pbx.offsets) <= 2 + 4_000 // 1_000 + 1


async def test_a_missing_record_is_awaited_until_all_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over a slow link: that there is none is not said while it may stand in what is left."""
    monkeypatch.setattr(records, "_MOST_BYTES", 1_000)
    monkeypatch.setattr(records, "_CATCH_UP_S", 0.0)
    pbx = Pbx(rows_from(0, 1))
    reader = reader_of(pbx)
    await reader.read_on()
    pbx.data += rows_from(1, 20)
    states = []
    while len(reader.seen) < 21:
        assert await reader.read_on()
        states.append(reader.state)
    assert states == ["pending"] * (len(states) - 1) + ["none"]


async def test_what_was_read_is_news_though_the_host_went_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Amidst a long reading: the next look reads on, and what waits for a record is judged now."""
    monkeypatch.setattr(records, "_MOST_BYTES", 1_000)
    monkeypatch.setattr(records, "_CATCH_UP_S", 60.0)
    pbx = Pbx(rows_from(0, 20))
    reader = reader_of(pbx)
    read_file = pbx.read_file

    async def read_once(*args: Any, **asked: Any) -> FileSlice:
        if pbx.offsets:
            raise ConnectionLost("Connection lost")
        return await read_file(*args, **asked)

    monkeypatch.setattr(pbx, "read_file", read_once)
    assert await reader.read_on()
    assert reader.state == "pending"
    monkeypatch.setattr(pbx, "read_file", read_file)
    assert await reader.read_on()
    assert (len(reader.seen), reader.state) == (20, "none")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the records that books were given, each time."""
    counts: list[int] = []
    add = Book.add

    def counted(self: Book, rows: Iterable[Record]) -> None:
        some = list(rows)
        counts.append(len(some))
        add(self, some)

    monkeypatch.setattr(Book, "add", counted)
    return counts


async def test_reading_on_costs_by_what_is_new_alone(added: list[int]) -> None:
    """Nothing that was read before is put in order once more."""
    pbx = Pbx(rows_from(0, 500))
    reader = reader_of(pbx)
    await reader.read_on()
    added.clear()
    for turn in range(5):
        pbx.data += rows_from(500 + turn * 3, 3)
        assert await reader.read_on()
    assert not await reader.read_on()
    assert added == [3] * 5
    assert [row.channel for row in reader.seen][-1] == "SIP/150-514"


async def test_the_oldest_records_are_forgotten_rarely(
    added: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more are kept than is allowed, and each is put in order five times at the very most."""
    monkeypatch.setattr(records, "_KEPT_RECORDS", 100)
    pbx = Pbx(b"")
    reader = reader_of(pbx)
    for turn in range(200):
        pbx.data += rows_from(turn * 3, 3)
        await reader.read_on()
        assert len(reader.seen) <= 100
        assert reader.seen[-1].channel == f"SIP/150-{turn * 3 + 2}"
    assert len(reader.seen) >= 75 - 3
    assert sum(added) <= 5 * 600

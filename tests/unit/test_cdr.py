"""Call detail records: one line, many lines, and what is no line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.files import read_part
from shared.asterisk.cdr.rows import Record, age_of, epoch_of
from tests.unit.cdr_rows import BEGINNING, EPOCH, line, parse_lines, parse_records

# As Asterisk 16 wrote it.
BUSY = (
    '"","","154","inoffice",""""" <>","Local/154@inoffice-00000ac4;1",'
    '"Local/+375290000002@inoffice-00000ac5;1","Dial","LOCAL/+375290000002@inoffice",'
    '"2026-11-22 20:43:16","2026-11-22 20:43:16","2026-11-22 20:43:17",1,1,"BUSY",'
    '"DOCUMENTATION","1795380194.11073",""\n'
)
MOMENT = datetime(2026, 11, 22, 20, 43, 16, tzinfo=UTC)
RECORD = Record(
    src="",
    dst="154",
    context="inoffice",
    channel="Local/154@inoffice-00000ac4;1",
    dst_channel="Local/+375290000002@inoffice-00000ac5;1",
    application="Dial",
    data="LOCAL/+375290000002@inoffice",
    started_at=MOMENT,
    answered_at=MOMENT,
    ended_at=MOMENT + timedelta(seconds=1),
    duration_s=1,
    talk_s=1,
    disposition="BUSY",
    uniqueid="1795380194.11073",
)
WITHOUT_USERFIELD = BUSY.replace(',""\n', "\n")
WITHOUT_UNIQUEID = BUSY.replace(',"1795380194.11073"', "")
WITHOUT_BOTH = WITHOUT_USERFIELD.replace(',"1795380194.11073"', "")
LINKEDID = "pbx-1795380194.11070"
NEW_COLUMNS = f',"","{LINKEDID}",17\n'


def test_a_line_is_a_record() -> None:
    """Each column by its name; the times are UTC, as `usegmtime=yes` writes them."""
    assert parse_records(BUSY) == (RECORD,)


@pytest.mark.parametrize(
    ("text", "uniqueid", "linkedid"),
    [
        (WITHOUT_USERFIELD, RECORD.uniqueid, ""),
        (WITHOUT_UNIQUEID, "", ""),
        (WITHOUT_BOTH, "", ""),
        (WITHOUT_BOTH.replace("\n", ',"a note"\n'), "", ""),
        (WITHOUT_BOTH.replace("\n", NEW_COLUMNS), "", LINKEDID),
        (WITHOUT_USERFIELD.replace("\n", NEW_COLUMNS), RECORD.uniqueid, LINKEDID),
        (WITHOUT_UNIQUEID.replace("\n", NEW_COLUMNS), "", LINKEDID),
        (BUSY.replace("\n", NEW_COLUMNS), RECORD.uniqueid, LINKEDID),
        (BUSY.replace("\n", ',"one","more"\n'), RECORD.uniqueid, ""),
    ],
)
def test_optional_columns_may_be_missing(text: str, uniqueid: str, linkedid: str) -> None:
    """loguniqueid=no and loguserfield=no leave columns out, newcdrcolumns=yes adds three."""
    assert parse_records(text) == (replace(RECORD, uniqueid=uniqueid, linkedid=linkedid),)


def test_a_call_nobody_answered_has_no_such_time() -> None:
    """The missing answer is None, not a time."""
    (record,) = parse_records(line("SIP/1-1", "SIP/2-2", "NO ANSWER", rings=5))
    assert record.answered_at is None
    assert (record.duration_s, record.talk_s) == (5, 0)


@pytest.mark.parametrize(
    "text",
    [
        BUSY[:-1],
        "\n",
        "accountcode,src,dst\n",
        BUSY.replace("2026-11-22 20:43:17", "yesterday"),
        BUSY.replace("2026-11-22 20:43:17", "0001-01-01 00:00:00"),
        BUSY.replace(",1,1,", ",one,1,"),
        BUSY.replace('"154"', '"' + 200_000 * "1" + '"'),
    ],
)
def test_what_is_no_line_is_left_out(text: str) -> None:
    """A line without its newline is still being written; a malformed one hides no other."""
    assert parse_records(text) == ()
    assert parse_records(BUSY + text) == (RECORD,)
    whole = text if text.endswith("\n") else text + "\n"
    assert parse_records(whole + BUSY)[-1:] == (RECORD,)


def test_a_quote_that_stays_open_hides_one_line() -> None:
    """A file may begin in the middle of a line, or hold one that a full disk cut."""
    assert parse_records(BUSY[200:] + BUSY) == (RECORD,)
    assert parse_records('"cut off\n' + BUSY) == (RECORD,)


def test_a_growing_file_is_read_on_after_its_whole_lines() -> None:
    """The bytes up to the last newline are what was consumed."""
    data = (BUSY + BUSY).encode()
    for cut in range(len(data) + 1):
        consumed = read_part(data[:cut]).settled
        assert len(read_part(data[:cut]).rows) + len(read_part(data[consumed:]).rows) == 2


def test_lines_tell_where_they_lie() -> None:
    """Begin and end are bytes, not characters; what is between two records is nobody's."""
    first = BUSY.replace("inoffice", "контекст")
    data = (first + "no line\n" + BUSY).encode()
    lines = parse_lines(data)
    assert [data[part.begin : part.end].decode() for part in lines] == [first, BUSY]


@pytest.mark.parametrize("zone_h", [-9.5, -3, 0, 3, 5.75, 14])
def test_local_times_become_utc(zone_h: float) -> None:
    """usegmtime=no: the uniqueid's epoch tells how far the line's clock is ahead."""
    (record,) = parse_records(line("SIP/1-1", "SIP/2-2", at=1, rings=2, talks=3, zone_h=zone_h))
    assert record.started_at == BEGINNING + timedelta(seconds=1)
    assert record.answered_at == BEGINNING + timedelta(seconds=3)
    assert record.ended_at == BEGINNING + timedelta(seconds=6)


def test_a_channel_that_waited_does_not_move_the_clock() -> None:
    """A caller who waited 40 minutes in a queue is no proof of a time zone."""
    waited = line("SIP/1-1", "SIP/2-2", at=2400, talks=9, uniqueid=f"{EPOCH}.5")
    other = line("SIP/3-3", "SIP/4-4", at=2405)
    record, _ = parse_records(waited + other)
    assert record.started_at == BEGINNING + timedelta(seconds=2400)


def test_a_line_without_uniqueid_has_its_neighbours_clock() -> None:
    """A file has one clock, whichever of its lines tell it."""
    known, unknown = line("SIP/1-1", zone_h=3), line("SIP/2-2", zone_h=3, uniqueid="-")
    assert {record.started_at for record in parse_records(known + unknown)} == {BEGINNING}


@pytest.mark.parametrize(
    ("uniqueid", "epoch"),
    [
        ("1795380194.11073", 1_795_380_194),
        ("pbx-1-1795380194.7", 1_795_380_194),
        ("", None),
        ("12.1", None),
        ("1795380194", None),
    ],
)
def test_a_uniqueid_tells_when_its_channel_was_created(uniqueid: str, epoch: int | None) -> None:
    """`systemname` of asterisk.conf stands before it, with whatever dashes."""
    expected = None if epoch is None else datetime.fromtimestamp(epoch, UTC)
    assert epoch_of(uniqueid) == expected


@given(st.binary(max_size=400))
def test_any_bytes_are_parsed(data: bytes) -> None:
    """Nothing that may stand in a file raises, and no line lies outside it."""
    lines = parse_lines(data)
    assert all(0 <= part.begin < part.end <= read_part(data).settled for part in lines)


@given(st.text(max_size=400), st.integers(0, len(BUSY)))
def test_any_text_inside_a_line_is_parsed(text: str, place: int) -> None:
    """A line that anything was written into hides none of its neighbours."""
    found = parse_records(BUSY + BUSY[:place] + text + BUSY[place:] + BUSY)
    assert (found[0], found[-1]) == (RECORD, RECORD)


@pytest.mark.parametrize("digits", [9, 10, 20, 5_000])
def test_numbers_have_a_bounded_number_of_digits(digits: int) -> None:
    """int() refuses thousands of them, and no database takes twenty: such a line is none."""
    number = "1" * digits
    text = line("SIP/150-1", rings=7).replace(",7,0,", f",{number},0,")
    assert [str(row.duration_s) for row in parse_records(text)] == [number] * (digits < 10)
    (row,) = parse_records(line("SIP/150-1", uniqueid=f"{EPOCH}.{number}"))
    assert age_of(row)[1] == (int(number) if digits <= 20 else 0)


# What a caller may be called, as the worst of them: quotes, newlines, and what looks like a row.
BARE = ",,,,,SIP/9-9,,Dial,,2026-11-22 20:43:16,,2026-11-22 20:43:17,1,1,ANSWERED,X"
TEXTS = st.one_of(
    st.text(max_size=20),
    st.lists(
        st.sampled_from(["\n", '"', ",", '","', '"\n"', "\r\n", BUSY, BARE, f"\n{BARE}\n", "a"]),
        max_size=5,
    ).map("".join),
)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.data())
def test_the_same_rows_are_found_wherever_reading_begins(
    texts: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A newline within quotes is no end, and nothing within quotes is a row.

    What lost its first text alone, the account code that nobody reads, is still that row.
    """
    rows = [line("SIP/1-1", src=src, dst=dst).encode() for src, dst in texts]
    whole = b"".join([*rows, BUSY.encode()])
    begins = [sum(map(len, rows[:number])) for number in range(len(rows) + 1)]
    cut = data.draw(st.integers(0, begins[-1]))
    without_account = [cut] * (cut - len('""') in begins)
    expected = without_account + [begin for begin in begins if begin >= cut]
    assert [row.begin for row in read_part(whole[cut:], cut).rows] == expected
    assert [row.begin for row in read_part(whole).rows] == begins


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=3), st.data())
def test_a_file_that_grows_anyhow_is_read_once(
    texts: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Whatever is whole at a moment is read then, and the rest later."""
    whole = b"".join([line("SIP/1-1", src=src, dst=dst).encode() for src, dst in texts])
    cut = data.draw(st.integers(0, len(whole)))
    consumed = read_part(whole[:cut]).settled
    found = len(read_part(whole[:consumed]).rows) + len(read_part(whole[consumed:]).rows)
    assert found == len(texts)


@pytest.mark.parametrize("name", ["two\nlines", 'a "b"\n\n"c', "\r\n", "a,\n,b", "\n"])
def test_a_record_may_have_newlines(name: str) -> None:
    """Within quotes, as any record of CSV."""
    first, second = parse_records(line("SIP/1-1", src=name) + BUSY)
    assert (first.src, second) == (name, RECORD)


def test_a_field_that_is_too_long_is_skipped_alone() -> None:
    """Of 200 kB, with newlines or without: counted, and nothing after it is lost."""
    for field in ("x" * 200_000, "x\n" * 100_000, '"\n' * 100_000):
        text = BUSY + line("SIP/1-1", src=field) + BUSY
        part = read_part(text.encode())
        assert len(part.rows) == 2
        assert part.skipped >= 1


@pytest.mark.parametrize(
    "text",
    [
        BUSY.replace("\n", "\r\n"),
        "\ufeff" + BUSY,
        BUSY.replace('20:43:16"', '20:43:16.25"').replace('20:43:17"', '20:43:17.5"'),
        BUSY.replace(",1,1,", ",1.25,1.25,"),
        BUSY.replace(",1,1,", ',"1","1",'),
        ",".join(field.strip('"') for field in BUSY.replace('""""" <>"', "").split(",")).replace(
            "\n", "\n"
        ),
    ],
)
def test_other_programs_write_it_otherwise(text: str) -> None:
    """Line ends of Windows, a byte order mark, fractions, quotes around all fields or none."""
    first, second = parse_records(text + text)
    assert (first.channel, first.disposition, first.uniqueid) == (
        *(RECORD.channel, "BUSY", RECORD.uniqueid),
    )
    assert first.started_at.replace(microsecond=0) == MOMENT
    assert second == first


def test_a_row_that_lasted_less_than_nothing_lasted_nothing() -> None:
    """A clock that was put back while Asterisk counted."""
    (record,) = parse_records(BUSY.replace(",1,1,", ",-3,-3,"))
    assert (record.duration_s, record.talk_s) == (0, 0)

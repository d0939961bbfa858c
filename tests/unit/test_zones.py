"""Which zone a PBX writes its times in, as its records tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.files import read_part
from shared.asterisk.cdr.rows import Record, lines_of
from shared.asterisk.cdr.zones import Clock, zone_of_writing
from tests.unit.cdr_rows import BEGINNING, EPOCH, group_calls, line, parse_records


def queue(zone_h: float = 0) -> list[str]:
    """One caller who waits ten minutes, while two members ring every twenty seconds; 72 rows."""
    rows = []
    for at in range(0, 600, 20):
        for member in ("150", "151"):
            last = at == 580 and member == "151"
            rows.append(
                line(
                    "SIP/trunk-00000001",
                    f"SIP/{member}-{at:08x}",
                    "ANSWERED" if last else "NO ANSWER",
                    at=at,
                    rings=15,
                    talks=6 if last else 0,
                    uniqueid=f"{EPOCH}.1",
                    src="+375291112233",
                    dst="700",
                    application="Queue",
                    zone_h=zone_h,
                )
            )
    return rows + rows[:12]


@pytest.mark.parametrize("zone_h", [0, 3, -5, 5.75, -3.5])
def test_a_caller_who_waits_is_one_witness(zone_h: float) -> None:
    """However many rows he leaves, one of them has begun with his channel: the earliest."""
    (call,) = group_calls(parse_records("".join(queue(zone_h))))
    assert (call.started_at, call.legs) == (BEGINNING, 72)
    assert (call.duration_s, call.disposition) == (601, "answered")


def local(moment: datetime, zone: timezone | ZoneInfo) -> str:
    """Write a moment as a clock of the zone shows it."""
    return f'"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"'


def call(
    number: int,
    begin: datetime,
    zone: timezone | ZoneInfo,
    *,
    rings: int = 5,
    talks: int = 60,
    born: datetime | None = None,
) -> str:
    """Write a call's row in local time."""
    answered = begin + timedelta(seconds=rings)
    ended = answered + timedelta(seconds=talks)
    uniqueid = f"{int((born or begin).timestamp())}.{number}"
    return ",".join(
        [
            *('""', '"+375291112233"', '"150"', '"from-trunk"', '""'),
            *(f'"SIP/trunk-{number:08x}"', f'"SIP/150-{number:08x}"', '"Dial"', '"SIP/150"'),
            *(local(moment, zone) for moment in (begin, answered, ended)),
            *(str(rings + talks), str(talks), '"ANSWERED"', '"DOCUMENTATION"'),
            *(f'"{uniqueid}"', '""\n'),
        ]
    )


# When clocks are changed: forward and back, north and south, by half an hour too.
CHANGES = [
    ("Europe/Kyiv", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Kyiv", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/London", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2026, 4, 4, 16, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2026, 10, 3, 16, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2026, 9, 26, 14, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 3, 8, 5, 30, tzinfo=UTC)),
]
EVERY_MINUTES = {"before": [-300, -200, -90, -20, -5], "after": [1, 20, 70, 200, 300]}


@pytest.mark.parametrize(("name", "change"), CHANGES)
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_summer_time_changes_no_moment(
    name: str, change: datetime, before: int, after: int
) -> None:
    """Right on both sides, and of a talk across it, however few calls there are on either side."""
    zone = ZoneInfo(name)
    minutes = EVERY_MINUTES["before"][-before:] if before else []
    minutes += [-4, *EVERY_MINUTES["after"][:after]]
    begins = [change + timedelta(minutes=minute) for minute in minutes]
    talks = [600 if minute == -4 else 60 for minute in minutes]
    ends = sorted(range(len(begins)), key=lambda n: begins[n] + timedelta(seconds=talks[n]))
    rows = [call(n, begins[n], zone, talks=talks[n]) for n in ends]
    found = {row.channel: row for row in parse_records("".join(rows))}
    for number, begin in enumerate(begins):
        record = found[f"SIP/trunk-{number:08x}"]
        assert record.started_at == begin
        assert record.answered_at == begin + timedelta(seconds=5)
        assert record.ended_at == begin + timedelta(seconds=5 + talks[number])


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_few_calls_on_either_side_of_a_change(name: str, change: datetime) -> None:
    """One before and one after it, with nothing between them."""
    zone = ZoneInfo(name)
    begins = [change - timedelta(minutes=20), change + timedelta(minutes=20)]
    rows = [call(number, begin, zone) for number, begin in enumerate(begins)]
    assert [row.started_at for row in parse_records("".join(rows))] == begins


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_caller_who_is_handed_on_after_the_change(name: str, change: datetime) -> None:
    """His channel is older than the change, his second row is not: each has its own clock."""
    zone = ZoneInfo(name)
    born = change - timedelta(minutes=10)
    others = [change + timedelta(minutes=n) for n in (-60, -50, -40, 40, 50, 60)]
    begins = [born, change + timedelta(minutes=10)]
    rows = [call(n, begin, zone) for n, begin in enumerate(others[:3])]
    rows += [call(7, begin, zone, born=born, talks=300) for begin in begins]
    rows += [call(10 + n, begin, zone) for n, begin in enumerate(others[3:])]
    told = [row.started_at for row in parse_records("".join(rows))]
    assert told == [*others[:3], *begins, *others[3:]]


@pytest.mark.parametrize("waited_s", [600, 900, 1799, 1800, 1803, 2400, 3600, 7200, 7201])
@pytest.mark.parametrize("hours", [-5, 0, 3, 5.5])
def test_who_waits_alone_moves_no_clock(waited_s: int, hours: float) -> None:
    """Whoever was before him and after him: a caller's first row may be lost, or written late."""
    zone = timezone(timedelta(hours=hours))
    others = [BEGINNING + timedelta(seconds=60 * n) for n in range(4)]
    begin = BEGINNING + timedelta(seconds=90 + waited_s)
    rows = [call(n, moment, zone) for n, moment in enumerate(others)]
    rows.append(call(9, begin, zone, born=BEGINNING + timedelta(seconds=90)))
    assert parse_records("".join(rows))[-1].started_at == begin
    assert parse_records("".join(rows[::-1]))[0].started_at == begin


@pytest.mark.parametrize("waited_s", [0, 20, 500, 899, 1500])
def test_a_row_alone_began_after_its_channel(waited_s: int) -> None:
    """Of the zones that there are, the nearest in which it did not begin before its birth."""
    row = line("SIP/1-1", "SIP/2-2", at=waited_s, talks=120, uniqueid=f"{EPOCH}.1")
    (record,) = parse_records(row)
    assert record.started_at == BEGINNING + timedelta(seconds=waited_s)


def test_a_zone_that_was_set_anew_is_believed() -> None:
    """An administrator may set the clock of a PBX to another zone at any time."""
    rows = [line(f"SIP/1-{n}", at=60 * n, zone_h=3 if n < 4 else 0) for n in range(8)]
    told = [row.started_at for row in parse_records("".join(rows))]
    assert told == [BEGINNING + timedelta(minutes=n) for n in range(8)]


@pytest.mark.parametrize("new_year", [datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC)])
@pytest.mark.parametrize("hours", [-11, 0, 14])
def test_a_year_ends_within_a_call(new_year: datetime, hours: int) -> None:
    """The date of its end is another year's."""
    (record,) = parse_records(call(1, new_year, timezone(timedelta(hours=hours))))
    assert (record.started_at, record.duration_s) == (new_year, 65)
    assert record.ended_at == new_year + timedelta(seconds=65)


def test_a_linkedid_tells_the_zone_where_no_uniqueid_does() -> None:
    """loguniqueid=no, newcdrcolumns=yes: the call's first channel was born with its first row."""
    text = line("SIP/1-1", "SIP/2-2", at=5, zone_h=3, uniqueid="-")
    new_columns = f',"","{EPOCH + 5}.1",17\n'
    (record,) = parse_records(text.replace("\n", new_columns))
    assert record.started_at == BEGINNING + timedelta(seconds=5)


@pytest.mark.parametrize("zone_h", [-5, 0, 3, 5.5])
@pytest.mark.parametrize(("delay_s", "is_told"), [(-1, True), (0, True), (300, True), (900, False)])
def test_the_time_of_writing_tells_the_zone(zone_h: float, delay_s: int, *, is_told: bool) -> None:
    """A row is written as it ends, or minutes later in batches; a file touched later tells none."""
    rows = read_part(line("SIP/1-1", talks=9, zone_h=zone_h, uniqueid="-").encode()).rows
    found = zone_of_writing(rows[-1], EPOCH + 9 + delay_s)
    assert found == (zone_h * 3600 if is_told else None)


def test_rows_without_uniqueid_have_the_asked_zone() -> None:
    """No row tells it, so the PBX was asked."""
    rows = read_part(line("SIP/1-1", zone_h=-5, uniqueid="-").encode()).rows
    (only,) = lines_of(rows, Clock(rows, -5 * 3600))
    assert only.record.started_at == BEGINNING


ROWS = st.builds(
    line,
    st.just("SIP/1-1"),
    at=st.integers(0, 90_000),
    talks=st.integers(0, 9_000),
    uniqueid=st.sampled_from([None, "-", *(f"{EPOCH + at}.8" for at in (0, 9, 7_200, 50_000))]),
    zone_h=st.sampled_from([-12, -9.5, 0, 1, 3, 5.75, 14, 30]),
)


@given(st.lists(ROWS, max_size=12))
def test_any_rows_have_a_clock(rows: list[str]) -> None:
    """Whatever they contradict."""
    records: tuple[Record, ...] = parse_records("".join(rows))
    assert len(records) == len(rows)

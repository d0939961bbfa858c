"""Lines of Master.csv for tests, written as cdr_csv writes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from shared.asterisk.cdr.files import read_part
from shared.asterisk.cdr.pastcalls import PastCall, describe, group_rows
from shared.asterisk.cdr.rows import Line, Record, lines_of
from shared.asterisk.cdr.zones import Clock

EPOCH = 1_795_380_000
BEGINNING = datetime.fromtimestamp(EPOCH, UTC)


def parse_lines(data: bytes) -> tuple[Line, ...]:
    """Parse rows of Master.csv, and tell where each lies in it."""
    rows = read_part(data).rows
    return lines_of(rows, Clock(rows))


def parse_records(text: str) -> tuple[Record, ...]:
    """Parse rows of Master.csv, wherever they lie in it."""
    return tuple(row.record for row in parse_lines(text.encode("utf-8", "replace")))


def line(
    channel: str,
    dst_channel: str = "",
    disposition: str = "ANSWERED",
    *,
    at: int = 0,
    rings: int = 0,
    talks: int = 0,
    uniqueid: str | None = None,
    src: str = "",
    dst: str = "",
    application: str = "Dial",
    data: str = "",
    zone_h: float = 0,
) -> str:
    """Write one line: it begins `at` seconds after the epoch, rings, then talks.

    `uniqueid` is by default that of a channel created as the line begins; "-" logs none.
    """
    zone = timedelta(hours=zone_h)
    times = [BEGINNING + zone + timedelta(seconds=s) for s in (at, at + rings, at + rings + talks)]
    start, answer, end = (f'"{time:%Y-%m-%d %H:%M:%S}"' for time in times)
    if disposition != "ANSWERED":
        answer = ""
    texts = ["", src, dst, "inoffice", f'"" <{src}>', channel, dst_channel, application, data]
    columns = ['"' + text.replace('"', '""') + '"' for text in texts]
    columns += [start, answer, end, str(rings + talks), str(talks), f'"{disposition}"']
    columns += ['"DOCUMENTATION"']
    if uniqueid != "-":
        columns += [f'"{uniqueid or f"{EPOCH + at}.1"}"', '""']
    return ",".join(columns) + "\n"


def records(*lines: str) -> tuple[Record, ...]:
    """Parse them."""
    return parse_records("".join(lines))


def group_calls(rows: Iterable[Record]) -> tuple[PastCall, ...]:
    """Make one entry of each call, in the order in which they began."""
    all_of_them = list(rows)
    groups = group_rows(all_of_them)
    calls = [describe([all_of_them[index] for index in group]) for group in groups]
    return tuple(sorted(calls, key=attrgetter("started_at")))

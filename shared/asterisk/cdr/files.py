"""The file of Asterisk's module cdr_csv: where its rows lie in any part of it. Pure.

A row is a record of CSV, not a line: within quotes it may have newlines, e.g. in a caller's name.
Where reading begins amidst a file, a newline within quotes cannot be seen to be one. But cdr_csv
puts every text and time in quotes, and doubles those within a text: therein quotes come in pairs,
so what begins there has no time in quotes of its own, and is no row. Whether a row begins behind a
newline is thus told by what follows alone, wherever reading began, and a quote that stays open
hides nothing else.

All newlines are tried in linear time: a try ends with the first one outside of its quotes, and what
is within the quotes of one try is outside of those of a try that begins therein.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from shared.asterisk.parsers import text_of

# Asterisk drops a row of more than 1,024 bytes; other programs write longer ones.
LONGEST_ROW = 8192
# src, dst, dcontext, channel, dstchannel, lastapp, lastdata, disposition
TEXTS = (1, 2, 3, 5, 6, 7, 8, 14)
_LEAST_COLUMNS = 16  # cdr.conf may leave the uniqueid out, and the userfield
_NEW_COLUMNS = 3  # newcdrcolumns adds peeraccount, linkedid, sequence
_YEARS = (1970, 9000)
_MARK = "\xef\xbb\xbf"  # UTF-8's, as a program may have put it before the first row

_FIELD = r'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.]{8,18}"
_QUOTED_TIME = re.compile(rf',"{_TIME}"')
_ROW = re.compile(
    rf'^(?:{_MARK})?(?:{_FIELD},){{9}}"{_TIME}",(?:"{_TIME}"|"")?,"{_TIME}"(?:,{_FIELD}){{4,40}}+\r?\n',
    re.MULTILINE,
)
# As programs write them that quote only what needs it.
_BARE_ROW = re.compile(
    rf"^(?:{_MARK})?(?:{_FIELD},){{9}}{_TIME},(?:{_TIME})?,{_TIME}(?:,{_FIELD}){{4,40}}+\r?\n",
    re.MULTILINE,
)
# The begin of a row, up to the end of what there is.
_UNFINISHED = re.compile(rf'(?:{_FIELD},)*+(?:"(?:[^"]++|"")*+"?|[^",\r\n]*+)\Z')
_UNIQUEID = re.compile(r"(?:.*-)?([0-9]{9,11})\.[0-9]{1,20}", re.DOTALL)
# Nine digits are 31 years; int() refuses what has thousands.
_SECONDS = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")


_Search: TypeAlias = Callable[..., re.Match[str] | None]


class Row(NamedTuple):
    """A row, from its first byte up to that after its newline; its times are of an unknown zone.

    `texts` are those of the columns in TEXTS. `uniqueid` and `linkedid` are empty where they are
    not logged, or are none.
    """

    begin: int
    end: int
    columns: int
    texts: tuple[str, ...]
    started: datetime
    answered: datetime | None
    ended: datetime
    duration_s: int
    talk_s: int
    uniqueid: str
    linkedid: str


class Part(NamedTuple):
    """What a part of a file holds.

    `settled` is up to where it was read: the bytes behind it are of a row that is being written.
    `skipped` counts the lines that are of no row.
    """

    rows: list[Row]
    settled: int
    skipped: int


def read_part(data: bytes, offset: int = 0, *, most: int | None = None) -> Part:
    """Read the bytes that a file has at `offset`; of its rows, the last `most`.

    Lines before the first row are not counted where it begins amidst a file: they may be of one.
    """
    # A character for each byte: places in the text are the file's.
    text = data.decode("latin-1")
    search: _Search = _ROW.search
    if not _QUOTED_TIME.search(text):
        # No times in quotes tell what is within quotes that are still open.
        search, text = _BARE_ROW.search, text[: _begin_of_unfinished(text, 0)]
    spans: deque[tuple[int, int]] = deque(maxlen=most)
    skipped = place = 0
    is_cut = offset > 0
    while match := search(text, place):
        begin, end = match.span()
        skipped += 0 if is_cut else text.count("\n", place, begin)
        if end - begin > LONGEST_ROW or _hides_another(search, text, begin, end):
            # Too long; or its quote was left open, e.g. on a full disk, and what follows is a row.
            skipped += not is_cut
            place = text.index("\n", begin) + 1
        else:
            spans.append((begin, end))
            place, is_cut = end, False
    settled = _begin_of_unfinished(text, place)
    if is_cut:  # there is no row at all: these are lines, but for the rest of the first one
        place = text.find("\n", 0, settled) + 1
    skipped += text.count("\n", place, settled)
    found = [_row(data[begin:end], offset + begin) for begin, end in spans]
    rows = [one for one in found if one is not None]
    return Part(rows, settled, skipped + len(found) - len(rows))


def born_s(uniqueid: str) -> int | None:
    """Tell when a channel was created: its uniqueid is `[SYSTEM-]EPOCH.NUMBER`."""
    match = _UNIQUEID.fullmatch(uniqueid)
    return int(match[1]) if match else None


def _hides_another(search: _Search, text: str, begin: int, end: int) -> bool:
    """Tell whether a row begins within what looks like one, as in none that cdr_csv wrote."""
    newline = text.find("\n", begin, end - 1)
    if newline < 0:
        return False
    inner = search(text, newline + 1, end + LONGEST_ROW)
    return inner is not None and inner.start() < end


def _begin_of_unfinished(text: str, begin: int) -> int:
    """Find where a row begins whose last bytes are yet to come; there is no whole one any more."""
    end = len(text)
    newline = text.rfind("\n") + 1
    begin = max(begin, text.find("\n", end - LONGEST_ROW) + 1 if end > LONGEST_ROW else begin)
    while begin < newline:
        if _UNFINISHED.match(text, begin):
            return begin
        begin = text.index("\n", begin) + 1
    return newline


def _row(data: bytes, begin: int) -> Row | None:
    try:
        (fields,) = csv.reader([text_of(data.removeprefix(_MARK.encode("latin-1")))])
        started, ended = _time(fields[9]), _time(fields[11])
        answered = _time(fields[10]) if fields[10] else None
        seconds = _seconds(fields[12]), _seconds(fields[13])
    except (ValueError, csv.Error):
        return None
    names = _names(fields[_LEAST_COLUMNS:])
    texts = tuple(fields[column] for column in TEXTS)
    times = started, answered, ended
    return Row(begin, begin + len(data), len(fields), texts, *times, *seconds, *names)


def _names(further: list[str]) -> tuple[str, str]:
    """Tell a row's uniqueid and linkedid; it may lack uniqueid, userfield, the new columns."""
    linkedid = ""
    if len(further) >= _NEW_COLUMNS and further[-1].isdecimal() and _known(further[-2]):
        linkedid = further[-2]
        further = further[:-_NEW_COLUMNS]
    return _known(next(iter(further), "")), linkedid


def _known(uniqueid: str) -> str:
    return uniqueid if _UNIQUEID.fullmatch(uniqueid) else ""


def _seconds(text: str) -> int:
    if not _SECONDS.fullmatch(text):
        raise ValueError("longer than any call")
    return max(0, int(text.partition(".")[0]))


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    if not _YEARS[0] <= moment.year < _YEARS[1]:
        raise ValueError("not a time that a clock shows")
    return moment

"""A PBX's own history: every call of a host, page by page, the newest first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.asterisk.cdr import Line, epoch_of
from shared.asterisk.pastcalls import Disposition, PastCall, describe, group_rows
from shared.cdrfile import Cursor, Replaced, Tail
from shared.database import Rows, load_database
from shared.deadline import Deadline
from shared.errors import CdrUnreadable, FieldError, InvalidParameter, PbxBusy, PbxError
from shared.identity import Enterprise
from shared.pbx import load_pbx
from shared.telemetry import LOG

_NO_CURSOR = "must be `next` of an earlier answer"
_REPLACED = "the PBX's file of call records was replaced since; begin again without a cursor"
# Rows are written when they end, but cdr.conf may let them wait for others (batch=yes), and a row
# of a Local channel may wait for the call's end: what its neighbours say is the time of writing.
_WRITTEN_WITHIN = timedelta(minutes=5)
_NEIGHBOURS = 20
# The two clocks may differ by so much before a call of ours is not found any more.
_CLOCKS_APART = timedelta(hours=1)
# Which calls go on is worth asking, not worth waiting for.
_LIVE_TIMEOUT_S = 3.0
_SAME_BIRTH = timedelta(seconds=2)

_FIND_OURS = """
SELECT call_id, root_channel, root_uniqueid, phone FROM callapi.calls
 WHERE enterprise = :enterprise AND host = :host
   AND created_at BETWEEN CAST(:since AS timestamptz) AND CAST(:until AS timestamptz)
   AND root_channel = ANY(CAST(:channels AS text[]))
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: None is no condition. Times are those of the calls' begin, `until` excluded."""

    since: datetime | None = None
    until: datetime | None = None
    extension: str | None = None
    number: str | None = None
    disposition: Disposition | None = None
    limit: int = 100
    owned: frozenset[str] | None = None

    def takes(self, call: PastCall) -> bool:
        """Tell whether a call is wanted."""
        plain = self.number and self.number.removeprefix("+")
        # Asterisk writes whole seconds: a call since 10:00:00.4 may read as of 10:00:00.
        since = self.since and self.since.replace(microsecond=0)
        return (
            (since is None or call.started_at >= since)
            and (self.until is None or call.started_at < self.until)
            and (self.extension is None or self.extension in call.extensions)
            and (plain is None or plain in {number.removeprefix("+") for number in call.numbers})
            and (self.disposition in {None, call.disposition})
            and (self.owned is None or not self.owned.isdisjoint(call.extensions))
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A call; `call_id` and whom it was for, if the enterprise placed it through this service."""

    call: PastCall
    to: str
    call_id: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, and the cursor of those before them; `size` is the whole file's, in bytes."""

    entries: tuple[Entry, ...]
    next: str | None
    size: int


@dataclass(slots=True)
class _Turn:
    """How far the loaded lines give a page: the calls found, the lines told, where it ends."""

    found: list[PastCall] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    end: int | None = None
    is_whole: bool = True


async def load_page(
    enterprise: Enterprise, wanted: Wanted, cursor: str | None, deadline: Deadline
) -> Page:
    """Read a page of a host's history.

    A call is told once, on the page where its last row lies, with all its rows; one that still
    goes on is not told yet. A page may have fewer calls than wanted, or none, where matching ones
    lie farther back than one request may read: `next` leads on.

    Raises:
        SharedHost: the host's calls are not the enterprise's alone.
        InvalidParameter: the cursor is none, or of a file that is there no more.
        CdrUnreadable: the host has no such file, or does not let us read it.
    """
    enterprise.check_whole_host()
    if wanted.extension is not None:
        enterprise.check_extension(wanted.extension)
    at = _parse(cursor)
    told = at.told if at else frozenset()
    # Asked first: the rows of a call that ends in between are all there, or it is told next time.
    live = await _live_channels(enterprise.host, deadline)
    tail = Tail(enterprise.host, deadline)
    try:
        await tail.start(at)
        more = True
        while True:
            turn = await asyncio.to_thread(_turn, tail, told, wanted, live, last=not more)
            if turn.is_whole:
                break
            more = await tail.read_more()
    except Replaced:
        if at is None:
            raise CdrUnreadable("The file of call records was replaced just now") from None
        raise InvalidParameter(FieldError("cursor", _REPLACED)) from None
    LOG.info(
        "📜 История %s (%s): звонков %d, прочитано байт %d",
        *(enterprise.name, enterprise.number, len(turn.found), tail.bytes_read),
    )
    entries = await _with_ours(enterprise, turn.found)
    following = None if turn.end is None else tail.cursor_at(turn.end, turn.told | told)
    return Page(entries, following.render() if following else None, tail.size)


def _parse(cursor: str | None) -> Cursor | None:
    try:
        return None if cursor is None else Cursor.parse(cursor)
    except ValueError:
        raise InvalidParameter(FieldError("cursor", _NO_CURSOR)) from None


async def _live_channels(host: str, deadline: Deadline) -> dict[str, datetime]:
    """Tell which channels there are, and since when; none if Asterisk cannot be asked.

    A call that goes on has left rows already if it had sound: its Local channels' ended.
    """
    try:
        channels = await load_pbx().list_channels(host, deadline.sooner(_LIVE_TIMEOUT_S))
    except (PbxError, PbxBusy):
        return {}
    born = {channel.name: epoch_of(channel.uniqueid) for channel in channels}
    return {name: moment for name, moment in born.items() if moment is not None}


def _turn(
    tail: Tail,
    told: frozenset[int],
    wanted: Wanted,
    live: Mapping[str, datetime],
    *,
    last: bool,
) -> _Turn:
    """Walk the calls of the loaded lines, the newest first, until the page is full.

    `is_whole` is False if older lines are needed and may still be read, which they may not if it
    is the `last` turn.
    """
    turn = _Turn()
    lines = [line for line in tail.lines if line.begin not in told]
    groups = group_rows([line.record for line in lines])
    # What is not loaded ended before this; everything is, if there is no such moment.
    before = None
    if tail.begin and tail.lines:
        oldest = tail.lines[:_NEIGHBOURS]
        before = max(line.record.ended_at for line in oldest) + _WRITTEN_WITHIN
    is_past = before is not None and wanted.since is not None and before < wanted.since
    for group in sorted(groups, key=max, reverse=True):
        own = [lines[index] for index in group]
        call = describe([line.record for line in own])
        is_cut = before is not None and call.started_at - _SAME_BIRTH <= before
        if is_cut and not is_past and not last:
            turn.is_whole = False
            return turn
        if len(turn.found) == wanted.limit or (is_cut and not is_past and turn.told):
            turn.end = own[-1].end
            return turn
        turn.told |= {line.begin for line in own}
        if wanted.takes(call) and not _goes_on(own, live):
            turn.found.append(call)
    if tail.begin and not is_past:
        turn.end = tail.begin
        turn.is_whole = last or len(turn.found) == wanted.limit
    return turn


def _goes_on(lines: list[Line], live: Mapping[str, datetime]) -> bool:
    return any(
        name in live and line.record.ended_at >= live[name]
        for line in lines
        for name in (line.record.channel, line.record.dst_channel)
    )


async def _with_ours(enterprise: Enterprise, calls: list[PastCall]) -> tuple[Entry, ...]:
    """Find which calls this service placed for the enterprise."""
    if not calls:
        return ()
    rows = await load_database().run(
        _FIND_OURS,
        enterprise=enterprise.number,
        host=enterprise.host,
        since=(min(call.started_at for call in calls) - _CLOCKS_APART).isoformat(),
        until=(max(call.started_at for call in calls) + _CLOCKS_APART).isoformat(),
        # What else a file may hold, the database cannot: a NUL.
        channels=[call.channel for call in calls if call.channel.isprintable()],
    )
    return tuple(_entry(call, rows) for call in calls)


def _entry(call: PastCall, rows: Rows) -> Entry:
    born = epoch_of(call.uniqueid) or call.started_at
    for row in rows:
        root_born = epoch_of(row["root_uniqueid"] or "") or born
        if row["root_channel"] == call.channel and abs(root_born - born) <= _SAME_BIRTH:
            return Entry(call, call.to or row["phone"], str(row["call_id"]))
    return Entry(call, call.to, None)

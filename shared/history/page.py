"""A PBX's own history: every call of a host, page by page, the newest first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.asterisk import client
from shared.asterisk.cdr.pastcalls import Disposition, PastCall, describe, group_rows
from shared.asterisk.cdr.rows import Line, epoch_of
from shared.asterisk.cdr.whose import EXTENSION_DIGITS, Direction
from shared.auth.enterprise import Enterprise
from shared.deadline import Deadline
from shared.errors import CdrUnreadable, FieldError, InvalidParameter, PbxBusy, PbxError
from shared.history.ours import SAME_BIRTH_S, Entry, with_ours
from shared.history.tail import MAX_TOLD, Cursor, Replaced, Tail, key_of
from shared.pbx.hosts import Pbx
from shared.store.database import Door
from shared.telemetry import LOG
from shared.together import together

_REPLACED = "the PBX's file of call records was replaced since; begin again without a cursor"
# Which calls go on is worth asking, not worth waiting for.
_LIVE_TIMEOUT_S = 3.0
_SAME_BIRTH = timedelta(seconds=SAME_BIRTH_S)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: None is no condition. Times are those of the calls' begin, `until` excluded.

    `numbers` are spellings of one number, without their +. Missed is a call that came in and that
    no phone answered; `digits` are an extension's at most.
    """

    since: datetime | None = None
    until: datetime | None = None
    extension: str | None = None
    numbers: frozenset[str] | None = None
    disposition: Disposition | None = None
    limit: int = 100
    owned: frozenset[str] | None = None
    direction: Direction | None = None
    missed: bool | None = None
    digits: int = EXTENSION_DIGITS

    def takes(self, call: PastCall) -> bool:
        """Tell whether a call is wanted."""
        numbers = {number.removeprefix("+") for number in call.numbers}
        # Asterisk writes whole seconds: a call since 10:00:00.4 may read as of 10:00:00.
        since = self.since and self.since.replace(microsecond=0)
        return (
            (since is None or call.started_at >= since)
            and (self.until is None or call.started_at < self.until)
            and (self.extension is None or self.extension in _extensions(call))
            and (self.numbers is None or not self.numbers.isdisjoint(numbers))
            and (self.disposition in {None, call.disposition})
            and (self.owned is None or not self.owned.isdisjoint(call.extensions))
            and (self.direction in {None, call.direction})
            and (self.missed in {None, is_missed(call)})
        )

    def is_before(self, call: PastCall) -> bool:
        """Tell whether a call, and so all that began before it, is older than wanted."""
        return self.since is not None and call.started_at < self.since.replace(microsecond=0)


def is_missed(call: PastCall) -> bool:
    """Tell whether a call came in and no phone answered it: a menu, a queue, a mailbox is none."""
    return call.kind == "call" and call.direction == "in" and call.disposition != "answered"


def _extensions(call: PastCall) -> frozenset[str]:
    """Name who took part; of one's own phone also where only what it says of itself tells."""
    return call.extensions if call.direction == "in" else call.extensions | {call.from_}


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, and the cursor of those before them; `size` is the whole file's, in bytes."""

    entries: tuple[Entry, ...]
    next: str | None
    size: int


@dataclass(slots=True)
class _Turn:
    """What the loaded lines give a page: the calls found, and the cursor of those before them.

    `is_whole` is False if older lines are needed and may still be read.
    """

    found: list[PastCall] = field(default_factory=list)
    following: Cursor | None = None
    is_whole: bool = True


async def load_page(
    pbx: Pbx,
    database: Door,
    enterprise: Enterprise,
    wanted: Wanted,
    cursor: str | None,
    *,
    path: str,
    deadline: Deadline,
) -> Page:
    """Read a page of a host's history; `path` is the file's on the host.

    Calls come in the order of their begin, the newest first, on all pages. Rows are written by
    their end: a page goes back until all that was not read had ended before the calls that it
    tells began. A call is told once, with all its rows; one that still goes on is not told yet. A
    page may have fewer calls than wanted, or none, where matching ones lie farther back than one
    request may read: `next` leads on. Where within all that may be read nothing has begun so late,
    calls are told by their end, so that pages go on.

    Raises:
        SharedHost: the host's calls are not the enterprise's alone.
        InvalidParameter: the cursor is none, or of a file that is there no more.
        CdrUnreadable: the host has no such file, or does not let us read it.
    """
    enterprise.check_whole_host()
    if wanted.extension is not None:
        enterprise.check_extension(wanted.extension)
    seal = enterprise.seal("history")
    content = None if cursor is None else seal.open(cursor)
    # Known first: the rows of a call that ends in between are all there, or it is told next time.
    listed = asyncio.Event()
    tail = Tail(pbx, enterprise.host, path, deadline, after=listed)
    at = None
    try:
        at = Cursor.parse(content) if content is not None else None
        live, _ = await together(
            _live_channels(pbx, enterprise.host, deadline, listed), tail.start(at)
        )
        more = True
        while True:
            turn = await asyncio.to_thread(_turn, tail, at, wanted, live, last=not more)
            if turn.is_whole:
                break
            more = await tail.read_more()
    except Replaced:
        if content is None:
            raise CdrUnreadable("The file of call records was replaced just now") from None
        raise InvalidParameter(FieldError("cursor", _REPLACED)) from None
    if at is None:
        tail.check_readable()
    LOG.info(
        "📜 История %s (%s): звонков %d, прочитано байт %d",
        *(enterprise.name, enterprise.number, len(turn.found), tail.bytes_read),
    )
    entries = await with_ours(database, enterprise, turn.found, wanted.digits)
    following = seal.sign(turn.following.render()) if turn.following else None
    return Page(entries, following, tail.size)


async def _live_channels(
    pbx: Pbx, host: str, deadline: Deadline, listed: asyncio.Event
) -> dict[str, datetime]:
    """Tell which channels there are, and since when; none if Asterisk cannot be asked.

    Sets `listed`, whatever becomes of it.

    A call that goes on has left rows already if it had sound: its Local channels' ended.

    Raises:
        PbxBusy: calls come first; to tell what goes on as over would be untrue.
    """
    try:
        until = deadline.sooner(_LIVE_TIMEOUT_S)
        channels = await pbx.ask(host, client.list_channels, until, turn="read")
    except PbxBusy:
        raise
    except PbxError:
        return {}
    finally:
        listed.set()
    born = {channel.name: epoch_of(channel.uniqueid) for channel in channels}
    return {name: moment for name, moment in born.items() if moment is not None}


def _turn(
    tail: Tail,
    at: Cursor | None,
    wanted: Wanted,
    live: Mapping[str, datetime],
    *,
    last: bool,
) -> _Turn:
    """Walk the calls of the loaded lines by their begin, the newest first, until the page is full.

    No older lines may be read if it is the `last` turn.
    """
    turn = _Turn()
    before, told = (at.before, at.told) if at else (None, frozenset[int]())
    lines = [line for line in tail.lines if line.begin not in told]
    groups = [[lines[index] for index in group] for group in group_rows([n.record for n in lines])]
    keys = ((key_of(group), group) for group in groups)
    calls = sorted((call for call in keys if before is None or call[0] < before), reverse=True)
    horizon = tail.horizon()
    if horizon is not None and wanted.since is not None and horizon < wanted.since:
        horizon = None  # what was not read is older than wanted
    for index, (key, own) in enumerate(calls):
        call = describe([line.record for line in own], wanted.digits)
        is_cut = horizon is not None and min(call.started_at, call.born_at) - _SAME_BIRTH <= horizon
        if is_cut and not last:
            turn.is_whole = False
            return turn
        if not is_cut and wanted.is_before(call):
            return turn
        if is_cut or len(turn.found) == wanted.limit:
            untold = [line for _, group in calls[index:] for line in group]
            following = tail.cursor(untold, before, told)
            if is_cut and index == 0 and following.end >= tail.end:
                return _by_end(tail, at, wanted, live, [group for _, group in calls])
            turn.following = following
            return turn
        before = key
        if wanted.takes(call) and not _goes_on(own, live):
            turn.found.append(call)
    if horizon is not None:
        turn.following = tail.cursor((), before, told)
        turn.is_whole = last or len(turn.found) == wanted.limit
    return turn


def _by_end(
    tail: Tail,
    at: Cursor | None,
    wanted: Wanted,
    live: Mapping[str, datetime],
    calls: list[list[Line]],
) -> _Turn:
    """Tell calls by their end, with what was read of them, and remember their rows."""
    turn = _Turn()
    told = set(at.told if at else ())
    calls.sort(key=lambda group: group[-1].end, reverse=True)
    count = 0
    for own in calls:
        if len(turn.found) == wanted.limit or (count and len(told) + len(own) > MAX_TOLD):
            break
        count += 1
        told |= {line.begin for line in own}
        call = describe([line.record for line in own], wanted.digits)
        if wanted.takes(call) and not _goes_on(own, live):
            turn.found.append(call)
    untold = [line for group in calls[count:] for line in group]
    turn.following = tail.cursor(untold, at.before if at else None, frozenset(told))
    return turn


def _goes_on(lines: list[Line], live: Mapping[str, datetime]) -> bool:
    return any(
        name in live and line.record.ended_at >= live[name]
        for line in lines
        for name in (line.record.channel, line.record.dst_channel)
    )

"""Whole calls out of the rows that their legs left: everything that a PBX connected. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Literal, TypeAlias

from shared.asterisk.cdr import Record, age_of
from shared.asterisk.outcome import ANSWERED, confirm
from shared.asterisk.phases import Reason

Disposition: TypeAlias = Literal["answered", "busy", "no_answer", "failed"]

# A channel's name comes again after a restart of Asterisk; within one life its rows adjoin.
_ADJOIN = timedelta(seconds=2)
_LOCAL = re.compile(r"Local/(?P<number>[^@]+)@.*-[0-9a-f]+;[12]", re.DOTALL)
_DEVICE = re.compile(r"(?:SIP|PJSIP|IAX2)/(?P<number>.+)-[0-9a-f]+", re.DOTALL)
_DIALLED = re.compile(r"Local/([^@]+)@", re.IGNORECASE)
_TAPPED = re.compile(r"[A-Za-z0-9]+/([^,-]+)")
_SPIES = {"ChanSpy", "ExtenSpy"}
_OUTCOMES: dict[Reason, Disposition] = {
    "answered": "answered",
    "busy": "busy",
    "agent_busy": "busy",
    "no_answer": "no_answer",
    "agent_no_answer": "no_answer",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class PastCall:
    """One call, whatever the number of its legs.

    `from_` and `to` are numbers; of a call between an extension and a phone that this service or
    another program placed, the extension is `from_`. `uniqueid` and `channel` are the first leg's.
    `extensions` took part: they were rung, or dialled, or called. `numbers` has the callers' too,
    which are what they say of themselves.
    """

    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    from_: str
    to: str
    disposition: Disposition
    duration_s: int
    talk_s: int
    legs: int
    uniqueid: str
    channel: str
    extensions: frozenset[str]
    numbers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Outcome:
    from_: str
    to: str
    disposition: Disposition
    answered_at: datetime | None
    talk_s: int
    uniqueid: str
    channel: str


def group_calls(records: Iterable[Record]) -> tuple[PastCall, ...]:
    """Make one entry of each call, in the order in which they began."""
    rows = list(records)
    calls = [describe([rows[index] for index in group]) for group in group_rows(rows)]
    return tuple(sorted(calls, key=attrgetter("started_at")))


def group_rows(records: Sequence[Record]) -> list[list[int]]:
    """Put the indices of a call's rows together: those that share a uniqueid, or a channel.

    Both halves of a Local channel count as one.
    """
    group = list(range(len(records)))

    def find(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    first_with: dict[str, int] = {}
    last_with: dict[str, tuple[int, datetime]] = {}
    owners: dict[str, tuple[str, datetime]] = {}
    for index in sorted(range(len(records)), key=lambda index: age_of(records[index])):
        row = records[index]
        if row.uniqueid:
            group[index] = find(first_with.setdefault(row.uniqueid, index))
            owner, until = owners.get(row.channel, (row.uniqueid, row.ended_at))
            if owner != row.uniqueid:
                # Asterisk was restarted and gives the name again: what had it before is another
                # call, whoever has named it since then is not.
                before = last_with.get(_whole(row.channel))
                if before and records[before[0]].started_at <= until:
                    del last_with[_whole(row.channel)]
                until = row.ended_at
            owners[row.channel] = (row.uniqueid, max(until, row.ended_at))
        for name in {_whole(row.channel), _whole(row.dst_channel)} - {""}:
            other, until = last_with.get(name, (index, row.ended_at))
            if row.started_at <= until + _ADJOIN:
                group[find(index)] = find(other)
                last_with[name] = (index, max(until, row.ended_at))
            else:
                last_with[name] = (index, row.ended_at)
    groups: dict[int, list[int]] = {}
    for index in range(len(records)):
        groups.setdefault(find(index), []).append(index)
    return list(groups.values())


def describe(rows: Sequence[Record]) -> PastCall:
    """Say of one call's rows what the call was."""
    rows = sorted(rows, key=age_of)
    outcome = _originated(rows) or _dialled(rows)
    started_at, ended_at = rows[0].started_at, max(row.ended_at for row in rows)
    extensions = {number_of(name) for row in rows for name in (row.channel, row.dst_channel)}
    extensions |= {row.dst for row in rows}
    numbers = extensions | {row.src for row in rows} | {outcome.from_, outcome.to}
    return PastCall(
        started_at=started_at,
        answered_at=outcome.answered_at,
        ended_at=ended_at,
        from_=outcome.from_,
        to=outcome.to,
        disposition=outcome.disposition,
        duration_s=round((ended_at - started_at).total_seconds()),
        talk_s=outcome.talk_s,
        legs=len(rows),
        uniqueid=outcome.uniqueid,
        channel=outcome.channel,
        extensions=frozenset(extensions - {""}),
        numbers=frozenset(numbers - {""}),
    )


def number_of(channel: str) -> str:
    """Tell whose a channel is: the extension of `SIP/150-0000002a` or `Local/150@inoffice-...`."""
    match = _LOCAL.fullmatch(channel) or _DEVICE.fullmatch(channel)
    return match["number"] if match else ""


def _whole(channel: str) -> str:
    """Name both halves of a Local channel alike."""
    return channel[:-2] if channel.startswith("Local/") else channel


def _originated(rows: Sequence[Record]) -> _Outcome | None:
    """Judge a call whose first leg is a Local channel that nobody dialled: a program placed it."""
    first = rows[0].channel
    if not _LOCAL.fullmatch(first) or _whole(first) in {_whole(row.dst_channel) for row in rows}:
        return None
    root = f"{_whole(first)};1"
    own = [row for row in rows if row.channel == root]
    uniqueid = (own or rows)[0].uniqueid
    spies = any(row.application in _SPIES for row in own)
    kind: Literal["call", "monitor"] = "monitor" if spies else "call"
    confirmed = confirm(rows, root, uniqueid, kind=kind, complete=True)
    if confirmed is None:
        return None
    return _Outcome(
        from_=number_of(root),
        to=_tapped(own) if spies else _called(own),
        disposition=_OUTCOMES[confirmed.reason],
        answered_at=confirmed.answered_at,
        talk_s=confirmed.talk_s,
        uniqueid=uniqueid,
        channel=root,
    )


def _called(own: Sequence[Record]) -> str:
    """Tell whom the root called; unknown, an empty text, if its extension never answered."""
    for row in own:
        number = number_of(row.dst_channel)
        match = _DIALLED.match(row.data)
        if number or match:
            return number or (match[1] if match else "")
    return ""


def _tapped(own: Sequence[Record]) -> str:
    matches = (_TAPPED.match(row.data) for row in own)
    return next((match[1] for match in matches if match), "")


def _dialled(rows: Sequence[Record]) -> _Outcome:
    """Judge a call that somebody dialled: answered if anybody's phone, or an application, did."""
    first = rows[0]
    tried = [row for row in rows if row.dst_channel]
    answered = [row for row in tried or rows if row.disposition == ANSWERED and row.answered_at]
    dispositions = {row.disposition for row in tried or rows}
    disposition: Disposition = "failed"
    if answered:
        disposition = "answered"
    elif "NO ANSWER" in dispositions:
        disposition = "no_answer"
    elif "BUSY" in dispositions:
        disposition = "busy"
    reached = number_of((answered or tried or rows)[-1].dst_channel)
    return _Outcome(
        from_=first.src or number_of(first.channel),
        to=first.dst if first.dst not in {"", "s"} else reached,
        disposition=disposition,
        answered_at=min((row.answered_at for row in answered if row.answered_at), default=None),
        talk_s=_covered_s(answered),
        uniqueid=first.uniqueid,
        channel=first.channel,
    )


def _covered_s(rows: Iterable[Record]) -> int:
    """Count the seconds in which at least one of the rows was answered."""
    spans = sorted((row.answered_at, row.ended_at) for row in rows if row.answered_at)
    total = timedelta()
    until: datetime | None = None
    for begin, end in spans:
        begins = begin if until is None else max(begin, until)
        total += max(timedelta(), end - begins)
        until = end if until is None else max(until, end)
    return round(total.total_seconds())

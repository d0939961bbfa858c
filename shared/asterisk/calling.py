"""Whose a live call is that began elsewhere, as history reads it of records: pure.

Asterisk lists who runs which application, and not who called whom. What is certain is written as
rows such as a record has, and judged by the same rules, `cdr/whose`: a call is told live as it will
stand in history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from shared.asterisk.cdr.rows import Record
from shared.asterisk.cdr.whose import (
    EXTENSION_DIGITS,
    Direction,
    dialled_by,
    extensions_of,
    is_extension,
    is_line,
    name_originated,
    name_parties,
    number_of,
    phone_of,
)
from shared.asterisk.drivers import device_of, is_half
from shared.asterisk.listing import find_channel
from shared.asterisk.models import Beginning, Channel, PbxDirection

# A ring group names dozens; what is longer is no dialplan of anybody's.
_MOST_DIALLED, _LONGEST_NAME = 4_000, 200
_LONGEST_NUMBER = 64
_MOST_EXTENSIONS = 100
_NAMING = frozenset({"Dial", "RetryDial"})
_DIRECTIONS: dict[Direction, PbxDirection] = {
    "in": "incoming",
    "out": "outgoing",
    "internal": "internal",
}
_AT_NO_TIME = datetime.min.replace(tzinfo=UTC)


class Calling(NamedTuple):
    """From whom to whom; empty is what nobody can know, e.g. of a caller who withholds it."""

    direction: PbxDirection
    from_: str
    to: str


class Legs:
    """The channels of one call, by who has called whom as far as that can be told."""

    def __init__(
        self, root_uniqueid: str, legs: Sequence[Channel], digits: int = EXTENSION_DIGITS
    ) -> None:
        self._digits = digits
        self.root = find_channel(root_uniqueid, legs)
        callers = dict[str, tuple[Channel, str]]()
        for leg in legs:
            for word, dialled in _dialled(leg):
                callers.setdefault(word, (leg, dialled))
        self._rows: dict[str, Record] = {}
        for leg in legs:
            if leg is self.root or leg.name.endswith(";2"):
                continue
            known = (callers[word] for word in _words(leg) if word in callers)
            caller, dialled = next(known, (self.root or leg, ""))
            self._rows[leg.uniqueid] = _row(caller, leg, dialled)

    def extension_of(self, leg: Channel) -> str:
        """Tell the extension whose phone a channel is; empty of a trunk's, and of a half."""
        if is_half(leg.name):
            return ""
        return phone_of(self._rows.get(leg.uniqueid) or _row(leg, leg, ""), self._digits)

    def calling(self) -> Calling:
        """Tell whose call it is, while its first channel is listed."""
        first = self.root
        if first is None:
            return Calling("unknown", "", "")
        rows = [_row(first, None, first.data[:_LONGEST_NAME]), *self._rows.values()]
        if is_half(first.name):
            found = name_originated(rows, first.name, self._digits)
        else:
            found = name_parties(rows, self._digits)
        if found.to == found.from_:  # a program rang it, and what it does there is not shown
            found = found._replace(to="")
        is_open = not found.to and found.direction != "in"
        direction: PbxDirection = "unknown" if is_open else _DIRECTIONS[found.direction]
        return Calling(direction, found.from_[:_LONGEST_NUMBER], found.to[:_LONGEST_NUMBER])

    def took_part(self) -> frozenset[str]:
        """Name the extensions that had to do with it: by a phone, or dialled."""
        rows = [*self._rows.values()]
        if self.root is not None:
            rows.append(_row(self.root, None, ""))
        return frozenset(each for each in extensions_of(rows) if is_extension(each, self._digits))


def beginning_of(root_uniqueid: str, legs: Sequence[Channel]) -> Beginning:
    """Tell what a call is known by whose root is not known yet."""
    root = find_channel(root_uniqueid, legs)
    numbers = sorted({number_of(leg.name) for leg in legs[:_MOST_EXTENSIONS]} - {""})
    return Beginning(None if root is None else number_of(root.name), tuple(numbers))


def _dialled(leg: Channel) -> Iterator[tuple[str, str]]:
    """List whom a channel calls, by driver and device, and in which words.

    A number is called by the driver's word alone, too: its lines have names of their own.
    """
    if leg.application not in _NAMING:
        return
    for resource in leg.data[:_MOST_DIALLED].partition(",")[0].split("&"):
        for call in dialled_by(resource[:_LONGEST_NAME]):
            device = call.device
            if call.technology.casefold() == "local":
                device = f"{call.number}@{device}"
            elif call.number:
                yield f"{call.technology}/".casefold(), resource[:_LONGEST_NAME]
            yield f"{call.technology}/{device}".casefold(), resource[:_LONGEST_NAME]


def _words(leg: Channel) -> Iterator[str]:
    """List by which words somebody may have called a channel: a line by that of any group."""
    device = device_of(leg.name)
    if device is not None:
        yield f"{device.technology}/{device.name}".casefold()
        if is_line(leg.name):
            yield f"{device.technology}/".casefold()


def _row(caller: Channel, called: Channel | None, dialled: str) -> Record:
    is_up = called is not None and called.state == "Up" and called.bridge != ""
    return Record(
        src=caller.caller,
        dst=caller.extension,
        context=caller.context,
        channel=caller.name,
        dst_channel=called.name if called else "",
        application=caller.application,
        data=dialled,
        started_at=_AT_NO_TIME,
        answered_at=None,
        ended_at=_AT_NO_TIME,
        duration_s=caller.duration_s,
        talk_s=0,
        disposition="ANSWERED" if is_up else "NO ANSWER",
        uniqueid=caller.uniqueid,
    )

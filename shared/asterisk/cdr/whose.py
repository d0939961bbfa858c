"""Whose call it was: from whom, to whom, which way; by channels and what was dialled. Pure.

`src` is what a caller says of himself, or what an outgoing call is to show; `dst` may be a step of
the dialplan. A channel's name is whose it is, and `lastdata` whom it called by which line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from shared.asterisk.cdr.rows import Record
from shared.asterisk.drivers import LOCAL, ChannelDevice, device_of

Direction: TypeAlias = Literal["in", "out", "internal"]

# How many digits an extension has at most, where nobody says otherwise.
EXTENSION_DIGITS = 6
_NUMBER = re.compile(r"\+?[0-9*#]{1,32}")
_VOICEMAIL = re.compile(r"vm[a-z]{0,2}([0-9]{1,32})")
# FreePBX's own Local channels: follow-me, ring groups, `Local/FMPR-150@from-internal`.
_HELPER = re.compile(r"(?:[A-Za-z]+-)(?:[0-9]+-)*([0-9]{1,32})#?")
_OPTIONS = re.compile(r"(;[12])/[a-z]*$")
_WITHHELD = {"", "anonymous", "unknown", "<unknown>", "unavailable", "restricted", "private"}
_WITHHELD |= {"withheld", "blocked", "asserted", "id unavailable"}
# Where FreePBX, Issabel and others let in what comes from outside, and what their phones dial.
_FROM_OUTSIDE = re.compile(
    r"(?:from-(?:trunk|pstn|did|sip-external|dahdi|zaptel|digital|analog|outside|external|isdn|gsm)"
    r"|ext-did|incoming|inbound)(?![a-z])",
    re.IGNORECASE,
)
_FROM_INSIDE = re.compile(r"from-internal(?![a-z])|macro-dialout|outbound-|outrt-", re.IGNORECASE)
RUNG = "AppDial2"  # what a phone does that a program rings
# Lines by their numbers, whoever's phone hangs on one.
_LINES = {"DAHDI", "Zap", "Khomp", "MGCP", "Phone", "Console", "mISDN", "CAPI"}


class Parties(NamedTuple):
    """Numbers: of a call between an extension and another phone that the PBX began, `from_` is it.

    Empty where nobody can know, e.g. of a caller who withholds his number.
    """

    from_: str
    to: str
    direction: Direction


class Dialled(NamedTuple):
    """What a Dial calls: a device, and by which number; that is empty of a phone of the PBX."""

    technology: str
    device: str
    number: str


def number_of(channel: str) -> str:
    """Tell whose a channel is: the extension of `SIP/150-0000002a` or `Local/150@inoffice-...`."""
    device = _device(channel)
    if device is None:
        return ""
    helper = _HELPER.fullmatch(device.extension) if device.technology == LOCAL else None
    return helper[1] if helper else device.extension


# Each name is asked for several times within a call.
@lru_cache(maxsize=1024)
def _device(channel: str) -> ChannelDevice | None:
    is_plain = not channel.startswith("Local/") or channel.endswith((";1", ";2"))
    return device_of(channel if is_plain else _OPTIONS.sub(r"\1", channel))


def is_line(channel: str) -> bool:
    """Tell whether a channel is named after a line, whose next call has the same name."""
    return channel.partition("/")[0] in _LINES


def whole(channel: str) -> str:
    """Name both halves of a Local channel alike."""
    return channel.rpartition(";")[0] or channel if channel.startswith("Local/") else channel


@lru_cache(maxsize=1024)
def dialled_by(data: str) -> tuple[Dialled, ...]:
    """Name whom a Dial with these arguments calls: `SIP/trunk/80290000009&SIP/150,60,tr`."""
    resources = data.partition(",")[0].partition("|")[0].split("&") if "/" in data else ()
    return tuple(_dialled(resource) for resource in resources if "/" in resource)


def _dialled(resource: str) -> Dialled:
    technology, _, rest = resource.partition("/")
    number, at, device = rest.partition("@")
    if not at or "/" in number:  # `trunk/sip:80290000009@192.0.2.1`
        device, _, number = rest.partition("/")
        number = number.removeprefix("sips:").removeprefix("sip:").partition("@")[0]
    return Dialled(technology, device.partition("/")[0], number)


def name_parties(rows: Sequence[Record], digits: int = EXTENSION_DIGITS) -> Parties:
    """Tell the parties of a call that somebody dialled; its rows are in the order of their age."""
    first = rows[0]
    own = [row for row in rows if row.channel == first.channel]
    dialled = [said for row in (*own, *rows) if (said := _said(row.dst))]
    phones = [phone for row in _by_weight(rows) if (phone := phone_of(row, digits))]
    if not _is_inside(own, digits):
        if first.application == RUNG:  # a program has rung somebody outside
            return Parties(
                next(iter(phones), ""), next(iter([_caller(first), *dialled]), ""), "out"
            )
        extensions = [*filter(lambda number: is_extension(number, digits), dialled[:1]), *phones]
        return Parties(_caller(first), next(iter([*extensions, *dialled]), ""), "in")
    extension = number_of(first.channel)
    from_ = extension if is_extension(extension, digits) else _caller(first)
    outside = [number for row in rows if (number := number_outside(row, digits)) is not None]
    # Rung by a program, which shows an extension whom it is to call.
    shown = [_caller(first)] if first.application == RUNG else []
    others = [
        number for number in (*dialled, *outside, *phones, *shown) if number not in {"", from_}
    ]
    to = next(iter(others or dialled), "")
    is_out = bool(outside) and not phones
    return Parties(from_, to, "out" if is_out or not to else direction_to(to, digits))


def name_originated(rows: Sequence[Record], root: str, digits: int = EXTENSION_DIGITS) -> Parties:
    """Tell the parties of a call that a program placed; `root` is a Local channel's first half."""
    own = [row for row in rows if row.channel == root]
    called = (number for row in own if (number := _called(row, digits)))
    agent, to = number_of(root), next(called, "") if own else _reached(rows, root)
    if is_extension(to, digits) and not is_extension(agent, digits):
        return Parties(to, agent, "out")  # the customer was called first
    return Parties(agent, to, direction_to(to, digits))


def _called(row: Record, digits: int) -> str:
    """Tell whom the root of a call has called; empty if its extension never answered."""
    if row.dst_channel and not row.dst_channel.startswith("Local/"):
        return number_outside(row, digits) or phone_of(row, digits) or _said(row.dst)
    local = (call.number for call in dialled_by(row.data) if call.technology.casefold() == "local")
    return number_of(row.dst_channel) or next(local, "")


def direction_to(to: str, digits: int = EXTENSION_DIGITS) -> Direction:
    """Tell which way a call of one of the PBX's extensions with this number went."""
    return "internal" if is_extension(to, digits) else "out"


def is_extension(number: str, digits: int = EXTENSION_DIGITS) -> bool:
    """Tell whether a number may be one of the PBX's own."""
    return len(number) <= digits and bool(_NUMBER.fullmatch(number)) and number[0] != "+"


def phone_of(row: Record, digits: int = EXTENSION_DIGITS) -> str:
    """Tell the extension that a row has called; empty where it is none, or nobody knows whose."""
    device = _device(row.dst_channel) if row.dst_channel else None
    if device is None:
        return ""
    if is_line(row.dst_channel):
        dst = _said(row.dst)
        is_ours = is_extension(dst, digits) and number_outside(row, digits) is None
        return dst if is_ours else ""
    number = number_of(row.dst_channel)
    return number if is_extension(number, digits) and number_outside(row, digits) is None else ""


def number_outside(row: Record, digits: int = EXTENSION_DIGITS) -> str | None:
    """Tell the number that a row has called by a trunk; None where it called none."""
    device = _device(row.dst_channel) if row.dst_channel else None
    if device is None or device.technology == LOCAL:
        return None
    for call in dialled_by(row.data):
        if call.technology != device.technology:
            continue
        is_it = call.device == device.name or is_line(row.dst_channel)
        # The address of a phone may follow its name: `PJSIP/150/sip:150@192.0.2.1`.
        if is_it and call.number and call.number != device.name:
            return call.number
    is_phone = is_extension(device.name, digits) or is_line(row.dst_channel)
    is_named = any(call.device == device.name and not call.number for call in dialled_by(row.data))
    return None if is_phone or is_named else ""


def extensions_of(rows: Iterable[Record]) -> frozenset[str]:
    """Name who took part: who was rung, or dialled, or called; never who only says so himself."""
    found = set[str]()
    for row in rows:
        found |= {number_of(row.channel), number_of(row.dst_channel), _said(row.dst)}
        # Of an analog phone the PBX itself says whose it is.
        if is_line(row.channel) and _FROM_INSIDE.match(row.context):
            found.add(row.src)
    return frozenset(found - {""})


def numbers_of(rows: Iterable[Record]) -> frozenset[str]:
    """Name who called, as they say of themselves, and which numbers were dialled."""
    found = {row.src for row in rows}
    found |= {call.number for row in rows for call in dialled_by(row.data)}
    return frozenset(found - {""})


def _said(dst: str) -> str:
    """Tell the number that a row's `dst` is; empty where it is a step of the dialplan."""
    if dst.startswith("vm"):
        voicemail = _VOICEMAIL.fullmatch(dst)
        return voicemail[1] if voicemail else ""
    return dst if _NUMBER.fullmatch(dst) else ""


def _caller(row: Record) -> str:
    return "" if row.src.strip().casefold() in _WITHHELD else row.src


def _is_inside(own: Sequence[Record], digits: int) -> bool:
    """Tell whether a channel is of a phone of the PBX, and not of one of its trunks."""
    first = own[0]
    if any(_FROM_OUTSIDE.match(row.context) for row in own):
        return False
    if is_line(first.channel):
        return is_extension(first.src, digits)
    if is_extension(number_of(first.channel), digits):
        return True
    is_local = any(_FROM_INSIDE.match(row.context) for row in own)
    goes_out = any(number_outside(row, digits) for row in own)
    return is_extension(first.src, digits) and (is_local or goes_out)


def _by_weight(rows: Sequence[Record]) -> list[Record]:
    """Put the rows first that tell whom a call has reached: those answered, then the last."""
    latest_first = list(reversed(rows))
    return sorted(latest_first, key=lambda row: row.disposition != "ANSWERED")


def _reached(rows: Sequence[Record], root: str) -> str:
    """Tell whom an agent called whose phone took the root's place: its Local channel says it."""
    for row in rows:
        for name in (row.channel, row.dst_channel):
            if name.startswith("Local/") and whole(name) != whole(root):
                return number_of(name)
    return ""

"""Asterisk's channel drivers: what each calls its devices, and how one is asked about; pure.

A channel is `TECHNOLOGY/DEVICE-NUMBER`, its number hexadecimal or decimal: `SIP/150-0000002a`,
`IAX2/171-14393`, `PJSIP/50-Office-Trunk-0000001b`, `Local/150@inoffice-0000002a;1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from shared.asterisk.endpoints import Endpoints, count_iax2, count_pjsip, count_sip
from shared.asterisk.models import Extension, Technology

Reach: TypeAlias = Literal["reachable", "unreachable", "unregistered"]

LOCAL = "Local"
_HALF = re.compile(r";[12]$")
_TECHNOLOGY = re.compile(r"[A-Za-z0-9_]+")
_NUMBER = re.compile(r"[0-9a-f]+")


class ChannelDevice(NamedTuple):
    """Whose a channel is: its driver's word, and the driver's name of the device."""

    technology: str
    name: str

    @property
    def extension(self) -> str:
        """The extension that the device is named after; empty where such names mean lines."""
        if self.technology == LOCAL:
            return self.name.partition("@")[0]
        return self.name if self.technology in _NAMED_AFTER_EXTENSIONS else ""


@dataclass(frozen=True, slots=True)
class Driver:
    """How a driver's devices are asked about: the command before a device's name, and its reply.

    So are all of them, to count them.
    """

    show: str
    parse: Callable[[str], Reach | None]
    show_all: str
    count: Callable[[str], Endpoints | None]


def device_of(channel: str) -> ChannelDevice | None:
    """Tell whose a channel is, by its name to the last letter; None of what is no such name.

    While Asterisk moves a call it marks the names, e.g. `SIP/150-0000002a<ZOMBIE>`.
    """
    technology, slash, rest = channel.partition("<")[0].partition("/")
    if technology == LOCAL:
        whole = _HALF.sub("", rest)
        if whole == rest or "@" not in rest:
            return None
        rest = whole
    name, dash, number = rest.rpartition("-")
    is_named = slash and dash and name and _TECHNOLOGY.fullmatch(technology)
    if not (is_named and _NUMBER.fullmatch(number)):
        return None
    return ChannelDevice(technology, name)


def is_half(channel: str) -> bool:
    """Tell a half of a Local channel, Asterisk's own, from a phone's or trunk's channel."""
    return channel.startswith(f"{LOCAL}/")


def other_half(channel: str) -> str:
    """Name a Local channel's other half."""
    return f"{channel[:-1]}{'1' if channel.endswith('2') else '2'}"


def extension_spied(data: str) -> str:
    """Tell whose channels a ChanSpy of these arguments taps; empty where they name no device.

    They begin with a channel's name, or the begin of one: `SIP/150-0000002a,bqES`, `SIP/150,bq`.
    """
    spied = data.partition(",")[0]
    device = device_of(spied) or device_of(f"{spied.removesuffix('-')}-0")
    return device.extension if device else ""


def begin_of_next(technology: Technology, extension: Extension) -> str | None:
    """Tell how the names of all channels begin that a phone may have next; None: it cannot be told.

    `SIP/50-` is a trunk's `SIP/50-office-...` too. The numbers of SIP and PJSIP have eight digits
    and count on from 0 while Asterisk runs, so that a 0 begins them for 268 million calls; IAX2's
    begin with any digit.
    """
    if technology is Technology.IAX2:
        return None
    return f"{technology.value}/{extension.number}-0"


def _parse_peer(text: str) -> Reach | None:
    pairs = (line.split(": ", 1) for line in text.split("\n") if ": " in line)
    values = {name.strip(" ").removeprefix("* "): value for name, value in pairs}
    if "Addr->IP" not in values:
        return None
    if values["Addr->IP"].startswith("(null)"):
        return "unregistered"
    return "unreachable" if values.get("Status", "").startswith("UNREACHABLE") else "reachable"


def _parse_endpoint(text: str) -> Reach | None:
    # The legend above the values has the same words, in angle brackets.
    if not re.search(r"^ Endpoint:  (?!<)", text, re.MULTILINE):
        return None
    contacts = re.findall(
        r"^ +Contact:  (?!<).*\s(Avail|Unavail|NonQual|Unknown|Created)\s", text, re.MULTILINE
    )
    if not contacts:
        return "unregistered"
    return "unreachable" if set(contacts) == {"Unavail"} else "reachable"


# Whose phones can be asked about and tapped; the first that has a device is its driver.
DRIVERS = {
    Technology.SIP: Driver("sip show peer", _parse_peer, "sip show peers", count_sip),
    Technology.PJSIP: Driver(
        "pjsip show endpoint", _parse_endpoint, "pjsip list endpoints", count_pjsip
    ),
    Technology.IAX2: Driver("iax2 show peer", _parse_peer, "iax2 show peers", count_iax2),
}
# DAHDI's devices are lines by their numbers, and whatever else Asterisk names may be anything.
_NAMED_AFTER_EXTENSIONS = {*(technology.value for technology in DRIVERS), "SCCP"}

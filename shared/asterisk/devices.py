"""Whether an extension's phone is there, and what it does; pure.

The hint is not asked: chan_sip without a call counter says `Idle` during a call. Registration comes
from the driver's own command, what the phone does from the live channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.models import Channel, Extension, Technology
from shared.asterisk.phases import RINGING

DeviceState: TypeAlias = Literal["idle", "ringing", "in_use", "unreachable", "unregistered"]
Reach: TypeAlias = Literal["reachable", "unreachable", "unregistered"]


@dataclass(frozen=True, slots=True)
class Device:
    """A phone, by the driver's name of it, e.g. `SIP/150`; `channels` are its live ones."""

    technology: Technology
    extension: Extension
    reach: Reach
    channels: tuple[Channel, ...]

    @property
    def state(self) -> DeviceState:
        """What it does; a phone on a call is in use, whatever else is said of it."""
        if self.channels:
            alone = all(channel.state == RINGING for channel in self.channels)
            return "ringing" if alone else "in_use"
        return "idle" if self.reach == "reachable" else self.reach


def parse_reach(technology: Technology, text: str) -> Reach | None:
    """Parse `sip show peer N` or `pjsip show endpoint N`; None where there is no such device.

    A phone that nobody qualifies counts as reachable where it is registered.
    """
    return _parse_peer(text) if technology is Technology.SIP else _parse_endpoint(text)


def _parse_peer(text: str) -> Reach | None:
    values = dict(re.findall(r"^ *(?:\* )?(\S[^:\n]*?) *: (.*?) *$", text, re.MULTILINE))
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


def channels_of(
    technology: Technology, extension: Extension, channels: Iterable[Channel]
) -> tuple[Channel, ...]:
    """Find a device's own channels; `SIP/150-` has no other's."""
    prefix = f"{technology.value}/{extension.number}-"
    return tuple(channel for channel in channels if channel.name.startswith(prefix))

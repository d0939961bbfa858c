"""Whether an extension's phone is there, and what it does; pure.

The hint is not asked: chan_sip without a call counter says `Idle` during a call. Registration comes
from the driver's own command, what the phone does from the live channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.drivers import DRIVERS, LOCAL, ChannelDevice, Reach, device_of
from shared.asterisk.models import Channel, Context, Extension, Technology
from shared.asterisk.parties import is_local
from shared.asterisk.phases import RINGING, UP

# One plain argument of ChanSpy, no comma, no space, no quote. A name's number is one that no other
# channel has soon: eight digits count on while Asterisk runs, IAX2 keeps one back for a minute.
_LASTING_NAME = re.compile(
    r"[A-Za-z0-9]{1,20}/[A-Za-z0-9_.@:+-]{1,60}-[0-9a-f]{8}|IAX2/[A-Za-z0-9_.:+-]{1,60}-[0-9]{1,5}"
)
_UNIQUEID = re.compile(r"[A-Za-z0-9_.:-]{1,150}")

DeviceState: TypeAlias = Literal["idle", "ringing", "in_use", "unreachable", "unregistered"]


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


@dataclass(frozen=True, slots=True)
class Tap:
    """Whom to tap: a channel, or None where there is nothing to hear; `does` tells why.

    `spied` is what ChanSpy takes for it and for no other, None where it can be told no such thing;
    `is_exact`: by its option `u`.
    """

    technology: Technology
    channel: Channel | None
    does: str
    spied: str | None = None
    is_exact: bool = False


def pick_channel(
    own: Iterable[Channel], extension: Extension, context: Context, channels: Iterable[Channel]
) -> Channel | None:
    """Pick the channel that an extension talks by, else rings by.

    `own` are its phone's. By call forwarding it may have answered on another's: that is bridged
    with the extension's Local channel, or Asterisk has called it by the extension's number.
    """
    channels = tuple(channels)
    halves = f"{LOCAL}/{extension.number}@{context.name}-"
    bridges = {c.bridge for c in channels if c.name.startswith(halves) and c.name.endswith(";2")}

    def is_called(channel: Channel) -> bool:
        words = (channel.application, channel.context, channel.caller)
        return words == ("AppDial", context.name, extension.number)

    others = [
        channel
        for channel in channels
        if not is_local(channel) and (channel.bridge in bridges - {""} or is_called(channel))
    ]
    live = [channel for channel in (*own, *others) if "<" not in channel.name]  # no zombie
    return max(live, key=_audible, default=None)


def spied_as(channel: Channel, channels: Iterable[Channel], *, is_exact: bool) -> str | None:
    """Tell by what ChanSpy finds this channel and no other; None where it cannot be told so.

    With `is_exact` it takes a whole name, or the uniqueid of a channel whose name another may have
    next. Without it takes a name for the begin of one, in any letter case.
    """
    is_lasting = _LASTING_NAME.fullmatch(channel.name) is not None
    if is_exact and not is_lasting:
        return channel.uniqueid if _UNIQUEID.fullmatch(channel.uniqueid) else None
    others = (other for other in channels if other.uniqueid != channel.uniqueid)
    if not is_lasting or (not is_exact and begins_any(channel.name, others)):
        return None
    return channel.name


def begins_any(begin: str, channels: Iterable[Channel]) -> bool:
    """Tell whether ChanSpy takes a text for the begin of any channel's name."""
    folded = begin.casefold()
    return any(channel.name.casefold().startswith(folded) for channel in channels)


def _audible(channel: Channel) -> int:
    """Order channels by how much there is to hear; of equal ones the first counts."""
    if channel.state == UP:
        return 3 if channel.bridge else 2
    return int(channel.state == RINGING)


def parse_reach(technology: Technology, text: str) -> Reach | None:
    """Parse what a driver shows of a device; None where there is no such device.

    A phone that nobody qualifies counts as reachable where it is registered.
    """
    return DRIVERS[technology].parse(text)


def channels_of(
    technology: Technology, extension: Extension, channels: Iterable[Channel]
) -> tuple[Channel, ...]:
    """Find a device's own channels; a trunk `SIP/150-office` is another device than `SIP/150`."""
    own = ChannelDevice(technology.value, extension.number)
    return tuple(channel for channel in channels if device_of(channel.name) == own)

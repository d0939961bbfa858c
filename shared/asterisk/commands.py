"""Asterisk CLI commands as values: nothing else of ours ever reaches a PBX.

The parts are checked values, so a caller's text cannot add an argument, a channel or a second
command; `checked` refuses whatever Asterisk would lose or split without a word.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.drivers import DRIVERS, begin_of_next
from shared.asterisk.models import CallOrder, Context, Extension, MonitorOrder, Technology
from shared.errors import ChannelUnaskable

# Asterisk reads its control socket once, 512 bytes: 15 of prefix, the command, a NUL.
MAX_COMMAND_BYTES = 496

COUNT_CHANNELS = "core show channels count"
ORIGINATE = "channel originate"
SHOW_BRIDGES = "bridge show all"
SHOW_CDR_STATUS = "cdr show status"
SHOW_CHANNELS = "core show channels concise"
SHOW_CHANNEL_TYPES = "core show channeltypes"
SHOW_SETTINGS = "core show settings"
SHOW_UPTIME = "core show uptime seconds"
SHOW_UPTIME_IN_WORDS = "core show uptime"
SHOW_VERSION = "core show version"
WAIT_FULLY_BOOTED = "core waitfullybooted"


def checked(command: str) -> str:
    """Return the command, if Asterisk will read it as one.

    Raises:
        ValueError: empty, over 496 bytes, or with a character that is not printable ASCII
            (a NUL would start a second command).
    """
    if not command or not command.isascii() or not command.isprintable():
        raise ValueError("a command is printable ASCII")
    if len(command) > MAX_COMMAND_BYTES:
        raise ValueError(f"a command has at most {MAX_COMMAND_BYTES} bytes")
    return command


@dataclass(frozen=True, slots=True)
class OriginateCall:
    """Ring the extension; once it answers, call the phone."""

    order: CallOrder
    context: Context

    def render(self) -> str:
        """The specification's command, letter by letter."""
        context = self.context.name
        return checked(
            f"channel originate LOCAL/{self.order.extension.number}@{context}"
            f" application Dial LOCAL/{self.order.phone.number}@{context}"
        )


@dataclass(frozen=True, slots=True)
class OriginateMonitor:
    """Ring the supervisor's extension; once it answers, attach it to the target's call.

    ChanSpy takes a prefix: `SIP/150` also taps 1501, and `SIP/150-` a trunk of that name. `exact`
    names the one channel that was seen, `tapped`, and adds E and S, so that the supervisor is not
    left in silence when there is nothing (left) to hear; `is_exact` adds u, by which that is no
    prefix. Who waits for a call to come, `tapped` being None, gets the device's own channels and
    is let go when the call ends. `prefix` is the specification's literal text.
    """

    order: MonitorOrder
    context: Context
    technology: Technology
    match: Literal["exact", "prefix"]
    tapped: str | None = None
    is_exact: bool = False

    def render(self) -> str:
        """E.g. `channel originate LOCAL/151@inoffice application ChanSpy SIP/150-0000002a,bqESu`.

        Raises:
            ValueError: nothing tells the channels that are waited for from another device's.
        """
        spied, leave = self.tapped, "ESu" if self.is_exact else "ES"
        if self.match == "prefix":
            spied, leave = f"{self.technology.value}/{self.order.target.number}", ""
        elif spied is None:
            spied, leave = begin_of_next(self.technology, self.order.target), "E"
        if spied is None:
            raise ValueError("the channels of an IAX2 phone cannot be waited for")
        return checked(
            f"channel originate LOCAL/{self.order.extension.number}@{self.context.name}"
            f" application ChanSpy {spied},{self.order.mode.options}{leave}"
        )


Originate: TypeAlias = OriginateCall | OriginateMonitor


@dataclass(frozen=True, slots=True)
class ShowExtension:
    """Whether the dialplan knows an extension."""

    extension: Extension
    context: Context

    def render(self) -> str:
        """E.g. `dialplan show 150@inoffice`."""
        return checked(f"dialplan show {self.extension.number}@{self.context.name}")


@dataclass(frozen=True, slots=True)
class ShowDevice:
    """What a driver knows of a phone; it prints no secret."""

    technology: Technology
    extension: Extension

    def render(self) -> str:
        """E.g. `sip show peer 150`, or `pjsip show endpoint 150`."""
        return checked(f"{DRIVERS[self.technology].show} {self.extension.number}")


@dataclass(frozen=True, slots=True)
class ShowContext:
    """A whole context, for its includes and switches."""

    context: Context

    def render(self) -> str:
        """E.g. `dialplan show inoffice`."""
        return checked(f"dialplan show {self.context.name}")


@dataclass(frozen=True, slots=True)
class ShowChannel:
    """One channel in full; the name comes from Asterisk's own list."""

    name: str

    def render(self) -> str:
        """E.g. `core show channel SIP/150-0000002a`. Raises ChannelUnaskable."""
        return _about_channel("core show channel", self.name)


@dataclass(frozen=True, slots=True)
class RequestHangup:
    """End one channel; the name comes from Asterisk's own list."""

    name: str

    def render(self) -> str:
        """E.g. `channel request hangup SIP/150-0000002a`; never `all`, which ends them all.

        Raises:
            ChannelUnaskable: nothing can be sent.
        """
        return _about_channel("channel request hangup", self.name)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send one channel to another extension; Asterisk says it did even where there is none."""

    name: str
    extension: Extension
    context: Context

    def render(self) -> str:
        """E.g. `channel redirect SIP/trunk-0000002b inoffice,151,1`. Raises ChannelUnaskable."""
        place = f"{self.context.name},{self.extension.number},1"
        return _about_channel("channel redirect", self.name, place)


def _about_channel(words: str, name: str, *others: str) -> str:
    """Write a command about one channel.

    Without a slash a name is no channel's, and may be `all`; one that begins with a slash is a
    pattern to Asterisk, which ends every channel that it fits.
    """
    if "/" in name and not name.startswith("/"):
        with suppress(ValueError):
            return checked(" ".join((words, _one_word(name), *others)))
    raise ChannelUnaskable(f"Asterisk cannot be asked about a channel of this name: {name[:80]!a}")


def _one_word(text: str) -> str:
    """Quote what Asterisk would split or change: it takes quotes and backslashes as a shell does.

    A name may have them: a SIP peer's, or a trunk's, is the administrator's to choose.
    """
    if not any(character in text for character in " \"'\\"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

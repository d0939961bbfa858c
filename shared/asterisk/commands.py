"""Asterisk CLI commands as values: nothing else of ours ever reaches a PBX.

The parts are checked values, so a caller's text cannot add an argument, a channel or a second
command; `checked` refuses whatever Asterisk would lose or split without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.models import Context, Extension, Phone, SpyMode, Technology

# Asterisk reads its control socket once, 512 bytes: 15 of prefix, the command, a NUL.
MAX_COMMAND_BYTES = 496

SHOW_CDR_STATUS = "cdr show status"
SHOW_CHANNELS = "core show channels concise"
SHOW_CHANNEL_TYPES = "core show channeltypes"
SHOW_UPTIME = "core show uptime seconds"
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

    extension: Extension
    phone: Phone
    context: Context

    def render(self) -> str:
        """The specification's command, letter by letter."""
        context = self.context.name
        return checked(
            f"channel originate LOCAL/{self.extension.number}@{context}"
            f" application Dial LOCAL/{self.phone.number}@{context}"
        )


@dataclass(frozen=True, slots=True)
class OriginateMonitor:
    """Ring the supervisor's extension; once it answers, attach it to the target's call.

    ChanSpy takes a prefix: `SIP/150` also taps 1501. `exact` ends it with the dash that only
    150's own channels have, and adds E and S, so that the supervisor is not left in silence when
    there is nothing (left) to hear; `prefix` is the specification's literal text.
    """

    extension: Extension
    target: Extension
    context: Context
    mode: SpyMode
    technology: Technology
    match: Literal["exact", "prefix"]

    @property
    def target_channel(self) -> str:
        """The tapped device, e.g. `SIP/150`."""
        return f"{self.technology.value}/{self.target.number}"

    def render(self) -> str:
        """E.g. `channel originate LOCAL/151@inoffice application ChanSpy SIP/150-,bqES`."""
        dash, leave = ("-", "ES") if self.match == "exact" else ("", "")
        return checked(
            f"channel originate LOCAL/{self.extension.number}@{self.context.name}"
            f" application ChanSpy {self.target_channel}{dash},{self.mode.options}{leave}"
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
        kind = "sip show peer" if self.technology is Technology.SIP else "pjsip show endpoint"
        return checked(f"{kind} {self.extension.number}")


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
        """E.g. `core show channel SIP/150-0000002a`."""
        return checked(f"core show channel {_one_word(self.name)}")


@dataclass(frozen=True, slots=True)
class RequestHangup:
    """End one channel; the name comes from Asterisk's own list."""

    name: str

    def render(self) -> str:
        """E.g. `channel request hangup SIP/150-0000002a`; never `all`, which ends them all."""
        return checked(f"channel request hangup {_one_word(self.name)}")


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send one channel to another extension; Asterisk says it did even where there is none."""

    name: str
    extension: Extension
    context: Context

    def render(self) -> str:
        """E.g. `channel redirect SIP/trunk-0000002b inoffice,151,1`."""
        place = f"{self.context.name},{self.extension.number},1"
        return checked(f"channel redirect {_one_word(self.name)} {place}")


def _one_word(name: str) -> str:
    """Refuse a channel's name that is more than one argument, or no channel's."""
    if "/" not in name or any(character in name for character in " \"'\\"):
        raise ValueError(f"not a channel's name: {name!r}")
    return name

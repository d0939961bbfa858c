"""Values of the Asterisk domain, each checked before it exists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

EXTENSION_PATTERN = "^[0-9]{1,10}$"
EXTENSION_RULE = "an internal extension: 1 to 10 digits 0-9"
PHONE_PATTERN = "^[+]?[0-9]{1,20}$"
PHONE_RULE = "a phone number: 1 to 20 digits 0-9, with at most one leading +"


@dataclass(frozen=True, slots=True)
class Extension:
    """An internal number of the PBX, e.g. `150`."""

    number: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9]{1,10}", self.number):
            raise ValueError(f"must be {EXTENSION_RULE}")


@dataclass(frozen=True, slots=True)
class Phone:
    """A number to call through the dialplan, e.g. `+375291234567`."""

    number: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[+]?[0-9]{1,20}", self.number):
            encode = "; encode + as %2B in a URL" if self.number.startswith(" ") else ""
            raise ValueError(f"must be {PHONE_RULE}{encode}")


@dataclass(frozen=True, slots=True)
class Context:
    """A dialplan context, e.g. `inoffice`."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z0-9_-]{1,79}", self.name):
            raise ValueError("must be 1 to 79 letters, digits, _ or -")


class Technology(Enum):
    """What an extension's channels are called: chan_sip's or PJSIP's word."""

    SIP = "SIP"
    PJSIP = "PJSIP"


class SpyMode(Enum):
    """The three ways of monitoring, by the API's action code."""

    LISTEN = "09"
    WHISPER = "01"
    BARGE = "02"

    @property
    def title(self) -> str:
        """The specification's Russian `action_name`."""
        return {"09": "подслушивание", "01": "суфлирование", "02": "вмешательство"}[self.value]

    @property
    def options(self) -> str:
        """ChanSpy's options: b only bridged calls, q no beep, w whisper, B barge."""
        return {"09": "bq", "01": "bqw", "02": "Bbqw"}[self.value]


@dataclass(frozen=True, slots=True)
class Banner:
    """The control socket's first line, `HOST/PID/VERSION`."""

    host: str
    pid: int
    version: str


@dataclass(frozen=True, slots=True)
class Channel:
    """One row of `core show channels concise`; `duration_s` counts from its creation."""

    name: str
    context: str
    extension: str
    state: str
    application: str
    data: str
    caller: str
    duration_s: int
    bridge: str
    uniqueid: str


class DialplanAnswer(Enum):
    """What `dialplan show EXTENSION@CONTEXT` says."""

    KNOWN = "an extension, a pattern or an include of the context answers"
    NO_EXTENSION = "nothing printed in the context answers; a switch still may"
    NO_CONTEXT = "the context itself is missing"


# How an Asterisk writes its call records: each at its call's end, many at once later, or none.
CdrMode: TypeAlias = Literal["simple", "batch", "off"]

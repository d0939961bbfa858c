"""Values of the Asterisk domain, each checked before it exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Literal, TypeAlias, get_args
from uuid import UUID

EXTENSION_PATTERN = "^[0-9]{1,10}$"
EXTENSION_RULE = "an internal extension: 1 to 10 digits 0-9"
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
    """What an extension's channels are called: the word of its channel driver."""

    SIP = "SIP"
    PJSIP = "PJSIP"
    IAX2 = "IAX2"


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
class CallOrder:
    """Ring `extension`; once it answers, call `phone`."""

    extension: Extension
    phone: Phone

    kind: ClassVar[Literal["call"]] = "call"

    def __str__(self) -> str:
        return f"{self.extension.number} -> {self.phone.number}"


@dataclass(frozen=True, slots=True)
class MonitorOrder:
    """Ring `extension`, the supervisor's; once it answers, let it into `target`'s call."""

    extension: Extension
    target: Extension
    mode: SpyMode

    kind: ClassVar[Literal["monitor"]] = "monitor"

    def __str__(self) -> str:
        return f"{self.extension.number} -> {self.target.number} ({self.mode.title})"


# What a caller wants: who rings, and whom to call or to tap, and how; from the edge to the command.
Order: TypeAlias = CallOrder | MonitorOrder


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
# Whether a command may be given: Asterisk has it, has it not, or not for us.
Permission: TypeAlias = Literal["may", "missing", "denied"]


Kind: TypeAlias = Literal["call", "monitor"]


# In their order: a call only goes on to a later one. The schema's functions know the same order.
CallPhase: TypeAlias = Literal[
    "accepted", "agent_ringing", "agent_answered", "customer_ringing", "talking", "ended"
]
# With those of a call that nobody can look at yet: what came of its command is not known.
Phase: TypeAlias = Literal["placing", "unknown", CallPhase]
PHASES: tuple[Phase, ...] = get_args(Phase)
PHASE_MEANINGS: Mapping[Phase, str] = {
    "placing": "the command is on its way",
    "unknown": "it was sent and not acknowledged",
    "accepted": "Asterisk has the call",
    "agent_ringing": "the extension rings",
    "agent_answered": "a phone of it has answered; of a monitoring, the supervisor is in",
    "customer_ringing": "a phone of the customer's is rung",
    "talking": "phones of both talk",
    "ended": "over; `reason` says why",
}


# Why a call ended, or never began.
Reason: TypeAlias = Literal[
    "answered",
    "busy",
    "no_answer",
    "agent_busy",
    "agent_no_answer",
    "cancelled",
    "rejected",
    "failed",
    "nothing_heard",
    "unknown",
]
REASON_MEANINGS: Mapping[Reason, str] = {
    "answered": "phones of both talked, for `talk_s`; of a monitoring, the supervisor was in",
    "busy": "the customer's phone was busy",
    "no_answer": "the customer's phone did not answer, or only the PBX answered for it",
    "agent_busy": "the extension's phone was busy, or refused",
    "agent_no_answer": "the extension's phone did not answer, or only the PBX answered for it",
    "cancelled": "ended by `DELETE`, by `MAX_CALL_S`, or as a late call, or the agent hung up while"
    " the customer rang",
    "rejected": "refused before anything rang",
    "failed": "nobody could be rung: no phone registered, a number that does not exist",
    "nothing_heard": "a monitoring's supervisor was let in, and whom he was to hear had hung up",
    "unknown": "nobody can know; `cdr` says why",
}


Party: TypeAlias = Literal["agent", "customer"]


@dataclass(frozen=True, slots=True)
class Root:
    """The first channel of a call, and what it was originated for.

    `extension` rings first; `to` is whom it is connected with, or the tapped extension.
    """

    channel: str
    uniqueid: str
    kind: Kind
    extension: str
    to: str


@dataclass(frozen=True, slots=True)
class Leg:
    """A phone's channel of a call; `state` is Asterisk's word, None once it has left.

    When it was seen first, first up, and first gone are seconds of the clock by which it is looked
    at; None: it was not, or by a release that did not note it. `rang` tells whether it was seen to
    ring, `after_pbx` whether the PBX had answered for its party by then. It has talked, to whoever
    had answered for the other party, for `talked_s`, and goes on to since `talks_since`.
    """

    channel: str
    uniqueid: str
    party: Party
    state: str | None
    seen_at: float | None = None
    up_at: float | None = None
    left_at: float | None = None
    rang: bool = False
    after_pbx: bool = False
    talks_since: float | None = None
    talked_s: float = 0.0


# Who answered for a party: a phone that is up, or only a mailbox, an announcement, a dialplan.
AnsweredBy: TypeAlias = Literal["phone", "pbx"]


@dataclass(frozen=True, slots=True)
class Side:
    """What became of one party; None: nobody answered, or it is not known.

    `ring_s` is how long the phone rang that answered, else that rang last; `talk_s` how long its
    phone talked, to the other's or to the PBX that had answered for him.
    """

    answered_by: AnsweredBy | None = None
    ring_s: int | None = None
    talk_s: int | None = None


# Whether a PBX's record confirms an end. `none`: it writes them at once, and wrote none; `off`: it
# writes none at all.
CdrState: TypeAlias = Literal["pending", "confirmed", "none", "off", "unreadable"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a call so far; a phase never goes back.

    `talked` tells whether phones of both parties were seen to be connected.
    """

    phase: CallPhase = "accepted"
    legs: tuple[Leg, ...] = ()
    agent: Side = Side()
    customer: Side = Side()
    talked: bool = False


PbxPhase: TypeAlias = Literal["waiting", "ringing", "talking"]


@dataclass(frozen=True, slots=True)
class PbxChannel:
    """A phone's or trunk's channel of a call that anybody started, in Asterisk's own words."""

    channel: str
    state: str
    extension: str
    caller: str
    application: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """What tells a call of ours from others while its root is not known yet.

    `root_extension` is whose the call's first channel is, empty of a trunk's, None where it is not
    listed (any more); `extensions` took part.
    """

    root_extension: str | None = None
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PbxCall:
    """A call as a supervisor sees it, whoever started it."""

    root_uniqueid: str
    phase: PbxPhase
    duration_s: int
    channels: tuple[PbxChannel, ...]
    beginning: Beginning = Beginning()


# Which way a call went that began elsewhere, of an extension's: honest where nobody can tell.
PbxDirection: TypeAlias = Literal["incoming", "outgoing", "internal", "unknown"]


@dataclass(frozen=True, slots=True)
class CallElsewhere:
    """A call that this service did not start, as far as it has come.

    `step` counts what was told of it. `ringing` are the extensions that ring now, `took_part` all
    that ever had to do with it. Moments are seconds of the clock that trackers share; None: not
    seen. It has talked for `talked_s` until `talks_since`, and since then; None: that is not known,
    since nobody looked for a while.
    """

    root_uniqueid: str
    pbx_call_id: UUID
    step: int
    phase: PbxPhase | Literal["ended"]
    direction: PbxDirection
    from_: str
    to: str
    began_at: float
    ringing: tuple[str, ...] = ()
    answered_by: str | None = None
    took_part: tuple[str, ...] = ()
    root_extension: str | None = None
    ringing_at: float | None = None
    talking_at: float | None = None
    ended_at: float | None = None
    talks_since: float | None = None
    talked_s: float | None = 0.0

    @property
    def ring_s(self) -> int | None:
        """How long it has rung until it talked, or ended; None while it rings, or never did."""
        until_s = self.ended_at if self.talking_at is None else self.talking_at
        if self.ringing_at is None or until_s is None:
            return None
        return max(0, round(until_s - self.ringing_at))

    @property
    def talk_s(self) -> int | None:
        """How long it has talked, once it has ended; None before, or where nobody knows."""
        is_known = self.ended_at is not None and self.talked_s is not None
        return round(self.talked_s or 0.0) if is_known else None

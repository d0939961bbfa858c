"""The stand-in's dialplan and the phones behind it, as `dialplan show` prints them.

The same dialplan as that of the tests' real Asterisk, line by line, and the context office:
agents 150..159 and 1501, and customers +375290000001..6 that differ in what their phone does.
Where 11 and 13 were recorded, inoffice includes nothing and 155 rings before it says busy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from demo.pbx.profiles import Profile

SILENT_S = 3600.0


class Ending(Enum):
    """What a phone does once it has rung for its time, or how a call to a number ends."""

    ANSWER = "answer"
    BUSY = "busy"
    NOT_FOUND = "not found"
    SILENCE = "its time to ring is up"
    UNREACHABLE = "no such phone"
    NOWHERE = "no such extension"


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone's behaviour: how long it rings, how that ends, how long it talks then.

    `talks_s` None: until the other side hangs up. `rtp`: it sends audio, so that Asterisk
    optimises the Local channels away. `rings` False: it gives no sign of life at all.
    """

    rings_s: float = 0.0
    ending: Ending = Ending.ANSWER
    talks_s: float | None = None
    rtp: bool = False
    rings: bool = True


PHONES = {
    "150": Phone(),
    "151": Phone(),
    "1501": Phone(),
    "152": Phone(rings_s=1.5, ending=Ending.BUSY),
    "153": Phone(rings_s=SILENT_S),
    "154": Phone(rings_s=1.5),
    "155": Phone(ending=Ending.BUSY),
    "156": Phone(rings_s=1.5, rtp=True),
    "157": Phone(rings_s=SILENT_S, rings=False),
    "159": Phone(rings_s=1.5, rtp=True),
    "trunktalk": Phone(rings_s=2, talks_s=4),
    "trunkbusy": Phone(rings_s=1.5, ending=Ending.BUSY),
    "trunkna": Phone(rings_s=SILENT_S),
    "trunk404": Phone(rings_s=0.2, ending=Ending.NOT_FOUND),
    "trunkslow": Phone(rings_s=2),
    "trunkrtp": Phone(rings_s=2, talks_s=4, rtp=True),
    "trunk": Phone(talks_s=60),
}


# 155 says busy at once, or so soon after ringing that hardly anybody sees it ring.
RINGS_ONCE = {"155": Phone(rings_s=0.01, ending=Ending.BUSY)}


@dataclass(frozen=True, slots=True)
class Extension:
    """One `exten =>` of a context; `{tech}` in a step is the channel technology."""

    pattern: str
    steps: tuple[str, ...]
    line: int

    @property
    def is_hint(self) -> bool:
        """A hint says which device an extension stands for; it cannot be dialled."""
        return self.steps[0].startswith("hint:")

    def matches(self, number: str) -> bool:
        """Asterisk's own matching: `_` starts a pattern, X Z N are digits, `.` the rest."""
        if not self.pattern.startswith("_"):
            return self.pattern == number
        classes = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
        signs = self.pattern[1:]
        for position, sign in enumerate(signs):
            if sign == ".":
                return len(number) > position
            if position >= len(number) or number[position] not in classes.get(sign, sign):
                return False
        return len(number) == len(signs)


@dataclass(frozen=True, slots=True)
class Context:
    """A dialplan context: extensions in the order `dialplan show` sorts them."""

    name: str
    extensions: tuple[Extension, ...] = ()
    includes: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an extension leads: a peer to dial, or (peer None) applications only."""

    app: str
    data: str
    priority: int = 1
    peer: str | None = None
    timeout_s: float = SILENT_S
    phone: Phone | None = None


def _dial(pattern: str, target: str, timeout_s: int, line: int) -> Extension:
    return Extension(pattern, (f"Dial({{tech}}/{target},{timeout_s})",), line)


CUSTOMERS = ("trunktalk", "trunkbusy", "trunkna", "trunk404", "trunkslow", "trunkrtp")
INOFFICE = Context(
    "inoffice",
    (
        *(
            _dial(f"+37529000000{n}", f"${{EXTEN}}@{trunk}", 6 if n == 3 else 60, 8 + n)  # noqa: PLR2004 - the third customer's own limit
            for n, trunk in enumerate(CUSTOMERS, start=1)
        ),
        Extension("150", ("hint: {tech}/150",), 4),
        _dial("1501", "1501", 30, 6),
        Extension("151", ("hint: {tech}/151",), 5),
        _dial("153", "153", 6, 7),
        _dial("_+X.", "${EXTEN}@trunk", 60, 15),
        _dial("_1XX", "${EXTEN}", 30, 8),
        _dial("_X.", "${EXTEN}@trunk", 60, 16),
    ),
    includes=("included",),
)
INCLUDED = Context(
    "included",
    (
        Extension("170", ("Answer()", "Wait(2)"), 19),
        Extension("7", ("Answer()", "Wait(2)"), 21),
    ),
)
PARK = Context(
    "park",
    (
        Extension("900", ("Answer()", "Hangup()"), 24),
        Extension("901", ("Answer()", "Wait(3600)"), 26),
        Extension("902", ("Answer()", "Echo()"), 28),
    ),
)
LOOPBACK = "Loopback/@"
SWITCHED = Context("switched", switches=(f"{LOOPBACK}inoffice",))
WITHSWITCH = Context("withswitch", includes=("switched",))
OFFICE = Context("office", (Extension("77", ("Answer()", "Hangup()"), 36),), ("inoffice", "park"))
CONTEXTS = {
    context.name: context for context in (WITHSWITCH, SWITCHED, PARK, INCLUDED, INOFFICE, OFFICE)
}


SOURCE_CONTEXTS = {**CONTEXTS, "inoffice": replace(INOFFICE, includes=())}


def contexts_of(profile: Profile) -> Mapping[str, Context]:
    """The dialplan of a version's host; inoffice by another name too, if it has one."""
    contexts = SOURCE_CONTEXTS if profile.source else CONTEXTS
    name = profile.places.context
    return {**contexts, name: contexts.get(name, replace(contexts["inoffice"], name=name))}


def find_destination(number: str, context: str, profile: Profile) -> Destination | None:
    """Where `number` leads in `context`, its includes and switches; None if nothing matches."""
    phones = PHONES | RINGS_ONCE if profile.source else PHONES
    for extension in _walk(number, context, contexts_of(profile)):
        if extension.is_hint:
            continue
        app, _, data = extension.steps[-1].rstrip(")").partition("(")
        if len(extension.steps) > 1:
            return Destination(app, data, len(extension.steps))
        data = data.replace("{tech}", profile.technology).replace("${EXTEN}", number)
        target, _, timeout = data.partition(",")
        peer = target.partition("/")[2].rpartition("@")[2]
        return Destination("Dial", data, 1, peer, float(timeout), phones.get(peer))
    return None


def find_hints(number: str) -> Iterator[tuple[Extension, Context]]:
    """Every hint of exactly this extension, in whatever context."""
    for context in CONTEXTS.values():
        for extension in context.extensions:
            if extension.is_hint and extension.pattern == number:
                yield extension, context


def _walk(number: str, name: str, contexts: Mapping[str, Context]) -> Iterator[Extension]:
    context = contexts.get(name)
    if context is None:
        return
    yield from (extension for extension in context.extensions if extension.matches(number))
    for include in context.includes:
        yield from _walk(number, include, contexts)
    for switch in context.switches:
        yield from _walk(number, switch.removeprefix(LOOPBACK), contexts)

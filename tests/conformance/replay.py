"""Recorded calls, carried again by the stand-in, in a time that passes by itself.

Nothing is measured by a wall clock: the event loop's time jumps to whatever is due next, so that a
call of twelve seconds takes none, and each of its states is seen with the moment it began.
"""

from __future__ import annotations

import asyncio
import csv
import json
import re
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from demo.standin import StandIn
from shared.asterisk.commands import SHOW_CHANNELS

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
NUMBER = re.compile(r"-[0-9a-f]{8}(?=;|$|<)")
NAME = re.compile(r"\S+-[0-9a-f]{8}(?:;[12])?")
LINKEDID = re.compile(r"LinkedID: (\S+)")
# Where the Local channels go, a row of no seconds may tell of a phone and a half that is leaving:
# of the customer's phone in two of four calls of 16, else of the agent's, or of the other half.
LEAVING = re.compile(r"SIP/\S+ Local/\S+;1|Local/\S+;1 SIP/\S+")
LONGEST_S = 60.0
# What another call was before a recording of two begins with the second, and for how long.
BEFORE = {
    "barge-supervisor": ("LOCAL/156@inoffice", "LOCAL/+375290000006@inoffice", 4.04),
    "listen-supervisor": ("LOCAL/154@inoffice", "LOCAL/+375290000001@inoffice", 4.04),
}


class Look(NamedTuple):
    """A channel in a state of a call, freed of what differs from run to run.

    `fields` are those of `core show channels concise` up to the caller; names lack their numbers.
    A uniqueid is told by the name under which it was first seen. The LinkedID of a channel that
    was gone before it could be asked is not known.
    """

    fields: tuple[str, ...]
    bridged: tuple[str, ...]
    uniqueid: str
    linkedid: str | None

    def fits(self, other: Look) -> bool:
        """Whether both tell the same, as far as they are known."""
        known = self.linkedid is None or other.linkedid in {None, self.linkedid}
        return known and self._replace(linkedid=None) == other._replace(linkedid=None)


@dataclass(frozen=True)
class State:
    """All channels, and from when until when they were so."""

    looks: tuple[Look, ...]
    begin: float
    until: float

    def fits(self, other: State) -> bool:
        """Whether both show the same channels."""
        pairs = zip(self.looks, other.looks, strict=False)
        return len(self.looks) == len(other.looks) and all(one.fits(two) for one, two in pairs)


class Row(NamedTuple):
    """A line of Master.csv without its times; `seconds` are its durations."""

    texts: tuple[str, ...]
    uniqueid: str
    answered: bool
    seconds: tuple[int, int]


@dataclass
class Labels:
    """Tells uniqueids by the name under which each was first seen."""

    known: dict[str, str] = field(default_factory=dict)

    def see(self, uniqueid: str, name: str) -> str:
        """The label of this one; a second one of the same name is told apart."""
        if uniqueid not in self.known:
            count = sum(label.partition("#")[0] == name for label in self.known.values())
            self.known[uniqueid] = f"{name}#{count}"
        return self.known[uniqueid]


def base(name: str) -> str:
    """A channel's name without its number."""
    return NUMBER.sub("", name)


def looks(text: str, linkedids: Mapping[str, str], labels: Labels) -> tuple[Look, ...]:
    """The channels of `core show channels concise`."""
    rows = sorted((line.split("!") for line in text.splitlines()), key=lambda row: base(row[0]))
    for row in rows:
        labels.see(row[13], base(row[0]))
    return tuple(
        Look(
            (base(row[0]), *row[1:8]),
            _bridged(row, rows),
            labels.known[row[13]],
            labels.known.get(linkedids.get(row[13], "")),
        )
        for row in rows
    )


def _bridged(row: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """With whom: the peer's name up to 11, else who else is in the bridge, or that nobody is."""
    if row[12] in {"", "(None)"}:
        return (row[12],)
    if "/" in row[12]:
        return (base(row[12]),)
    others = (base(each[0]) for each in rows if each is not row and each[12] == row[12])
    return ("bridge", *others)


def rows_of(text: str, labels: Labels) -> list[Row]:
    """The lines of Master.csv, sorted: their order is not always the same in Asterisk."""
    rows = []
    for line in csv.reader(text.splitlines()):
        texts = (*line[:5], base(line[5]), base(line[6]), *line[7:9], *line[14:16], line[17])
        uniqueid = labels.known.get(line[16], "unseen")
        rows.append(Row(texts, uniqueid, bool(line[10]), (int(line[12]), int(line[13]))))
    return sorted(row for row in rows if not _is_leaving(row))


def _is_leaving(row: Row) -> bool:
    return row.seconds == (0, 0) and LEAVING.fullmatch(" ".join(row.texts[5:7])) is not None


@dataclass(frozen=True)
class Course:
    """How a call went: its states, the rows that it left, how long its originate took."""

    states: tuple[State, ...]
    rows: list[Row]
    took: float | None
    replies: list[str]


def recorded(version: str, name: str) -> Course:
    """The course of a recorded call."""
    call = load(version, name)
    labels, linkedids, states = Labels(), dict[str, str](), list[State]()
    known: dict[str, str] = {}
    for snapshot in call["snapshots"]:
        known |= snapshot["linkedids"]
    ends = [*(snapshot["at"] for snapshot in call["snapshots"][1:]), float("inf")]
    for snapshot, end in zip(call["snapshots"], ends, strict=True):
        uniqueids = {line.split("!")[13] for line in snapshot["channels"].splitlines()}
        linkedids = {each: known[each] for each in uniqueids if each in known}
        seen = looks(snapshot["channels"], linkedids, labels)
        states.append(State(seen, snapshot["at"], end))
    replies = [NUMBER_IN_TEXT.sub("", action["reply"]) for action in call["actions"]]
    rows = rows_of(call["cdr"], labels)
    return Course(tuple(states), rows, call.get("originate_took_s"), replies)


NUMBER_IN_TEXT = re.compile(r"-[0-9a-f]{8}")


def load(version: str, name: str) -> dict[str, Any]:
    """A recording as it stands."""
    path = TRANSCRIPTS / version / "calls" / f"{name}.json"
    return dict[str, Any](json.loads(path.read_text("utf-8")))


def imitated(version: str, name: str) -> Course:
    """The course that the same commands at the same times take in the stand-in."""
    loop = JumpingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(Replay(version, name, loop).run())


class Replay:
    """One recording's commands, given to a stand-in."""

    def __init__(self, version: str, name: str, loop: JumpingLoop) -> None:
        self._call = load(version, name)
        self._name = name
        self._pbx = StandIn(version=version, time_scale=1.0)
        self._loop = loop
        self._seen: list[tuple[float, str, dict[str, str]]] = []

    async def run(self) -> Course:
        """Carry the call; all of it that is over when no channel is left."""
        if self._name in BEFORE:
            agent, customer, after_s = BEFORE[self._name]
            self._put(f"channel originate {agent} application Dial {customer}")
            await asyncio.sleep(after_s)
        start = self._loop.time()
        self._loop.watch = self._watch
        originate = self._put(self._call["command"])
        replies = []
        for action in self._call["actions"]:
            await asyncio.sleep(start + action["at"] - self._loop.time())
            reply = self._put(self._spell(action["command"]))
            if " originate " in action["command"]:
                replies.append("")
            else:
                replies.append(NUMBER_IN_TEXT.sub("", (await reply)[0]))
        _, done = await originate
        await asyncio.sleep(LONGEST_S)
        assert self._pbx.channels == []
        assert self._pbx.refused == []
        labels = Labels()
        states = tuple(self._states(start, labels))
        return Course(states, rows_of(self._pbx.cdr, labels), done - start, replies)

    def _put(self, command: str) -> asyncio.Task[tuple[str, float]]:
        """Type a command into a console of its own; what it prints, and when it has."""

        async def typed() -> tuple[str, float]:
            return await self._pbx.run(command), self._loop.time()

        return asyncio.create_task(typed())

    def _spell(self, command: str) -> str:
        """Put the name of the channel that is like the recorded one."""

        def live(found: re.Match[str]) -> str:
            like = [name for name in self._pbx.channels if base(name) == base(found[0])]
            return like[0] if like else found[0]

        return NAME.sub(live, command)

    def _watch(self) -> None:
        """Note the channels, if they are not as before."""
        text = at_once(self._pbx.run(SHOW_CHANNELS))
        if not self._seen or _timeless(text) != _timeless(self._seen[-1][1]):
            linkedids = {}
            for name, uniqueid in self._pbx.uniqueids.items():
                found = LINKEDID.search(at_once(self._pbx.run(f"core show channel {name}")))
                assert found
                linkedids[uniqueid] = found[1]
            self._seen.append((self._loop.time(), text, linkedids))

    def _states(self, start: float, labels: Labels) -> Iterator[State]:
        ends = [*(begin for begin, _, _ in self._seen[1:]), float("inf")]
        for (begin, text, linkedids), end in zip(self._seen, ends, strict=True):
            yield State(looks(text, linkedids, labels), begin - start, end - start)


def _timeless(text: str) -> list[str]:
    """The channels without their ages."""
    rows = (line.split("!") for line in text.splitlines())
    return ["!".join(row[:11] + row[12:]) for row in rows]


def at_once(work: Coroutine[Any, Any, str]) -> str:
    """What a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        return str(stop.value)
    raise AssertionError("it waits")


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is always that of the next thing to do.

    `watch` is called between any two of its steps: whatever others can see, it sees.
    """

    def __init__(self) -> None:
        self.watch: Callable[[], None] = lambda: None
        self._moment = 0.0
        super().__init__(_Jump(self._jump))

    def time(self) -> float:
        """The moment it has come to."""
        return self._moment

    def _jump(self, seconds: float) -> None:
        self.watch()
        self._moment += seconds


class _Jump(selectors.SelectSelector):
    """Waits for nothing: where nothing is ready, it says how long that would take."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing is left to happen")
        self._jump(0.0 if ready else timeout or 0.0)
        return ready

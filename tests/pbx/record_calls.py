"""Record whole calls of a real Asterisk, for the tests that follow calls without one.

As root: ``tests/pbx/lab/lab.sh up 16 && python -m tests.pbx.record_calls 16`` (or ``22``; names of
scenarios may follow) writes ``tests/transcripts/16/calls/*.json``; ``record_calls 16 plans`` (names
of plans may follow) writes ``tests/transcripts/16/plans/*.json``, a call of each plan in
tests/plans.py, with and without sound. The PBX must be idle.

A recording has the originate's ``command``; its ``root`` channel; ``snapshots`` of the channels,
the first in the same write as the originate, the others each 50 ms if anything but a duration has
changed; with each the LinkedIDs that were not known or not the same before (of a channel that was
gone too soon there is none); the ``actions``, commands that were given during the call, with their
replies; ``cdr``, the rows that Master.csv got, and ``cdr_at``, when the last one was there;
``ended_at``, when no channel with the root's LinkedID was left. Times are seconds since the
originate. Of two calls at once each has a file, with the channels and rows of both. Plans are
recorded many at once, and each file has what is its call's: channels that ever had its LinkedID,
the rows that name one of them, no ``cdr_at``.
"""

import json
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from shared.asterisk.models import Channel
from shared.asterisk.parsers import parse_channels, split_replies
from tests.pbx.lab import Lab
from tests.pbx.plan_phones import plan_phones
from tests.pbx.record_transcripts import TRANSCRIPTS
from tests.plans import PLANS

POLL_S = 0.05
LOOK_S = 0.005  # how often Master.csv is looked at meanwhile
QUIET_S = 1.0  # how long it is waited for another row
LONGEST_S = 90.0
SENTINEL = "core show uptime seconds"
CHANNELS = "core show channels concise"
TOGETHER = 20  # plans that are recorded together


@dataclass(frozen=True)
class Action:
    """A command during a call: once a channel is in a state, and so long after.

    ``{channel}`` in the command is that channel, ``{root}`` the first call's root. An originate
    begins a call of its own, which gets a file by the name ``call``.
    """

    command: str
    channel: str = ""
    state: str = "Up"
    after_s: float = 0.0
    call: str = ""


@dataclass(frozen=True)
class Scenario:
    """An originate and what is done later; ``SIP`` stands for either technology."""

    command: str
    actions: tuple[Action, ...] = ()


def dial(agent: str, customer: str) -> str:
    """Give the command of a call; a party without a context is in ``inoffice``."""
    first, second = (party if "@" in party else f"{party}@inoffice" for party in (agent, customer))
    return f"channel originate LOCAL/{first} application Dial LOCAL/{second}"


def spy(supervisor: str, target: str, options: str) -> str:
    """Give the command of a supervisor's call."""
    return (
        f"channel originate LOCAL/{supervisor}@inoffice application ChanSpy SIP/{target}-,{options}"
    )


TALKS = "+375290000001"
BUSY = "+375290000002"
NO_ANSWER = "+375290000003"
NOT_FOUND = "+375290000004"
TALKS_ON = "+375290000005"
TALKS_RTP = "+375290000006"
AT_ONCE = "+375331112233"
END_ROOT = "channel request hangup {root}"
END_CHANNEL = "channel request hangup {channel}"
TRANSFER = "channel redirect {channel} inoffice,151,1"
END_151 = Action(END_CHANNEL, "SIP/151-*", "Up", 2)

SCENARIOS = {
    "answered": Scenario(dial("154", TALKS)),
    "answered-rtp": Scenario(dial("156", TALKS_RTP)),
    "agent-no-answer": Scenario(dial("153", TALKS)),
    "agent-busy": Scenario(dial("152", TALKS)),
    "agent-busy-at-once": Scenario(dial("155", TALKS)),
    "customer-busy": Scenario(dial("154", BUSY)),
    "customer-no-answer": Scenario(dial("154", NO_ANSWER)),
    "customer-no-answer-rtp": Scenario(dial("156", NO_ANSWER)),
    "customer-not-found": Scenario(dial("154", NOT_FOUND)),
    "agent-hangs-up": Scenario(dial("160", NO_ANSWER)),
    "agent-hangs-up-rtp": Scenario(dial("161", NO_ANSWER)),
    "agent-hangs-up-talking": Scenario(dial("160", AT_ONCE)),
    "agent-hangs-up-talking-rtp": Scenario(dial("161", TALKS_RTP)),
    "unknown-agent-context": Scenario(dial("154@nosuch", TALKS)),
    "unknown-agent-peer": Scenario(dial("199", TALKS)),
    "unknown-customer-context": Scenario(dial("154", f"{TALKS}@nosuch")),
    "unknown-customer-extension": Scenario(dial("154", "5")),
    "cancel-agent-ringing": Scenario(
        dial("153", TALKS), (Action(END_ROOT, "SIP/153-*", "Ringing", 2),)
    ),
    "cancel-customer-ringing": Scenario(
        dial("154", NO_ANSWER), (Action(END_ROOT, "SIP/trunkna-*", "Ringing", 2),)
    ),
    "cancel-customer-ringing-rtp": Scenario(
        dial("156", NO_ANSWER), (Action(END_ROOT, "SIP/trunkna-*", "Ringing", 2),)
    ),
    "cancel-talking": Scenario(
        dial("154", TALKS_ON), (Action(END_ROOT, "SIP/trunkslow-*", "Up", 2),)
    ),
    "cancel-talking-rtp": Scenario(
        dial("156", TALKS_RTP), (Action(END_CHANNEL, "SIP/156-*", "Up", 4),)
    ),
    "originate-limit": Scenario(dial("162@patient", TALKS)),
    "barge": Scenario(
        dial("156", TALKS_RTP),
        (Action(spy("159", "156", "BbqwES"), "SIP/156-*", "Up", 2.5, "barge-supervisor"),),
    ),
    "listen": Scenario(
        dial("154", TALKS),
        (Action(spy("151", "154", "bqES"), "SIP/trunktalk-*", "Up", 0.5, "listen-supervisor"),),
    ),
    "supervisor-nothing-to-hear": Scenario(spy("151", "154", "bqES")),
    "transfer": Scenario(
        dial("154", TALKS_ON), (Action(TRANSFER, "SIP/trunkslow-*", "Up", 2), END_151)
    ),
    "transfer-rtp": Scenario(
        dial("156", TALKS_RTP), (Action(TRANSFER, "SIP/trunkrtp-*", "Up", 1), END_151)
    ),
    "transfer-customer-ringing": Scenario(
        dial("154", TALKS_ON), (Action(TRANSFER, "SIP/trunkslow-*", "Ringing", 0.5), END_151)
    ),
    "transfer-no-answer": Scenario(
        dial("154", TALKS_ON),
        (Action("channel redirect {channel} inoffice,153,1", "SIP/trunkslow-*", "Up", 2),),
    ),
    "two-calls-at-once": Scenario(
        dial("154", TALKS), (Action(dial("154", BUSY), call="two-calls-at-once-second"),)
    ),
}


@dataclass
class Snapshot:
    """What was seen at one time."""

    at: float
    channels: str
    linkedids: dict[str, str]  # all of the channels', as far as known
    news: dict[str, str]


@dataclass
class Call:
    """One call under observation."""

    name: str
    command: str
    at: float  # of the originate
    root: str
    uniqueid: str
    actions: list[dict[str, float | str]] = field(default_factory=list)


class Recorder:
    """Records calls on one PBX."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._master = lab.root / "var/log/asterisk/cdr-csv/Master.csv"
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, name: str, scenario: Scenario) -> None:
        """Place the scenario's calls, see them end, and write a file for each."""
        self._begin()
        # A scenario's times are the monotonic clock's until they are written.
        calls = [self._originate(name, self._spell(scenario.command))]
        waiting = self._watch(calls, scenario.actions)
        for call in calls:
            self._write(call)
        if waiting:
            raise RuntimeError(f"{name} was over before {waiting}")

    def record_together(self, commands: Mapping[str, str]) -> None:
        """Place many calls at once, see them end, and write a file for each, with its own alone."""
        self._begin()
        calls = [self._originate(name, command) for name, command in commands.items()]
        self._watch(calls)
        for call in calls:
            self._write(call, is_alone=False)

    def _begin(self) -> None:
        self._lab.wait_idle(1)
        self._snapshots: list[Snapshot] = []
        self._linkedids: dict[str, str] = {}
        self._described: set[Channel] = set()
        self._mark = self._cdr_size = self._master.stat().st_size
        self._cdr_at: float | None = None

    def _watch(self, calls: list[Call], actions: Iterable[Action] = ()) -> list[Action]:
        """Look on until nothing goes on any more; the actions that could not be done."""
        waiting = list(actions)
        since: dict[Action, float] = {}  # when an action's condition was met
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < QUIET_S:
            self._snap()
            for action in list(waiting):
                channel = self._find(action)
                if channel is None:
                    continue
                met = since.setdefault(action, time.monotonic())
                if time.monotonic() - met >= action.after_s:
                    waiting.remove(action)
                    self._act(action, channel, calls)
            if self._look() or self._snapshots[-1].channels:
                quiet_from = time.monotonic()
            if time.monotonic() - calls[0].at > LONGEST_S:
                self._lab.hangup_all()
                raise TimeoutError(f"{calls} do not end: {self._snapshots[-1].channels}")
        return waiting

    def _act(self, action: Action, channel: str, calls: list[Call]) -> None:
        # A channel's name may hold what is to be spelled, so it comes last.
        command = self._spell(action.command).format(root=calls[0].root, channel=channel)
        at = time.monotonic()
        reply = ""
        if action.call:
            calls.append(self._originate(action.call, command))
        else:
            (reply,) = self._ask(command)
        calls[0].actions.append({"at": at, "command": command, "reply": reply})

    def _spell(self, text: str) -> str:
        return text.replace("SIP/", f"{self._lab.technology}/")

    def _find(self, action: Action) -> str | None:
        """Give the channel that meets the action's condition."""
        for channel in parse_channels(self._snapshots[-1].channels):
            if not action.channel:
                return channel.name
            if channel.state == action.state and fnmatchcase(
                channel.name, self._spell(action.channel)
            ):
                return channel.name
        return None

    def _originate(self, name: str, command: str) -> Call:
        at = time.monotonic()
        before, _, after = self._ask(CHANNELS, command, CHANNELS)
        self._see(after)
        known = {channel.uniqueid for channel in parse_channels(before)}
        party = command.split()[2].removeprefix("LOCAL/")
        (root,) = (
            channel
            for channel in parse_channels(after)
            if channel.uniqueid not in known
            and channel.name.startswith(f"Local/{party}-")
            and channel.name.endswith(";1")
        )
        return Call(name, command, at, root.name, root.uniqueid)

    def _snap(self) -> None:
        self._see(self._ask(CHANNELS)[0])

    def _see(self, text: str) -> None:
        """Keep a snapshot, if it tells anything new."""
        at = time.monotonic()
        # A channel that looks as before has the LinkedID that it had.
        channels = {replace(channel, duration_s=0) for channel in parse_channels(text)}
        changed = sorted(channel.name for channel in channels - self._described)
        self._described = channels
        linkedids: dict[str, str] = {}
        for start in range(0, len(changed), 4):  # a write has room for no more
            some = changed[start : start + 4]
            for reply in self._ask(*(f"core show channel {name}" for name in some)):
                found = re.search(r"UniqueID: (\S+)\n\s*LinkedID: (\S+)\n", reply)
                if found:
                    linkedids[found[1]] = found[2]
        news = dict(linkedids.items() - self._linkedids.items())
        self._linkedids |= linkedids
        last = self._snapshots[-1].channels if self._snapshots else None
        if news or last is None or _without_durations(text) != _without_durations(last):
            self._snapshots.append(Snapshot(at, text, dict(self._linkedids), news))

    def _look(self) -> bool:
        """Wait for the next poll's time; tell whether Master.csv grew meanwhile."""
        grew = False
        end = time.monotonic() + POLL_S
        while time.monotonic() < end:
            if (size := self._master.stat().st_size) != self._cdr_size:
                self._cdr_size = size
                self._cdr_at = time.monotonic()
                grew = True
            time.sleep(LOOK_S)
        return grew

    def _ask(self, *commands: str) -> tuple[str, ...]:
        """Put commands to the control socket in one write, each with a sentinel."""
        with socket.socket(socket.AF_UNIX) as ctl, ctl.makefile("rb") as stream:
            ctl.connect(str(self._lab.root / "run/asterisk/asterisk.ctl"))
            stream.readline()
            text = "cli quit after " + "".join(f"{each}\0{SENTINEL}\0" for each in commands)
            ctl.sendall(text.encode())
            return split_replies(stream.read().decode())

    def _write(self, call: Call, *, is_alone: bool = True) -> None:
        seen = [snapshot for snapshot in self._snapshots if snapshot.at >= call.at]
        if not is_alone:
            seen = list(_only(seen, call))
        ended_at = next(
            snapshot.at
            for number, snapshot in enumerate(seen)
            if not any(_has(each, call.uniqueid) for each in seen[number:])
        )
        with self._master.open() as master:
            master.seek(self._mark)
            rows = master.read()
        if not is_alone:
            names = {f'"{c.name}"' for each in seen for c in parse_channels(each.channels)}
            lines = rows.splitlines(keepends=True)
            rows = "".join(line for line in lines if any(name in line for name in names))

        def since(at: float) -> float:
            return round(at - call.at, 3)

        recording = {
            "command": call.command,
            "root": {"channel": call.root, "uniqueid": call.uniqueid},
            "snapshots": [
                {
                    "at": since(snapshot.at),
                    "channels": snapshot.channels,
                    "linkedids": snapshot.news if number else snapshot.linkedids,
                }
                for number, snapshot in enumerate(seen)
            ],
            "actions": [{**each, "at": since(float(each["at"]))} for each in call.actions],
            "ended_at": since(ended_at),
            "cdr": rows,
            "cdr_at": since(self._cdr_at) if is_alone and self._cdr_at is not None else None,
        }
        text = json.dumps(recording, ensure_ascii=False, indent=1)
        (self._folder / f"{call.name}.json").write_text(text + "\n")


def _only(seen: list[Snapshot], call: Call) -> Iterator[Snapshot]:
    """Give what the snapshots have of one call, where that changes."""
    own = {call.uniqueid}
    for snapshot in seen:
        own |= {name for name, linked in snapshot.linkedids.items() if linked == call.uniqueid}
    for snapshot in seen:  # one that was gone before it could be asked is known by its other half
        listed = parse_channels(snapshot.channels)
        halves = {c.name[:-1] for c in listed if c.uniqueid in own and c.name.startswith("Local/")}
        own |= {c.uniqueid for c in listed if c.name[:-1] in halves}
    last: list[str] | None = None
    for snapshot in seen:
        lines = [line for line in snapshot.channels.splitlines() if line.split("!")[-1] in own]
        text = "".join(f"{line}\n" for line in lines)
        known, news = (
            {name: linked for name, linked in each.items() if name in own}
            for each in (snapshot.linkedids, snapshot.news)
        )
        if news or last != _without_durations(text):
            yield Snapshot(snapshot.at, text, known, news)
        last = _without_durations(text)


def _has(snapshot: Snapshot, root: str) -> bool:
    """Tell whether a snapshot has a leg of the call."""
    return any(
        snapshot.linkedids.get(channel.uniqueid, channel.uniqueid) == root
        for channel in parse_channels(snapshot.channels)
    )


def _without_durations(text: str) -> list[str]:
    rows = (line.split("!") for line in text.splitlines())
    return ["!".join(row[:-3] + row[-2:]) for row in rows]


def record_plans(lab: Lab, names: list[str]) -> None:
    """Record a call of each plan, by mute phones and by ones that send sound."""
    recorder = Recorder(lab, TRANSCRIPTS / lab.version / "plans")
    for has_sound in (False, True):
        commands = {
            f"{name}-rtp" if has_sound else name: dial(
                f"{plan.extension}@plans", f"{plan.number}@plans"
            )
            for name, plan in PLANS.items()
            if name in names and lab.version in plan.versions and has_sound in plan.sounds
        }
        with plan_phones(lab, has_sound=has_sound):
            for some in batched(commands.items(), TOGETHER):
                recorder.record_together(dict(some))


def batched(items: Iterable[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """Give so many at a time."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


if __name__ == "__main__":
    version, *names = sys.argv[1:] or [""]
    of_plans = names[:1] == ["plans"]
    known = PLANS if of_plans else SCENARIOS
    names = names[of_plans:] or list(known)
    if version not in ("16", "22") or not known.keys() >= set(names):
        sys.exit(f"usage: python -m tests.pbx.record_calls 16|22 [plans] [{'|'.join(known)}]")
    chosen_lab = Lab.of("16" if version == "16" else "22")
    if of_plans:
        record_plans(chosen_lab, names)
    else:
        recorder = Recorder(chosen_lab, TRANSCRIPTS / version / "calls")
        for chosen in names:
            recorder.record(chosen, SCENARIOS[chosen])

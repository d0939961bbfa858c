"""What the trackers tell an operator: how calls ended, and whom nobody follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, cast
from uuid import UUID

import pytest

from functions.watchdog import handler
from shared.asterisk import client
from shared.asterisk.models import Root
from shared.asterisk.parsers import parse_channels
from shared.deadline import Deadline
from shared.errors import ConnectFailed, DatabaseUnavailable
from shared.following.pace import Pace
from shared.following.tracker import Tracker, _count
from shared.following.wake import Waker
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store.followed import Change, FollowedCall, Following, MalformedCall
from shared.turns import Turn
from tests.integration.records import recording

ID = UUID(int=1)
MALFORMED = MalformedCall(str(ID), "legs")

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        (Change(call_id=ID, phase="ended", reason="busy"), ["CallsEnded"]),
        (Change(call_id=ID, phase="unknown"), ["UnknownOutcomes"]),
        (Change(call_id=ID, phase="talking"), []),
        (Change(call_id=ID, reason="answered", cdr="confirmed"), []),  # a correction
    ],
)
async def test_end_is_counted_once(
    metrics: Callable[[], list[str]], change: Change, counted: list[str]
) -> None:
    """A late record corrects an end, and is none."""
    _count([change])
    assert metrics() == counted


class Database:
    """A database that has these answers for a tracker."""

    def __init__(self, *answers: Following | None) -> None:
        self.answers = list(answers)
        self.host = "192.0.2.1"

    async def write(self, *_args: object, **_kwargs: object) -> Following | None:
        """Give the next one."""
        return self.answers.pop(0)


async def test_a_call_that_cannot_be_read_is_counted_once(metrics: Callable[[], list[str]]) -> None:
    """Though each turn meets it again; the line of it names it."""
    lease: Any = Database(*[Following((), wanted=False, malformed=(MALFORMED,))] * 3, None)
    pace = Pace(idle_s=0.0)
    tracker = Tracker(lease, cast("Pbx", None), Settings.from_environment({}), pace)
    with recording() as records:
        assert await tracker.run() == "replaced"
    assert metrics() == ["InternalErrors"]
    assert {one.call_id for one in records if "не читается: legs" in one.text} == {str(ID)}


async def test_a_tracker_that_is_ended_as_news_come_does_end() -> None:
    """Whoever closes the service waits for it: a cancellation must not be lost to a new call."""
    idle = Following((), wanted=False, malformed=(MALFORMED,))
    lease: Any = Database(*[idle] * 4, None)
    pace = Pace(idle_s=60.0)
    tracker = Tracker(lease, cast("Pbx", None), Settings.from_environment({}), pace)
    running = asyncio.ensure_future(tracker.run())
    await asyncio.sleep(0.02)  # it pauses now
    tracker.wake()
    await asyncio.sleep(0)  # who waits for the news has them, and did not go on yet
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class Away:
    """A database that is away: it refuses at once, or, `is_stuck`, answers nothing."""

    def __init__(self, *answers: Following, is_stuck: bool) -> None:
        self.answers = list(answers)
        self.is_stuck = is_stuck
        self.host = "192.0.2.1"

    async def write(self, *_args: object, **_kwargs: object) -> Following | None:
        """Give what it had answered before it was away."""
        return self.answers.pop(0) if self.answers else await self._fail()

    async def give_back(self) -> None:
        """Be as far away."""
        await self._fail()

    async def _fail(self) -> NoReturn:
        if self.is_stuck:
            await asyncio.Event().wait()
        raise DatabaseUnavailable("It is away")


@pytest.mark.parametrize("is_stuck", [False, True])
@pytest.mark.parametrize("turns", [0, 2])
async def test_a_tracker_ends_in_its_time_though_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, turns: int, *, is_stuck: bool
) -> None:
    """Refused or stuck, at its first turn or later: on Lambda it would be killed otherwise."""
    monkeypatch.setattr("shared.following.tracker._LAST_TURN_S", 0.05)
    monkeypatch.setattr("shared.following.tracker._GIVE_BACK_S", 0.05)
    idle = Following((), wanted=False, malformed=(MALFORMED,))
    lease: Any = Away(*[idle] * turns, is_stuck=is_stuck)
    pace = Pace(idle_s=0.0, unreachable_s=0.01)
    tracker = Tracker(lease, cast("Pbx", None), Settings.from_environment({}), pace)
    async with asyncio.timeout(30):
        assert await tracker.run(0.05) == "time"


async def test_a_tracker_gives_a_pbx_up_that_answers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it waits for when its time is up; its lease is given back."""
    monkeypatch.setattr("shared.following.tracker._LAST_TURN_S", 0.05)

    class Frozen:
        async def ask(self, *_args: object, **_kwargs: object) -> None:
            await asyncio.Event().wait()

    class Kept(Database):
        is_given_back = False

        async def give_back(self) -> None:
            self.is_given_back = True

    lease: Any = Kept(Following((), wanted=True))
    pbx: Any = Frozen()
    tracker = Tracker(lease, pbx, Settings.from_environment({}), Pace())
    async with asyncio.timeout(30):
        assert await tracker.run(0.05) == "time"
    assert lease.is_given_back


class Switchboard:
    """Stands for a PBX that has these channels; a question takes so long."""

    def __init__(self, *names: str, age_s: int = 3, takes_s: float = 0.0) -> None:
        rows = "".join(f"{n}!x!1!1!Up!Dial!!1!!!3!{age_s}!!1.{i}\n" for i, n in enumerate(names))
        self.channels = parse_channels(rows)
        self.asked: list[str] = []
        self.asked_before_look: list[int] = []
        self.takes_s = takes_s

    async def ask(self, _host: str, question: Any, _deadline: Deadline, turn: Turn) -> object:
        """List them, or be asked whose they are."""
        assert turn == "look"
        if question is client.list_channels:
            self.asked_before_look.append(len(self.asked))
            return self.channels
        await asyncio.sleep(self.takes_s)
        channels = question.keywords["channels"]
        self.asked += [channel.name for channel in channels]
        return {channel.uniqueid: channel.uniqueid for channel in channels}


async def test_a_channel_that_cannot_be_asked_about_is_counted_once(
    metrics: Callable[[], list[str]],
) -> None:
    """Though each look meets it again; all others are asked about."""
    lease: Any = Database(*[Following((), wanted=True, malformed=())] * 4, None)
    pbx: Any = Switchboard("SIP/Офис-00000009", "SIP/150-01", "Surrogate")
    settings = Settings.from_environment({})
    tracker = Tracker(lease, pbx, settings, Pace(busy_s=0.0, talk_s=0.0, idle_s=0.0))
    assert await tracker.run() == "replaced"
    assert metrics() == ["ChannelsUnaskable"]
    assert set(pbx.asked) == {"SIP/150-01"}


async def test_a_thousand_channels_are_asked_about_from_look_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as there is time for; what was learned is kept, and the rest is asked later."""
    monkeypatch.setattr("shared.following.tracker._LEARN_S", 0.001)
    pbx: Any = Switchboard(*(f"SIP/city-{n:08x}" for n in range(1_000)), age_s=600, takes_s=0.002)
    lease: Any = Database(*[Following((), wanted=True)] * 40, None)
    settings = Settings.from_environment({})
    tracker = Tracker(lease, pbx, settings, Pace(busy_s=0.0, talk_s=0.0, idle_s=0.0))
    assert await tracker.run() == "replaced"
    assert sorted(pbx.asked) == sorted(channel.name for channel in pbx.channels)
    assert 0 < pbx.asked_before_look[1] < len(pbx.channels)


@pytest.mark.parametrize("left_behind", [(), ("192.0.2.1", "192.0.2.2")])
async def test_watchdog_counts_whom_nobody_follows(
    left_behind: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    metrics: Callable[[], list[str]],
) -> None:
    """It does so each time, and starts a tracker for each."""
    started: list[str] = []

    async def untracked_hosts(*_: object) -> tuple[str, ...]:
        return left_behind

    async def start_function(_waker: Waker, host: str) -> None:
        started.append(host)

    monkeypatch.setattr(handler, "untracked_hosts", untracked_hosts)
    monkeypatch.setattr(handler, "hosts_due", untracked_hosts)
    monkeypatch.setattr(Waker, "start_function", start_function)
    assert await handler.start_missing() == list(left_behind)
    assert started == list(left_behind)
    assert metrics() == ["HostsUntracked"]


ROOT = Root("Local/150@inoffice-00000001;1", "1.0", "call", "150", "151")
CALL = FollowedCall(ID, "call", "150", "151", "accepted", ROOT, (), (), False, None, 1.0, None)  # noqa: FBT003 - as its row


class Turns:
    """A database that keeps what a tracker writes in each turn; its one call goes on."""

    host = "192.0.2.1"

    def __init__(self) -> None:
        self.written: list[tuple[str | None, list[str]]] = []
        self.call = CALL

    async def write(
        self, changes: Sequence[Change] = (), *, error_code: str | None = None, **_kwargs: object
    ) -> Following | None:
        """Take it."""
        phases = [one["phase"] for one in changes if "phase" in one]
        self.written.append((error_code, [str(phase) for phase in phases]))
        for one in changes:
            seen = {key: value for key, value in one.items() if key != "call_id"}
            self.call = replace(self.call, **cast("Any", seen))
        return Following((self.call,), wanted=False)

    async def give_back(self) -> None:
        """Take it back."""


class Looks:
    """A PBX whose root channel has these states, one after the other; None: it is away."""

    def __init__(self, *states: str | None) -> None:
        self.states = list(states)
        self.tracker: Tracker | None = None

    async def ask(self, _host: str, question: Any, _deadline: Deadline, turn: Turn) -> object:
        """Answer one look, and end the following with the last."""
        assert turn == "look"
        if question is not client.list_channels:
            return {"1.0": "1.0"}
        state = self.states.pop(0)
        if not self.states and self.tracker is not None:
            self.tracker.end_soon()
        if state is None:
            raise ConnectFailed("away")
        return parse_channels(f"{ROOT.channel}!x!1!1!{state}!AppDial2!!1!!!3!1!!1.0\n")

    async def followed(self, *, is_told: bool = True) -> list[tuple[str | None, list[str]]]:
        """Follow it to the last look; what was written."""
        lease: Any = Turns()
        pbx: Any = self
        pace = Pace(busy_s=0.0, talk_s=0.0, unreachable_s=0.0, turn_s=60.0)
        settings = Settings.from_environment({})
        self.tracker = Tracker(lease, pbx, settings, pace, is_told=is_told)
        async with asyncio.timeout(30):
            assert await self.tracker.run(60) == "time"
        written: list[tuple[str | None, list[str]]] = lease.written
        # The first turn asks what there is to follow; being ended is news, and asks once more.
        return written[1:-1]


async def test_a_look_without_news_is_no_turn_at_the_database() -> None:
    """Of a tracker that is woken by what others begin; without that it has to ask."""
    assert await Looks(*["Down"] * 9).followed() == []
    assert await Looks(*["Down"] * 9).followed(is_told=False) == [(None, [])] * 9


async def test_what_a_look_has_seen_is_written_at_once() -> None:
    """A phase, a PBX that is away, and that it is there again; each once."""
    looks = Looks("Down", "Ringing", "Ringing", None, None, "Ringing", "Ringing")
    assert await looks.followed() == [
        (None, ["agent_ringing"]),
        ("ssh-connect-failed", []),
        (None, []),
    ]


async def test_a_call_grows_older_between_two_turns() -> None:
    """What is judged by its age is, though the database is not asked meanwhile."""
    rootless = replace(CALL, root=None)
    ended = replace(CALL, phase="ended", ended_s=2.0, cut_s=3.0)
    one, other = Following((rootless, ended), wanted=True).after(1.5).calls
    assert (one.age_s, one.ended_s, one.cut_s) == (2.5, None, None)
    assert (other.age_s, other.ended_s, other.cut_s) == (2.5, 3.5, 4.5)

"""What the trackers tell an operator: how calls ended, and whom nobody follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, cast
from uuid import UUID

import pytest

from functions.watchdog import handler
from shared.asterisk import client
from shared.asterisk.parsers import parse_channels
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable
from shared.following.pace import Pace
from shared.following.tracker import Tracker, _count
from shared.following.wake import Waker
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store.leases import Change, Following, MalformedCall
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

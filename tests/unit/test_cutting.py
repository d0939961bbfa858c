"""Which calls are ended for lasting too long, how often that is tried, and what is sent for it."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from shared.asterisk import client
from shared.asterisk.client import HangupUnacknowledged
from shared.asterisk.ending import Ending
from shared.errors import AsteriskUnavailable, DatabaseUnavailable, ServiceError
from shared.following import cutting
from shared.following.cutting import Cutting
from shared.following.pace import Pace
from shared.following.tracker import Tracker
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store.followed import Change, FollowedCall, Following
from tests.unit.test_judge import CALL, OTHER, live

pytestmark = pytest.mark.anyio

LONG = replace(CALL, phase="talking", age_s=7201.0)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Tell it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which hang-ups are tried again."""
    own = Clock()
    monkeypatch.setattr(cutting, "time", SimpleNamespace(monotonic=own.monotonic))
    return own


class Switchboard:
    """Stands for a PBX whose hang-ups end so, in turn; then each is done."""

    def __init__(self, *ends: bool | ServiceError) -> None:
        self.ends = list(ends)
        self.asked = 0

    async def ask(self, _host: str, ending: Any, _deadline: Any) -> bool:
        """Hang up."""
        self.asked += 1
        end = self.ends.pop(0) if self.ends else True
        ending.is_done = end is True
        ending.may_be_sent = ending.is_done or isinstance(end, HangupUnacknowledged)
        if isinstance(end, ServiceError):
            raise end
        return end


def made(pbx: Switchboard | None = None, longest_s: float | None = 7200.0) -> Cutting:
    """Make one of a host."""
    return Cutting("192.0.2.1", cast("Pbx", pbx), longest_s)


@pytest.mark.parametrize(
    ("call", "is_due"),
    [
        (LONG, True),
        (replace(LONG, phase="accepted"), True),
        (replace(LONG, phase="customer_ringing"), True),
        (replace(LONG, kind="monitor", phase="agent_answered"), True),
        (replace(LONG, transferred=True), True),  # from the begin, whoever talks now
        (replace(LONG, age_s=7200.0), False),
        (replace(LONG, phase="placing"), False),
        (replace(LONG, phase="unknown"), False),
        (replace(LONG, phase="ended"), False),
        (replace(LONG, root=None), False),
        (replace(LONG, root=None, candidates=(OTHER,)), False),
        (replace(LONG, cut_s=0.5), False),  # another tracker has just sent it
        (replace(LONG, cut_s=5.5), True),
    ],
)
def test_who_is_ended(call: FollowedCall, *, is_due: bool) -> None:
    """Whoever goes on for too long and whose own channel is known, in any phase."""
    assert bool(made().due([call], ())) is is_due


def test_without_a_limit_nobody_is() -> None:
    """However long it lasts."""
    assert made(longest_s=None).due([replace(LONG, age_s=1e9)], ()) == ()


def test_whoever_has_no_channel_left_is_not() -> None:
    """It is over; only its record is waited for."""
    assert made().due([LONG], {LONG.call_id}) == ()


def test_some_at_a_time() -> None:
    """So that a turn does not outlast its lease; the others are due at the next one."""
    calls = [replace(LONG, call_id=UUID(int=n)) for n in range(1, 6)]
    assert made().due(calls, ()) == tuple(calls[:3])


async def test_it_is_sent_once(clock: Clock) -> None:
    """While the end is on its way each look meets the call again, and sends nothing."""
    pbx = Switchboard()
    cuts = made(pbx)
    assert await cuts.end(LONG)
    for _ in range(20):
        clock.now += 0.2
        assert cuts.due([LONG], ()) == ()
    assert pbx.asked == 1


async def test_a_call_that_goes_on_is_ended_again_bounded_and_told(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Later each time, eight times, in ten minutes; then an operator is told."""
    pbx = Switchboard(*[AsteriskUnavailable("refused")] * 20)
    cuts = made(pbx)
    sent_at = []
    with caplog.at_level(logging.INFO):
        for _ in range(20_000):
            if cuts.due([LONG], ()):
                sent_at.append(clock.now - 100)
                assert not await cuts.end(LONG)
            clock.now += 0.5
    assert sent_at == [0, 5, 15, 35, 75, 155, 315, 615]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING"] * 8 + ["ERROR"]
    assert "завершить не удалось (8): " in caplog.messages[7]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (True, True),
        (HangupUnacknowledged("lost"), True),
        (AsteriskUnavailable("refused"), False),
        (DatabaseUnavailable("away"), False),
        (False, False),  # nothing was left of it
    ],
)
async def test_what_may_be_sent_is_told(
    clock: Clock, *, first: bool | ServiceError, told: bool
) -> None:
    """Of a later attempt that fails too: an earlier one may have ended the call."""
    cuts = made(Switchboard(first, AsteriskUnavailable("refused")))
    assert await cuts.end(LONG) is told
    clock.now += 6
    assert cuts.due([LONG], ())
    assert await cuts.end(LONG) is told


async def test_what_an_earlier_tracker_sent_is_not_taken_back(clock: Clock) -> None:
    """Its word stays, though this one's attempt fails."""
    cuts = made(Switchboard(AsteriskUnavailable("refused")))
    assert await cuts.end(replace(LONG, cut_s=30.0))


async def test_a_call_that_is_over_is_forgotten(clock: Clock) -> None:
    """Nothing is kept for as long as the host is followed."""
    cuts = made(Switchboard())
    await cuts.end(LONG)
    cuts.due([], ())
    assert cuts._attempts == {}


# In a tracker's turn


class Lease:
    """Stands for the database of a tracker; `answers` are what there is to follow."""

    def __init__(self, *answers: Following | None) -> None:
        self.host = "192.0.2.1"
        self.answers = list(answers)
        self.written: list[Change] = []

    async def write(self, changes: Any = (), **_: Any) -> Following | None:
        """Take the changes."""
        self.written += [change for change in changes if "cut" in change]
        return self.answers.pop(0)


class Lists(Switchboard):
    """A PBX that lists the channel of the long call, and may refuse what is asked beside."""

    async def ask(self, host: str, question: Any, deadline: Any, turn: str = "call") -> Any:
        """List, tell whose it is, or hang up."""
        if isinstance(question, Ending):
            return await super().ask(host, question, deadline)
        return (live(state="Up"),) if question is client.list_channels else {}


async def run(lease: Lease, pbx: Lists) -> None:
    """Have a tracker follow until its host is another's."""
    settings = Settings.from_environment({"MAX_CALL_S": "7200"})
    tracker = Tracker(cast("Any", lease), cast("Pbx", pbx), settings, Pace(busy_s=0, talk_s=0))
    assert await tracker.run() == "replaced"


FOLLOWED = Following((replace(LONG, phase="accepted"),), wanted=False)


async def test_it_is_written_before_it_is_sent() -> None:
    """A take-over knows of it; what was sent is told once."""
    lease, pbx = Lease(FOLLOWED, FOLLOWED, FOLLOWED, FOLLOWED, None), Lists()
    await run(lease, pbx)
    assert pbx.asked == 1
    assert lease.written == [Change(call_id=LONG.call_id, cut=True)]


async def test_a_tracker_that_was_replaced_sends_nothing() -> None:
    """The fence is asked right before."""
    lease, pbx = Lease(FOLLOWED, FOLLOWED, None), Lists()
    await run(lease, pbx)
    assert pbx.asked == 0


async def test_what_was_not_sent_is_taken_back() -> None:
    """Else a call that ends by itself would be told as ended by us."""
    lease = Lease(FOLLOWED, FOLLOWED, FOLLOWED, FOLLOWED, None)
    await run(lease, Lists(AsteriskUnavailable("refused")))
    which = LONG.call_id
    assert lease.written == [Change(call_id=which, cut=True), Change(call_id=which, cut=False)]

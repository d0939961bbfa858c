"""Control sockets that are open before they are needed: who gets which, and what is let go of."""

from __future__ import annotations

import asyncio

import pytest

from shared.asterisk.openings import Greeted, Openings
from shared.deadline import Deadline
from shared.errors import ConnectionLost, NoAnswer, NotExecuted, SocketRefused

pytestmark = pytest.mark.anyio

AHEAD_S = 30.0
LATE_S = 30.0


class Socket:
    """One that greets once it is let to."""

    def __init__(self, number: int, pid: int, greets: asyncio.Event) -> None:
        self.number = number
        self.is_quiet = True
        self.is_closed = False
        self._banner = f"pbx/{pid}/16.28.0\n".encode()
        self._greets = greets

    async def read(self) -> bytes:
        """Greet."""
        await self._greets.wait()
        return self._banner

    def ends(self) -> None:
        """End instead of greeting."""
        self._banner = b""

    def write(self, data: bytes) -> None:
        """Nothing is written to one that nobody has taken."""
        raise AssertionError(data)

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class Asterisk:
    """Opens sockets, numbered from 1; `failure` is what the next openings raise."""

    def __init__(self, *, at_once: int = 3, ahead_s: float = AHEAD_S) -> None:
        self.sockets: list[Socket] = []
        self.pid = 100
        self.failure: NotExecuted | None = None
        self.greets = asyncio.Event()
        self.greets.set()
        self.now = 0.0
        self.openings = Openings(
            self.open, at_once=at_once, ahead_s=ahead_s, clock=lambda: self.now
        )

    async def open(self, _deadline: Deadline) -> Socket:
        """Open one."""
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.sockets.append(Socket(len(self.sockets) + 1, self.pid, self.greets))
        return self.sockets[-1]

    async def take(self, *, is_look: bool = False) -> int:
        """Take one; its number."""
        return number_of(await self.openings.take(Deadline.after(LATE_S), is_look=is_look))

    @property
    def closed(self) -> list[int]:
        """The numbers of those that were closed."""
        return [socket.number for socket in self.sockets if socket.is_closed]


def number_of(greeted: Greeted) -> int:
    """Tell which one it is."""
    assert isinstance(greeted.stream, Socket)
    return greeted.stream.number


async def turned() -> None:
    """Let all go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_that_was_opened_ahead_is_taken_at_once() -> None:
    """It is not opened anew; then another one is, when it is wanted, and no more than one waits."""
    asterisk = Asterisk()
    assert await asterisk.take() == 1
    asterisk.openings.open_ahead()
    asterisk.openings.open_ahead()
    await turned()
    asterisk.openings.open_ahead()
    await turned()
    assert len(asterisk.sockets) == 2
    assert await asterisk.take() == 2
    assert await asterisk.take() == 3
    assert asterisk.closed == []  # who takes one owns it


async def test_a_look_leaves_the_last_one_to_who_waits() -> None:
    """It opens one itself; from then on one more is ready, for the next look, until looks end."""
    asterisk = Asterisk()
    asterisk.openings.open_ahead()
    await turned()
    assert await asterisk.take(is_look=True) == 2
    asterisk.openings.open_ahead()
    await turned()
    assert len(asterisk.sockets) == 3
    assert await asterisk.take(is_look=True) == 1  # the oldest; 3 is left
    assert await asterisk.take() == 3

    asterisk.openings.open_ahead()
    await turned()
    assert len(asterisk.sockets) == 5
    asterisk.now += 11
    asterisk.openings.open_ahead()
    assert asterisk.closed == [4]


async def test_a_look_waits_for_none_that_comes_for_another() -> None:
    """What is on its way is what somebody will ask next, as soon as his first answer is there."""
    asterisk = Asterisk()
    asterisk.greets.clear()
    asterisk.openings.expect(1, Deadline.after(LATE_S))
    await turned()
    looking = asyncio.create_task(asterisk.take(is_look=True))
    await turned()
    asterisk.greets.set()
    assert await looking == 2
    assert await asterisk.take() == 1


async def test_none_is_opened_ahead_where_that_is_off() -> None:
    """As on Lambda."""
    asterisk = Asterisk(ahead_s=0)
    asterisk.openings.open_ahead()
    await turned()
    assert asterisk.sockets == []


@pytest.mark.parametrize("why", ["old", "ended", "another Asterisk's"])
async def test_one_that_proves_nothing_any_more_is_let_go_of(why: str) -> None:
    """Too old, ended or spoken on, or of an Asterisk that is not there any more."""
    asterisk = Asterisk()
    asterisk.openings.open_ahead()
    await turned()
    match why:
        case "old":
            asterisk.now += AHEAD_S + 0.1
        case "ended":
            asterisk.sockets[0].is_quiet = False
        case _:
            asterisk.pid = 200
            asterisk.openings.expect(2, Deadline.after(LATE_S))
            await turned()
    assert await asterisk.take() == 2
    assert asterisk.closed == [1]


async def test_one_that_is_old_enough_is_kept() -> None:
    """Up to the very second."""
    asterisk = Asterisk()
    asterisk.openings.open_ahead()
    await turned()
    asterisk.now += AHEAD_S
    assert await asterisk.take() == 1


async def test_those_that_follow_are_opened_beside() -> None:
    """All at once, and given out in the order in which they came; a surplus one is let go of."""
    asterisk = Asterisk(ahead_s=0)
    asterisk.openings.expect(3, Deadline.after(LATE_S))
    assert await asterisk.take() == 1
    assert len(asterisk.sockets) == 3
    assert await asterisk.take() == 2
    asterisk.now += 3.1
    assert await asterisk.take() == 4
    assert asterisk.closed == [3]


async def test_of_several_only_one_stays_ready() -> None:
    """Asterisk has 128 consoles for everybody."""
    asterisk = Asterisk()
    asterisk.openings.expect(3, Deadline.after(LATE_S))
    await turned()
    asterisk.openings.open_ahead()
    assert asterisk.closed == [1, 2]
    assert await asterisk.take() == 3


async def test_as_many_as_the_backlog_holds_wait_for_their_banner() -> None:
    """Of whoever asks at once the others wait; the next one opens when one was greeted."""
    asterisk = Asterisk(at_once=3)
    asterisk.greets.clear()
    takes = [asyncio.create_task(asterisk.take()) for _ in range(5)]
    await turned()
    assert len(asterisk.sockets) == 3
    asterisk.greets.set()
    assert sorted(await asyncio.gather(*takes)) == [1, 2, 3, 4, 5]


async def test_who_waits_for_one_that_does_not_come_opens_his_own() -> None:
    """And learns by that why there is none; what was to come ahead fails without a word."""
    asterisk = Asterisk()
    asterisk.failure = SocketRefused("no")
    asterisk.openings.open_ahead()
    taking = asyncio.create_task(asterisk.take())
    await asyncio.sleep(0)
    asterisk.failure = ConnectionLost("lost")
    with pytest.raises(ConnectionLost):
        await taking


async def test_who_gives_up_leaves_it_to_the_next() -> None:
    """Before it came, and in the very moment in which it came: nothing is lost, nothing waits."""
    asterisk = Asterisk()
    asterisk.greets.clear()
    asterisk.openings.open_ahead()
    await turned()
    waiting = asyncio.create_task(asterisk.take())
    await turned()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = asyncio.create_task(asterisk.take())
    await turned()
    asterisk.greets.set()
    while asterisk.openings._waiting:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asterisk.take() == 1


async def test_none_is_told_that_nothing_comes_who_has_given_up() -> None:
    """The next who waits opens one himself, and no callback fails."""
    asterisk, failures = Asterisk(), list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told))
    asterisk.greets.clear()
    asterisk.openings.expect(2, Deadline.after(LATE_S))
    await turned()
    gives_up, goes_on = (asyncio.create_task(asterisk.take()) for _ in range(2))
    await turned()
    for socket in asterisk.sockets:
        socket.ends()
    asterisk.greets.set()
    # As a time-out does, between the end of what was to come and the word of it.
    asyncio.get_running_loop().call_soon(asterisk.openings._waiting[0].cancel)
    assert await goes_on == 3
    with pytest.raises(asyncio.CancelledError):
        await gives_up
    assert failures == []


async def test_who_has_no_time_left_has_written_nothing() -> None:
    """Asterisk stands still: one that was begun ahead is no better than one's own."""
    asterisk = Asterisk()
    asterisk.greets.clear()
    asterisk.openings.open_ahead()
    with pytest.raises(NoAnswer):
        await asterisk.openings.take(Deadline.after(0.02))


async def test_at_the_end_none_is_left_open() -> None:
    """Neither one that was ready nor one that comes only then."""
    asterisk = Asterisk()
    asterisk.openings.open_ahead()
    await turned()
    asterisk.greets.clear()
    asterisk.openings.expect(2, Deadline.after(LATE_S))
    await turned()
    asterisk.openings.close()
    asterisk.greets.set()
    await turned()
    assert asterisk.closed == [1, 2]
    asterisk.openings.open_ahead()
    await turned()
    assert len(asterisk.sockets) == 2


async def test_one_is_renewed_while_calls_are_likely() -> None:
    """Some minutes after the last question nothing is held ready any more."""
    asterisk = Asterisk(ahead_s=0.01)
    asterisk.openings.open_ahead()
    async with asyncio.timeout(LATE_S):
        while len(asterisk.sockets) < 3:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)
        assert asterisk.closed[:2] == [1, 2]
        asterisk.now += 300
        await turned()  # what was begun before comes yet
        while len(asterisk.closed) < len(asterisk.sockets):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.005)
    count = len(asterisk.sockets)
    await turned()
    assert len(asterisk.sockets) == count

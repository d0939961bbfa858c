"""Several originates in one exchange: sent once, each told what became of it, none of another's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.commands import SHOW_CHANNELS, OriginateCall
from shared.asterisk.console import Exchange, Unacknowledged
from shared.asterisk.models import Context
from shared.asterisk.originating import Originated, OriginateUnknown
from shared.asterisk.socket_console import SocketConsole, SocketExchange
from shared.asterisk.together import fit_together, originate_together
from shared.deadline import Deadline
from shared.errors import CommandRejected, ConnectionLost, PbxBusy, ServiceError, SocketRefused
from shared.pbx.sharing import Send, Sharing, _tell
from tests.orders import call_order
from tests.unit.exchanges import Scripted, Told

pytestmark = pytest.mark.anyio

HOST = "192.0.2.1"
REFUSED = "No such command 'channel originate' (type 'core show help' for others)\n"


def command(code: str, phone: str = "+375296254070") -> OriginateCall:
    """Write one."""
    return OriginateCall(call_order(code, phone), Context("inoffice"))


def root(code: str) -> str:
    """List its root."""
    return f"Local/{code}@inoffice-2a;1!inoffice!{code}!1!Down!AppDial2!!!!!3!0!!17.{code}\n"


class Asterisk(Scripted):
    """Executes what it is sent, and lists a root for each; `breaks_after` so many replies."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.breaks_after: int | None = None
        self.is_left_open = False
        self.faults: list[Exception] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.pending = Told()

    def takes(self, *commands: str) -> bool:
        """Take as many as a socket does."""
        return SocketConsole(lambda _: asyncio.Future()).takes(*commands)

    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """Wait to be told to go on."""
        await self.go_on.wait()
        if self.faults:
            raise self.faults.pop(0)
        return await super().send(*commands, deadline=deadline)

    def answer(self, commands: tuple[str, ...]) -> Exchange:
        """Execute them."""
        codes = [one.split("@")[0].rpartition("/")[2] for one in commands[1:-1]]
        replies = ["", *(REFUSED if code in self.refused else "" for code in codes)]
        replies.append("".join(root(code) for code in codes if code not in self.refused))
        self.pending = Told(*replies)
        if self.breaks_after is None:
            return self.pending
        known = tuple(replies[: self.breaks_after])
        pending = self.pending if self.is_left_open else None
        error = Unacknowledged("broke off", replies=known, begun=len(commands), pending=pending)
        return Told(error=error)

    @property
    def dialled(self) -> list[str]:
        """Each extension that was rung, in order."""
        return [
            one.split("@")[0].rpartition("/")[2]
            for commands in self.asked
            for one in commands
            if one != SHOW_CHANNELS
        ]


@pytest.fixture
async def asterisk() -> Asterisk:
    """One that does as it is told."""
    return Asterisk()


class Host:
    """One turn at a time, as a pool gives them; it tries again what was not executed."""

    def __init__(self, asterisk: Asterisk) -> None:
        self.asterisk = asterisk
        self.sharing = Sharing()
        self.turn = asyncio.Semaphore(1)
        self.until_s = 5.0

    async def call(self, code: str, seconds: float = 30.0) -> str:
        """Originate; what became of it, in a word."""
        deadline = Deadline.after(seconds)

        async def use(send: Send) -> Originated:
            try:
                async with deadline.enforce():
                    await self.turn.acquire()
            except TimeoutError:
                raise PbxBusy("busy") from None
            try:
                for _ in range(2):
                    with suppress(SocketRefused):
                        return await send(self.asterisk, deadline.sooner(self.until_s))
                raise ConnectionLost("lost")
            finally:
                self.turn.release()

        try:
            originated = await self.sharing.originate(
                HOST, command(code), deadline, use, is_turn_free=not self.turn.locked()
            )
        except ServiceError as error:
            return error.code
        return ",".join(root.uniqueid for root in originated.roots)

    async def shared(self, *codes: str) -> list[str]:
        """Originate at once, while somebody else has the turn."""
        async with self.turn:
            tasks = [asyncio.create_task(self.call(code)) for code in codes]
            for _ in range(9):
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)


async def test_who_has_a_turn_at_once_is_sent_before_anything_else(asterisk: Asterisk) -> None:
    """The event loop comes round only then: no phone waits for what else there is to do."""
    host = Host(asterisk)
    sent: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: sent.append(len(asterisk.asked)))
    assert await host.call("150") == "17.150"
    await asyncio.sleep(0)
    assert sent == [1]


async def test_who_waits_shares_the_next_exchange(asterisk: Asterisk) -> None:
    """Each is rung once, and told its own root."""
    host = Host(asterisk)
    assert await host.shared("150", "151", "152") == ["17.150", "17.151", "17.152"]
    (commands,) = asterisk.asked
    assert [commands[0], commands[-1]] == [SHOW_CHANNELS, SHOW_CHANNELS]
    assert asterisk.dialled == ["150", "151", "152"]
    assert not host.sharing._waiting


async def test_who_is_alone_has_an_exchange_of_its_own(asterisk: Asterisk) -> None:
    """One after the other, nothing is shared."""
    host = Host(asterisk)
    assert [await host.call(code) for code in ("150", "151")] == ["17.150", "17.151"]
    assert [len(commands) for commands in asterisk.asked] == [3, 3]


async def test_a_refusal_is_its_own(asterisk: Asterisk) -> None:
    """The others ring."""
    asterisk.refused = {"151"}
    outcomes = await originate_together(
        asterisk, [command(code) for code in ("150", "151", "152")], Deadline.after(5)
    )
    assert [type(outcome) for outcome in outcomes] == [Originated, CommandRejected, Originated]
    assert asterisk.pending.closed


async def test_no_more_share_one_than_one_break_may_leave_unknown(asterisk: Asterisk) -> None:
    """Three; none up to Asterisk 11, whose originate blocks, or by exec."""
    commands = [command(f"15{n}") for n in range(9)]
    fitting = [n for n in range(1, 10) if fit_together(asterisk, commands[:n])]
    assert fitting == [1, 2, 3]
    for version in ("11.25.3", None):
        asterisk.version = version
        assert not fit_together(asterisk, commands[:2])
    assert not fit_together(Scripted(), commands[:2])


@pytest.mark.parametrize("breaks_after", [0, 1, 2, 3])
async def test_a_break_makes_unknown_whatever_was_written(
    asterisk: Asterisk, breaks_after: int
) -> None:
    """All of that exchange, and no other call; none is sent again."""
    asterisk.breaks_after = breaks_after
    host = Host(asterisk)
    assert await host.shared("150", "151") == ["outcome-unknown", "outcome-unknown"]
    asterisk.breaks_after = None
    assert await host.call("152") == "17.152"
    assert asterisk.dialled == ["150", "151", "152"]


async def test_replies_that_cannot_be_understood_are_no_reason_to_ring_again(
    asterisk: Asterisk,
) -> None:
    """Too few of them, or a defect in reading them: whatever was written may have rung."""
    answer = asterisk.answer

    def cut(commands: tuple[str, ...]) -> Exchange:
        answer(commands)
        asterisk.pending = Told("", "", root("150"))
        return asterisk.pending

    asterisk.answer = cut  # type: ignore[method-assign] # by script
    host = Host(asterisk)
    assert await host.shared("150", "151") == ["outcome-unknown", "outcome-unknown"]
    assert asterisk.dialled == ["150", "151"]
    assert asterisk.pending.closed


async def test_what_was_not_sent_is_sent_by_each(asterisk: Asterisk) -> None:
    """A socket that is refused executed nothing: whoever was taken along waits for his own turn."""
    asterisk.faults = [SocketRefused("full")]
    host = Host(asterisk)
    assert await host.shared("150", "151", "152") == ["17.150", "17.151", "17.152"]
    assert sorted(asterisk.dialled) == ["150", "151", "152"]


async def test_whoever_has_less_time_is_not_taken_along(asterisk: Asterisk) -> None:
    """An exchange may take longer than it has: it waits for a turn of its own, until its time."""
    host = Host(asterisk)
    async with host.turn:
        calls = asyncio.gather(host.call("150"), host.call("151", host.until_s / 2))
        assert await host.call("152", 0.02) == "pbx-busy"
    assert list(await calls) == ["17.150", "17.151"]
    assert [len(commands) for commands in asterisk.asked] == [3, 3]
    assert asterisk.dialled == ["150", "151"]


@pytest.mark.parametrize("who", [0, 1])
async def test_a_request_that_is_given_up_leaves_the_others_a_true_word(
    asterisk: Asterisk, who: int
) -> None:
    """Whoever sends for all: then it is unknown. Whoever was taken along: then nothing changes."""
    host = Host(asterisk)
    asterisk.go_on.clear()
    async with host.turn:
        tasks = [asyncio.create_task(host.call(code)) for code in ("150", "151")]
        for _ in range(9):
            await asyncio.sleep(0)
    for _ in range(9):
        await asyncio.sleep(0)
    tasks[who].cancel()
    await asyncio.gather(tasks[who], return_exceptions=True)
    asterisk.go_on.set()
    assert await tasks[1 - who] == ("outcome-unknown" if who == 0 else "17.150")
    assert asterisk.dialled.count("151") <= 1


async def test_late_answers_are_each_one_s_own(asterisk: Asterisk) -> None:
    """A frozen Asterisk answers on the one socket: it is closed with the last who listens."""
    asterisk.breaks_after, asterisk.is_left_open = 0, True
    outcomes = await originate_together(
        asterisk, [command("150"), command("151")], Deadline.after(5)
    )
    closed: list[str] = []
    parts = []
    for outcome in outcomes:
        assert isinstance(outcome, OriginateUnknown)
        assert outcome.pending is not None
        parts.append(outcome.pending)
    parts[0].on_close = lambda: closed.append("released")
    replies = await asyncio.gather(*(part.replies(Deadline.after(5)) for part in parts))
    assert replies == [("", "", root("150") + root("151"))] * 2
    parts[0].close()
    parts[0].close()
    assert (asterisk.pending.closed, closed) == (False, [])
    parts[1].close()
    assert (asterisk.pending.closed, closed) == (True, ["released"])


class Slow:
    """A socket that brings one sentinel at a time."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.is_read = False

    async def read(self) -> bytes:
        """Bring the next; two readers at once would tear a reply."""
        assert not self.is_read
        self.is_read = True
        await asyncio.sleep(0)
        self.is_read = False
        self.left -= 1
        return b"System uptime: 5\n" if self.left >= 0 else b""

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """Do nothing."""


async def test_those_who_listen_late_read_one_after_the_other(asterisk: Asterisk) -> None:
    """Both have the whole answer."""
    exchange = SocketExchange(Slow(4), ("a", "b", "c", "d"))
    error = Unacknowledged("late", replies=(), begun=4, pending=exchange)
    asterisk.answer = lambda commands: Told(error=error)  # type: ignore[method-assign] # by script
    outcomes = await originate_together(
        asterisk, [command("150"), command("151")], Deadline.after(5)
    )
    parts = [one.pending for one in outcomes if isinstance(one, OriginateUnknown) and one.pending]
    replies = await asyncio.gather(*(part.replies(Deadline.after(5)) for part in parts))
    assert [len(reply) for reply in replies] == [3, 3]


@given(
    breaks=st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=1, max_size=6),
    refusals=st.lists(st.booleans(), max_size=6),
    count=st.integers(1, 9),
)
async def test_whatever_breaks_nobody_rings_twice(
    breaks: list[int | None], refusals: list[bool], count: int
) -> None:
    """And whoever is told that nothing was dialled was not rung."""
    asterisk = Asterisk()
    host = Host(asterisk)
    codes = [str(150 + number) for number in range(count)]
    answer, script = asterisk.answer, iter(breaks)

    def answered(commands: tuple[str, ...]) -> Exchange:
        asterisk.breaks_after = next(script, None)
        return answer(commands)

    asterisk.answer = answered  # type: ignore[method-assign] # by script
    asterisk.faults = [SocketRefused("full")] * sum(refusals)
    told = dict(zip(codes, await host.shared(*codes), strict=True))
    for code, word in told.items():
        rung = asterisk.dialled.count(code)
        assert rung <= 1
        assert rung == 1 or word == "ssh-connection-lost"
        assert rung == 0 or word in {f"17.{code}", "outcome-unknown"}
    assert not host.sharing._waiting


@pytest.mark.parametrize("is_told", [True, False])
async def test_who_is_given_up_as_the_outcome_comes_leaves_nothing_open(*, is_told: bool) -> None:
    """Told in that very moment or only then: what could still be listened to is closed."""
    sharing, pending = Sharing(), Told()

    async def use(_: Send) -> Originated:
        await asyncio.Future()
        raise AssertionError

    task = asyncio.create_task(sharing.originate(HOST, command("151"), Deadline.after(30), use))
    await asyncio.sleep(0)
    (waiting,) = sharing._waiting[HOST]
    waiting.taken.set_result(None)
    unknown = OriginateUnknown("broke off", pending)
    if is_told:
        _tell(waiting, unknown)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not is_told:
        _tell(waiting, unknown)
    assert pending.closed
    assert not sharing._waiting

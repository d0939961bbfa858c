"""Starting a call: sent once, acknowledged, its root told from all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.asterisk import originating
from shared.asterisk.commands import OriginateCall
from shared.asterisk.console import Exchange, Unacknowledged
from shared.asterisk.models import CallOrder, Context, Extension, Phone
from shared.asterisk.parsers import parse_channels, split_replies
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ConnectionLost,
    NoChannel,
    NotExecuted,
    OutcomeUnknown,
    SocketRefused,
)
from tests.unit.exchanges import Console, Scripted, Told, broken_off

pytestmark = pytest.mark.anyio

Read = Callable[[str], str]

CALL = OriginateCall(CallOrder(Extension("150"), Phone("+375296254070")), Context("inoffice"))
OLD = "Local/150@inoffice-00000001;1!inoffice!150!1!Up!Dial!LOCAL/1@inoffice!!!!3!9!!17.1\n"
ROOT = "Local/150@inoffice-0000002a;1!inoffice!150!1!Down!AppDial2!(None)!!!!3!0!!17.7\n"
HALF = "Local/150@inoffice-0000002a;2!inoffice!150!1!Ring!(None)!!!!!3!0!!17.8\n"
LONGER = "Local/1501@inoffice-0000002b;1!inoffice!1501!1!Down!AppDial2!(None)!!!!3!0!!17.9\n"
ELSEWHERE = "Local/150@inoffice2-0000002c;1!inoffice2!150!1!Down!AppDial2!(None)!!!!3!0!!17.10\n"
INNER = "Local/150@inoffice-0000002e;1!inoffice!150!1!Ringing!AppDial!x!!!!3!0!!17.12\n"
RIVAL = "Local/150@inoffice-0000002d;1!inoffice!150!1!Down!AppDial2!(None)!!!!3!0!!17.11\n"


async def originate(console: Console) -> list[str]:
    """Place the call; the roots' names."""
    originated = await originating.originate(console, CALL, Deadline.after(5))
    return [root.name for root in originated.roots]


async def test_call_is_sent_once_between_two_snapshots() -> None:
    """One exchange: the channels, the originate, the channels."""
    console = Console("", "", ROOT)
    await originate(console)
    snapshot = "core show channels concise"
    assert console.asked == [(snapshot, CALL.render(), snapshot)]


async def test_root_is_the_new_first_leg_of_this_extension() -> None:
    """Never an older root, the second leg, another extension's or another context's."""
    console = Console(OLD, "", OLD + HALF + ELSEWHERE + ROOT + LONGER)
    assert await originate(console) == ["Local/150@inoffice-0000002a;1"]


async def test_acknowledged_call_without_a_root_is_accepted_where_commands_have_gaps() -> None:
    """By `asterisk -rx` a call that is over at once is gone before it is looked for."""
    console = Console(OLD, "", OLD)
    console.is_gapless = False
    assert await originate(console) == []


async def test_root_that_real_asterisk_listed(transcript: Read) -> None:
    """The recorded exchange of an originate to 153 has exactly one root."""
    before, after = split_replies(transcript("ctl-originate-between-snapshots"))
    command = OriginateCall(CallOrder(Extension("153"), Phone("1")), Context("inoffice"))
    console = Console(before, "", after)
    originated = await originating.originate(console, command, Deadline.after(5))
    (root,) = originated.roots
    assert root.name.startswith("Local/153@inoffice-")


async def test_two_new_roots_stay_two() -> None:
    """Another program's originate in the same millisecond: nothing tells yet which is ours."""
    roots = await originate(Console("", "", ROOT + RIVAL))
    assert roots == ["Local/150@inoffice-0000002a;1", "Local/150@inoffice-0000002d;1"]


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), (OLD, OLD), (ROOT, ROOT), ("", LONGER), ("", HALF)]
)
async def test_acknowledged_call_without_a_channel_is_unknown(before: str, after: str) -> None:
    """Asterisk accepted it, so nobody may try again, though no channel was seen."""
    with pytest.raises(NoChannel) as caught:
        await originate(Console(before, "", after))
    assert caught.value.dialled == "unknown"


@pytest.mark.parametrize("name", ["unknown-command", "originate-usage"])
async def test_refused_call_was_not_dialled(transcript: Read, name: str) -> None:
    """An Asterisk that does not know the command, or its syntax, executed nothing."""
    with pytest.raises(CommandRejected) as caught:
        await originate(Console("", transcript(name), ""))
    assert caught.value.dialled == "no"


async def test_refused_call_in_a_broken_exchange_was_not_dialled(transcript: Read) -> None:
    """The refusal counts even if the connection broke right behind it."""
    refusal = transcript("unknown-command")
    error = Unacknowledged("Connection lost", replies=("", refusal), begun=3)
    with pytest.raises(CommandRejected):
        await originate(Console(error=error))


@pytest.mark.parametrize("begun", [0, 1])
async def test_exchange_that_broke_before_the_originate_dialled_nothing(begun: int) -> None:
    """Only the snapshot had begun: safe to try again."""
    error = Unacknowledged("Connection lost", replies=(), begun=begun)
    with pytest.raises(ConnectionLost) as caught:
        await originate(Console(error=error))
    assert caught.value.dialled == "no"
    assert caught.value.again


@pytest.mark.parametrize(("begun", "replies"), [(2, ()), (2, ("",)), (3, ()), (3, ("", ""))])
async def test_exchange_that_broke_after_the_originate_had_begun_is_unknown(
    begun: int, replies: tuple[str, ...]
) -> None:
    """The phone may ring: never to be tried again."""
    error = Unacknowledged("Connection lost", replies=replies, begun=begun)
    with pytest.raises(OutcomeUnknown) as caught:
        await originate(Console(error=error))
    assert caught.value.dialled == "unknown"


async def test_console_that_executed_nothing_says_why() -> None:
    """What proves that nothing was executed passes through as it is."""
    error = SocketRefused("Asterisk closed its control socket")
    with pytest.raises(SocketRefused) as caught:
        await originate(Console(error=error))
    assert caught.value is error


async def test_unknown_originate_hands_its_socket_on() -> None:
    """Whoever catches it may listen on."""
    error, stream = broken_off("")
    with pytest.raises(originating.OriginateUnknown) as caught:
        await originate(Console(error=error))
    assert caught.value.pending is error.pending
    assert not stream.closed


async def test_originate_whose_end_is_known_leaves_no_socket_open(transcript: Read) -> None:
    """Refused, or not begun: there is nothing to listen for."""
    for error, _ in (broken_off("", transcript("unknown-command")), broken_off(begun=1)):
        console = Console(error=error)
        with pytest.raises(NotExecuted):
            await originate(console)
        assert console.exchange.closed


class Blocking(Exchange):
    """Replies to the first snapshot, then blocks until `go_on` is told the others."""

    def __init__(self, before: str) -> None:
        super().__init__()
        self._replies = [before]
        self._news = asyncio.Event()
        self.closed = False

    def go_on(self, *replies: str) -> None:
        """Let the originate return."""
        self._replies += replies
        self._news.set()

    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """Wait for them."""
        wanted = 3 if count is None else count
        async with deadline.enforce():
            while len(self._replies) < wanted:
                await self._news.wait()
        return tuple(self._replies[:wanted])

    def timed_out(self) -> Unacknowledged:
        """Stay open."""
        replies = tuple(self._replies)
        return Unacknowledged("in time", replies=replies, begun=3, pending=self)

    def _end(self) -> None:
        self.closed = True


class Old(Scripted):
    """An Asterisk 11: an originate blocks, and `lists` are seen beside it, the last for ever."""

    version: str | None = "11.25.3"

    def __init__(self, before: str, *lists: str | Exception) -> None:
        super().__init__()
        self.blocking = Blocking(before)
        self._lists = list(lists)

    def answer(self, commands: tuple[str, ...]) -> Exchange:
        """Block, or list the channels."""
        if len(commands) > 1:
            return self.blocking
        now = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        return Told(error=now) if isinstance(now, Exception) else Told(now)


@pytest.mark.parametrize("version", ["11.25.3", "SVN-branch-1.8-r300000", "UNKNOWN", None])
async def test_root_that_is_seen_beside_acknowledges_a_blocked_originate(
    version: str | None,
) -> None:
    """The extension rings: its one new root is the proof, and the exchange goes on by itself."""
    old = Old(OLD, OLD + ROOT)
    old.version = version
    originated = await originating.originate(old, CALL, Deadline.after(5))
    assert [root.name for root in originated.roots] == ["Local/150@inoffice-0000002a;1"]
    assert originated.blocked is old.blocking
    assert not old.blocking.closed
    assert [len(commands) for commands in old.asked] == [3, 1]


async def test_blocked_originate_is_looked_at_until_its_root_is_there() -> None:
    """None yet, or a look that fails: neither tells anything."""
    looks = ("", SocketRefused("busy"), HALF + INNER, ROOT)
    old = Old("", *looks)
    originated = await originating.originate(old, CALL, Deadline.after(5))
    assert [root.name for root in originated.roots] == ["Local/150@inoffice-0000002a;1"]
    assert len(old.asked) == 1 + len(looks)


@pytest.mark.parametrize("seen", ["", HALF, ROOT + RIVAL, LONGER])
async def test_blocked_originate_without_its_one_root_is_unknown(seen: str) -> None:
    """At the end of its time; who catches that may listen on."""
    old = Old("", seen)
    with pytest.raises(originating.OriginateUnknown) as caught:
        await originating.originate(old, CALL, Deadline.after(0.1))
    assert caught.value.pending is old.blocking
    assert not old.blocking.closed


async def test_who_was_seen_beside_another_root_stays_a_candidate() -> None:
    """Once there were two, the one that is left proves nothing; when it returns, both are told."""
    old = Old("", ROOT + RIVAL, RIVAL)
    asyncio.get_running_loop().call_later(0.1, old.blocking.go_on, "", RIVAL)
    originated = await originating.originate(old, CALL, Deadline.after(5))
    assert {root.uniqueid for root in originated.roots} == {"17.7", "17.11"}
    assert originated.blocked is None


async def test_a_look_that_is_under_way_is_let_finish() -> None:
    """A channel whose opening is given up is opened all the same, and closed by nobody."""
    old = Old("", "")
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()
    answer = old.answer

    class Slow(Told):
        async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
            begun.set()
            await go_on.wait()
            finished.set()
            return ("",)

    slow = Slow()
    old.answer = lambda commands: slow if len(commands) == 1 else answer(commands)  # type: ignore[method-assign]
    waiting = asyncio.ensure_future(originating.originate(old, CALL, Deadline.after(5)))
    await begun.wait()
    old.blocking.go_on("", ROOT)
    assert len((await waiting).roots) == 1
    assert not slow.closed
    go_on.set()
    await finished.wait()
    await asyncio.sleep(0)
    assert slow.closed


def test_the_half_that_a_dialplan_dials_is_no_root() -> None:
    """A queue's member, a follow-me, our own call to that number: another call's inside."""
    inner, root = parse_channels(INNER + ROOT)
    assert [originating.is_root(channel, CALL) for channel in (inner, root)] == [False, True]


async def test_blocked_originate_that_returns_is_told_by_its_replies() -> None:
    """An extension that is busy at once, or answers: nothing blocks any more."""
    old = Old("", "")
    asyncio.get_running_loop().call_later(0.05, old.blocking.go_on, "", ROOT)
    originated = await originating.originate(old, CALL, Deadline.after(5))
    assert (len(originated.roots), originated.blocked) == (1, None)
    await asyncio.sleep(0)  # what it costs, the answer does not wait for
    assert old.blocking.closed


async def test_blocked_originate_may_return_when_its_call_is_over() -> None:
    """It was executed all the same; what became of it, the records tell."""
    old = Old(OLD, OLD)
    old.blocking.go_on("", OLD)
    originated = await originating.originate(old, CALL, Deadline.after(5))
    assert originated == originating.Originated(())
    assert len(old.asked) == 1


async def test_blocked_originate_that_is_refused_dialled_nothing(transcript: Read) -> None:
    """The refusal is the reply, whatever channels are seen."""
    old = Old("", "")
    old.blocking.go_on(transcript("unknown-command"), "")
    with pytest.raises(CommandRejected):
        await originating.originate(old, CALL, Deadline.after(5))
    assert old.blocking.closed


async def test_given_up_originate_leaves_no_exchange_open() -> None:
    """Whoever waits for it may be cancelled."""
    old = Old("", "")
    waiting = asyncio.ensure_future(originating.originate(old, CALL, Deadline.after(5)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert old.blocking.closed

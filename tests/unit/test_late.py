"""Calls that come up late: only what is certainly ours is ever touched, and nothing is leaked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from shared.asterisk import client
from shared.asterisk.commands import OriginateCall
from shared.asterisk.ending import EndingUnanswered
from shared.asterisk.models import CallOrder, Channel, Context, Extension, Phone
from shared.asterisk.parsers import parse_channels
from shared.asterisk.socket_console import SocketExchange
from shared.deadline import Deadline
from shared.errors import ConnectionLost, DatabaseUnavailable, PbxBusy, ServiceError
from shared.following import late
from shared.following.late import LateCalls, UnknownCall
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store import late as stored
from shared.store.database import Database
from shared.telemetry import LOG
from shared.turns import Turn

pytestmark = pytest.mark.anyio

HOST = "192.0.2.10"
CALL = OriginateCall(CallOrder(Extension("150"), Phone("+375296254070")), Context("inoffice"))
SENTINEL = "System uptime: 5\n"
REFUSED = "No such command 'channel originate' (type 'core show help' for others)\n"


def row(
    uniqueid: str, *, name: str = "Local/150@inoffice-2a;1", state: str = "Down", age_s: int = 0
) -> str:
    """Write a channel as Asterisk lists it."""
    return f"{name}!inoffice!150!1!{state}!AppDial2!!!!!3!{age_s}!!{uniqueid}\n"


class Socket:
    """The socket that carried the command; it brings these replies, or nothing ever."""

    def __init__(self, *replies: str, ends: bool = False) -> None:
        self._chunks = [f"{reply}{SENTINEL}".encode() for reply in replies] + [b""] * ends
        self.closed = False

    async def read(self) -> bytes:
        """Return the next, or wait for ever."""
        if not self._chunks:
            await asyncio.Event().wait()
        return self._chunks.pop(0)

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """Note it."""
        self.closed = True


class World:
    """The PBX and the database as a watch sees them, and what they do wrong."""

    def __init__(self) -> None:
        self.channels = ""
        self.not_ours: set[str] = set()
        self.listed = 0
        self.list_faults: list[ServiceError] = []
        self.hang_up_faults: list[ServiceError] = []
        self.hang_ups = 0
        self.database_fault: ServiceError | None = None
        self.hung_up: list[str] = []
        self.settled: list[tuple[UUID, str, bool]] = []
        self.asked_about: list[tuple[UUID, str, str, list[str]]] = []

    async def ask(self, host: str, question: Any, _deadline: Deadline, turn: Turn = "call") -> Any:
        """Answer what is asked of the channels; who hangs up is not behind who looks."""
        assert turn == ("look" if question is client.list_channels else "call")
        if question is client.list_channels:
            return self.list_channels(host)
        assert isinstance(question, EndingUnanswered)
        return self.hang_up_unanswered(host, question._root)

    def list_channels(self, host: str) -> tuple[Channel, ...]:
        """List what is there now."""
        assert host == HOST
        self.listed += 1
        if self.list_faults:
            raise self.list_faults.pop(0)
        return parse_channels(self.channels)

    def hang_up_unanswered(self, host: str, root: Channel) -> bool:
        """Hang it up unless it is Up."""
        assert host == HOST
        self.hang_ups += 1
        if self.hang_up_faults:
            raise self.hang_up_faults.pop(0)
        if root.state == "Up":
            return False
        self.hung_up.append(root.uniqueid)
        return True

    async def load_orphans(
        self, _database: Database, call_id: UUID, *, host: str, code: str, uniqueids: Sequence[str]
    ) -> frozenset[str]:
        """Tell which are no known call's."""
        self.asked_about.append((call_id, host, code, list(uniqueids)))
        if self.database_fault:
            raise self.database_fault
        return frozenset(uniqueids) - self.not_ours

    async def load_not_owned(
        self, _database: Database, call_id: UUID, *, host: str, uniqueids: Sequence[str]
    ) -> frozenset[str]:
        """Tell which no other call has."""
        return await self.load_orphans(_database, call_id, host=host, code="", uniqueids=uniqueids)

    async def settle_late(
        self,
        _database: Database,
        call_id: UUID,
        *,
        root_channel: str,
        root_uniqueid: str,
        hung_up: bool,
    ) -> None:
        """Record it."""
        assert root_channel.endswith(";1")
        self.settled.append((call_id, root_uniqueid, hung_up))

    def watch_over(self, **settings: object) -> LateCalls:
        """Make the watch over this world."""
        values = {"unknown_hold_s": 60, **settings}
        return LateCalls(Settings.model_validate(values), cast("Database", None), cast("Pbx", self))

    async def follow(self, socket: Socket | None, **settings: object) -> UnknownCall:
        """Watch one call to its end."""
        calls, call = self.watch_over(**settings), unknown(socket)
        calls.watch(call)
        await asyncio.gather(*calls._watches)
        assert socket is None or socket.closed
        return call


def unknown(socket: Socket | None, *, sent_ago_s: float = 0) -> UnknownCall:
    """Make a call whose outcome is unknown."""
    pending = SocketExchange(socket, ("", "", "")) if socket else None
    return UnknownCall(uuid4(), HOST, CALL, pending, time.monotonic() - sent_ago_s)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Put the fakes in their places, and let the pauses be short."""
    world = World()
    monkeypatch.setattr(stored, "load_orphans", world.load_orphans)
    monkeypatch.setattr(stored, "load_not_owned", world.load_not_owned)
    monkeypatch.setattr(stored, "settle_late", world.settle_late)
    monkeypatch.setattr(late, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(late, "_LONGEST_PAUSE_S", 0.001)
    return world


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Hear the log."""
    with caplog.at_level(logging.INFO, LOG.name):
        LOG.addHandler(caplog.handler)
        yield caplog
        LOG.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ("state", "data", "is_ours"),
    [
        ("Up", "LOCAL/+375296254070@inoffice", True),
        ("Up", "LOCAL/+375290000001@inoffice", False),
        ("Ringing", "", False),
    ],
)
async def test_what_an_originate_that_blocked_left_is_ours_if_it_says_so(
    world: World, state: str, data: str, *, is_ours: bool
) -> None:
    """Others may have begun in all that time: only the one that does what we asked for is ours."""
    left = f"Local/150@inoffice-2a;1!inoffice!150!1!{state}!Dial!{data}!!!!3!0!!17.7\n"
    call = replace(unknown(Socket("", "", left)), may_block=True)
    calls = world.watch_over(late_call="keep")
    calls.watch(call)
    await asyncio.gather(*calls._watches)
    assert world.settled == ([(call.call_id, "17.7", False)] if is_ours else [])


# An originate that blocks its console


@pytest.mark.parametrize("socket", [Socket("", "", ""), Socket("", ends=True), Socket(ends=True)])
async def test_drained_exchange_is_closed_at_its_end(world: World, socket: Socket) -> None:
    """Once the extension has answered, or the link is gone; nothing is told of it."""
    calls = world.watch_over()
    calls.drain(SocketExchange(socket, ("", "", "")))
    await asyncio.gather(*calls._watches)
    await asyncio.sleep(0)
    assert (socket.closed, world.settled, calls._watches) == (True, [], set())


async def test_closing_lets_go_of_what_is_drained(world: World) -> None:
    """The process ends, the extension may go on ringing."""
    calls, socket = world.watch_over(), Socket()
    calls.drain(SocketExchange(socket, ("", "", "")))
    await calls.close()
    await asyncio.sleep(0)
    assert (socket.closed, calls._watches) == (True, set())


# The answer on the socket


async def test_late_answer_names_the_call_and_it_is_hung_up(
    world: World, told: pytest.LogCaptureFixture
) -> None:
    """The root that appeared with the command, and is nobody's, is ours; the PBX is not asked."""
    call = await world.follow(Socket(row("17.1"), "", row("17.1") + row("17.7")))
    assert world.hung_up == ["17.7"]
    assert world.settled == [(call.call_id, "17.7", True)]
    assert world.listed == 0
    assert f"Звонок дошёл с опозданием: {call.call_id} на {HOST}, завершён" in told.text


@pytest.mark.parametrize(
    ("after", "ours"), [(row("17.7"), None), (row("17.7") + row("17.9"), "17.9")]
)
async def test_a_root_that_another_call_owns_is_never_taken(
    world: World, after: str, ours: str | None
) -> None:
    """It came while our command was executed, whose own call was over, or is the other one."""
    world.not_ours = {"17.7"}
    call = await world.follow(Socket("", "", after))
    assert world.hung_up == ([ours] if ours else [])
    assert world.settled == ([(call.call_id, ours, True)] if ours else [])


async def test_answered_call_is_left_and_recorded(
    world: World, told: pytest.LogCaptureFixture
) -> None:
    """Somebody speaks already: it is told as a late call that was not hung up."""
    call = await world.follow(Socket("", "", row("17.7", state="Up")))
    assert world.hung_up == []
    assert world.settled == [(call.call_id, "17.7", False)]
    assert "оставлен" in told.text


async def test_setting_keeps_late_calls(world: World) -> None:
    """LATE_CALL=keep: recorded, and not hung up."""
    call = await world.follow(Socket("", "", row("17.7")), late_call="keep")
    assert world.hung_up == []
    assert world.settled == [(call.call_id, "17.7", False)]


@pytest.mark.parametrize(
    ("before", "reply", "after"),
    [
        ("", REFUSED, ""),
        ("", "", ""),
        (row("17.1"), "", row("17.1")),
        ("", "", row("17.7", name="Local/1501@inoffice-2a;1")),
        ("", "", row("17.7") + row("17.9")),
    ],
)
async def test_after_the_answer_no_other_root_is_taken_for_ours(
    world: World, before: str, reply: str, after: str
) -> None:
    """Refused, over already, or not to be told from another's: whatever comes next is a stranger's.

    Asterisk is done with the command, so nothing of ours can come up any more.
    """
    world.channels = row("17.20")
    await world.follow(Socket(before, reply, after))
    assert (world.hung_up, world.settled, world.listed) == ([], [], 0)


# The list of channels


@pytest.mark.parametrize("socket", [None, Socket("", ends=True)])
async def test_without_an_answer_the_one_orphan_is_ours(
    world: World, socket: Socket | None
) -> None:
    """By `asterisk -rx`, or with a connection lost, the youngest unowned root is the late call."""
    world.channels = row("17.7")
    call = await world.follow(socket)
    assert world.hung_up == ["17.7"]
    assert world.settled == [(call.call_id, "17.7", True)]
    assert world.asked_about == [(call.call_id, HOST, "150", ["17.7"])]


@pytest.mark.parametrize(
    "channels",
    [
        "",
        row("17.7", age_s=30),
        row("17.7", name="Local/150@inoffice-2a;2"),
        row("17.7", name="Local/1501@inoffice-2a;1"),
        row("17.7", name="Local/150@other-2a;1"),
        row("17.7", name="SIP/150-2a"),
        row("17.1"),
        row("17.7") + row("17.9"),
        row("17.1") + row("17.7") + row("17.9"),
    ],
)
async def test_root_that_may_be_anothers_is_never_hung_up(world: World, channels: str) -> None:
    """Older than the command, of another extension or context, owned, or one of two."""
    world.channels = channels
    world.not_ours = {"17.1"}
    calls = world.watch_over()
    calls.watch(unknown(None))
    async with asyncio.timeout(60):
        while world.listed < 3:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert (world.hung_up, world.settled) == ([], [])
    await calls.close()


async def test_host_that_is_away_is_asked_again(world: World) -> None:
    """The link may be down for as long as the call is unknown."""
    world.list_faults = [ConnectionLost("Connection lost"), PbxBusy("Too many", retry_after_s=1)]
    world.channels = row("17.7")
    await world.follow(None)
    assert world.listed == 3
    assert world.hung_up == ["17.7"]


async def test_looking_ends_with_the_hold(world: World) -> None:
    """Once the same click may dial again, a new root is that click's."""
    world.channels = row("17.7")
    calls = world.watch_over(unknown_hold_s=5)
    calls.watch(unknown(None, sent_ago_s=6))
    await asyncio.gather(*calls._watches)
    assert (world.listed, world.hung_up) == (0, [])


@pytest.mark.parametrize(
    "socket",
    [None, Socket("", ends=True), Socket("", "", row("17.7"))],
    ids=("none", "lost", "told"),
)
async def test_without_the_database_nobody_is_hung_up(
    world: World, socket: Socket | None, told: pytest.LogCaptureFixture
) -> None:
    """Who owns a root is not known then; the log tells of it."""
    world.channels = row("17.7")
    world.database_fault = DatabaseUnavailable("Database is unavailable")
    call = await world.follow(socket, request_timeout_s=0.01, postgres_timeout_s=0.01)
    assert (world.hung_up, world.settled) == ([], [])
    assert f"Опоздавший звонок {call.call_id}: Database is unavailable" in told.text


@pytest.mark.parametrize("socket", [None, Socket("", "", row("17.7"))], ids=("none", "told"))
async def test_a_database_that_comes_back_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch, socket: Socket | None
) -> None:
    """What froze the PBX may have struck it too: the phone must not ring on for that."""
    world.channels = row("17.7")
    failing = dict.fromkeys(("load_orphans", "load_not_owned", "settle_late"), 3)

    def away_at_first(name: str) -> Callable[..., Any]:
        ask = getattr(world, name)

        async def asked(*args: Any, **values: Any) -> Any:
            if failing[name]:
                failing[name] -= 1
                raise DatabaseUnavailable("Database is unavailable")
            return await ask(*args, **values)

        return asked

    for name in failing:
        monkeypatch.setattr(stored, name, away_at_first(name))
    call = await world.follow(socket)
    assert (world.hung_up, world.settled) == (["17.7"], [(call.call_id, "17.7", True)])
    assert failing["settle_late"] == 0


async def test_hang_up_that_fails_is_logged_and_not_recorded(
    world: World, told: pytest.LogCaptureFixture
) -> None:
    """The call stays unknown: nobody knows whether it still rings."""
    world.hang_up_faults = [ConnectionLost("Connection lost")] * 9
    call = await world.follow(Socket("", "", row("17.7")))
    assert world.settled == []
    assert world.hang_ups == 3
    assert str(call.call_id) in told.text


async def test_hang_up_is_tried_again(world: World) -> None:
    """A PBX that has just thawed may be slow: the phone must not ring on for that."""
    world.hang_up_faults = [ConnectionLost("Lost"), PbxBusy("Too many", retry_after_s=1)]
    call = await world.follow(Socket("", "", row("17.7")))
    assert world.hung_up == ["17.7"]
    assert world.settled == [(call.call_id, "17.7", True)]


async def test_crash_of_one_watch_is_logged_and_ends_no_other(
    world: World, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect is seen in the log, not lost with its task."""
    monkeypatch.setattr(late, "roots_of", None)
    socket = Socket("", "", row("17.7"))
    await world.follow(socket)
    assert "TypeError" in told.text
    assert socket.closed


async def test_two_unknown_calls_are_told_apart(world: World) -> None:
    """Each answer comes on its own socket: both calls are hung up, each recorded with its root."""
    calls = world.watch_over()
    first = unknown(Socket("", "", row("17.7")))
    second = unknown(Socket(row("17.7"), "", row("17.7") + row("17.9")))
    for call in (first, second):
        calls.watch(call)
    await asyncio.gather(*calls._watches)
    assert sorted(world.hung_up) == ["17.7", "17.9"]
    assert set(world.settled) == {(first.call_id, "17.7", True), (second.call_id, "17.9", True)}


# The end of the process


@pytest.mark.parametrize("steps", [0, 1, 10])
async def test_closing_ends_every_watch_and_lets_go_of_every_socket(
    world: World, steps: int
) -> None:
    """Also of a watch that had not begun: nothing keeps a connection open."""
    calls, released = world.watch_over(), []
    sockets = [Socket(), Socket(), None]
    for socket in sockets:
        call = unknown(socket)
        if call.pending is not None:
            call.pending.on_close = lambda: released.append("released")
        calls.watch(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    watches = list(calls._watches)
    await calls.close()
    await asyncio.sleep(0)
    assert all(watch.done() for watch in watches)
    assert not calls._watches
    assert all(socket.closed for socket in sockets if socket)
    assert released == ["released"] * 2
    assert (world.hung_up, world.settled) == ([], [])


async def test_watch_that_is_done_is_forgotten(world: World) -> None:
    """A process that lives for months keeps no list of them."""
    calls = world.watch_over()
    calls.watch(unknown(Socket("", "", "")))
    await asyncio.gather(*calls._watches)
    await asyncio.sleep(0)
    assert not calls._watches
    await calls.close()

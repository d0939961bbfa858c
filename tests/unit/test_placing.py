"""Waiting for the ring: how far a placed call is, and never that it was not placed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from shared.asterisk import client
from shared.asterisk.client import AgentPhase
from shared.asterisk.commands import Originate, OriginateCall
from shared.asterisk.console import Exchange
from shared.asterisk.models import Channel, Context, Extension
from shared.asterisk.originating import Originated, OriginateUnknown
from shared.asterisk.parsers import parse_channels
from shared.asterisk.socket_console import SocketExchange
from shared.auth import admission
from shared.auth.admission import Admitted, Settlement
from shared.auth.caller import Caller, Wishes
from shared.aws.clients import Clients
from shared.calls.placing import Placing, the_placing
from shared.calls.settling import Settler
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ConnectionLost,
    DatabaseUnavailable,
    OutcomeUnknown,
    PbxBusy,
    ServiceError,
    UnknownExtension,
)
from shared.following.late import UnknownCall
from shared.following.wake import Waker
from shared.pbx.names import Names
from shared.pbx.neighbours import Neighbours
from shared.settings import the_settings
from shared.store.breakers import Broken
from shared.store.database import Database
from shared.turns import Turn
from tests.orders import admitted, call_order

pytestmark = pytest.mark.anyio

ORDER = call_order("150", "+375296254070")
(ROOT,) = parse_channels("Local/150@inoffice-2a;1!inoffice!150!1!Down!AppDial2!!!!!3!0!!17.7\n")
(RIVAL,) = parse_channels("Local/150@inoffice-2d;1!inoffice!150!1!Down!AppDial2!!!!!3!0!!17.11\n")


class Pbx:
    """Accepts a call, and tells how far it is by script; the last word holds."""

    def __init__(self) -> None:
        self.roots: tuple[Channel, ...] = (ROOT,)
        self.blocked: Exchange | None = None
        self.error: BaseException | None = None
        self.script: list[AgentPhase | ServiceError] = ["accepted"]
        self.left_s: list[float] = []

    async def check_extension(self, host: str, extension: Extension, deadline: Deadline) -> None:
        """Know every extension."""

    def heed(self, host: str, broken: Broken | None) -> None:
        """Know nothing of others."""

    async def originate(self, host: str, command: Originate, deadline: Deadline) -> Originated:
        """Accept it, or fail as told."""
        if self.error:
            raise self.error
        return Originated(self.roots, self.blocked)

    async def ask(self, host: str, question: Any, deadline: Deadline, turn: Turn) -> AgentPhase:
        """Say the next word."""
        assert turn == "look"
        assert question.func is client.load_agent_phase
        assert question.keywords == {"root": ROOT}
        self.left_s.append(deadline.remaining_s())
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, ServiceError):
            raise said
        return said


class Late:
    """Records what is watched."""

    def __init__(self) -> None:
        self.watched: list[UnknownCall] = []
        self.drained: list[Exchange] = []

    def watch(self, call: UnknownCall) -> None:
        """Record it."""
        self.watched.append(call)

    def drain(self, blocked: Exchange) -> None:
        """Record it."""
        self.drained.append(blocked)


class Socket:
    """A socket that was left open."""

    closed = False

    async def read(self) -> bytes:
        """Be at its end."""
        return b""

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Admit every call, and list what each was settled as."""
    settled: list[str] = []

    async def admit(*_: object, call_id: UUID, **__: object) -> Admitted:
        return admitted(call_id)

    async def settle(
        _database: object, _settings: object, _id: UUID, settlement: Settlement
    ) -> bool:
        settled.append(settlement.outcome)
        return False

    monkeypatch.setattr(admission, "admit", admit)
    monkeypatch.setattr(admission, "settle", settle)
    return settled


@pytest.fixture
def pbx(outcomes: list[str]) -> Pbx:
    """Stand in for every host."""
    return Pbx()


@pytest.fixture
def late() -> Late:
    """Stand in for the watch."""
    return Late()


async def phase(pbx: Pbx, wait_s: float, late: Late | None = None) -> str:
    """Place the call and tell how far it was in the end."""
    settings = the_settings()
    database, waker = Database(settings), Waker(settings, Clients())
    neighbours = Neighbours(Names(database), pbx)  # type: ignore[arg-type] # a fake
    settler = Settler(settings, database, waker, lives_on=True)
    placing = Placing(settings, database, pbx, neighbours, settler, late)  # type: ignore[arg-type] # fakes
    caller = Caller("secret", None, Deadline.after(27))
    placed = await placing.place(ORDER, caller, Wishes(wait_s=wait_s), field="code")
    await settler.close()
    return placed.phase


async def test_who_does_not_wait_asks_nothing(pbx: Pbx) -> None:
    """The answer comes as soon as Asterisk has accepted the call."""
    assert await phase(pbx, 0) == "accepted"
    assert pbx.left_s == []


@pytest.mark.parametrize("said", ["agent_ringing", "agent_answered", "ended"])
async def test_waiting_ends_with_the_first_news(pbx: Pbx, said: AgentPhase) -> None:
    """`accepted` is asked again; anything else is the answer."""
    pbx.script = ["accepted", said, "accepted"]
    assert await phase(pbx, 20) == said
    assert len(pbx.left_s) == 2


async def test_waiting_ends_with_its_time(pbx: Pbx) -> None:
    """A phone without a sign of life: the call is what it was, accepted."""
    assert await phase(pbx, 0.02) == "accepted"
    assert pbx.left_s


async def test_question_under_way_is_let_finish(pbx: Pbx) -> None:
    """A wait that ends in the middle of a question must not cost the host its connection."""
    await phase(pbx, 0.02)
    assert min(pbx.left_s) > 1


@pytest.mark.parametrize(
    "error",
    [
        *(ConnectionLost("Lost"), CommandRejected("No such command"), OutcomeUnknown("Late")),
        *(PbxBusy("Too many"), DatabaseUnavailable("No host key can be looked up")),
    ],
)
async def test_accepted_call_stays_placed_when_it_cannot_be_followed(
    pbx: Pbx, outcomes: list[str], error: ServiceError
) -> None:
    """The phone may ring: whatever fails after that is no failure of the call."""
    pbx.script = ["accepted", error]
    assert await phase(pbx, 20) == "accepted"
    assert outcomes == ["executed"]


@pytest.mark.parametrize("roots", [(), (ROOT, RIVAL)])
async def test_call_that_cannot_be_told_apart_is_not_followed(
    pbx: Pbx, roots: tuple[Channel, ...]
) -> None:
    """Somebody else's ring must not be told as ours."""
    pbx.roots, pbx.script = roots, ["agent_answered"]
    assert await phase(pbx, 20) == "accepted"
    assert pbx.left_s == []


async def test_unknown_call_is_watched(pbx: Pbx, late: Late, outcomes: list[str]) -> None:
    """With its own id, host and command, and the socket on which its answer may yet come."""
    pending = SocketExchange(Socket(), ("", "", ""))
    pbx.error = OriginateUnknown("Not acknowledged", pending)
    with pytest.raises(OutcomeUnknown) as caught:
        await phase(pbx, 20, late)
    (call,) = late.watched
    assert call.call_id == caught.value.call_id
    assert (call.host, call.pending) == ("192.0.2.1", pending)
    assert call.command == OriginateCall(ORDER, Context("inoffice"))
    assert outcomes == ["unknown"]


async def test_nothing_is_watched_on_lambda(pbx: Pbx, monkeypatch: pytest.MonkeyPatch) -> None:
    """There nothing runs after the answer; the socket is closed with it."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "makecallexternal")
    assert the_placing().late is None
    socket = Socket()
    pbx.error = OriginateUnknown("Not acknowledged", SocketExchange(socket, ()))
    with pytest.raises(OutcomeUnknown):
        await phase(pbx, 0)
    assert socket.closed
    pbx.error = OriginateUnknown("Connection lost", None)
    with pytest.raises(OutcomeUnknown):
        await phase(pbx, 0)


async def test_originate_that_blocks_its_console_is_drained(pbx: Pbx, late: Late) -> None:
    """The answer does not wait for the extension's; on Lambda nothing runs after it."""
    pbx.blocked = exchange = SocketExchange(socket := Socket(), ("", "", ""))
    assert await phase(pbx, 0, late) == "accepted"
    assert (late.drained, socket.closed) == ([exchange], False)
    assert await phase(pbx, 0) == "accepted"
    assert (late.drained, socket.closed) == ([exchange], True)


async def test_call_that_was_not_sent_is_not_watched(pbx: Pbx, late: Late) -> None:
    """There is nothing that could come up late."""
    pbx.error = ConnectionLost("Lost")
    with pytest.raises(ConnectionLost):
        await phase(pbx, 0, late)
    assert late.watched == []


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (None, ["CallsAccepted"]),
        (ConnectionLost("Lost"), ["CallsFailed"]),
        (UnknownExtension("No such extension"), []),  # the caller's own mistake
        (OriginateUnknown("Not acknowledged", None), []),  # where the caller is told
    ],
)
async def test_outcome_is_counted_once(
    pbx: Pbx, metrics: Callable[[], list[str]], error: ServiceError | None, counted: list[str]
) -> None:
    """Each call is one of these."""
    pbx.error = error
    try:
        await phase(pbx, 0)
    except ServiceError as raised:
        assert raised is error  # noqa: PT017 - one of the cases raises nothing
    assert metrics() == counted


async def test_repeat_is_counted_as_one(
    pbx: Pbx, monkeypatch: pytest.MonkeyPatch, metrics: Callable[[], list[str]]
) -> None:
    """It is no second call."""

    async def admit(*_: object, call_id: UUID, **__: object) -> Admitted:
        return admitted(call_id, repeated=True, state="executed", phase="accepted")

    monkeypatch.setattr(admission, "admit", admit)
    assert await phase(pbx, 0) == "accepted"
    assert metrics() == ["CallsRepeated"]

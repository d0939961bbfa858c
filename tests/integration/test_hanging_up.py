"""What is told and noted of a hang-up that fails on its way, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from demo.pbx.faults import Stage
from shared.asterisk.client import HangupUnacknowledged
from shared.asterisk.ending import Ending
from shared.auth.enterprise import Enterprise
from shared.calls.hanging_up import hang_up
from shared.deadline import Deadline
from shared.errors import (
    CallEnded,
    ConnectFailed,
    DatabaseUnavailable,
    OutcomeUnknown,
    PbxBusy,
)
from shared.following.wake import Waker
from shared.pbx.hosts import Pbx
from shared.store.audit import Doer
from shared.store.connection import Rows
from shared.store.database import Database
from tests.integration.followed import TALKS_ON, follow, place, reach
from tests.integration.service import Service, Services, until
from tests.postgres import Postgres
from tests.unit.test_ending import DONE, GONE, LOST, Asterisk, row

pytestmark = pytest.mark.anyio

LIVE = row("Local/150@inoffice-1;1", "1.0")
ENTERPRISE = Enterprise("0367", "june", "192.0.2.10", None, None, may_share=False, cursor_key="")


class Switchboard:
    """A PBX whose exchanges end so, in turn, and which fails then, if it does."""

    def __init__(self, *replies: str | BaseException, fails: BaseException | None = None) -> None:
        self.replies = replies
        self.fails = fails

    async def ask(self, _host: str, end: Ending, deadline: Deadline, then: int) -> bool:
        """Ask again where an answer was lost, as that of a PBX's hosts does."""
        is_done = False
        for reply in self.replies:
            asterisk = Asterisk(LIVE)
            asterisk.replies = [reply]
            with suppress(HangupUnacknowledged):
                is_done = await end(asterisk, deadline=deadline)
        if self.fails:
            raise self.fails
        return is_done


class Line:
    """A database that executes each statement, and fails with its answer to the first of a text."""

    def __init__(self, database: Database, text: str, error: BaseException) -> None:
        self._database = database
        self._text = text
        self._errors = [error]

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Execute one."""
        rows = await self._database.run(sql, **parameters)
        if self._text in sql and self._errors:
            raise self._errors.pop()
        return rows


class Desk:
    """Ends one call that is under way."""

    def __init__(self, database: Database, postgres: Postgres) -> None:
        self.database: Any = database
        self.call_id = uuid4()
        self.told: list[str] = []
        postgres.execute(
            "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase,"
            " root_channel, root_uniqueid) VALUES (:id, '0367', '192.0.2.10', 'call', '150',"
            " '+375291234567', 'executed', 'accepted', 'Local/150@inoffice-1;1', '1.0')",
            id=self.call_id,
        )
        self._postgres = postgres

    async def end(self, *replies: str | BaseException, fails: BaseException | None = None) -> UUID:
        """End it on such a PBX."""
        call = await hang_up(
            ENTERPRISE,
            self.call_id,
            Deadline.after(20),
            doer=Doer("client"),
            database=self.database,
            pbx=cast("Pbx", Switchboard(*replies, fails=fails)),
            waker=cast("Waker", self),
        )
        return call.call_id

    def tell(self, host: str) -> None:
        """Be told that a call of this host has changed."""
        self.told.append(host)

    @property
    def is_noted(self) -> bool:
        """Whether its end will be told as somebody's wish."""
        (call,) = self._postgres.execute("SELECT cancelled_at, hang_ups FROM callapi.calls")
        assert bool(call["hang_ups"]) is (call["cancelled_at"] is not None)
        return call["cancelled_at"] is not None


@pytest.fixture
def desk(database: Database, postgres: Postgres) -> Desk:
    """One whose call is on a PBX that nobody has."""
    return Desk(database, postgres)


FAILURES = (
    ConnectFailed("The host refused"),
    PbxBusy("Too many", retry_after_s=1),
    DatabaseUnavailable("Database is unavailable"),
    ZeroDivisionError(),
)


@pytest.mark.parametrize("error", [*FAILURES, asyncio.CancelledError()], ids=repr)
async def test_what_was_not_sent_is_nobodys_wish(desk: Desk, error: BaseException) -> None:
    """Whatever fails before the write is told as it is, also to who has gone away."""
    with pytest.raises(type(error)) as raised:
        await desk.end(fails=error)
    assert raised.value is error
    assert not desk.is_noted
    with pytest.raises(CallEnded):
        await desk.end(GONE)
    assert (desk.is_noted, desk.told) == (False, [])


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_what_may_have_been_sent_is_never_told_as_not_sent(
    desk: Desk, error: Exception
) -> None:
    """A later attempt certainly sent nothing, and so says its error; an earlier one was written."""
    with pytest.raises(OutcomeUnknown) as raised:
        await desk.end(LOST, fails=error)
    assert raised.value.__cause__ is error
    assert "sent and not acknowledged" in raised.value.detail
    assert desk.is_noted


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_what_asterisk_confirmed_is_done_whatever_fails_later(
    desk: Desk, error: Exception
) -> None:
    """The connection that could not be given back is no failure of the hang-up."""
    assert await desk.end(DONE, fails=error) == desk.call_id
    assert desk.is_noted
    assert desk.told == ["192.0.2.10"]


async def test_a_call_that_is_gone_after_a_lost_hang_up_was_ended_by_it(desk: Desk) -> None:
    """The second attempt finds nothing left, since the first was executed."""
    assert await desk.end(LOST, GONE) == desk.call_id
    assert desk.is_noted


@pytest.mark.parametrize("replies", [(DONE,), (LOST,), (asyncio.CancelledError(),)], ids=repr)
async def test_who_goes_away_once_it_may_be_sent_has_wished_it(
    desk: Desk, replies: tuple[str | BaseException, ...]
) -> None:
    """A client that has gone takes nothing back."""
    with pytest.raises(asyncio.CancelledError):
        await desk.end(*replies, fails=asyncio.CancelledError())
    assert desk.is_noted


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), DatabaseUnavailable("Database is unavailable")], ids=repr
)
async def test_a_wish_whose_noting_was_not_confirmed_is_taken_back(
    desk: Desk, error: BaseException
) -> None:
    """The database has it, and nothing is sent after that."""
    desk.database = Line(desk.database, "cancelled_at = coalesce", error)
    with pytest.raises(type(error)):
        await desk.end(DONE)
    assert not desk.is_noted
    assert desk.told == []


def noted(service: Service, call_id: str) -> bool:
    """Tell whether a call's end will be told as somebody's wish."""
    return service.row(call_id)["cancelled_at"] is not None


async def test_a_request_that_is_given_up_before_the_pbx_answers_wishes_nothing(
    start: Services,
) -> None:
    """Its call goes on, and ends by itself."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    service.pbx.freeze()
    gone = asyncio.create_task(service.http.delete(f"/api/calls/{call_id}"))
    await until(lambda: noted(service, call_id))
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await until(lambda: not noted(service, call_id))
    service.pbx.thaw()
    assert not [c for c in service.pbx.commands if c.startswith("channel request")]


async def test_a_hang_up_on_a_pbx_that_dies_then_is_of_unknown_outcome(start: Services) -> None:
    """Written, and never acknowledged; what comes after finds Asterisk away."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    service.pbx.kill_asterisk_after_write(containing="channel request hangup")
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "outcome-unknown"), answer.text
    assert answer.json()["detail"].startswith("Hanging up failed: ")
    assert noted(service, call_id)


@pytest.mark.parametrize("stage", [Stage.WRITTEN, Stage.EXECUTED])
async def test_a_lost_acknowledgement_is_asked_for_again(start: Services, stage: Stage) -> None:
    """To hang up twice is harmless: the answer is a success, executed before or now."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    service.pbx.drop_after(stage, containing="channel request hangup")
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert answer.status_code == 200, answer.text
    await until(lambda: not service.pbx.channels)
    assert noted(service, call_id)

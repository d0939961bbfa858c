"""What an environment that is frozen between invocations does to the PBX: each command once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from demo.standin import StandIn
from shared.store.database import Database
from tests.emulator.freezing import Environment
from tests.emulator.platform import Platform
from tests.integration.gateway import call_to, load, originates, seed, settings
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

FIRST, SECOND = "+375296254070", "+375290000001"


@pytest.fixture
async def environment(
    platform: Platform, postgres: Postgres, pbx: StandIn
) -> AsyncIterator[Environment]:
    """The function that places calls, initialised and frozen."""
    seed(postgres)
    own = settings(postgres, pbx, platform.folder / "unused.log")
    async with platform.freezing("makecallexternal", own) as environment:
        yield environment


async def place(environment: Environment, phone: str) -> tuple[int, dict[str, Any]]:
    """Place a call; the answer's status and body."""
    answer = await environment.invoke(call_to(phone))
    return answer["statusCode"], json.loads(answer["body"])


def reached(pbx: StandIn) -> tuple[int, int, int, list[str]]:
    """All that ever reached the SSH server."""
    return pbx.connections, pbx.sessions, pbx.opens, list(pbx.commands)


@contextlib.asynccontextmanager
async def locked(postgres: Postgres) -> AsyncIterator[None]:
    """Make whoever authenticates in this block wait until a second of it is over."""
    with contextlib.ExitStack() as held:
        execute = held.enter_context(Database(postgres.settings()).transaction())
        execute("LOCK TABLE public.enterprises")

        async def let_go() -> None:
            await anyio.sleep(1)
            held.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(let_go)
            yield


async def test_a_connection_survives_the_freeze(environment: Environment, pbx: StandIn) -> None:
    """Both calls go over one SSH connection, each by one command."""
    answers = [await place(environment, phone) for phone in (FIRST, SECOND)]
    assert [(status, body["repeated"]) for status, body in answers] == [(200, False)] * 2
    assert pbx.connections == 1
    assert [FIRST in told for told in originates(pbx)] == [True, False]


async def test_a_connection_that_was_closed_meanwhile_is_replaced(
    environment: Environment, pbx: StandIn
) -> None:
    """What the server ended during the freeze costs a new connection, and no command twice."""
    await place(environment, FIRST)
    pbx.cut_connections()
    status, body = await place(environment, SECOND)
    assert (status, body["repeated"]) == (200, False)
    assert pbx.connections == 2
    assert [FIRST in told for told in originates(pbx)] == [True, False]


async def test_a_repeat_after_the_freeze_is_the_first_call(
    environment: Environment, pbx: StandIn
) -> None:
    """The same click in the thawed environment gets the first call's id and dials nothing."""
    (_, first), (status, again) = [await place(environment, FIRST) for _ in range(2)]
    assert (status, again["repeated"], again["call_id"]) == (200, True, first["call_id"])
    assert len(originates(pbx)) == 1


@pytest.mark.parametrize("hangs", [False, True], ids=["executed", "unknown"])
async def test_nothing_runs_after_the_answer(
    environment: Environment, postgres: Postgres, pbx: StandIn, *, hangs: bool
) -> None:
    """An answered invocation leaves nothing behind that would reach the PBX later.

    Neither in a second that the process gets without an event, nor in the next invocation, which
    itself needs no PBX: it waits a second for the database, and a task left over would go on.
    """
    await place(environment, FIRST)
    environment.timeout_s = 6  # the handler gives up before
    pbx.reply_delay_s = 3600 if hangs else 0
    _, body = await place(environment, SECOND)
    assert body.get("dialled") == ("unknown" if hangs else None)
    before = reached(pbx)
    await environment.run_idle(1)
    assert reached(pbx) == before
    postgres.clear()
    async with locked(postgres):
        answer = await environment.invoke(load("makecallexternal-header-auth"))
    assert answer["statusCode"] == 401
    assert reached(pbx) == before
    assert len(originates(pbx)) == 2

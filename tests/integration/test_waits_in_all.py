"""On AWS so many requests of one enterprise wait at once and no more, over all executions."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import uuid4

import anyio
import pytest

from shared.auth import under_way
from shared.store.database import Database
from shared.store.waits import give_back_wait, take_wait
from tests.integration.service import LIMIT_S, ROOT, Service, Services, until
from tests.integration.test_read_limits import JULY
from tests.integration.test_reading import add
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

# Takes a place, says so, and hangs.
_TAKES = """
import asyncio, sys, uuid
from shared.settings import the_settings
from shared.store.database import the_database
from shared.store.waits import take_wait
taken = take_wait(the_database(), "0367", uuid.uuid4(), most=1, lease_s=float(sys.argv[1]))
print(asyncio.run(taken), flush=True)
sys.stdin.read()
"""


async def take(database: Database, enterprise: str = "0367", lease_s: float = 60) -> bool:
    """Take one of three places."""
    return await take_wait(database, enterprise, uuid4(), most=3, lease_s=lease_s)


async def test_of_many_at_once_so_many_have_a_place(database: Database) -> None:
    """Ten that come in one moment, on connections of their own, find three; others have theirs."""
    taken: list[bool] = []

    async def one() -> None:
        taken.append(await take(database))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one)
    assert sorted(taken) == [False] * 7 + [True] * 3
    assert await take(database, "0368")


async def test_a_place_that_is_given_back_is_free(database: Database) -> None:
    """And taking it again, as after a lost reply, takes no other one."""
    holder = uuid4()
    for _ in range(5):
        assert await take_wait(database, "0367", holder, most=1, lease_s=60)
    assert not await take_wait(database, "0367", uuid4(), most=1, lease_s=60)
    await give_back_wait(database, "0367", holder)
    assert await take_wait(database, "0367", uuid4(), most=1, lease_s=60)


async def test_an_execution_that_dies_leaves_its_place(
    database: Database, postgres: Postgres
) -> None:
    """Nobody gives it back: it is taken until its time is over, and then it is free."""
    async with await anyio.open_process(
        [sys.executable, "-c", _TAKES, "2"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | postgres.environment(),
        stderr=None,
    ) as process:
        assert process.stdout
        assert await process.stdout.receive() == b"True\n"
        process.kill()
    assert not await take_wait(database, "0367", uuid4(), most=1, lease_s=60)
    with anyio.fail_after(LIMIT_S):
        while not await take_wait(database, "0367", uuid4(), most=1, lease_s=60):  # noqa: ASYNC110
            await anyio.sleep(0.05)


@pytest.fixture
async def as_on_lambda(start: Services, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service, whose waits count as they do there; one is allowed, and is taken."""
    monkeypatch.setattr(under_way, "on_lambda", lambda: True)
    service = await start(WAITS_IN_ALL=1)
    service.postgres.seed_enterprise("0368", "july", "192.0.2.9", JULY["Authorization"][7:])
    return service


def waits(service: Service) -> int:
    """How many places are taken."""
    return int(service.postgres.execute("SELECT count(*) AS n FROM callapi.waits")[0]["n"])


async def test_one_enterprise_cannot_fill_a_function(as_on_lambda: Service) -> None:
    """Beyond its places it is 429; who does not wait, and another enterprise, are answered."""
    service = as_on_lambda
    (call_id,) = add(service, 1, phase="accepted", reason=None)
    (other,) = add(service, 1, phase="accepted", reason=None, enterprise="0368")
    url = f"/api/calls/{call_id}"
    after = (await service.http.get("/api/events")).json()["next"]
    waiting = asyncio.create_task(service.http.get(f"{url}?wait=5"))
    await until(lambda: waits(service) == 1)
    for path in (f"{url}?wait=5", f"/api/events?after={after}&wait=5"):
        refused = await service.http.get(path)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited"), path
        assert refused.headers["retry-after"] == "1"
    assert (await service.http.get(url)).status_code == 200
    theirs = await service.http.get(f"/api/calls/{other}?wait=0.1", headers=JULY)
    assert theirs.status_code == 200
    service.postgres.execute("UPDATE callapi.calls SET phase = 'agent_ringing'")
    assert (await waiting).json()["phase"] == "agent_ringing"
    assert waits(service) == 0


async def test_a_call_is_placed_though_it_may_not_wait(as_on_lambda: Service) -> None:
    """`Prefer: wait` takes an execution too: beyond the places the answer comes at once."""
    service = as_on_lambda
    service.postgres.execute(
        "INSERT INTO callapi.waits VALUES ('0367', gen_random_uuid(), 'infinity')"
    )
    placed = await service.call(prefer="wait=5")
    assert (placed.status_code, placed.json()["phase"]) == (200, "accepted")
    service.postgres.execute("DELETE FROM callapi.waits")
    again = await service.call("151", prefer="wait=5")
    assert again.json()["phase"] in {"agent_ringing", "agent_answered"}
    assert waits(service) == 0


async def test_a_repeat_waits_for_the_first_one_in_a_place(as_on_lambda: Service) -> None:
    """A client that repeats a slow call without end fills nothing: it is told `placing` at once."""
    service = as_on_lambda
    first = await service.call()
    service.postgres.execute(
        "UPDATE callapi.calls SET state = 'placing', phase = 'placing', settled_at = NULL;"
        "INSERT INTO callapi.waits VALUES ('0367', gen_random_uuid(), 'infinity')"
    )
    repeat = (await service.call()).json()
    assert (repeat["call_id"], repeat["repeated"]) == (first.json()["call_id"], True)
    assert repeat["phase"] == "placing"

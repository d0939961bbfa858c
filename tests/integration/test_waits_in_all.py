"""On AWS so many requests of one enterprise, and of all, wait at once, over all executions."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from uuid import uuid4

import anyio
import pytest

from shared.auth import under_way
from shared.store.database import Database
from shared.store.waits import give_back_wait, take_wait
from tests.integration.service import ROOT, Service, Services, until
from tests.integration.test_read_limits import JULY
from tests.integration.test_reading import add
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

# Takes a place, says so, and hangs.
_TAKES = """
import asyncio, sys, uuid
from shared.store.database import the_database
from shared.store.waits import take_wait
taken = take_wait(the_database(), "0367", uuid.uuid4(), most=1, together=9, lease_s=60)
print(asyncio.run(taken), flush=True)
sys.stdin.read()
"""
_WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def patient(database: Database, postgres: Postgres) -> Iterator[Database]:
    """A pool that waits for a lock longer than any machine is slow."""
    pool = Database(postgres.settings(postgres_timeout_s=60))
    yield pool
    pool.close()


async def take(
    database: Database, enterprise: str = "0367", *, most: int = 1, together: int = 9
) -> bool:
    """Take a place, by a holder of its own."""
    return await take_wait(database, enterprise, uuid4(), most=most, together=together, lease_s=60)


# The last place of its enterprise, and the last one of all.
@pytest.mark.parametrize(("enterprise", "most", "together"), [("0367", 1, 9), ("0368", 9, 1)])
async def test_who_asks_beside_another_waits_for_its_end(
    patient: Database, postgres: Postgres, enterprise: str, most: int, together: int
) -> None:
    """While one that takes the last place has not committed, nobody is told that it is free.

    Two sessions, whose order PostgreSQL's own locks make.
    """
    taking = f"SELECT callapi.begin_wait('0367', gen_random_uuid(), {most}, {together}, 60) AS it"
    with patient.transaction() as first:
        assert first(taking) == [{"it": True}]
        second = asyncio.create_task(take(patient, enterprise, most=most, together=together))
        await until(lambda: bool(postgres.execute(_WAITING)) or second.done())
        assert not second.done()
    assert not await second


async def test_a_place_that_is_given_back_is_free(database: Database) -> None:
    """And taking it again, as after a lost reply, takes no other one."""
    holder = uuid4()
    for _ in range(5):
        assert await take_wait(database, "0367", holder, most=1, together=1, lease_s=60)
    assert not await take(database)
    await give_back_wait(database, "0367", holder)
    assert await take(database)


async def test_an_execution_that_dies_leaves_its_place(
    database: Database, postgres: Postgres
) -> None:
    """Nobody gives it back: it is taken until its time is over, and then it is free."""
    async with await anyio.open_process(
        [sys.executable, "-c", _TAKES],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | postgres.environment(),
        stderr=None,
    ) as process:
        assert process.stdout
        assert await process.stdout.receive() == b"True\n"
        process.kill()
    assert not await take(database)
    left = "SELECT until <= clock_timestamp() + interval '60 s' AS it FROM callapi.waits"
    assert postgres.execute(left) == [{"it": True}]
    # As a minute later.
    postgres.execute("UPDATE callapi.waits SET until = until - interval '60 s'")
    assert await take(database)


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


async def test_all_enterprises_together_cannot_fill_a_function(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others have all places, whoever has none yet is answered, and waits for nothing."""
    monkeypatch.setattr(under_way, "on_lambda", lambda: True)
    service = await start(WAITS_IN_ALL=2, WAITS_TOGETHER=2)
    (call_id,) = add(service, 1, phase="accepted", reason=None)
    url = f"/api/calls/{call_id}"
    service.postgres.execute(
        "INSERT INTO callapi.waits SELECT n, gen_random_uuid(), 'infinity'"
        " FROM unnest(ARRAY['0368', '0369']) AS n"
    )
    refused = await service.http.get(f"{url}?wait=5")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert (await service.http.get(url)).status_code == 200
    placed = await service.call(prefer="wait=5")
    assert (placed.status_code, placed.json()["phase"]) == (200, "accepted")
    service.postgres.execute("DELETE FROM callapi.waits WHERE enterprise = '0369'")
    assert (await service.http.get(f"{url}?wait=0.1")).status_code == 200
    assert waits(service) == 1


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

"""PostgreSQL goes away: nothing is dialled on a guess, and nothing that rings is denied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from shared.auth import admission
from shared.calls.settling import the_settler
from tests.integration.service import LIMIT_S, PHONE, Service, Services
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that tests may stop; what it has confirmed survives that."""
    with Postgres.running(durable=True) as server:
        yield server


@pytest.fixture
async def service(start: Services, own_postgres: Postgres) -> Service:
    """The service on that server."""
    return await start.beside(own_postgres)


async def _stop(server: Postgres) -> None:
    await anyio.to_thread.run_sync(server.halt)


async def _restart(server: Postgres) -> None:
    await anyio.to_thread.run_sync(server.restart)


@pytest.mark.parametrize("used_before", [False, True])
async def test_without_the_database_nothing_is_dialled(
    service: Service, *, used_before: bool
) -> None:
    """PostgreSQL away is 503, never 401: nothing dialled, no PBX asked, whatever the secret."""
    if used_before:
        assert (await service.call("151")).status_code == 200
        await service.rung("151")
    before = list(service.pbx.commands)
    await _stop(service.postgres)
    try:
        right = await service.call()
        wrong = await service.http.get(
            "/api/makecallexternal",
            params={"code": "150", "phone": PHONE},
            headers={"Authorization": "Bearer nobody"},
        )
        monitoring = await service.monitor(monitor_from="154")
        for answer in (right, wrong, monitoring):
            assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
            assert answer.json()["dialled"] == "no"
        assert service.pbx.commands == before
        status = await service.http.get("/api/status")
        assert (status.status_code, status.json()["database"]) == (200, "disconnected")
        assert (await service.http.get("/health")).status_code == 200
    finally:
        await _restart(service.postgres)
    again = await service.call()
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert (await service.http.get("/api/status")).json()["database"] == "connected"
    assert len(service.originates(PHONE)) == len(service.originates("LOCAL/150@")) + used_before
    assert await service.rung("150") == 1


@pytest.mark.parametrize("fails", ["never", "at the PBX", "at the PBX, on Lambda"])
async def test_lost_after_the_admission_the_answer_is_still_the_truth(
    service: Service, start: Services, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A database lost while the phone rings is no error; the claim holds, so a repeat is silent.

    What failed is recorded once the database is back, where a process lives on until then.
    """
    service = await start(REQUEST_TIMEOUT_S=3)
    settle = admission.settle

    async def settle_without(*args: Any, **values: Any) -> bool:
        monkeypatch.setattr(admission, "settle", settle)
        await _stop(service.postgres)
        return await settle(*args, **values)

    monkeypatch.setattr(admission, "settle", settle_without)
    the_settler()._lives_on = "Lambda" not in fails
    service.pbx.asterisk_down = fails != "never"
    try:
        answer = await service.call()
    finally:
        await _restart(service.postgres)
    service.pbx.asterisk_down = False
    if fails == "at the PBX":
        assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
        await the_settler().wait(LIMIT_S)
        assert service.row(answer.json()["call_id"])["state"] == "not_executed"
        again = await service.call()
        assert (again.status_code, again.json()["repeated"]) == (200, False)
        assert len(service.originates()) == await service.rung("150") == 1
        return
    repeat = await service.call()
    assert (repeat.status_code, repeat.json()["repeated"]) == (200, True)
    if fails == "never":
        assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
        assert repeat.json()["call_id"] == answer.json()["call_id"]
        assert len(service.originates()) == await service.rung("150") == 1
    else:  # not recorded, so not known to anybody else: held rather than dialled
        assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
        assert (repeat.json()["phase"], repeat.json()["success"]) == ("unknown", False)
        assert service.originates() == []


async def test_a_restarted_database_is_not_noticed(service: Service) -> None:
    """A restart between two calls costs a new connection, not an error."""
    assert (await service.call("151")).status_code == 200
    await _restart(service.postgres)
    assert (await service.call("150")).status_code == 200
    assert len(service.originates()) == await service.rung("150") + await service.rung("151") == 2


async def test_a_missing_schema_names_its_command(service: Service) -> None:
    """Before the migrations: 503 `schema-missing` with the command to run; nothing dialled."""
    service.postgres.execute("DROP SCHEMA callapi CASCADE")
    try:
        answer = await service.call()
        status = await service.http.get("/api/status")
    finally:
        service.postgres.prepare()
    assert (answer.status_code, answer.json()["code"]) == (503, "schema-missing")
    assert "./asterisk.sh migrate" in answer.json()["detail"]
    assert answer.json()["dialled"] == "no"
    assert service.pbx.connections == 0
    assert status.json()["database"] == "connected"
    assert (await service.call()).status_code == 200
    assert len(service.originates()) == await service.rung("150") == 1

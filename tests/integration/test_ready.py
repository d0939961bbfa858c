"""`GET /ready` is green where calls can be placed, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from shared.store.connection import Rows
from shared.store.database import Database
from shared.store.migrations import check_schema
from shared.store.sqlstates import NO_ENTERPRISES, WRONG_ENTERPRISES
from tests.integration.service import Service, Services
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

INCOMPLETE = "Database schema callapi is incomplete: run ./asterisk.sh migrate"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that tests may stop."""
    with Postgres.running(durable=True) as server:
        yield server


@pytest.fixture
def own_postgres(server: Postgres) -> Postgres:
    """The same, with all its tables, which tests may take away."""
    server.execute(
        "DROP SCHEMA IF EXISTS callapi CASCADE; DROP TABLE IF EXISTS enterprises, tenants"
    )
    server.prepare()
    return server


@pytest.fixture
async def service(start: Services, own_postgres: Postgres) -> Service:
    """The service on that server."""
    return await start.beside(own_postgres)


async def ask(service: Service) -> tuple[int, str, str]:
    """Ask without a secret: status, `status` or `code`, and the sentence for a human."""
    async with service.from_address("192.0.2.7") as stranger:
        answer = await stranger.get("/ready")
    body = answer.json()
    return answer.status_code, body.get("code", body["status"]), body.get("detail", "")


async def test_it_is_ready_where_calls_can_be_placed(service: Service) -> None:
    """200 needs no secret, asks no PBX, and is followed by a call that is placed."""
    assert await ask(service) == (200, "ready", "")
    assert service.pbx.connections == 0
    assert (await service.call()).status_code == 200
    assert await service.rung("150") == 1


async def test_an_empty_table_of_enterprises_is_ready(service: Service) -> None:
    """A new installation can place calls as soon as it has somebody to place them for."""
    service.postgres.execute("TRUNCATE enterprises")
    assert (await ask(service))[0] == 200


async def test_without_the_database_it_is_not(service: Service) -> None:
    """503 `database-unavailable` with Retry-After, also after it was ready; then ready again."""
    assert (await ask(service))[0] == 200
    await anyio.to_thread.run_sync(service.postgres.halt)
    try:
        assert (await ask(service))[:2] == (503, "database-unavailable")
        assert "retry-after" in (await service.http.get("/ready")).headers
    finally:
        await anyio.to_thread.run_sync(service.postgres.restart)
    assert (await ask(service))[0] == 200


@pytest.mark.parametrize(
    ("harm", "detail"),
    [
        ("DROP SCHEMA callapi CASCADE", "Database schema callapi is missing"),
        ("DELETE FROM callapi.migrations WHERE version = 4", INCOMPLETE),
        ("DELETE FROM callapi.functions WHERE name = 'claim_order'", INCOMPLETE),
        ("ALTER TABLE enterprises RENAME TO tenants", NO_ENTERPRISES),
        ("ALTER TABLE enterprises DROP secret", WRONG_ENTERPRISES),
        (
            "ALTER TABLE enterprises ALTER active DROP DEFAULT, ALTER active TYPE text",
            WRONG_ENTERPRISES,
        ),
    ],
)
async def test_with_an_incomplete_schema_it_is_not(
    service: Service, harm: str, detail: str
) -> None:
    """503 `schema-missing`: a migration that was not applied, a table that is not as it must be."""
    service.postgres.execute(harm)
    status, code, said = await ask(service)
    assert (status, code) == (503, "schema-missing")
    assert said.startswith(detail)


async def test_a_newer_function_does_not_make_it_unready(service: Service) -> None:
    """While a release is rolled out the one before goes on beside the migrated schema."""
    service.postgres.execute("UPDATE callapi.functions SET digest = 'newer'")
    service.postgres.execute("INSERT INTO callapi.migrations (version, name) VALUES (999, 'next')")
    assert (await ask(service))[0] == 200


async def test_it_is_one_round_trip(postgres: Postgres) -> None:
    """A look costs one statement."""

    class Counting(Database):
        statements = 0

        async def run(self, sql: str, **parameters: Any) -> Rows:
            self.statements += 1
            return await super().run(sql, **parameters)

    database = Counting(postgres.settings())
    await check_schema(database)
    database.close()
    assert database.statements == 1

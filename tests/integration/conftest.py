"""What integration tests share: real servers, started once a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from demo.standin import StandIn
from shared.following.wake import Waker
from shared.process import forget_all
from shared.store.database import Database
from tests.integration.operating import HOST, Operate, operate_on
from tests.integration.panel import TOKEN, Visitor, browser, visit
from tests.integration.service import Service, Services, make_pbx, seed
from tests.postgres import Postgres

if TYPE_CHECKING:
    from tests.integration.dynamodb import Dynamo
    from tests.integration.vault import Vault


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL with `enterprises` and our migrations; shared, so tests must not stop it."""
    with Postgres.running() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that tests may stop, and whose tables they may take away."""
    with Postgres.running(durable=True) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """A pool of that server, whose tables are empty."""
    postgres.clear()
    pool = Database(postgres.settings(postgres_pool_size=16))
    yield pool
    pool.close()


@pytest.fixture
async def pbx() -> AsyncIterator[StandIn]:
    """A stand-in whose phones are quick; nobody has connected to it yet."""
    async with make_pbx() as standin:
        yield standin


@pytest.fixture
def operate(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Operate]:
    """Execute an operator's command in this process; there are two enterprises of one PBX."""
    postgres.clear()
    for number in ("0367", "0368"):
        postgres.seed_enterprise(number, f"june {number}", HOST, f"secret-of-{number}")
    yield operate_on(postgres, monkeypatch, capsys)
    forget_all()


@pytest.fixture
async def start(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Services]:
    """Starts the whole service with the settings that a test wants.

    `await start(PRECHECK="off")`. One enterprise is there; everything is closed at the end.
    """
    seed(postgres)
    services = Services(postgres, monkeypatch, tmp_path)
    yield services
    await services.end()


@pytest.fixture
async def service(start: Services) -> Service:
    """The whole service as its settings' defaults make it."""
    return await start()


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """A Secrets Manager without a secret."""
    from tests.integration.vault import Vault as Moto  # noqa: PLC0415 - moto costs a second

    with Moto.opened(monkeypatch) as opened:
        yield opened


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dynamo]:
    """A DynamoDB with both tables, empty."""
    from tests.integration.dynamodb import Dynamo as Moto  # noqa: PLC0415 - moto costs a second

    with Moto.opened(monkeypatch) as opened:
        yield opened


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts for which another tracker was invoked."""
    hosts: list[str] = []

    async def start(_waker: Waker, host: str) -> None:
        hosts.append(host)

    monkeypatch.setattr(Waker, "start_function", start)
    return hosts


@pytest.fixture
async def panel(start: Services) -> Service:
    """A service with a panel."""
    return await start(ADMIN_TOKEN=TOKEN)


@pytest.fixture
async def http(panel: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the panel, not logged in."""
    async with browser(panel) as client:
        yield client


@pytest.fixture
async def visitor(http: httpx.AsyncClient) -> Visitor:
    """Somebody who is logged in to the panel."""
    return await visit(http)

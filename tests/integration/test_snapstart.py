"""SnapStart: nothing open is in a snapshot, and what is restored from it works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.standin import StandIn
from shared.aws.clients import the_clients
from shared.aws.logins import the_secrets_provider
from shared.process import let_go_of_all
from tests.integration.service import (
    SSH_PASSWORD,
    Services,
    environment,
    seed,
    until,
)
from tests.postgres import PASSWORD, Postgres

if TYPE_CHECKING:
    from tests.integration.vault import Vault

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EVENT = json.loads((ROOT / "tests/events/makecallexternal-header-auth.json").read_text("utf-8"))
USER = "snapshotted"


class Environment:
    """A Lambda environment that waits for what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **what: object) -> Any:
        """Have it do one thing; return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        """Wait for the next answer."""
        assert self._process.stderr is not None
        line = await self._process.stderr.readline()
        return json.loads(line)

    async def call(self, phone: str) -> int:
        """Ask the handler for a call; return the status."""
        event = EVENT | {"rawQueryString": f"code=150&phone={phone}"}
        answer = await self.ask(invoke=event)
        return int(answer["statusCode"])

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, settings: dict[str, str]) -> AsyncIterator[Environment]:
        """Run INIT, and end the process with the block."""
        inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.lambda_process", "makecallexternal"),
            cwd=ROOT,
            env=inherited | settings,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        started = cls(process)
        try:
            assert await started.answer() == "ready"
            yield started
        finally:
            process.terminate()
            await process.wait()


@pytest.fixture
async def role(postgres: Postgres) -> AsyncIterator[Postgres]:
    """The server, with a user of the environment's own, by which its connections are known."""
    postgres.clear()
    postgres.seed_enterprise("0001", "demo", "127.0.0.1", "demo-secret-0001")
    postgres.execute(f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    yield postgres
    await until(lambda: not backends(postgres))
    postgres.execute(f"DROP ROLE {USER}")


def backends(postgres: Postgres) -> set[int]:
    """The process ids of the environment's connections."""
    rows = postgres.execute("SELECT pid FROM pg_stat_activity WHERE usename = :user", user=USER)
    return {row["pid"] for row in rows}


def originates(pbx: StandIn) -> int:
    """How many calls the host was told to place."""
    return sum(command.startswith("channel originate") for command in pbx.commands)


async def test_restored_environment_opens_its_own_connections(role: Postgres, pbx: StandIn) -> None:
    """INIT opens none, the snapshot holds none, and each call is placed once on a live one."""
    settings = environment(role, pbx.port, "") | {
        "POSTGRES_USER": USER,
        "AWS_LAMBDA_FUNCTION_NAME": "makecallexternal",
    }
    async with Environment.of(settings) as lambda_environment:
        assert (pbx.connections, backends(role)) == (0, set())
        assert await lambda_environment.ask() == 1

        assert await lambda_environment.call("%2B375290000005") == 200
        first = backends(role)
        await until(lambda: pbx.live_connections == 1)  # the one that fetched the key is gone
        assert (len(first), pbx.live_connections, originates(pbx)) == (1, 1, 1)

        assert await lambda_environment.ask(hooks="before_snapshot") == "1 ran"
        await until(lambda: not backends(role) and not pbx.live_connections)
        connections = pbx.connections
        assert await lambda_environment.ask() == 0, "a password is in the snapshot"

        assert await lambda_environment.ask(hooks="after_restore") == "1 ran"
        assert (pbx.connections, backends(role)) == (connections, set())
        assert await lambda_environment.call("%2B375290000006") == 200
        assert len(backends(role) - first) == 1
        assert (pbx.connections, originates(pbx)) == (connections + 1, 2)


async def test_snapshot_holds_neither_secrets_nor_clients(start: Services, vault: Vault) -> None:
    """After it both are read again, by a client of its own credentials; nobody is refused."""
    seed(start.postgres)
    service = await start(
        POSTGRES_PASSWORD="wrong-11",
        SSH_PASSWORD="wrong-22",
        POSTGRES_SECRET_ARN=vault.put("database", username="postgres", password=PASSWORD),
        SSH_SECRET_ARN=vault.put("pbx", password=SSH_PASSWORD),
    )
    assert (await service.call()).status_code == 200
    client = the_clients().of("secretsmanager")

    await let_go_of_all()
    assert not the_secrets_provider.exists()
    assert not the_clients.exists()
    vault.put("pbx", password="rotated-33")
    service.pbx.password = "rotated-33"
    assert (await service.call(phone="+375290000009")).status_code == 200
    assert len(vault.reads) == 4
    assert the_clients().of("secretsmanager") is not client
    assert len(service.originates()) == 2


async def test_secret_of_the_snapshot_is_not_even_a_last_resort(
    start: Services, vault: Vault
) -> None:
    """Without Secrets Manager a restored environment refuses, instead of using what was known."""
    service = await start(
        POSTGRES_SECRET_ARN=vault.put("database", username="postgres", password=PASSWORD)
    )
    assert (await service.call()).status_code == 200
    await let_go_of_all()
    vault.refuses = True
    assert (await service.call()).json()["code"] == "postgres-secret-unreadable"

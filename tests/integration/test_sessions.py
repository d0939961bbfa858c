"""Sessions of PostgreSQL that the server ends, and such as nothing is set in."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.errors import DatabaseUnavailable
from shared.store import connection as module
from shared.store.database import Database
from tests.integration.service import until
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

GRANTS = Path(__file__).parents[2] / "deploy/grants.sql"
ROLE = "sessions_role"


@pytest.fixture
def role(postgres: Postgres) -> Iterator[str]:
    """A role that may all, which a test sets what it wants."""
    postgres.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    yield ROLE
    postgres.execute(f"DROP ROLE {ROLE}")


def sessions(postgres: Postgres) -> int:
    """How many sessions the role has."""
    counted = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = :role"
    return int(postgres.execute(counted, role=ROLE)[0]["n"])


async def test_a_session_that_the_server_ends_fails_no_request(
    postgres: Postgres, role: str
) -> None:
    """idle_session_timeout: the pool finds it closed, and asks again on another one."""
    postgres.execute(f"ALTER ROLE {role} SET idle_session_timeout = '50ms'")
    database = Database(postgres.settings(postgres_user=role))
    try:
        for _ in range(3):
            assert await database.run("SELECT 1 AS one") == [{"one": 1}]
            await until(lambda: sessions(postgres) == 0)
        answers = await asyncio.gather(*(database.run("SELECT 2 AS two") for _ in range(8)))
        assert answers == [[{"two": 2}]] * 8
    finally:
        database.close()


def test_the_pool_gives_a_session_up_before_the_server_does() -> None:
    """So that a request usually meets no ended one at all."""
    (seconds,) = re.findall(r"idle_session_timeout = ''(\d+)s''", GRANTS.read_text("utf-8"))
    assert int(seconds) > module._IDLE_LIMIT_S


@contextlib.asynccontextmanager
async def tapped(postgres: Postgres, seen: bytearray) -> AsyncIterator[int]:
    """A port that leads to the server; what clients send is seen."""
    served: list[asyncio.Task[None] | None] = []

    async def pipe(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: bytearray | None
    ) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(65_536):
                if log is not None:
                    log += some
                writer.write(some)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", postgres.port)
        await asyncio.gather(pipe(reader, back, seen), pipe(there, writer, None))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, served))  # whoever asked has closed


def startup(seen: bytes) -> dict[str, str]:
    """Read the parameters of the first log-in."""
    (length,) = struct.unpack("!I", seen[:4])
    words = seen[8 : length - 1].decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=False))


async def test_nothing_is_set_where_the_role_has_it(postgres: Postgres, role: str) -> None:
    """POSTGRES_SESSION=role: no parameter at log-in that a proxy refuses, no word that pins."""
    postgres.execute(f"ALTER ROLE {role} SET search_path = pg_catalog, pg_temp")
    seen = bytearray()
    async with tapped(postgres, seen) as port:
        database = Database(
            postgres.settings(postgres_user=role, postgres_port=port, postgres_session="role")
        )
        try:
            for _ in range(2):
                rows = await database.run("SELECT 1 + CAST(:n AS integer) AS n", n=1)
                assert rows == [{"n": 2}]
        finally:
            database.close()
    assert startup(bytes(seen)).keys() <= {"user", "database", "application_name"}
    said = bytes(seen).upper()
    for word in (b"SET ", b"SET_CONFIG", b"PREPARE", b"DISCARD", b"DEALLOCATE", b"PG_ADVISORY"):
        assert word not in said, word
    assert said.count(b"BEGIN ISOLATION LEVEL READ COMMITTED") == 2


async def test_by_default_a_session_is_set(postgres: Postgres, role: str) -> None:
    """That the test above sees what is said."""
    seen = bytearray()
    async with tapped(postgres, seen) as port:
        database = Database(postgres.settings(postgres_user=role, postgres_port=port))
        try:
            await database.run("SELECT 1")
        finally:
            database.close()
    assert "statement_timeout" in startup(bytes(seen))
    assert b"set_config" in seen


async def test_a_role_that_has_it_not_is_refused(postgres: Postgres, role: str) -> None:
    """Or statements would find what others wrote into a schema of the path."""
    settings = postgres.settings(postgres_user=role, postgres_session="role")
    database = Database(settings)
    try:
        with pytest.raises(DatabaseUnavailable, match=r"grants\.sql"):
            await database.run("SELECT 1")
        postgres.execute(f"ALTER ROLE {role} SET search_path = pg_catalog, pg_temp")
        await database.run("SELECT 1")
    finally:
        database.close()

"""Behind a real PgBouncer, however it is set up: the service works, or says what to set."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from demo.postgres import free_port
from shared.errors import DatabaseUnavailable
from shared.store.database import Database
from shared.store.migrations import migrate
from tests.integration.service import LIMIT_S, SECRET, Services, seed
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
IGNORED = "statement_timeout,default_transaction_isolation"

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
logfile = {folder}/log
pool_mode = {pool_mode}
default_pool_size = {size}
server_round_robin = 1
ignore_startup_parameters = {ignored}
"""


class PgBouncer:
    """A PgBouncer before a test's PostgreSQL, whose transactions go to one server after another."""

    def __init__(self, postgres: Postgres, *, pool_mode: str, ignored: str) -> None:
        if PROGRAM is None:
            if os.environ.get("CI"):
                pytest.fail("pgbouncer is missing: apt-get install -y pgbouncer")
            pytest.skip("pgbouncer is not installed: apt-get install -y pgbouncer")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        (self.folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (self.folder / "ini").write_text(
            _CONFIGURATION.format(
                server_port=postgres.port,
                port=self.port,
                folder=self.folder,
                pool_mode=pool_mode,
                ignored=ignored,
                size=4 if pool_mode == "transaction" else 30,  # in a session each client has one
            )
        )
        user = None
        if os.geteuid() == 0:  # it refuses to run as root
            user = _user()
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, user)
        self._process = subprocess.Popen(
            [PROGRAM, "-q", self.folder / "ini"], user=user, stderr=subprocess.DEVNULL
        )

    async def answers(self) -> None:
        """Wait until it listens."""
        with anyio.fail_after(LIMIT_S):
            while True:
                with contextlib.suppress(OSError):
                    await (await anyio.connect_tcp("127.0.0.1", self.port)).aclose()
                    return
                await anyio.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


@pytest.fixture
def pool_mode() -> str:
    """How PgBouncer lends its servers, unless a test says otherwise."""
    return "transaction"


@pytest.fixture(params=["", IGNORED], ids=["parameters refused", "parameters ignored"])
def bouncer(
    postgres: Postgres, pool_mode: str, request: pytest.FixtureRequest
) -> Iterator[PgBouncer]:
    """One that refuses what a log-in sets, as a fresh one does, or drops it."""
    seed(postgres)
    running = PgBouncer(postgres, pool_mode=pool_mode, ignored=request.param)
    yield running
    running.stop()


@pytest.fixture
async def pooled(postgres: Postgres, bouncer: PgBouncer) -> Database:
    """Our pool behind it."""
    await bouncer.answers()
    return Database(postgres.settings(postgres_port=bouncer.port))


BACKEND = "SELECT pg_backend_pid() AS pid, CAST(:n AS integer) AS n, pg_sleep(0.001)"
SUM = "SELECT CAST(:n AS integer) + 1000 AS n"


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
async def test_statements_are_never_mixed_up(pooled: Database) -> None:
    """Two pools of ours, several servers each: every statement answers its own question."""
    other = Database(pooled.where)
    # Prepared in the order of each pool's first use, they would have each other's names.
    await asyncio.gather(pooled.run(SUM, n=0), other.run(BACKEND, n=0))
    servers: Counter[int] = Counter()

    async def ask(database: Database, number: int) -> None:
        for _ in range(5):
            (row,) = await database.run(BACKEND, n=number)
            servers[row["pid"]] += 1
            assert row["n"] == number
            assert await database.run(SUM, n=number) == [{"n": number + 1000}]

    await asyncio.gather(*(ask((pooled, other)[n // 2 % 2], n) for n in range(24)))
    assert len(servers) > 1, "there was something to mix up"
    assert await pooled.run("SELECT count(*) AS n FROM pg_prepared_statements") == [{"n": 0}]
    for database in (pooled, other):
        database.close()


async def test_what_a_login_sets_holds_behind_it(pooled: Database) -> None:
    """The server's own time limit and the isolation, which PgBouncer keeps from it."""
    rows = await pooled.run(
        "SELECT current_setting('statement_timeout') AS limit,"
        " current_setting('transaction_isolation') AS isolation"
    )
    assert rows == [{"limit": "4500ms", "isolation": "read committed"}]
    pooled.close()


async def test_an_error_leaves_the_connection_in_order(pooled: Database) -> None:
    """A statement that fails ends its transaction: the next one is served on that connection."""
    with pytest.raises(Exception, match="22012"):
        await pooled.run("SELECT 1 / :n::integer AS n", n=0)
    assert await pooled.run("SELECT :n::integer AS n", n=7) == [{"n": 7}]
    assert repr(pooled).endswith("| 1 idle, 0 in use>")
    pooled.close()


async def test_the_migrations_run_behind_it(pooled: Database) -> None:
    """As does every command of an operator."""
    assert not any(step.applied_now for step in migrate(pooled))
    pooled.close()


async def test_calls_ring_once_behind_it(start: Services, bouncer: PgBouncer) -> None:
    """Twenty equal clicks at once are one call, and thirty different ones are each their own."""
    await bouncer.answers()
    service = await start(POSTGRES_PORT=bouncer.port)
    answers = await asyncio.gather(*(service.call() for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.json()["call_id"] for answer in answers}) == 1
    assert len(service.originates()) == await service.rung("150") == 1
    phones = [f"+3752900001{number:02}" for number in range(30)]
    placed = await asyncio.gather(*(service.call("151", phone) for phone in phones))
    assert [answer.status_code for answer in placed] == [200] * 30
    assert len({answer.json()["call_id"] for answer in placed}) == 30
    assert SECRET not in service.log()


async def test_what_it_refuses_is_named_once(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """The parameter, and the setting of PgBouncer that lets it pass, in one warning."""
    running = PgBouncer(postgres, pool_mode="transaction", ignored="")
    pool = Database(postgres.settings(postgres_port=running.port))
    try:
        await running.answers()
        with caplog.at_level(logging.WARNING, "asterisk"):
            await pool.run("SELECT 1")
            pool.close()
            await pool.run("SELECT 1")
    finally:
        pool.close()
        running.stop()
    (record,) = caplog.records
    assert "unsupported startup parameter: statement_timeout" in record.getMessage()
    assert f"ignore_startup_parameters = {IGNORED}" in record.getMessage()


async def test_a_mode_without_transactions_is_unavailable(postgres: Postgres) -> None:
    """pool_mode=statement cannot serve us: nothing is dialled, and no crash tells that it was."""
    running = PgBouncer(postgres, pool_mode="statement", ignored="")
    pool = Database(postgres.settings(postgres_port=running.port))
    try:
        await running.answers()
        with pytest.raises(DatabaseUnavailable):
            await pool.run("SELECT :n::integer AS n", n=1)
    finally:
        pool.close()
        running.stop()

"""The pool against a real PostgreSQL: what it survives, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import anyio
import pg8000.exceptions
import pytest

from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.settings import SERVICE, SettingsError
from shared.store.database import Database
from shared.store.hostkeys import PinnedKeys
from shared.store.sqlstates import (
    NO_ENTERPRISES,
    SCHEMA_MISSING,
    UNAVAILABLE,
    WRONG_ENTERPRISES,
    AccessRefused,
    TextRefused,
)
from tests.postgres import PASSWORD, Postgres, Wire

pytestmark = pytest.mark.anyio

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMUGAw5QDYEa1qmvhW1TwK9yCRExKLKUnK2qQeUKKRxz"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvSFvI7ekkPFwNoBoWVBa1oI3aLq4IYHRBhsMhcVAAA"
BACKEND = "SELECT pg_backend_pid() AS pid"
SPEC = "SELECT number, name, ip FROM public.enterprises WHERE secret = :secret AND active = true"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that these tests may stop."""
    own = Postgres()
    try:
        own.start().prepare()
        yield own
    finally:
        own.stop()


@pytest.fixture
def own(server: Postgres) -> Iterator[Database]:
    """A pool of the server that may be stopped."""
    pool = Database(server.settings())
    yield pool
    pool.close()
    server.restart()


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[dict[str, str]]:
    """A database without any table, as the overrides that lead to it."""
    # CREATE DATABASE refuses to run in a transaction: each statement stands alone here.
    for sql in ("DROP DATABASE IF EXISTS empty", "CREATE DATABASE empty"):
        _administer(postgres, sql)
    yield {"postgres_db": "empty"}
    _administer(postgres, "DROP DATABASE empty WITH (FORCE)")


def _administer(postgres: Postgres, sql: str) -> None:
    pool = Database(postgres.settings())
    asyncio.run(pool.run(sql))
    pool.close()


async def test_rows_are_dictionaries(database: Database) -> None:
    """Columns are found by name, and types come as Python's."""
    rows = await database.run("SELECT :a::int AS a, NULL AS b, true AS c", a=7)
    assert rows == [{"a": 7, "b": None, "c": True}]


async def test_one_connection_is_enough_for_sequential_work(database: Database) -> None:
    """The connection given back last is the one taken next; statements stay prepared on it."""
    pids = {(await database.run(BACKEND))[0]["pid"] for _ in range(5)}
    assert len(pids) == 1
    assert repr(database).endswith("| 1 idle, 0 in use>")
    prepared = await database.run("SELECT statement FROM pg_prepared_statements")
    assert sum(row["statement"] == BACKEND for row in prepared) == 1


async def test_the_pool_never_grows_beyond_its_size(postgres: Postgres) -> None:
    """More requests than connections wait for their turn instead of opening more."""
    pool = Database(postgres.settings(postgres_pool_size=3))
    sessions = (
        "SELECT count(*) AS n FROM pg_stat_activity, pg_sleep(0.05) "
        "WHERE application_name = :name AND state = 'active'"
    )
    seen: list[int] = []

    async def work() -> None:
        seen.append((await pool.run(sessions, name=SERVICE))[0]["n"])

    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(work)
    assert len(seen) == 12
    assert max(seen) == 3
    assert repr(pool).endswith("| 3 idle, 0 in use>")
    pool.close()
    assert repr(pool).endswith("| 0 idle, 0 in use>")


async def test_waiting_for_a_turn_is_bounded(postgres: Postgres) -> None:
    """A request that gets no connection in time is told so, and the others go on."""
    pool = Database(postgres.settings(postgres_pool_size=1, postgres_timeout_s=2))
    assert await pool.connected()
    refused: list[DatabaseUnavailable] = []

    async def run() -> None:
        try:
            await pool.run("SELECT pg_sleep(0.8)")
        except DatabaseUnavailable as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(run)
    assert 1 <= len(refused) <= 4
    assert await pool.connected()
    pool.close()


async def test_a_cancelled_request_gives_its_connection_back(database: Database) -> None:
    """Cancelling does not leave a connection in the middle of a reply."""
    with anyio.move_on_after(0.05):
        await database.run("SELECT pg_sleep(0.2)")
    assert repr(database).endswith("| 1 idle, 0 in use>")
    assert await database.run("SELECT 1 AS x") == [{"x": 1}]


ECHO = "SELECT :text::text AS text"


@contextlib.contextmanager
def without_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every statement refused that would be executed in a thread."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("in a thread")

    with monkeypatch.context() as patch:
        patch.setattr(anyio.to_thread, "run_sync", refuse)
        yield


async def test_what_is_prepared_needs_no_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its second time on; what a server refuses is told the same, and harms nothing."""
    await database.run(ECHO, text="first")
    await database.run("SELECT 1 / CAST(:by AS integer) AS x", by=1)
    with without_threads(monkeypatch):
        assert await database.run(ECHO, text="ёж\n'") == [{"text": "ёж\n'"}]
        for refused in ("a\0b", "\ud800"):
            with pytest.raises(TextRefused):
                await database.run(ECHO, text=refused)
        with pytest.raises(pg8000.exceptions.DatabaseError) as caught:
            await database.run("SELECT 1 / CAST(:by AS integer) AS x", by=0)
        assert caught.value.args[0]["C"] == "22012"
        assert await database.run(ECHO, text=None) == [{"text": None}]
    assert repr(database).endswith("| 1 idle, 0 in use>")


@pytest.mark.parametrize("tls", ["off", "require"])
async def test_megabytes_go_and_come_on_the_loop(postgres: Postgres, tls: str) -> None:
    """In as many pieces as the link takes, encrypted too."""
    if tls != "off" and not postgres.tls:
        pytest.skip("this PostgreSQL was built without TLS")
    pool = Database(postgres.settings(postgres_tls=tls))
    text = "0123456789" * 300_000
    for _ in range(3):
        assert await pool.run(ECHO, text=text) == [{"text": text}]
    rows = await pool.run("SELECT n FROM generate_series(1, CAST(:n AS int)) n ORDER BY n", n=2)
    rows = await pool.run("SELECT n FROM generate_series(1, CAST(:n AS int)) n ORDER BY n", n=9000)
    assert [row["n"] for row in rows] == list(range(1, 9001))
    pool.close()


async def test_whoever_is_cancelled_on_the_loop_leaves_no_half_reply(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is given up: the next statement has one of its own, and its own answer."""
    sleep = "SELECT pg_sleep(:s) IS NULL AS x, pg_backend_pid() AS pid"
    before = (await database.run(sleep, s=0))[0]["pid"]
    with without_threads(monkeypatch), anyio.move_on_after(0.05):
        await database.run(sleep, s=0.3)
    assert repr(database).endswith("| 0 idle, 0 in use>")
    assert (await database.run(sleep, s=0))[0]["pid"] != before


async def test_a_slow_statement_on_the_loop_is_ended_by_the_server(postgres: Postgres) -> None:
    """As in a thread: nothing runs on once its request is given up."""
    pool = Database(postgres.settings(postgres_timeout_s=1))
    await pool.run("SELECT pg_sleep(:s)", s=0)
    with pytest.raises(DatabaseUnavailable):
        await pool.run("SELECT pg_sleep(:s)", s=30)
    assert repr(pool).endswith("| 1 idle, 0 in use>"), "it said so itself, in order"
    pool.close()


async def test_many_at_once_never_get_each_other_s_rows(postgres: Postgres) -> None:
    """Each has the answer to its own question, whichever connections they share in turn."""
    pool = Database(postgres.settings(postgres_pool_size=3))

    async def ask(number: int) -> None:
        for n in range(number, number + 5):
            assert await pool.run(ECHO, text=str(n)) == [{"text": str(n)}]

    async with anyio.create_task_group() as group:
        for number in range(0, 1000, 10):
            group.start_soon(ask, number)
    pool.close()


def test_event_loops_may_follow_one_another(postgres: Postgres) -> None:
    """The pool belongs to the process, not to an event loop."""
    pool = Database(postgres.settings())
    for _ in range(3):
        assert asyncio.run(pool.connected())
    assert repr(pool).endswith("| 1 idle, 0 in use>")
    pool.close()


async def test_a_connection_silent_for_long_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall may have forgotten it without a word, so it is not even tried."""
    before = (await database.run(BACKEND))[0]["pid"]
    monkeypatch.setattr("shared.store.connection._IDLE_LIMIT_S", 0)
    assert (await database.run(BACKEND))[0]["pid"] != before


async def test_a_restart_between_two_statements_is_not_noticed(
    own: Database, server: Postgres
) -> None:
    """A connection that the server has lost costs one more attempt, not an error."""
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(own.run, "SELECT pg_sleep(0.05)")
    await asyncio.to_thread(server.restart)
    assert await own.run("SELECT 1 AS x") == [{"x": 1}]
    assert repr(own).endswith("| 1 idle, 0 in use>"), "the other lost ones are dropped too"


async def test_a_killed_backend_is_not_noticed(database: Database, postgres: Postgres) -> None:
    """An administrator's pg_terminate_backend costs one more attempt, not an error."""
    pid = (await database.run(BACKEND))[0]["pid"]
    postgres.execute("SELECT pg_terminate_backend(:pid::int)", pid=pid)
    assert (await database.run(BACKEND))[0]["pid"] != pid


async def test_a_stopped_server_is_unavailable(
    own: Database, server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller reads that nothing was dialled, the log says why, nobody reads a password."""
    await own.run("SELECT 1")
    await asyncio.to_thread(server.halt)
    with caplog.at_level(logging.INFO, "asterisk"), pytest.raises(DatabaseUnavailable) as refused:
        await own.run("SELECT 1")
    assert refused.value.detail == UNAVAILABLE
    assert "⚠️ PostgreSQL недоступен: ConnectionRefusedError" in caplog.text
    assert PASSWORD not in caplog.text
    assert not await own.connected()
    await asyncio.to_thread(server.restart)
    assert await own.connected()


async def test_a_hung_server_is_unavailable_in_bounded_time(postgres: Postgres) -> None:
    """A server that accepts everything and answers nothing does not hold the request."""
    async with Wire.to(postgres) as wire:
        pool = Database(postgres.settings(postgres_port=wire.port, postgres_timeout_s=1.5))
        assert await pool.connected()
        wire.freeze()
        with anyio.fail_after(60), pytest.raises(DatabaseUnavailable):
            await pool.run("SELECT 1")
        assert wire.accepted == 2, "the second attempt went to a fresh connection"
        pool.close()


async def test_a_lost_reply_is_asked_again_on_a_fresh_connection(postgres: Postgres) -> None:
    """The statement was executed and its reply lost: it is executed once more."""
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS sent")
    count = "SELECT nextval('public.sent') AS times"
    async with Wire.to(postgres) as wire:
        pool = Database(postgres.settings(postgres_port=wire.port))
        first = (await pool.run(count))[0]["times"]
        wire.lose_reply(b"SELECT 1")
        assert (await pool.run(count))[0]["times"] == first + 2
        assert wire.accepted == 2
        pool.close()


async def test_a_slow_statement_is_ended_by_the_server(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not go on after the request that wanted it, and is not sent again."""
    pool = Database(postgres.settings(postgres_timeout_s=1.5))
    with pytest.raises(DatabaseUnavailable):
        await pool.run("SELECT pg_sleep(20)")
    assert "57014" in caplog.text
    assert repr(pool).endswith("| 1 idle, 0 in use>"), "the connection is still in order"
    pool.close()


async def test_a_statement_outlives_a_change_of_what_it_returns(
    database: Database, postgres: Postgres
) -> None:
    """A migration may run beside the service: a stale prepared statement is prepared again."""
    postgres.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int)")
    statement = "SELECT * FROM public.changing WHERE a = :a"
    await database.run(statement, a=1)
    postgres.execute("ALTER TABLE changing ADD b int; INSERT INTO changing VALUES (1, 2)")
    assert await database.run(statement, a=1) == [{"a": 1, "b": 2}]
    postgres.execute("DROP TABLE public.changing")


@pytest.mark.parametrize("meddling", ["DEALLOCATE ALL", "PREPARE pg8000_statement_2 AS SELECT 2"])
async def test_a_prepared_statement_that_is_lost_is_made_again(
    postgres: Postgres, meddling: str
) -> None:
    """Whatever a pooler that hides itself does to it, the answer is right, on a new connection."""
    pool = Database(postgres.settings(postgres_pool_size=1))
    (before,) = await pool.run(question := "SELECT pg_backend_pid() AS pid, 1 AS one")
    await pool.run(meddling)
    assert (await pool.run(question))[0]["one"] == 1
    (after,) = await pool.run(BACKEND)
    pool.close()
    assert after["pid"] != before["pid"]


@pytest.mark.parametrize("code", ["42P05", "26000"])
async def test_prepared_statements_that_are_always_lost_are_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """503 that says what to set, never a crash of which nobody knows whether it dialled."""

    def refuse(*_: object, **__: object) -> None:
        raise pg8000.exceptions.DatabaseError({"S": "ERROR", "C": code, "M": "prepared statement"})

    monkeypatch.setattr(Database, "_attempt", refuse)
    with pytest.raises(DatabaseUnavailable, match="pool_mode") as refused:
        await database.run("SELECT 1")
    assert (refused.value.status, refused.value.dialled) == (503, "no")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"postgres_password": "guess-7731"}, "28P01"),
        ({"postgres_password": ""}, "28P01"),
        ({"postgres_user": "nobody-knows"}, "28P01"),
        ({"postgres_db": "nowhere"}, "3D000"),
    ],
)
async def test_a_refused_login_is_unavailable(
    postgres: Postgres, caplog: pytest.LogCaptureFixture, wrong: dict[str, str], code: str
) -> None:
    """Wrong credentials of the service's own are the operator's matter, never a 401."""
    pool = Database(postgres.settings(**wrong))
    with pytest.raises(DatabaseUnavailable) as refused:
        await pool.run("SELECT 1")
    assert refused.value.detail == UNAVAILABLE
    assert code in caplog.text
    assert "guess-7731" not in caplog.text
    assert PASSWORD not in caplog.text
    pool.close()


async def test_too_many_connections_is_unavailable(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that is full says so at once, and is not asked a second time."""
    postgres.execute(
        "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN CONNECTION LIMIT 1 PASSWORD 'narrow'"
    )
    settings = postgres.settings(postgres_user="narrow", postgres_password="narrow")
    first, second = Database(settings), Database(settings)
    await first.run("SELECT 1")
    with pytest.raises(DatabaseUnavailable):
        await second.run("SELECT 1")
    assert "53300" in caplog.text
    first.close()
    second.close()


async def test_missing_rights_are_told_apart(postgres: Postgres, database: Database) -> None:
    """A user without rights on the tables is refused as such, the detail stays the same."""
    postgres.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    pool = Database(postgres.settings(postgres_user="stranger", postgres_password="stranger"))
    with pytest.raises(AccessRefused) as refused:
        await pool.run(SPEC, secret="any")
    assert refused.value.detail == UNAVAILABLE
    pool.close()


async def test_missing_tables_are_named(postgres: Postgres, empty: dict[str, str]) -> None:
    """Without our migrations, or without `enterprises`, an operator reads which of them it is."""
    pool = Database(postgres.settings(**empty))
    with pytest.raises(SchemaMissing) as refused:
        await PinnedKeys(pool).find("192.0.2.1", 22)
    assert refused.value.detail == SCHEMA_MISSING
    with pytest.raises(SchemaMissing) as refused:
        await pool.run("SELECT callapi.sweep()")
    assert refused.value.detail == SCHEMA_MISSING
    with pytest.raises(SchemaMissing) as refused:
        await pool.run(SPEC, secret="any")
    assert refused.value.detail == NO_ENTERPRISES
    with pool.transaction() as execute:
        execute("CREATE TABLE public.enterprises (number text, name text, ip text, active boolean)")
    with pytest.raises(SchemaMissing) as refused:
        await pool.run(SPEC, secret="any")
    assert refused.value.detail == WRONG_ENTERPRISES
    pool.close()


async def test_our_own_mistakes_are_not_hidden(database: Database) -> None:
    """A statement that is wrong in itself is an error of the program, not of the database."""
    with pytest.raises(pg8000.exceptions.DatabaseError, match="22012"):
        await database.run("SELECT 1 / :x::int AS x", x=0)
    assert await database.run("SELECT 1 AS x") == [{"x": 1}]


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800", "' OR 1=1 --\0"])
async def test_text_that_cannot_be_stored_equals_nothing(database: Database, text: str) -> None:
    """NUL and lone surrogates cannot be in the database; the error does not repeat the text."""
    with pytest.raises(TextRefused) as refused:
        await database.run(SPEC, secret=text)
    assert refused.value.args == ()
    assert refused.value.__cause__ is None
    assert await database.connected()


async def test_a_unix_socket_folder_is_a_host(postgres: Postgres) -> None:
    """POSTGRES_HOST may be the folder of the server's socket."""
    for host in (str(postgres.folder), f"{postgres.folder}/"):
        pool = Database(postgres.settings(postgres_host=host))
        rows = await pool.run("SELECT inet_server_addr() AS address")
        assert rows == [{"address": None}]
        pool.close()


async def test_a_missing_unix_socket_is_unavailable(postgres: Postgres, tmp_path: Path) -> None:
    """A folder without a socket is a server that does not answer."""
    assert not await Database(postgres.settings(postgres_host=str(tmp_path))).connected()


def _insist_on_tls(postgres: Postgres) -> None:
    """The wheel's PostgreSQL, all that a bare machine has, knows no TLS; CI has the real one."""
    lacking = "this PostgreSQL knows no TLS: apt-get install -y postgresql"
    assert postgres.tls or "CI" not in os.environ, lacking
    if not postgres.tls:
        pytest.skip(lacking)


@pytest.mark.parametrize("mode", ["require", "verify"])
async def test_tls_encrypts(postgres: Postgres, mode: str) -> None:
    """`require` and `verify` reach the server through TLS."""
    _insist_on_tls(postgres)
    ca_file = str(postgres.folder / "server.crt") if mode == "verify" else ""
    pool = Database(postgres.settings(postgres_tls=mode, postgres_ca_file=ca_file))
    rows = await pool.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert rows == [{"ssl": True}]
    pool.close()


async def test_tls_refuses_an_unknown_authority(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of an authority that is not trusted is not accepted."""
    _insist_on_tls(postgres)
    pool = Database(postgres.settings(postgres_tls="verify"))
    with pytest.raises(DatabaseUnavailable):
        await pool.run("SELECT 1")
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_tls_refuses_another_host_name(postgres: Postgres) -> None:
    """The certificate must be for the host that was asked for."""
    _insist_on_tls(postgres)
    pool = Database(
        postgres.settings(
            postgres_host="127.0.0.2",
            postgres_port=postgres.port,
            postgres_tls="verify",
            postgres_ca_file=str(postgres.folder / "server.crt"),
        )
    )
    assert not await pool.connected()


def test_an_unreadable_authority_is_a_wrong_setting(postgres: Postgres, tmp_path: Path) -> None:
    """A CA file that is not there is named at once, not at the first request."""
    with pytest.raises(SettingsError, match="POSTGRES_CA_FILE"):
        Database(
            postgres.settings(postgres_tls="verify", postgres_ca_file=str(tmp_path / "missing.pem"))
        )


async def test_two_pins_of_one_host_agree(database: Database) -> None:
    """Of two first connections at once one key is pinned, and both are told which."""
    keys = PinnedKeys(database)
    assert await keys.find("192.0.2.1", 5059) is None
    held: list[str] = []

    async def pin(key: str) -> None:
        held.append(await keys.pin("192.0.2.1", 5059, key))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(pin, KEY)
            group.start_soon(pin, OTHER_KEY)
    assert len(held) == 16
    assert len(set(held)) == 1
    assert await keys.find("192.0.2.1", 5059) == held[0]
    assert await keys.find("192.0.2.1", 22) is None, "another port is another server"

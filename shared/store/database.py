"""PostgreSQL: a small pool of prepared connections.

Every statement of this project is safe to be sent twice: it reads, or it is an upsert, or it
carries an id that makes its repetition harmless (`callapi.claim_order`, `callapi.settle_order`).
That is what lets a lost connection be answered with one more attempt instead of an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
import pg8000.exceptions

from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable
from shared.measures import observe
from shared.process import closed_by
from shared.settings import Settings, the_settings
from shared.store.connection import DRIVER_ERRORS, Connection, Rows, rows_of
from shared.store.login import LogIn, begin_of
from shared.store.sqlstates import UNAVAILABLE, TextRefused, cause_of, is_lost, raise_ours
from shared.telemetry import LOG
from shared.turns import Turn, Turns


class _Turns(NamedTuple):
    """Two equal limits of one event loop: who waits, for a bounded time, and who runs."""

    turns: Turns
    threads: anyio.CapacityLimiter


class Load(NamedTuple):
    """Connections that rest, those that are used, and statements that wait for one."""

    idle: int
    in_use: int
    waiting: int


class Door(Protocol):
    """What answers statements: the database, by one of its doors."""

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Execute one statement, as `Database.run` does."""


class Database:
    """A lazy pool; `await database.run("SELECT ... WHERE x = :x", x=1)`.

    Whoever only tells of calls asks `database.reads` in the same way: they never have the last
    connection, and what rings or ends a call goes first.
    """

    def __init__(self, settings: Settings) -> None:
        self._login = LogIn(settings)
        self._size = settings.postgres_pool_size
        self._timeout_s = settings.postgres_timeout_s
        self._guard = threading.Lock()
        self._idle: list[Connection] = []  # the last one given back is the first one taken
        self._in_use = 0
        self._generation = 0
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()

    @property
    def reads(self) -> Door:
        """The door of those who only tell of calls, made anew: no ring of references keeps us."""
        return _Reads(self)

    @property
    def where(self) -> Settings:
        """The settings, completed by the log-in once there was one."""
        return self._login.where

    def __repr__(self) -> str:
        where = self.where
        return (
            f"<Database {where.postgres_host}:{where.postgres_port}/{where.postgres_db} | "
            f"{len(self._idle)} idle, {self._in_use} in use>"
        )

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Execute one statement in one round trip and return its rows by column name.

        `sql` is a constant of the program (it stays prepared), `:name` marks a parameter. The
        statement must be safe to be sent twice: after a lost connection it is sent once more,
        on a fresh one. A hung server costs at most about twice POSTGRES_TIMEOUT_S.

        Raises:
            SchemaMissing: a table or function of ours, or `enterprises`, is not there.
            AccessRefused: the PostgreSQL user lacks a right.
            DatabaseUnavailable: everything else that an operator, not a caller, has to cure.
            TextRefused: a parameter cannot exist in this database.
        """
        return await self.run_in_turn("call", sql, parameters)

    async def run_in_turn(self, turn: Turn, sql: str, parameters: dict[str, Any]) -> Rows:
        """Execute one statement when it is its turn. Raises what `run` does."""
        turns, threads = self._turns_of_this_loop()
        try:
            await turns.take(turn, Deadline.after(self._timeout_s))
        except TimeoutError:
            LOG.warning("⚠️ PostgreSQL недоступен: все соединения заняты")
            raise DatabaseUnavailable(UNAVAILABLE) from None
        began, outcome = time.perf_counter(), "given_up"
        try:
            rows = await self._run(threads, sql, parameters)
        except Exception:
            outcome = "failed"
            raise
        else:
            outcome = "ok"
            return rows
        finally:
            turns.give_back(turn)
            observe("StatementSeconds", time.perf_counter() - began, outcome=outcome)

    def load(self) -> Load:
        """Tell how much is asked of it now."""
        waiting = sum(one.turns.waiting for one in self._turns.values())
        with self._guard:
            return Load(len(self._idle), self._in_use, waiting)

    async def connected(self) -> bool:
        """Tell whether PostgreSQL answers; whoever asks."""
        try:
            await self.reads.run("SELECT 1")
        except DatabaseUnavailable:
            return False
        return True

    @contextlib.contextmanager
    def transaction(self, timeout_s: float = 60) -> Iterator[Callable[..., Rows]]:
        """Run an operator's statements in one transaction on a connection of its own; blocking.

        Yields `execute(sql, **parameters)`; without parameters `sql` may hold many statements.
        Raises what `run` raises, and nothing is tried again.
        """
        try:
            native = self._login.open(timeout_s)
        except DRIVER_ERRORS as error:
            raise_ours(error)

        def execute(sql: str, **parameters: Any) -> Rows:
            return rows_of(native.run(sql, **parameters), native.columns)

        try:
            native.run(begin_of(timeout_s))
            yield execute
            native.run("COMMIT")
        except DRIVER_ERRORS as error:
            raise_ours(error)
        finally:
            with contextlib.suppress(Exception):  # closing rolls back what was not committed
                native.close()

    def close(self) -> None:
        """Close every connection, those in use when they are given back."""
        with self._guard:
            self._generation += 1
        self._drop_idle()

    def _turns_of_this_loop(self) -> _Turns:
        loop = asyncio.get_running_loop()
        turns = self._turns.get(loop)
        if turns is None:
            turns = _Turns(
                Turns(self._size, most_reads=self._size), anyio.CapacityLimiter(self._size)
            )
            self._turns[loop] = turns
        return turns

    async def _run(
        self, threads: anyio.CapacityLimiter, sql: str, parameters: dict[str, Any]
    ) -> Rows:
        """Execute it on a connection that is ready for it; else in a thread, where others wait.

        Whoever is cancelled there leaves it running: its connection is given back in order, or
        closed where all were meanwhile, also one that it has opened since.
        """
        generation, lost = self._generation, False
        connection = self._take_ready(sql)
        if connection is not None:
            try:
                return await self._run_ready(connection, generation, sql, parameters)
            except UnicodeEncodeError:
                raise TextRefused from None
            except DRIVER_ERRORS as error:
                self._note_loss(error)
                lost = True
        work = partial(self._run_in_thread, generation, sql, parameters, lost=lost)
        return await anyio.to_thread.run_sync(work, limiter=threads)

    def _run_in_thread(
        self, generation: int, sql: str, parameters: dict[str, Any], *, lost: bool
    ) -> Rows:
        try:
            if not lost:
                return self._attempt(generation, sql, parameters, fresh=False)
        except UnicodeEncodeError:
            raise TextRefused from None
        except DRIVER_ERRORS as error:
            self._note_loss(error)
        # Whatever broke one connection (a restart, a fail-over) has broken its neighbours too.
        self._drop_idle()
        try:
            return self._attempt(generation, sql, parameters, fresh=True)
        except DRIVER_ERRORS as error:
            raise_ours(error)

    def _note_loss(self, error: BaseException) -> None:
        """Go on where a fresh connection may well succeed; raise what else an error means."""
        if not is_lost(error):
            raise_ours(error)
        LOG.info("🔁 PostgreSQL: повтор на новом соединении: %s", cause_of(error))

    def _take_ready(self, sql: str) -> Connection | None:
        """Take the connection that is next, if it has this statement prepared."""
        with self._guard:
            if not self._idle or not self._idle[-1].is_ready(sql):
                return None
            self._in_use += 1
            return self._idle.pop()

    async def _run_ready(
        self, connection: Connection, generation: int, sql: str, parameters: dict[str, Any]
    ) -> Rows:
        usable = False
        try:
            rows = await connection.run_ready(sql, parameters, self._timeout_s)
        except UnicodeEncodeError:  # of it nothing was sent
            usable = True
            raise
        except pg8000.exceptions.DatabaseError as error:
            usable = not is_lost(error)
            raise
        else:
            usable = True
            return rows
        finally:
            self._give_back(connection, generation, usable=usable)

    def _attempt(
        self, generation: int, sql: str, parameters: dict[str, Any], *, fresh: bool
    ) -> Rows:
        with self._guard:
            self._in_use += 1
        connection: Connection | None = None
        usable = False
        try:
            connection = None if fresh else self._take_idle()
            if connection is None:
                connection = self._login.connect(self._timeout_s)
            rows = connection.run(sql, parameters)
        except pg8000.exceptions.DatabaseError as error:
            usable = not is_lost(error)  # an ordinary SQL error leaves the connection in order
            raise
        else:
            usable = True
            return rows
        finally:
            self._give_back(connection, generation, usable=usable)

    def _take_idle(self) -> Connection | None:
        while True:
            with self._guard:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            connection.close()

    def _give_back(self, connection: Connection | None, generation: int, *, usable: bool) -> None:
        with self._guard:
            self._in_use -= 1
            if connection and usable and generation == self._generation:
                self._idle.append(connection)
                return
        if connection:
            connection.close()

    def _drop_idle(self) -> None:
        with self._guard:
            dropped, self._idle = self._idle, []
        for connection in dropped:
            connection.close()


class _Reads:
    """The door of those who only tell of calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, sql: str, **parameters: Any) -> Rows:
        return await self._database.run_in_turn("read", sql, parameters)


@closed_by(Database.close)
def the_database() -> Database:
    """That of this process."""
    return Database(the_settings())

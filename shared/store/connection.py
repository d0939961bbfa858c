"""One connection to PostgreSQL, and its prepared statements, as pg8000 has them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import time
from typing import Any, TypeAlias

import anyio.to_thread
import pg8000.exceptions
import pg8000.native
from pg8000.converters import make_params
from pg8000.core import SYNC_MSG, Context
from scramp import ScramException  # type: ignore[import-untyped]

from shared.store.exchange import Replies, Unreadable, exchange

Rows: TypeAlias = list[dict[str, Any]]

# Where our statements look for what they name without a schema: functions and operators of
# PostgreSQL's own. Whoever may create in another schema of the path, as `public`, would otherwise
# have this session run what he wrote.
PINNED = "pg_catalog, pg_temp"

DRIVER_ERRORS = (pg8000.exceptions.Error, ScramException, OSError)

# Firewalls and NAT gateways forget silent connections, some after 350 s, and say nothing.
_IDLE_LIMIT_S = 240.0
# What takes longer to be understood than a switch to a thread does.
_LONG_REPLY_BYTES = 65_536
_UNREADABLE = (LookupError, TypeError, ValueError, struct.error)


class RoleUnset(Exception):
    """POSTGRES_SESSION=role, and the role has another search_path than statements need."""


class _Memory:
    """Stands in the place of pg8000's file: what is written is kept, what is read was received."""

    def __init__(self, received: bytes = b"") -> None:
        self.written = bytearray()
        self._received = memoryview(received)

    def write(self, data: bytes) -> None:
        self.written += data

    def flush(self) -> None:
        pass

    def read(self, size: int) -> bytes:
        data, self._received = self._received[:size], self._received[size:]
        return bytes(data)


class Native(pg8000.native.Connection):  # type: ignore[misc] # pg8000 has no types
    """pg8000's connection, which lets go of its descriptor once it is closed or refused."""

    def close(self) -> None:
        """Close it; pg8000 leaves its file, with which the descriptor stays open.

        Raises:
            pg8000.exceptions.InterfaceError: it is closed already.
        """
        link, file = self._usock, self._sock
        try:
            super().close()
        finally:
            if file is not None:
                with contextlib.suppress(OSError, ValueError):
                    link.settimeout(0)  # what it could not send it tries again here
                    file.close()


class Connection:
    """One connection.

    A pooler may lead each transaction to another server, where another's statement may have the
    name of ours: behind one nothing is prepared, and each statement is a transaction of its own.
    """

    def __init__(self, native: Any, begin: str, *, is_set: bool) -> None:
        self._native = native
        self._begin = begin
        if is_set:
            self._is_pooled = not _pin_search_path(native)
        else:
            _check_role(native)
            self._is_pooled = True
        self._statements: dict[str, Any] = {}
        self._has_rest = False
        self._used_at = time.time()

    def run(self, sql: str, parameters: dict[str, Any]) -> Rows:
        """Execute a statement; blocking."""
        run = self._run_alone if self._is_pooled else self._run_prepared
        rows = run(sql, parameters)
        self._has_rest = _has_rest(self._native)
        self._used_at = time.time()
        return rows

    def is_ready(self, sql: str) -> bool:
        """Tell whether a statement can be executed on the event loop: it is prepared here.

        And nothing that came unasked is left in pg8000's file, of which the link has the rest.
        """
        return sql in self._statements and not self._has_rest and not self.has_expired()

    async def run_ready(self, sql: str, parameters: dict[str, Any], timeout_s: float) -> Rows:
        """Execute a statement that is ready.

        pg8000 encodes into memory and decodes from it; a long reply is decoded in a thread. Whoever
        is cancelled, or gets another error than the server's own, leaves it in no order.
        """
        statement, native = self._statements[sql], self._native
        file, link = native._sock, native._usock  # noqa: SLF001 - pg8000 has no other door
        request = _Memory()
        native._sock = request  # noqa: SLF001
        try:
            native.send_BIND(
                statement.name_bin, make_params(native.py_types, statement.make_vals(parameters))
            )
            native.send_EXECUTE()
            request.write(SYNC_MSG)
            replies = Replies(native.message_types)
            link.settimeout(0)
            try:
                async with asyncio.timeout(timeout_s):
                    await exchange(link, bytes(request.written), replies)
            except Unreadable as error:
                raise pg8000.exceptions.InterfaceError(str(error)) from error
            native._sock = _Memory(bytes(replies.received))  # noqa: SLF001
            if len(replies.received) > _LONG_REPLY_BYTES:
                rows = await anyio.to_thread.run_sync(_decoded, native, statement)
            else:
                rows = _decoded(native, statement)
        finally:
            native._sock = file  # noqa: SLF001
            link.settimeout(timeout_s)
        self._used_at = time.time()
        return rows

    def _run_prepared(self, sql: str, parameters: dict[str, Any]) -> Rows:
        statement = self._statements.get(sql)
        if statement is None:
            statement = self._statements[sql] = self._native.prepare(sql)
        return rows_of(statement.run(**parameters), statement.columns)

    def _run_alone(self, sql: str, parameters: dict[str, Any]) -> Rows:
        self._native.run(self._begin)
        try:
            rows = rows_of(self._native.run(sql, **parameters), self._native.columns)
        except pg8000.exceptions.DatabaseError:
            with contextlib.suppress(*DRIVER_ERRORS):  # what was wrong is the statement's error
                self._native.run("ROLLBACK")
            raise
        self._native.run("COMMIT")
        return rows

    def has_expired(self) -> bool:
        """Tell whether it may be forgotten by what is in between."""
        # The wall clock, as a frozen Lambda environment may stop the monotonic one.
        return not 0 <= time.time() - self._used_at < _IDLE_LIMIT_S

    def close(self) -> None:
        """Give it up."""
        with contextlib.suppress(Exception):  # how it ends changes nothing
            self._native.close()


def rows_of(rows: Any, columns: Any) -> Rows:
    """Make rows by column name of pg8000's."""
    names = [column["name"] for column in columns or ()]
    return [dict(zip(names, row, strict=True)) for row in rows or ()]


def _decoded(native: Any, statement: Any) -> Rows:
    """Read a whole reply.

    Raises:
        pg8000.exceptions.Error: the server's own, or bytes that mean nothing.
    """
    context = Context(
        statement=statement.statement, columns=statement.cols, input_funcs=statement.input_funcs
    )
    try:
        native.handle_messages(context)
    except _UNREADABLE as error:
        raise pg8000.exceptions.InterfaceError("a reply that means nothing") from error
    return rows_of(context.rows, context.columns)


def _has_rest(native: Any) -> bool:
    """Tell whether pg8000's file has read more than it was asked for."""
    link = native._usock  # noqa: SLF001 - as above
    timeout_s = link.gettimeout()
    link.settimeout(0)
    try:
        return bool(native._sock.peek(1))  # noqa: SLF001
    except ssl.SSLWantReadError:
        return False
    finally:
        link.settimeout(timeout_s)


def _check_role(native: Any) -> None:
    """Make sure that the role has what is set nowhere else; asking changes no session."""
    ((path,),) = native.run("SELECT pg_catalog.current_setting('search_path')")
    if path.replace('"', "") != PINNED:
        raise RoleUnset


def _pin_search_path(native: Any) -> bool:
    """Pin the session's search_path; False where a pooler is between.

    Its sessions are others' too, and its log-in names no process of the server.
    """
    told = native._backend_key_data  # noqa: SLF001 - pg8000 tells it nowhere else
    pid = int.from_bytes(told[:4], "big") if told else 0
    ((pinned,),) = native.run(
        f"SELECT CASE WHEN pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {pid}"
        f" THEN pg_catalog.set_config('search_path', '{PINNED}', false) END"
    )
    return pinned is not None

"""Logging in to PostgreSQL: who we are, where it is, and what a session is set to."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from typing import Any

from shared.aws.logins import PostgresLogin, SecretUnreadable, located, postgres_logins
from shared.errors import DatabaseUnavailable, PostgresSecretUnreadable
from shared.settings import SERVICE, Settings, SettingsError
from shared.store.connection import DRIVER_ERRORS, PINNED, Connection, Native, RoleUnset
from shared.store.sqlstates import is_refused, server_error
from shared.telemetry import LOG

ROLE_UNSET = (
    "Database is unavailable: POSTGRES_SESSION is role, and the PostgreSQL user has no search_path"
    " of its own; nothing was dialled. Apply deploy/grants.sql"
)

# The server cancels a statement before our own read gives up, so that none outlives its request.
_SERVER_SHARE = 0.9

# PgBouncer's, unless its ignore_startup_parameters names it.
_TOO_MUCH_ASKED = re.compile(r"unsupported startup parameter.*")

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class LogIn:
    """Logs in as the settings say, or the secret that they name; blocking.

    `where` are the settings, completed by that secret once it was read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = self.where = settings
        self._tls = _tls(settings)
        self._logins = postgres_logins(settings)
        self._guard = threading.Lock()
        self._is_set = settings.postgres_session == "set"
        self._sets_at_login = self._is_set  # until a pooler refuses it

    def connect(self, timeout_s: float) -> Connection:
        """Make a connection for the pool.

        Raises:
            DatabaseUnavailable: the role lacks what POSTGRES_SESSION says that it has; otherwise
                what `open` raises, or the driver.
        """
        native = self.open(timeout_s)
        try:
            begin = begin_of(timeout_s) if self._is_set else _BEGIN
            return Connection(native, begin, is_set=self._is_set)
        except RoleUnset:
            with contextlib.suppress(Exception):
                native.close()
            LOG.error("❌ PostgreSQL: у роли нет search_path, выполните deploy/grants.sql")
            raise DatabaseUnavailable(ROLE_UNSET) from None
        except BaseException:
            with contextlib.suppress(Exception):
                native.close()
            raise

    def open(self, timeout_s: float) -> Any:
        """Open pg8000's own connection; a password that is refused is read anew, once.

        Raises:
            PostgresSecretUnreadable, or one of DRIVER_ERRORS.
        """
        try:
            login = self._logins.read()
        except SecretUnreadable as error:
            raise PostgresSecretUnreadable(str(error)) from error
        try:
            return self._log_in(login, timeout_s)
        except DRIVER_ERRORS as error:
            renewed = self._logins.read_anew(login) if is_refused(error) else None
            if renewed is None:
                raise
        return self._log_in(renewed, timeout_s)

    def _log_in(self, login: PostgresLogin, timeout_s: float) -> Any:
        try:
            return self._open(login, timeout_s)
        except DRIVER_ERRORS as error:
            refusal = _TOO_MUCH_ASKED.match(server_error(error).get("M", ""))
            if refusal is None:
                raise
            with self._guard:
                is_news, self._sets_at_login = self._sets_at_login, False
            if is_news:
                LOG.warning(
                    "⚠️ PostgreSQL за посредником (PgBouncer): %s; дальше без параметров входа."
                    " Чтобы он их пропускал: ignore_startup_parameters = %s",
                    refusal[0],
                    ",".join(_startup(timeout_s)),
                )
        return self._open(login, timeout_s)

    def _open(self, login: PostgresLogin, timeout_s: float) -> Any:
        where = self.where = located(self._settings, login)
        options: dict[str, Any] = {
            "user": where.postgres_user,
            "password": login.password.get_secret_value(),
            "database": where.postgres_db,
            "application_name": SERVICE,
            "timeout": timeout_s,
            "startup_params": _startup(timeout_s) if self._sets_at_login else {},
        }
        if where.postgres_host.startswith("/"):
            path = f"{where.postgres_host.rstrip('/')}/.s.PGSQL.{where.postgres_port}"
            return Native(unix_sock=path, ssl_context=False, **options)
        address = (where.postgres_host, where.postgres_port)
        link = socket.create_connection(address, timeout_s)
        try:
            # Without it the TLS handshake and SCRAM wait for delayed acknowledgements: +40 ms.
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return Native(host=where.postgres_host, sock=link, ssl_context=self._tls, **options)
        except BaseException:
            link.close()
            raise


def begin_of(timeout_s: float) -> str:
    """Begin a transaction that has what a log-in sets, also where a pooler let it set nothing."""
    limit_ms = _server_limit_ms(timeout_s)
    return f"{_BEGIN}; SET LOCAL statement_timeout = {limit_ms}; SET LOCAL search_path = {PINNED}"


def _server_limit_ms(timeout_s: float) -> int:
    return max(1, int(timeout_s * 1000 * _SERVER_SHARE))


def _startup(timeout_s: float) -> dict[str, str]:
    """What a log-in sets for its whole session."""
    return {
        "statement_timeout": str(_server_limit_ms(timeout_s)),
        # `callapi.claim_order` must see what others commit while it waits.
        "default_transaction_isolation": "read committed",
    }


def _tls(settings: Settings) -> ssl.SSLContext | bool:
    if settings.postgres_tls == "off":
        return False
    try:
        context = ssl.create_default_context(cafile=settings.postgres_ca_file or None)
    except OSError as error:
        raise SettingsError(f"POSTGRES_CA_FILE: cannot be read: {error}") from None
    if settings.postgres_tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

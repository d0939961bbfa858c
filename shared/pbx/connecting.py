"""How a PBX host is logged in to: the login that holds, the key that it must show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias
from weakref import WeakKeyDictionary

from anyio import to_thread

from shared.aws.logins import SecretUnreadable, SshLogin, ssh_logins
from shared.deadline import Deadline
from shared.errors import AuthenticationFailed, SshSecretUnreadable
from shared.settings import Settings, on_lambda
from shared.ssh.connection import Connection, Target
from shared.ssh.login import Credentials, HostKeys, Security, connect
from shared.ssh.pool import Pool

FindPort: TypeAlias = Callable[[str], Awaitable[int | None]]
"""Finds the port of a host that is a sandbox."""


def open_pool(
    settings: Settings,
    host_keys: HostKeys | Path | None,
    *,
    find_sandbox: FindPort | None = None,
    pinned: HostKeys | None = None,
) -> Pool:
    """Make the pool that the settings describe.

    A host that `find_sandbox` knows is a stand-in: it is connected on its own port, must show the
    `pinned` key whatever SSH_HOST_KEYS says, and is told no password and no key of ours. Once it is
    none any more, or has moved, nothing is asked of it, though it may still be connected.
    """
    # A frozen Lambda sends no keepalives, and its idle links are cut behind its back.
    keepalive_s, idle_s = (0.0, 45.0) if on_lambda() else (15.0, 3600.0)
    entrance = _Entrance(
        settings, host_keys, keepalive_s, find_sandbox=find_sandbox or _no_sandbox, pinned=pinned
    )
    return Pool(
        entrance.open,
        concurrency=settings.pbx_concurrency,
        queue_s=settings.pbx_queue_s,
        connect_timeout_s=settings.ssh_connect_timeout_s,
        idle_s=idle_s,
        retry_s=settings.pbx_retry_s,
        is_meant=entrance.is_meant,
    )


async def _no_sandbox(_host: str) -> None:
    """Know of none."""


class _Entrance:
    """Connects to hosts, and knows which of its connections lead to a sandbox, by its port then."""

    def __init__(
        self,
        settings: Settings,
        host_keys: HostKeys | Path | None,
        keepalive_s: float,
        *,
        find_sandbox: FindPort,
        pinned: HostKeys | None,
    ) -> None:
        self._logins = ssh_logins(settings)
        self._setting = "SSH_SECRET_ARN" if settings.ssh_secret_arn else "SSH_PRIVATE_KEY"
        self._host_keys = host_keys
        self._keepalive_s = keepalive_s
        self._find_sandbox = find_sandbox
        self._pinned = pinned
        self._sandboxes = WeakKeyDictionary[Connection, int]()

    async def open(self, target: Target, deadline: Deadline) -> Connection:
        """Connect to a host; a login that is refused is read anew, once."""
        port = await self._find_sandbox(target.host)
        if port is not None:
            return await self._enter_sandbox(target, port, deadline)
        # Secrets Manager may be slow; whoever gives it up leaves nothing undone.
        in_thread = partial(to_thread.run_sync, abandon_on_cancel=True)
        try:
            login = await in_thread(self._logins.read)
        except SecretUnreadable as error:
            raise SshSecretUnreadable(str(error)) from error
        try:
            return await self._log_in(target, login, deadline)
        except AuthenticationFailed:
            renewed = await in_thread(self._logins.read_anew, login)
            if renewed is None:
                raise
        # The refusal came before any command: nothing is sent twice.
        return await self._log_in(target, renewed, deadline)

    async def is_meant(self, connection: Connection) -> bool:
        """Tell whether a connection leads where its host is by now."""
        port = self._sandboxes.get(connection)
        return port is None or await self._find_sandbox(connection.target.host) == port

    async def _log_in(self, target: Target, login: SshLogin, deadline: Deadline) -> Connection:
        credentials = Credentials(
            user=login.username,
            password=login.password.get_secret_value(),
            private_key=login.private_key.get_secret_value(),
            setting=self._setting,
        )
        security = Security(credentials, self._host_keys)
        return await connect(target, security, deadline=deadline, keepalive_s=self._keepalive_s)

    async def _enter_sandbox(self, target: Target, port: int, deadline: Deadline) -> Connection:
        security = Security(Credentials(), self._pinned)
        there = replace(target, port=port)
        connection = await connect(
            there, security, deadline=deadline, keepalive_s=self._keepalive_s
        )
        connection.target = target  # by which the pool knows it
        self._sandboxes[connection] = port
        return connection

"""The PBX hosts: which connection, which console, what to try again and what never.

Only an error that says `again` is tried again, since it proves that nothing was executed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from anyio import to_thread

from shared.asterisk import client
from shared.asterisk.client import AgentPhase, Originated, OriginateUnknown
from shared.asterisk.commands import Originate
from shared.asterisk.console import Console, ExecConsole, SocketConsole
from shared.asterisk.devices import Device
from shared.asterisk.models import CdrMode, Channel, Context, Extension, Technology
from shared.asterisk.phases import Root
from shared.database import load_database
from shared.deadline import Deadline
from shared.errors import (
    AsteriskUnavailable,
    AuthenticationFailed,
    CdrUnreadable,
    ConnectFailed,
    ConnectionLost,
    FieldError,
    NoAnswer,
    NoChannel,
    NotExecuted,
    OutcomeUnknown,
    PbxBusy,
    SocketRefused,
    SshSecretUnreadable,
    UnknownExtension,
)
from shared.hostkeys import PinnedKeys
from shared.secrets import SecretUnreadable, SshLogin, ssh_logins
from shared.settings import Settings, load_settings, on_lambda
from shared.snapstart import load_snapshot
from shared.ssh.connection import (
    Connection,
    Credentials,
    FileSlice,
    FileUnreadable,
    HostKeys,
    Security,
    Target,
    connect,
)
from shared.ssh.pool import Pool

T = TypeVar("T")

_ATTEMPTS = 5
_REFUSALS_BEFORE_EXEC = 3
_PROBE_TIMEOUT_S = 3.0
_KNOWN_EXTENSION_S = 60.0
# A starting Asterisk refuses its socket too: the slow way must not be kept for good.
_EXEC_S = 300.0
_UNREADABLE = {
    "missing": "The host has no file {path}: load Asterisk's module cdr_csv, or set CDR_FILE",
    "denied": "SSH_USER may not read {path} on the host: permit it, or set CDR_FILE",
    "no-sftp": "The host's sshd has no SFTP for us, by which {path} is read: permit it",
    "failed": "{path} cannot be read on the host: set CDR_FILE to cdr_csv's file",
}


class Pbx:
    """Every PBX host, by its address."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._context = Context(settings.dialplan_context)
        self._consoles: WeakKeyDictionary[Connection, Console] = WeakKeyDictionary()
        self._exec_until: WeakKeyDictionary[Console, float] = WeakKeyDictionary()
        self._technologies: WeakKeyDictionary[Console, frozenset[Technology]] = WeakKeyDictionary()
        self._originating: WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._known_until: dict[tuple[str, str], float] = {}

    async def originate(self, host: str, command: Originate, deadline: Deadline) -> Originated:
        """Send an originate to a host, at most once.

        Raises:
            NotExecuted: nothing was dialled.
            OutcomeUnknown: it may have been.
            PbxBusy: no turn came in time.
        """
        # Two originates to one extension at once could not tell whose root channel is whose.
        key = (host, command.extension.number)
        lock = self._originating.setdefault(key, asyncio.Lock())
        try:
            async with deadline.sooner(self._settings.pbx_queue_s).enforce():
                await lock.acquire()
        except TimeoutError:
            raise PbxBusy(
                f"Too many calls wait for extension {command.extension.number}",
                retry_after_s=self._settings.pbx_queue_s,
            ) from None
        try:
            return await self._ask(
                host, deadline, lambda console, until: client.originate(console, command, until)
            )
        finally:
            lock.release()

    async def check_extension(
        self, host: str, extension: Extension, deadline: Deadline, *, field: str
    ) -> None:
        """Refuse an extension that the dialplan certainly does not know.

        Asterisk would accept the call and report nothing. Only the good answer is remembered, so
        that a new extension works at once.

        Raises:
            UnknownExtension: names `field`.
        """
        key = (host, extension.number)
        now = time.monotonic()
        if self._settings.precheck == "off" or self._known_until.get(key, 0) > now:
            return
        if not await self._ask(
            host,
            deadline,
            lambda console, until: client.is_known(console, extension, self._context, until),
        ):
            raise UnknownExtension(
                FieldError(
                    field,
                    f"extension {extension.number} is not in the dialplan of this PBX"
                    f" (context {self._context.name})",
                )
            )
        self._known_until = {k: until for k, until in self._known_until.items() if until > now}
        self._known_until[key] = now + _KNOWN_EXTENSION_S

    async def technology(self, host: str, extension: Extension, deadline: Deadline) -> Technology:
        """Tell what an extension's channels are called on a host.

        A host with both drivers is asked which of them carries the extension's call now.
        """
        if self._settings.channel_technology != "auto":
            return Technology(self._settings.channel_technology)

        async def find(console: Console, until: Deadline) -> Technology:
            known = await self._technologies_of(console, until)
            if len(known) == 1:
                return known[0]
            names = [channel.name for channel in await client.list_channels(console, until)]
            pjsip = f"PJSIP/{extension.number}-"
            carried = any(name.startswith(pjsip) for name in names)
            return Technology.PJSIP if carried else Technology.SIP

        return await self._ask(host, deadline, find)

    async def find_device(
        self, host: str, extension: Extension, deadline: Deadline
    ) -> Device | None:
        """Find an extension's phone and what it does; None where the host has none."""

        async def find(console: Console, until: Deadline) -> Device | None:
            known = await self._technologies_of(console, until)
            return await client.find_device(console, known, extension, until)

        return await self._ask(host, deadline, find)

    async def _technologies_of(
        self, console: Console, deadline: Deadline
    ) -> tuple[Technology, ...]:
        """Tell which drivers a host has, SIP first; asked once a connection."""
        if self._settings.channel_technology != "auto":
            return (Technology(self._settings.channel_technology),)
        known = self._technologies.get(console)
        if known is None:
            known = await client.find_technologies(console, deadline)
            self._technologies[console] = known
        if not known:
            raise AsteriskUnavailable("Asterisk has neither chan_sip nor PJSIP")
        return tuple(technology for technology in Technology if technology in known)

    async def list_channels(self, host: str, deadline: Deadline) -> tuple[Channel, ...]:
        """List a host's live channels."""
        return await self._ask(host, deadline, client.list_channels)

    async def find_cdr_mode(self, host: str, deadline: Deadline) -> CdrMode:
        """Tell how a host's Asterisk writes its call records."""
        return await self._ask(host, deadline, client.find_cdr_mode)

    async def find_linkedids(
        self, host: str, channels: Sequence[Channel], deadline: Deadline
    ) -> dict[str, str]:
        """Find whose call each channel belongs to; see `client.find_linkedids`."""
        return await self._ask(
            host, deadline, lambda console, until: client.find_linkedids(console, channels, until)
        )

    async def find_agent_phase(self, host: str, root: Channel, deadline: Deadline) -> AgentPhase:
        """Tell how far the extension that rings first is."""
        return await self._ask(
            host, deadline, lambda console, until: client.find_agent_phase(console, root, until)
        )

    async def find_legs(self, host: str, root: Root, deadline: Deadline) -> tuple[Channel, ...]:
        """Find every live channel of a call."""
        return await self._ask(
            host, deadline, lambda console, until: client.find_legs(console, root.uniqueid, until)
        )

    async def hang_up(
        self, host: str, root: Root, known: frozenset[str], deadline: Deadline
    ) -> bool:
        """End a call; False if nothing is left of it."""
        return await self._ask(
            host, deadline, lambda console, until: client.hang_up(console, root, known, until)
        )

    async def redirect(
        self, host: str, leg: Channel, extension: Extension, deadline: Deadline
    ) -> bool:
        """Send a channel to an extension, at most once; False if it has left."""
        return await self._ask(
            host,
            deadline,
            lambda console, until: client.redirect(console, leg, extension, self._context, until),
        )

    async def hang_up_unanswered(self, host: str, root: Channel, deadline: Deadline) -> bool:
        """Hang a call up unless its extension has answered; tell whether it was."""
        return await self._ask(
            host, deadline, lambda console, until: client.hang_up_unanswered(console, root, until)
        )

    async def read_file(
        self, host: str, path: str, offset: int, length: int, deadline: Deadline
    ) -> FileSlice:
        """Read a part of the host's call records; a negative offset counts from the file's end.

        Raises:
            CdrUnreadable: the host has no such file, or does not let us read it.
        """

        async def read(connection: Connection) -> FileSlice:
            until = deadline.sooner(self._settings.command_timeout_s)
            try:
                return await connection.read_file(path, offset, length, until)
            except ConnectionLost:
                self._pool.retire(connection)
                raise

        try:
            return await self._attempt(host, deadline, read)
        except FileUnreadable as error:
            raise CdrUnreadable(_UNREADABLE[error.cause].format(path=path)) from error
        except SocketRefused as error:
            raise CdrUnreadable("The host opens no SFTP session for us") from error

    async def _ask(
        self, host: str, deadline: Deadline, question: Callable[[Console, Deadline], Awaitable[T]]
    ) -> T:
        """Put a question to a host's Asterisk, by exec where its socket stays refused."""
        refusals = 0

        async def ask(connection: Connection) -> T:
            nonlocal refusals
            if refusals >= _REFUSALS_BEFORE_EXEC:
                await self._use_exec(connection, deadline)
            try:
                return await self._question(connection, deadline, question)
            except SocketRefused:
                refusals += 1
                raise

        return await self._attempt(host, deadline, ask)

    async def _attempt(
        self, host: str, deadline: Deadline, use: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Use a host's connection, again only while nothing was executed."""
        target = Target(_checked_host(host), self._settings.ssh_port, self._settings.ssh_user)
        for attempt in range(_ATTEMPTS):
            try:
                async with self._pool.lease(target, deadline) as connection:
                    return await use(connection)
            except NotExecuted as error:
                if not error.again or attempt + 1 == _ATTEMPTS or not deadline.remaining_s():
                    raise
            await _jitter(attempt, deadline)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _question(
        self,
        connection: Connection,
        deadline: Deadline,
        question: Callable[[Console, Deadline], Awaitable[T]],
    ) -> T:
        console = self._consoles.get(connection)
        if console is None or self._exec_until.get(console, math.inf) < time.monotonic():
            console = self._consoles[connection] = self._first_console(connection)
        try:
            return await question(console, deadline.sooner(self._settings.command_timeout_s))
        except NoChannel:
            raise
        except OriginateUnknown as error:
            if error.pending is not None:
                error.pending.on_close = self._pool.hold(connection)
            self._pool.retire(connection)
            raise
        except (ConnectionLost, NoAnswer, OutcomeUnknown):
            # A dead link and a frozen Asterisk look alike; the next one starts on a fresh link.
            self._pool.retire(connection)
            raise

    def _first_console(self, connection: Connection) -> Console:
        if self._settings.asterisk_transport == "exec":
            return self._exec_console(connection)
        path = self._settings.asterisk_socket
        return SocketConsole(lambda deadline: connection.open_socket(path, deadline))

    def _exec_console(self, connection: Connection) -> Console:
        return ExecConsole(connection.run, asterisk_command=self._settings.asterisk_command)

    async def _use_exec(self, connection: Connection, deadline: Deadline) -> None:
        """Switch a connection to `asterisk -rx`, if that answers where the socket is refused.

        Policy, permission, a full backlog and a stopped Asterisk all look the same from here.

        Raises:
            AsteriskUnavailable: that does not answer either, or is not wanted.
        """
        if isinstance(self._consoles.get(connection), ExecConsole):
            return
        if self._settings.asterisk_transport == "socket":
            raise AsteriskUnavailable(
                f"The host refuses {self._settings.asterisk_socket}: Asterisk is stopped,"
                " or sshd forbids stream-local forwarding"
            )
        console = self._exec_console(connection)
        try:
            await client.ping(console, deadline.sooner(_PROBE_TIMEOUT_S))
        except (ConnectionLost, SocketRefused) as error:
            raise AsteriskUnavailable(
                "Asterisk answers neither on its control socket nor to `asterisk -rx`"
            ) from error
        self._consoles[connection] = console
        self._exec_until[console] = time.monotonic() + _EXEC_S

    async def close(self) -> None:
        """End every connection, and forget what was known of the hosts."""
        self._known_until.clear()
        await self._pool.close()

    def __repr__(self) -> str:
        return f"<Pbx {self._pool!r}>"


def _checked_host(host: str) -> str:
    """Refuse an `ip` of the enterprises table that is neither an address nor a host name."""
    if re.fullmatch(r"(?!-)[A-Za-z0-9._-]{1,253}", host):
        return host
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ConnectFailed("The enterprise's ip is not an address") from None


async def _jitter(attempt: int, deadline: Deadline) -> None:
    """Wait a little; the callers of one host must not march in step."""
    delay_s = 0.02 * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000)
    await asyncio.sleep(min(delay_s, deadline.remaining_s()))


def open_pool(settings: Settings, host_keys: HostKeys | Path | None) -> Pool:
    """Make the pool that the settings describe."""
    logins = ssh_logins(settings)
    setting = "SSH_SECRET_ARN" if settings.ssh_secret_arn else "SSH_PRIVATE_KEY"
    # A frozen Lambda sends no keepalives, and its idle links are cut behind its back.
    keepalive_s, idle_s = (0.0, 45.0) if on_lambda() else (15.0, 3600.0)

    async def log_in(target: Target, login: SshLogin, deadline: Deadline) -> Connection:
        credentials = Credentials(
            user=login.username,
            password=login.password.get_secret_value(),
            private_key=login.private_key.get_secret_value(),
            setting=setting,
        )
        security = Security(credentials, host_keys)
        return await connect(target, security, deadline=deadline, keepalive_s=keepalive_s)

    async def open_connection(target: Target, deadline: Deadline) -> Connection:
        # Secrets Manager may be slow; whoever gives it up leaves nothing undone.
        in_thread = partial(to_thread.run_sync, abandon_on_cancel=True)
        try:
            login = await in_thread(logins.read)
        except SecretUnreadable as error:
            raise SshSecretUnreadable(str(error)) from error
        try:
            return await log_in(target, login, deadline)
        except AuthenticationFailed:
            renewed = await in_thread(logins.read_anew, login)
            if renewed is None:
                raise
        # The refusal came before any command: nothing is sent twice.
        return await log_in(target, renewed, deadline)

    return Pool(
        open_connection,
        concurrency=settings.pbx_concurrency,
        queue_s=settings.pbx_queue_s,
        connect_timeout_s=settings.ssh_connect_timeout_s,
        idle_s=idle_s,
        retry_s=settings.pbx_retry_s,
    )


@cache
def load_pbx() -> Pbx:
    """The hosts of this process; tests call `load_pbx.cache_clear()`."""
    settings = load_settings()
    trust: dict[str, HostKeys | Path | None] = {
        "pin": PinnedKeys(load_database()),
        "known_hosts": Path(settings.ssh_known_hosts_file),
        "off": None,
    }
    pbx = Pbx(settings, open_pool(settings, trust[settings.ssh_host_keys]))
    load_snapshot().leave_out(pbx.close)
    return pbx

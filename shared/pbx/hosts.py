"""The PBX hosts: which connection, which console, what to try again and what never.

Only an error that says `again` is tried again, since it proves that nothing was executed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from shared.asterisk import client
from shared.asterisk.client import Phones
from shared.asterisk.commands import Originate
from shared.asterisk.console import Console, Exchange
from shared.asterisk.devices import Device, Tap, channels_of
from shared.asterisk.drivers import DRIVERS
from shared.asterisk.models import Context, Extension, Technology
from shared.asterisk.originating import Originated, OriginateUnknown
from shared.deadline import Deadline
from shared.errors import (
    AsteriskUnavailable,
    CdrUnreadable,
    ConnectFailed,
    ConnectionLost,
    DatabaseUnavailable,
    NoAnswer,
    NoChannel,
    NotExecuted,
    OutcomeUnknown,
    PbxBusy,
    PbxError,
    SocketRefused,
    UnknownExtension,
)
from shared.measures import observe
from shared.pbx.addresses import canonical, checked_host
from shared.pbx.breakers import Breakers
from shared.pbx.connecting import open_pool
from shared.pbx.readiness import Readiness
from shared.pbx.sharing import Send, Sharing
from shared.pbx.state import Failure, HostState, Observed
from shared.pbx.transports import Line, Lines, may_be_ahead, replace_line
from shared.process import closed_by
from shared.settings import Settings, the_settings
from shared.ssh.connection import Connection, Target
from shared.ssh.files import FileSlice, FileUnreadable, Space
from shared.ssh.login import HostKeys
from shared.ssh.pool import Pool, Use, Used
from shared.store.breakers import Broken
from shared.store.database import Database, the_database
from shared.store.hostkeys import PinnedKeys
from shared.store.hosts import note_asterisk, note_met
from shared.store.sandboxes import find_port
from shared.store.sqlstates import TextRefused
from shared.telemetry import LOG, of_host, of_pbx
from shared.turns import Turn

T = TypeVar("T")
Answer_co = TypeVar("Answer_co", covariant=True)

_ATTEMPTS = 5
_KNOWN_EXTENSION_S = 60.0
_UNREADABLE = {
    "missing": "The host has no file {path}: load Asterisk's module cdr_csv, or set CDR_FILE",
    "denied": "SSH_USER may not read {path} on the host: permit it, or set CDR_FILE",
    "no-sftp": "The host's sshd has no SFTP for us, by which {path} is read: permit it",
    "failed": "{path} cannot be read on the host: set CDR_FILE to cdr_csv's file",
}


class Question(Protocol[Answer_co]):
    """What is asked of one Asterisk: a function of `asterisk.client`, its arguments bound."""

    def __call__(self, console: Console, *, deadline: Deadline) -> Awaitable[Answer_co]:
        """Ask it."""


class Pbx:
    """Every PBX host, by its text in `enterprises.ip`.

    What a new connection shows of a host is noted in the database, before anything is asked of it.
    """

    def __init__(self, settings: Settings, pool: Pool, database: Database) -> None:
        self._settings = settings
        self._pool = pool
        self._database = database
        self._met: WeakValueDictionary[str, Connection] = WeakValueDictionary()
        self._asterisks: dict[str, str] = {}
        self._context = Context(settings.dialplan_context)
        self._choose = Lines(settings)
        self._lines: WeakKeyDictionary[Connection, Line] = WeakKeyDictionary()
        self._observed: dict[str, Observed] = {}
        self._originating: WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._known_until: dict[tuple[str, str], float] = {}
        self._blocked: Counter[str] = Counter()
        self._sharing = Sharing()
        self._breakers = Breakers(settings, pool, database)
        self._readiness = Readiness(self._open_ahead, is_on=may_be_ahead(settings))

    async def originate(self, host: str, command: Originate, deadline: Deadline) -> Originated:
        """Send an originate to a host, at most once.

        Raises:
            OutcomeUnknown: it may have been dialled.
            Exception: any other; nothing was dialled.
            CancelledError: nobody knows.
        """
        sent: list[Originated] = []
        # Two originates to one extension at once could not tell whose root channel is whose.
        key = (host, command.order.extension.number)
        lock = self._originating.setdefault(key, asyncio.Lock())
        try:
            async with deadline.sooner(self._settings.pbx_queue_s).enforce():
                await lock.acquire()
        except TimeoutError:
            raise PbxBusy(
                f"Too many calls wait for extension {command.order.extension.number}",
                retry_after_s=self._settings.pbx_queue_s,
            ) from None

        async def use(send: Send) -> Originated:
            async def ask(line: Line, until: Deadline) -> Originated:
                self._check_blocked(host, line)
                sent.append(await send(line.console, until))
                return sent[0]

            return await self._ask_line(host, ask, deadline)

        try:
            is_free = self._pool.turns(self.target(host)).has_place("call")
            return await self._sharing.originate(host, command, deadline, use, is_turn_free=is_free)
        except Exception:
            if not sent:
                raise
            LOG.exception("❌ %s: звонок принят, соединение не отпущено", host, extra=of_pbx(host))
            return sent[0]
        finally:
            lock.release()

    def _check_blocked(self, host: str, line: Line) -> None:
        """Refuse one more call where each blocks a console, and as many do as may."""
        if self._blocked[host] >= line.transport.most_blocked:
            raise PbxBusy(
                f"{self._blocked[host]} calls ring on this host, each on a console of its own until"
                " it is answered, as up to Asterisk 11",
                retry_after_s=self._settings.pbx_queue_s,
            )

    async def check_extension(self, host: str, extension: Extension, deadline: Deadline) -> None:
        """Refuse an extension that the dialplan certainly does not know; its call follows.

        Asterisk would accept the call and report nothing. Only the good answer is remembered, so
        that a new extension works at once.

        Raises:
            UnknownExtension: whoever asked names the field.
        """
        key = (host, extension.number)
        now = time.monotonic()
        if self._settings.precheck == "off" or self._known_until.get(key, 0) > now:
            return
        question = partial(client.is_known, extension=extension, context=self._context)
        if not await self.ask(host, question, deadline, then=1):
            raise UnknownExtension(
                f"extension {extension.number} is not in the dialplan of this PBX"
                f" (context {self._context.name})"
            )
        self._known_until = {k: until for k, until in self._known_until.items() if until > now}
        self._known_until[key] = now + _KNOWN_EXTENSION_S

    async def technology(self, host: str, extension: Extension, deadline: Deadline) -> Technology:
        """Tell what an extension's channels are called on a host.

        A host with several drivers is asked which of them carries the extension's call now.
        """
        if self._settings.channel_technology != "auto":
            return Technology(self._settings.channel_technology)

        async def find(line: Line, until: Deadline) -> Technology:
            known = await self._technologies_of(line, until)
            if len(known) == 1:
                return known[0]
            channels = await client.list_channels(line.console, until)
            carrying = (t for t in known if channels_of(t, extension, channels))
            return next(carrying, known[0])

        return await self._ask_line(host, find, deadline)

    async def find_device(
        self, host: str, extension: Extension, deadline: Deadline
    ) -> Device | None:
        """Find an extension's phone and what it does, for who reads; None: the host has none."""

        async def find(line: Line, until: Deadline) -> Device | None:
            phones = await self._load_phones(line, extension, until)
            return next(iter(phones.found), None)

        return await self._ask_line(host, find, deadline, "read")

    async def find_tap(self, host: str, extension: Extension, deadline: Deadline) -> Tap:
        """Find the channel by which an extension can be heard; a monitoring follows."""

        async def find(line: Line, until: Deadline) -> Tap:
            phones = await self._load_phones(line, extension, until)
            return await client.find_tap(line.console, phones, extension, self._context, until)

        return await self._ask_line(host, find, deadline, then=1)

    async def _load_phones(self, line: Line, extension: Extension, deadline: Deadline) -> Phones:
        """Ask for an extension's phones, and once a connection for the drivers."""
        is_known = self._settings.channel_technology != "auto" or line.technologies is not None
        known = await self._technologies_of(line, deadline) if is_known else None
        phones = await client.load_phones(line.console, known, extension, deadline)
        line.technologies = frozenset(phones.technologies)
        await self._technologies_of(line, deadline)
        return phones

    async def _technologies_of(self, line: Line, deadline: Deadline) -> tuple[Technology, ...]:
        """Tell which drivers a host has, in the order of the table; asked once a connection."""
        if self._settings.channel_technology != "auto":
            return (Technology(self._settings.channel_technology),)
        known = line.technologies
        if known is None:
            known = line.technologies = await client.load_technologies(line.console, deadline)
        if not known:
            raise AsteriskUnavailable("Asterisk has neither chan_sip nor PJSIP nor IAX2")
        return tuple(technology for technology in DRIVERS if technology in known)

    async def read_file(
        self,
        host: str,
        path: str,
        offset: int,
        length: int,
        deadline: Deadline,
        *,
        turn: Turn = "read",
        after: asyncio.Event | None = None,
    ) -> FileSlice:
        """Read a part of the host's call records; a negative offset counts from the file's end.

        Not before `after` is set: what is on its way meanwhile is only the way to the file.

        Raises:
            CdrUnreadable: the host has no such file, or does not let us read it.
        """

        async def read(connection: Connection, until: Deadline) -> FileSlice:
            return await connection.read_file(path, offset, length, until, after=after)

        return await self._ask_files(host, path, read, deadline, turn)

    async def load_space(self, host: str, path: str, deadline: Deadline) -> Space:
        """Tell the room of the partition that a path of the host is on.

        Raises:
            CdrUnreadable: there is no such path, or the host does not tell.
        """

        async def load(connection: Connection, until: Deadline) -> Space:
            return await connection.load_space(path, until)

        return await self._ask_files(host, path, load, deadline, "read")

    async def _ask_files(
        self,
        host: str,
        path: str,
        question: Callable[[Connection, Deadline], Awaitable[T]],
        deadline: Deadline,
        turn: Turn,
    ) -> T:
        async def ask(connection: Connection) -> T:
            until = deadline.sooner(self._settings.command_timeout_s)
            try:
                return await question(connection, until)
            except ConnectionLost:
                self._pool.retire(connection)
                raise

        try:
            return await self.use(host, deadline, ask, turn=turn, of="file")
        except FileUnreadable as error:
            raise CdrUnreadable(_UNREADABLE[error.cause].format(path=path)) from error
        except SocketRefused as error:
            raise CdrUnreadable("The host opens no SFTP session for us") from error

    async def ask(
        self,
        host: str,
        question: Question[T],
        deadline: Deadline,
        *,
        turn: Turn = "call",
        then: int = 0,
    ) -> T:
        """Put a question to a host's Asterisk: what changes nothing, or is sent at most once.

        So many exchanges follow `then`: the way for them is made ready beside.

        Raises:
            PbxError: as far as things had got.
        """

        async def ask(line: Line, until: Deadline) -> T:
            console = line.console.for_looks() if turn == "look" else line.console
            return await question(console, deadline=until)

        answer = await self._ask_line(host, ask, deadline, turn, then=then)
        if question is client.list_channels and isinstance(answer, tuple):
            self._observed_of(host).note_live(len(answer))
        return answer

    async def _ask_line(
        self,
        host: str,
        question: Callable[[Line, Deadline], Awaitable[T]],
        deadline: Deadline,
        turn: Turn = "call",
        *,
        then: int = 0,
    ) -> T:
        refusals = 0

        async def ask(connection: Connection) -> T:
            nonlocal refusals
            known = self._lines.get(connection)
            line = await self._choose.choose(known, connection, refusals, deadline)
            if line is not known:
                replace_line(self._lines, connection, line)
            if then:
                line.console.expect(1 + then, deadline)
            try:
                return await self._question(host, connection, line, question, deadline)
            except SocketRefused:
                refusals += 1
                raise

        try:
            return await self.use(host, deadline, ask, turn=turn)
        finally:
            self._readiness.note_use(host, turn)

    def _open_ahead(self, host: str) -> None:
        """Make the way ready for the next call, unless somebody waits for an answer now."""
        connection = self._met.get(host)
        line = None if connection is None else self._lines.get(connection)
        if connection is None or line is None:
            return
        is_current = self._pool.connection(connection.target) is connection
        if is_current and not self._pool.turns(connection.target).is_waited_for:
            line.console.open_ahead()

    async def use(
        self,
        host: str,
        deadline: Deadline,
        use: Callable[[Connection], Awaitable[T]],
        *,
        turn: Turn = "call",
        of: Use = "console",
    ) -> T:
        """Use a host's connection, again only while nothing was executed. Raises PbxError."""
        with of_host(host):
            try:
                return await self._use(host, deadline, use, turn, of)
            except PbxError as error:
                if of == "console":
                    self._observed_of(host).note_away(error)
                await self._note_broken(host, error)
                raise

    async def _use(
        self,
        host: str,
        deadline: Deadline,
        use: Callable[[Connection], Awaitable[T]],
        turn: Turn,
        of: Use,
    ) -> T:
        target = self.target(host)
        for attempt in range(_ATTEMPTS):
            try:
                async with self._pool.lease(target, deadline, turn, of) as connection:
                    await self._breakers.note_connected(host)
                    await self._note_met(host, connection)
                    return await use(connection)
            except NotExecuted as error:
                if not error.again or attempt + 1 == _ATTEMPTS or not deadline.remaining_s():
                    raise
            await _jitter(attempt, deadline)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _question(
        self,
        host: str,
        connection: Connection,
        line: Line,
        question: Callable[[Line, Deadline], Awaitable[T]],
        deadline: Deadline,
    ) -> T:
        observed = self._observed_of(host)
        began = time.perf_counter()
        try:
            answer = await question(line, deadline.sooner(self._settings.command_timeout_s))
        except PbxError as error:
            observed.note(began, error)
            _measure(line, began, "unknown" if error.dialled == "unknown" else "failed")
            self._let_go(connection, error)
            raise
        observed.note(began)
        _measure(line, began, "ok")
        await self._note_asterisk(host, line)
        if isinstance(answer, Originated) and answer.blocked is not None:
            self._keep(host, connection, answer.blocked)
        return answer

    async def _note_met(self, host: str, connection: Connection) -> None:
        """Note the address of a new connection. Raises DatabaseUnavailable: nothing was asked."""
        if self._met.get(host) is connection:
            return
        with suppress(ValueError):
            peer = canonical(connection.peer)
            await note_met(self._database, host, target=connection.target.host, peer=peer)
        self._asterisks.pop(host, None)
        self._met[host] = connection

    async def _note_asterisk(self, host: str, line: Line) -> None:
        """Note who a new Asterisk says it is; whatever becomes of that, its answer is not lost."""
        identity = line.console.identity
        if identity is None or self._asterisks.get(host) == identity:
            return
        try:
            await note_asterisk(self._database, host, identity)
        except DatabaseUnavailable as error:
            LOG.warning(
                "⚠️ АТС %s: не записано, какой это Asterisk: %s", host, error, extra=of_pbx(host)
            )
            return  # the next answer tries again
        except TextRefused:  # the database has another encoding than UTF-8
            LOG.warning(
                "⚠️ АТС %s: не записано, какой это Asterisk: в базе нет таких букв",
                host,
                extra=of_pbx(host),
            )
        except Exception:  # noqa: BLE001 - told in the log: a call may have been placed
            LOG.exception("❌ АТС %s: не записано, какой это Asterisk", host, extra=of_pbx(host))
        self._asterisks[host] = identity

    def _keep(self, host: str, connection: Connection, blocked: Exchange) -> None:
        """Count what blocks a console of the host, and keep its connection, until it is closed."""
        release = self._pool.hold(connection)
        self._blocked[host] += 1

        def closed() -> None:
            self._blocked[host] -= 1
            release()

        blocked.on_close = closed

    def _let_go(self, connection: Connection, error: PbxError) -> None:
        """Use a connection no more that may be dead: a frozen Asterisk looks the same."""
        if isinstance(error, NoChannel):
            return
        if isinstance(error, OriginateUnknown) and error.pending is not None:
            error.pending.on_close = self._pool.hold(connection)
        if isinstance(error, ConnectionLost | NoAnswer | OutcomeUnknown):
            self._pool.retire(connection)

    def _observed_of(self, host: str) -> Observed:
        return self._observed.setdefault(host, Observed())

    async def _note_broken(self, host: str, error: PbxError) -> None:
        with suppress(ConnectFailed):
            await self._breakers.note_failure(host, self.target(host), error)

    def heed(self, host: str, broken: Broken | None) -> None:
        """Take in what all know of connecting a host: nothing, not now, or you are to try it."""
        with suppress(ConnectFailed):  # no address: that is told by asking it
            self._breakers.heed(host, self.target(host), broken)

    def asked(self) -> tuple[str, ...]:
        """List the hosts that were asked anything, by their texts."""
        return tuple(self._observed)

    def state(self, host: str) -> HostState:
        """Tell what is known of a host; nothing is asked.

        Raises ConnectFailed: it is neither address nor name.
        """
        target = self.target(host)
        connection = self._pool.connection(target)
        line = None if connection is None else self._lines.get(connection)
        observed = self._observed.get(host, Observed())
        failure = self._pool.failure(target)
        return HostState(
            transport=line.transport.name if line else None,
            why=self._choose.why(line) if line else None,
            retry_s=self._choose.retry_s(line) if line else None,
            version=line.console.version if line else None,
            latencies_ms=tuple(observed.latencies_ms),
            gate=self._pool.gate(target),
            breaker=Failure(failure[0].code, failure[1]) if failure else None,
            last_error=observed.last_error,
            host_key=connection.host_key_fingerprint() if connection else None,
            reach=observed.reach,
            live=observed.live,
        )

    def used(self, within_s: float) -> Iterator[Used]:
        """Tell what is asked of each host now, of those that were asked lately."""
        return self._pool.used(within_s)

    def target(self, host: str) -> Target:
        """Tell where a host is connected. Raises ConnectFailed: it is neither address nor name."""
        return Target(checked_host(host), self._settings.ssh_port, self._settings.ssh_user)

    async def place(self, host: str) -> Target:
        """Tell the same as it is now: a sandbox has a port of its own.

        Raises ConnectFailed, DatabaseUnavailable.
        """
        target = self.target(host)
        return replace(target, port=await find_port(self._database, target.host) or target.port)

    async def close(self) -> None:
        """End every connection, and forget what was known of the hosts."""
        self._known_until.clear()
        self._readiness.close()
        for line in self._lines.values():
            line.console.close()
        await self._pool.close()

    def __repr__(self) -> str:
        return f"<Pbx {self._pool!r}>"


def _measure(line: Line, began: float, outcome: str) -> None:
    seconds = time.perf_counter() - began
    observe("CommandSeconds", seconds, transport=line.transport.name, outcome=outcome)


async def _jitter(attempt: int, deadline: Deadline) -> None:
    """Wait a little; the callers of one host must not march in step."""
    delay_s = 0.02 * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000)
    await asyncio.sleep(min(delay_s, deadline.remaining_s()))


def open_pbx(settings: Settings, database: Database) -> Pbx:
    """Make the hosts that the settings describe."""
    trust: dict[str, HostKeys | Path | None] = {
        "pin": PinnedKeys(database),
        "known_hosts": Path(settings.ssh_known_hosts_file),
        "off": None,
    }
    pool = open_pool(
        settings,
        trust[settings.ssh_host_keys],
        find_sandbox=partial(find_port, database),
        pinned=PinnedKeys(database),
    )
    return Pbx(settings, pool, database)


@closed_by(Pbx.close)
def the_pbx() -> Pbx:
    """The hosts of this process."""
    return open_pbx(the_settings(), the_database())

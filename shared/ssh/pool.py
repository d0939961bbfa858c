"""One connection per host, kept warm; a gate before each host, so that none is flooded.

A connection carries any number of exchanges at once, so a host needs only one. The gate keeps
its concurrency under what Asterisk's control socket (a backlog of 2) and sshd (MaxSessions 10)
take without refusing. Files have places of their own: reading one takes a session of sshd's,
perhaps for seconds, and nothing of Asterisk's. The lock around connecting keeps a burst of
requests from becoming a burst of log-ins, which sshd would drop (MaxStartups 10:30:100).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shared.deadline import Deadline
from shared.errors import ConnectTimeout, NotExecuted, PbxBusy
from shared.ssh.connection import Connection, Target
from shared.turns import Turn, Turns

Use: TypeAlias = Literal["console", "file"]

# One of them is kept for whoever follows calls.
_FILES, _FILES_OF_READS = 2, 1
# Of three exchanges at once one may be a read's.
_READS_SHARE = 3


@dataclass(slots=True)
class _Host:
    """What the pool knows of one target."""

    turns: Mapping[Use, Turns]
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None
    failure: NotExecuted | None = None
    failed_at: float = 0.0
    asked_at: float = 0.0
    look: asyncio.TimerHandle | None = None  # at whether its connection is used

    @classmethod
    def of(cls, concurrency: int) -> _Host:
        """Make one that takes so many exchanges at once."""
        reads = max(1, concurrency // _READS_SHARE)
        return cls(
            {
                "console": Turns(concurrency, most_reads=reads),
                "file": Turns(_FILES, most_reads=_FILES_OF_READS, kept_for_calls=0),
            }
        )

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return sum(turns.waiting for turns in self.turns.values())

    def look_no_more(self) -> None:
        """Forget the look to come, whose timer would keep the pool, and the log-in it knows."""
        if self.look is not None:
            self.look.cancel()


@dataclass(frozen=True, slots=True)
class Gate:
    """How many may use a host at once, how many do, how many wait for that."""

    size: int
    leased: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Used:
    """What is asked of a host that was asked lately.

    `leases` are those of its connection; `fails` says that it could not be connected, when that was
    last tried; `running` and `waiting` tell of its turns.
    """

    host: str
    is_connected: bool
    leases: int
    fails: bool
    running: Mapping[Use, int]
    waiting: Mapping[Use, int]


class Pool:
    """Connections by target.

    Args:
        connect: opens one; what it raises, `lease` raises.
        concurrency: exchanges at once with one target.
        queue_s: longest wait for a lease.
        connect_timeout_s: longest wait for a connection, whoever makes it.
        idle_s: a connection that was not used for so long is closed, and never trusted.
        retry_s: how long a host that could not be connected is answered for at once; then one
            caller tries it again while the others are still answered at once.
        is_meant: tells of a connection that lives whether it leads where its target does by now.
    """

    def __init__(
        self,
        connect: Callable[[Target, Deadline], Awaitable[Connection]],
        *,
        concurrency: int,
        queue_s: float,
        connect_timeout_s: float,
        idle_s: float,
        retry_s: float,
        is_meant: Callable[[Connection], Awaitable[bool]] | None = None,
    ) -> None:
        self._connect = connect
        self._concurrency = concurrency
        self._queue_s = queue_s
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._retry_s = retry_s
        self._is_meant = is_meant
        self._hosts: dict[Target, _Host] = {}

    @asynccontextmanager
    async def lease(
        self, target: Target, deadline: Deadline, turn: Turn = "call", use: Use = "console"
    ) -> AsyncGenerator[Connection]:
        """Wait for a turn at the host and lend its connection.

        Raises:
            PbxBusy: no turn came in time.
            NotExecuted: no connection could be made, now or just before.
        """
        host = self._host(target)
        turns = host.turns[use]
        host.asked_at = time.monotonic()
        try:
            await turns.take(turn, deadline.sooner(self._queue_s))
        except TimeoutError:
            raise PbxBusy(
                f"Too many requests wait for {target.host}", retry_after_s=self._queue_s
            ) from None
        try:
            connection = await self._usable(target, host, deadline)
            release = self.hold(connection)
            try:
                yield connection
            except NotExecuted as error:  # of a log-in that was of no use after all
                if connection.is_closed() and not error.again:
                    host.failure, host.failed_at = error, time.monotonic()
                raise
            finally:
                release()
        finally:
            turns.give_back(turn)

    def connection(self, target: Target) -> Connection | None:
        """Return a host's connection, if it has a live one."""
        host = self._hosts.get(target)
        live = host and host.connection
        return live if live and not live.is_closed() else None

    def gate(self, target: Target) -> Gate:
        """Tell how many turns at a host's console there are, are taken, are waited for."""
        host = self._hosts.get(target)
        if host is None:
            return Gate(self._concurrency, 0, 0)
        turns = host.turns["console"]
        return Gate(self._concurrency, turns.taken, turns.waiting)

    def turns(self, target: Target) -> Turns:
        """Return the turns at a host's console."""
        return self._host(target).turns["console"]

    def failure(self, target: Target) -> tuple[NotExecuted, float] | None:
        """Return why a host is not connected just now, and for how many seconds that is known."""
        host = self._hosts.get(target)
        if host is None or host.failure is None:
            return None
        return host.failure, max(0.0, time.monotonic() - host.failed_at)

    def know(self, target: Target, failure: NotExecuted, left_s: float) -> None:
        """Take in that another process could not connect a host, which nobody is to try for a time.

        One that is connected here is not broken.
        """
        if self.connection(target) is None:
            host = self._host(target)
            host.failure, host.failed_at = failure, time.monotonic() + left_s - self._retry_s

    def forget(self, target: Target) -> None:
        """Have the next one try a host, whatever is known of it."""
        self._host(target).failure = None

    def used(self, within_s: float) -> Iterator[Used]:
        """Tell of each host that was asked within so many seconds."""
        now = time.monotonic()
        for target, host in self._hosts.items():
            connection = self.connection(target)
            if now - host.asked_at <= within_s:
                yield Used(
                    target.host,
                    is_connected=connection is not None,
                    leases=connection.leases if connection else 0,
                    fails=host.failure is not None,
                    running={use: turns.taken for use, turns in host.turns.items()},
                    waiting={use: turns.waiting for use, turns in host.turns.items()},
                )

    def hold(self, connection: Connection) -> Callable[[], None]:
        """Keep a connection open, also once retired, until the function returned is called."""
        connection.leases += 1

        def release() -> None:
            connection.leases -= 1
            host = self._hosts.get(connection.target)
            if not connection.leases and (host is None or host.connection is not connection):
                connection.abort()

        return release

    def retire(self, connection: Connection) -> None:
        """Lend it no more; it is closed when its last lease ends, which may yet be answered."""
        host = self._hosts.get(connection.target)
        if host is not None and host.connection is connection:
            host.connection = None
        if not connection.leases:
            connection.abort()

    def _host(self, target: Target) -> _Host:
        host = self._hosts.get(target)
        if host is None:
            host = self._hosts[target] = _Host.of(self._concurrency)
        return host

    async def _usable(self, target: Target, host: _Host, deadline: Deadline) -> Connection:
        if host.failure is not None and host.connecting.locked():
            raise self._known(host.failure)  # somebody is trying it again at this moment
        deadline = deadline.sooner(self._connect_timeout_s)
        try:
            async with deadline.enforce():
                await host.connecting.acquire()
        except TimeoutError:
            raise ConnectTimeout("Connection timeout") from None
        try:
            known = host.connection
            if known is not None and await self._is_stale(known):
                self.retire(known)  # unless whoever used it has, meanwhile
            if host.connection is None:
                host.connection = await self._open(target, host, deadline)
                host.look_no_more()
                self._end_once_idle(host)
            return host.connection
        finally:
            host.connecting.release()

    async def _open(self, target: Target, host: _Host, deadline: Deadline) -> Connection:
        failure = host.failure
        if failure is not None and time.monotonic() - host.failed_at < self._retry_s:
            raise self._known(failure)
        # A caller with little time left learns nothing about the host.
        had_time = deadline.remaining_s() > self._connect_timeout_s / 2
        try:
            connection = await self._in_time(target, deadline)
        except NotExecuted as error:
            if not error.again and (had_time or not isinstance(error, ConnectTimeout)):
                host.failure, host.failed_at = error, time.monotonic()
            raise
        host.failure = None
        return connection

    async def _in_time(self, target: Target, deadline: Deadline) -> Connection:
        try:
            async with deadline.enforce():
                return await self._connect(target, deadline)
        except TimeoutError:
            raise ConnectTimeout("Connection timeout") from None

    def _known(self, failure: NotExecuted) -> NotExecuted:
        """Make the same error once more, for another request."""
        return type(failure)(failure.reason, retry_after_s=self._retry_s)

    async def _is_stale(self, connection: Connection) -> bool:
        idle_s = time.monotonic() - connection.used_at
        if idle_s > 1:
            # A process that was frozen, as on Lambda, learns of a closed link only when its loop
            # has turned a few times.
            for _ in range(3):
                await asyncio.sleep(0)
        if connection.is_closed() or (not connection.leases and idle_s > self._idle_s):
            return True
        return self._is_meant is not None and not await self._is_meant(connection)

    def _end_once_idle(self, host: _Host) -> None:
        """End a connection that nobody has asked for: its host may be nobody's any more."""
        connection = host.connection
        if connection is None:
            return
        rested_s = 0.0 if connection.leases else time.monotonic() - connection.used_at
        if rested_s < self._idle_s:
            left_s = self._idle_s - rested_s
            host.look = asyncio.get_running_loop().call_later(left_s, self._end_once_idle, host)
        else:
            self.retire(connection)

    async def close(self) -> None:
        """End every connection in good order."""
        connections = [host.connection for host in self._hosts.values() if host.connection]
        for host in self._hosts.values():
            host.look_no_more()
        self._hosts.clear()
        await asyncio.gather(*(connection.close() for connection in connections))

    def __repr__(self) -> str:
        hosts = self._hosts.values()
        connected = sum(1 for h in hosts if h.connection and not h.connection.is_closed())
        leased = sum(h.connection.leases for h in hosts if h.connection)
        waiting = sum(h.waiting for h in hosts)
        return f"<Pool {connected} connected, {leased} leased, {waiting} waiting>"

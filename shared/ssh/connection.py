"""One SSH connection to a PBX host.

Every failure says how far things had got, since only that decides whether another attempt is
safe: an error of `shared.errors` with `again` means that nothing was sent.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from shared.deadline import Deadline
from shared.errors import (
    ConnectionLost,
    NotExecuted,
    SocketRefused,
    TooMuchSent,
)
from shared.ssh.channels import MAX_BYTES, WINDOW_BYTES, Received, Session, Socket
from shared.ssh.files import (
    FileSlice,
    FileUnreadable,
    Space,
    open_sftp,
    read_slice,
    read_space,
    why_unreadable,
)
from shared.ssh.intake import Intake

# Opening a socket or a session is one round trip; a connection that takes longer stands still.
_OPEN_TIMEOUT_S = 3.0
# Channels that were closed, and that the host has not let go of, still cost memory: sockets and
# sessions little, an SFTP session what it had begun to read.
_MOST_CHANNELS = 256
_MOST_SFTP = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes and as whom."""

    host: str
    port: int
    user: str


class UnixStream:
    """An open Unix socket of the host."""

    def __init__(self, connection: Connection, session: Socket, end: Callable[[], None]) -> None:
        self._connection = connection
        self._session = session
        self._end = end

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that was not read."""
        return not (self._session.ended or self._session.received)

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionLost, TooMuchSent."""
        data = await self._session.read()
        if not data and self._session.is_lost:
            raise self._connection.lost()
        return data

    def write(self, data: bytes) -> None:
        """Send in one piece. Raises ConnectionLost, and sends nothing, if it is closed already."""
        try:
            self._session.channel.write(data)
        except OSError as error:
            raise ConnectionLost("Connection lost") from error

    def close(self) -> None:
        """Let go, without waiting; nor does an answer that leaves in the same turn of the loop."""
        asyncio.get_running_loop().call_soon(self._session.close)
        self._end()


class Connection:
    """An authenticated connection, shared by any number of exchanges at once.

    `intake` counts what the host sends.
    """

    def __init__(
        self, target: Target, connection: asyncssh.SSHClientConnection, intake: Intake
    ) -> None:
        self.target = target
        self._connection = connection
        self._intake = intake
        self._channels: set[Received] = set()
        self._sftp: set[asyncio.Future[None]] = set()
        self._reading: set[object] = set()
        self._ended = asyncio.Event()  # of the next session of ours to end
        self._first: asyncio.Task[None] | None = None
        self.used_at = time.monotonic()
        self.leases = 0

    def begin_with(self, first: Coroutine[Any, Any, None]) -> None:
        """Do something first; other sessions wait for that, sockets do not.

        If it fails, what fails after it fails with its error. It is not to take long.
        """
        self._first = asyncio.ensure_future(first)
        # Who never needs to know does not ask why it failed.
        self._first.add_done_callback(_look_at)

    async def _begun(self) -> None:
        """Wait for what is done first. Raises NotExecuted: that failed."""
        if self._first is not None:
            await asyncio.wait({self._first})
            self._first.result()

    def is_closed(self) -> bool:
        """Tell whether either side has ended it."""
        return self._connection.is_closed()

    @property
    def peer(self) -> str:
        """The address that it goes to."""
        peer = self._connection.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    def host_key_fingerprint(self) -> str | None:
        """Return that of the key which the host has shown: `SHA256:...`."""
        key = self._connection.get_server_host_key()
        return None if key is None else key.get_fingerprint()

    async def open_socket(self, path: str, deadline: Deadline) -> UnixStream:
        """Open a Unix socket of the host.

        Raises:
            SocketRefused: policy, permission, backlog or nobody listening; the host does not say.
            ConnectionLost: this connection is of no more use.
        """
        self._use(self._channels, _MOST_CHANNELS)
        session = Socket(self._channels)
        end = self._intake.expect(MAX_BYTES)
        opening = asyncio.ensure_future(
            self._connection.create_unix_connection(
                lambda: session, path, encoding=None, window=WINDOW_BYTES
            )
        )
        opening.add_done_callback(_look_at)
        stream = UnixStream(self, session, end)

        def let_go(_: object) -> None:
            stream.close()

        # Never cancelled: the host would open it all the same, and nobody would close it.
        try:
            await asyncio.wait({opening}, timeout=deadline.sooner(_OPEN_TIMEOUT_S).remaining_s())
        except BaseException:
            opening.add_done_callback(let_go)
            raise
        if not opening.done():
            opening.add_done_callback(let_go)
            raise ConnectionLost("Connection stands still")
        try:
            opening.result()
        except (asyncssh.Error, OSError) as error:
            end()
            await self._begun()
            if self.is_closed():
                raise self.lost() from error
            raise SocketRefused("Asterisk's control socket could not be opened") from error
        except BaseException:
            end()
            raise
        return stream

    async def start(self, command: str, deadline: Deadline) -> Running:
        """Start a shell command; once it may have begun, this returns and never raises.

        Raises:
            NotExecuted: the command was certainly not sent.
        """
        await self._begun()
        return await self._in_turn(lambda: self.start_first(command, deadline), deadline)

    async def start_first(self, command: str, deadline: Deadline) -> Running:
        """Start the command that others wait for; see `begin_with` and `start`."""
        self._use(self._channels, _MOST_CHANNELS)
        session = Session(self._channels, self._intake.expect(MAX_BYTES), self._note_ended)
        opening = asyncio.ensure_future(
            self._connection.create_session(
                session.started, command, encoding=None, window=WINDOW_BYTES
            )
        )
        # Whoever gives up before it has ended does not ask why it failed.
        opening.add_done_callback(_look_at)
        begun = asyncio.ensure_future(session.begun.wait())
        limit_s = deadline.sooner(_OPEN_TIMEOUT_S).remaining_s()
        try:
            await asyncio.wait({opening, begun}, timeout=limit_s, return_when=FIRST_COMPLETED)
        finally:
            begun.cancel()
            if not session.begun.is_set():
                opening.cancel()
                session.expected()
        if not session.begun.is_set():
            raise self._not_begun(opening.exception() if opening.done() else None)
        return Running(self, session, opening)

    async def read_file(
        self,
        path: str,
        offset: int,
        length: int,
        deadline: Deadline,
        *,
        after: asyncio.Event | None = None,
    ) -> FileSlice:
        """Read at most `length` bytes from `offset`; a negative one counts from the file's end.

        It is opened before, but not looked into until `after` is set. The SFTP session lives no
        longer than this: it is one of sshd's MaxSessions.

        Raises:
            FileUnreadable: says why.
            SocketRefused: the host opens no session now.
            ConnectionLost: this connection is of no more use.
        """
        return await self._ask_files(
            lambda sftp: read_slice(sftp, path, offset, length, after), length, deadline
        )

    async def load_space(self, path: str, deadline: Deadline) -> Space:
        """Tell the room of the partition that a path is on; one question of SFTP, no command.

        Raises:
            FileUnreadable: says why; also of an sshd that does not tell it.
            SocketRefused: the host opens no session now.
            ConnectionLost: this connection is of no more use.
        """
        return await self._ask_files(lambda sftp: read_space(sftp, path), 0, deadline)

    async def _ask_files(
        self,
        ask: Callable[[asyncssh.SFTPClient], Awaitable[T]],
        length: int,
        deadline: Deadline,
    ) -> T:
        await self._begun()
        return await self._in_turn(lambda: self._ask_files_now(ask, length, deadline), deadline)

    async def _ask_files_now(
        self,
        ask: Callable[[asyncssh.SFTPClient], Awaitable[T]],
        length: int,
        deadline: Deadline,
    ) -> T:
        self._use(self._sftp, _MOST_SFTP)
        sftp: asyncssh.SFTPClient | None = None
        end = self._intake.expect(length + MAX_BYTES)
        try:
            async with deadline.sooner(_OPEN_TIMEOUT_S).enforce():
                sftp = await open_sftp(self._connection, self._reading, self._note_ended)
            async with deadline.enforce():
                return await ask(sftp)
        except TimeoutError:
            raise ConnectionLost("Connection stands still") from None
        except FileUnreadable:
            raise
        except Exception as error:  # whatever the answers of a hostile host make asyncssh raise
            if self.is_closed():
                raise self.lost() from error
            raise why_unreadable(error) from error
        finally:
            end()
            if sftp is not None:
                sftp.exit()
                self._sftp.add(closed := asyncio.ensure_future(sftp.wait_closed()))
                closed.add_done_callback(self._sftp.discard)

    async def _in_turn(self, begin: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """Begin a session; one that is refused beside others of ours, once one of them has ended.

        sshd permits some at once, MaxSessions, and does not say how many.
        """
        until = deadline.sooner(_OPEN_TIMEOUT_S)
        while True:
            ended = self._ended
            try:
                return await begin()
            except SocketRefused as refused:
                is_beside = ended.is_set() or self._has_sessions()
                if not is_beside or not until.remaining_s():
                    raise
                try:
                    async with until.enforce():
                        await ended.wait()
                except TimeoutError:
                    raise refused from None

    def _has_sessions(self) -> bool:
        """Tell whether any is open, or not closed by the host yet; sockets are none."""
        return bool(self._reading) or any(isinstance(one, Session) for one in self._channels)

    def _note_ended(self) -> None:
        self._ended.set()
        self._ended = asyncio.Event()

    def _use(self, channels: Collection[object], most: int) -> None:
        """Note that it is used, unless the host keeps too many channels that were closed."""
        if len(channels) >= most:
            self.abort()
            raise ConnectionLost("The host does not let go of what is closed")
        self.used_at = time.monotonic()

    def lost(self) -> ConnectionLost | TooMuchSent:
        """Return the error of a connection that is there no more."""
        return too_much() if self._intake.is_exceeded else ConnectionLost("Connection lost")

    def _not_begun(self, error: BaseException | None) -> NotExecuted:
        if error is None:
            return ConnectionLost("Connection stands still")
        if self.is_closed():
            return self.lost()
        return SocketRefused("The host opens no more sessions")

    def abort(self) -> None:
        """End it at once; what was under way on it fails."""
        self._connection.abort()

    async def close(self) -> None:
        """End it in good order."""
        self._connection.close()
        await self._connection.wait_closed()


def _look_at(done: asyncio.Future[Any]) -> None:
    """Look at why it failed, or asyncio complains that nobody has."""
    if not done.cancelled():
        done.exception()


class Running:
    """A shell command that may have begun; see `asterisk.exec_console.Running`."""

    def __init__(
        self, connection: Connection, session: Session, opening: asyncio.Future[Any]
    ) -> None:
        self._connection = connection
        self._session = session
        self._opening = opening
        opening.add_done_callback(lambda _: session.news.set())

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and when the connection was lost: it may still be running."""
        return self._session.exit_status

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more of it will come."""
        return self._session.ended or (self._failure() is not None and not self._was_refused())

    @property
    def output(self) -> bytearray:
        """What it printed so far, standard error left out."""
        return self._session.received

    @property
    def errors(self) -> bytearray:
        """What it printed to its standard error so far."""
        return self._session.errors

    @property
    def is_cut(self) -> bool:
        """Whether it printed so much that it was let go of; it may still be running."""
        return self._session.is_cut

    async def progress(self, deadline: Deadline) -> None:
        """Wait until it has printed more, or ended.

        Raises:
            TimeoutError: it has not.
            SocketRefused: it was certainly not started.
        """
        news = self._session.news
        async with deadline.enforce():
            await news.wait()
        news.clear()
        if self._was_refused():
            raise SocketRefused("The host runs no commands for us") from self._failure()

    def _was_refused(self) -> bool:
        refused = isinstance(self._failure(), asyncssh.ChannelOpenError)
        return refused and not self._connection.is_closed()

    def _failure(self) -> BaseException | None:
        """Return why the session was not opened, if that is so."""
        is_over = self._opening.done() and not self._opening.cancelled()
        return self._opening.exception() if is_over else None

    def close(self) -> None:
        """Let go, without waiting; the command may go on."""
        self._opening.cancel()
        self._session.close()


def too_much() -> TooMuchSent:
    """Make the error of a host that was cut off."""
    return TooMuchSent("The host sends more than was asked for")

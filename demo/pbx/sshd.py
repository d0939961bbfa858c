"""The stand-in's sshd: who may log in, the control socket's forwarding, exec and SFTP sessions.

A real SSH server; only asyncssh is used here, and in files.py.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from demo.pbx.console import Console
from demo.pbx.daemon import Daemon
from demo.pbx.files import Files
from demo.pbx.shell import SOCKETS, Shell


@dataclass(slots=True)
class Door:
    """What every SSH connection shares: who may enter, and the counts tests look at."""

    daemon: Daemon
    shell: Shell
    username: str
    password: str | None
    keys: frozenset[bytes]
    is_open: bool = False
    connections: int = 0
    sessions: int = 0
    opens: int = 0
    live: set[asyncssh.SSHServerConnection] = field(default_factory=set)


def read_keys(lines: Iterable[str]) -> frozenset[bytes]:
    """The public keys of an authorized_keys text, without options."""
    return frozenset(
        asyncssh.import_public_key(line).public_data
        for line in lines
        if line.strip() and not line.lstrip().startswith("#")
    )


def open_failed() -> asyncssh.ChannelOpenError:
    """What a real sshd answers, whatever the reason."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")


class Server(asyncssh.SSHServer):
    """One SSH connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._conn: asyncssh.SSHServerConnection | None = None
        self._running: set[ExecSession] = set()
        self._sockets: set[SocketSession] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Count it."""
        self._conn = conn
        self._door.connections += 1
        self._door.live.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        if self._conn is not None:
            self._door.live.discard(self._conn)
        for session in self._sockets:
            session.connection_lost(None)  # one that never came to be started is not told

    @property
    def running(self) -> int:
        """How many exec and SFTP sessions it has open."""
        return len(self._running)

    def begin_auth(self, username: str) -> bool:
        """Nobody enters without authenticating, unless the door is open to all."""
        del username
        return not self._door.is_open

    def password_auth_supported(self) -> bool:
        """Offered if a password was given."""
        return self._door.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        """Compare with the one user."""
        return (username, password) == (self._door.username, self._door.password)

    def public_key_auth_supported(self) -> bool:
        """Offered if keys were given."""
        return bool(self._door.keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Compare with the one user's keys."""
        return username == self._door.username and key.public_data in self._door.keys

    def cut(self) -> None:
        """Break the connection as a killed sshd process does."""
        if self._conn is not None:
            self._conn.abort()

    def unix_connection_requested(self, dest_path: str) -> "SocketSession":
        """Forward to the control socket, if sshd and Asterisk would."""
        daemon = self._door.daemon
        sockets = {*SOCKETS, daemon.exchange.profile.places.socket}
        if daemon.faults.refuse_forwarding or dest_path not in sockets:
            raise open_failed()
        if not (daemon.listens() and daemon.has_room()):
            raise open_failed()
        self._door.opens += 1
        session = SocketSession(daemon, self)
        self._sockets.add(session)
        return session

    def session_requested(self) -> "ExecSession":
        """Start an exec session, within MaxSessions."""
        if len(self._running) >= self._door.daemon.faults.max_sessions:
            raise open_failed()
        self._door.sessions += 1
        session = ExecSession(self._door, self, self._running)
        self._running.add(session)
        return session


async def listen(host: str, port: int, **options: Any) -> asyncssh.SSHAcceptor:
    """Listen as `asyncssh.listen` does, for connections that end well whenever they end."""
    return await asyncssh.listen(host, port, tunnel=Listening(), **options)


class Listening:
    """What asyncssh takes for a tunnel: it listens, and stands before each connection."""

    async def create_server(
        self, factory: Callable[[str, int], asyncio.Protocol], host: str, port: int
    ) -> asyncio.Server:
        """Listen as the loop does."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Before(factory(host, port)), host, port)


class _Before(asyncio.Protocol):
    """Passes on whatever happens, and lets asyncssh alone end it.

    asyncio's own closing at the peer's end, of a socket that is written to in the same turn, would
    leave a transport whose abort, which asyncssh has scheduled, is an AttributeError (Python 3.11).
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self.connection_made = protocol.connection_made  # type: ignore[method-assign] # as it is
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign] # as it is
        self.data_received = protocol.data_received  # type: ignore[method-assign] # as it is

    def eof_received(self) -> bool:
        """Pass it on, and leave the transport as it is."""
        self._protocol.eof_received()
        return True


class SocketSession(asyncssh.SSHUNIXSession[bytes]):
    """One direct-streamlocal channel to the control socket."""

    def __init__(self, daemon: Daemon, server: Server) -> None:
        self._chan: asyncssh.SSHUNIXChannel[bytes] | None = None
        # Connected before the client hears of it, as sshd does: it counts in the backlog now.
        self._console: Console = daemon.connect(self._send, server.cut, self._done)

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        """Keep the channel to answer on."""
        self._chan = chan

    def session_started(self) -> None:
        """The client has been told that the channel is open."""
        self._console.start()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass on what the client wrote."""
        del datatype
        self._console.feed(data)

    def eof_received(self) -> bool:
        """Pass on the end; the reply may still go out."""
        self._console.hang_up()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that nobody listens any more."""
        del exc
        self._chan = None
        self._console.hang_up()

    def _send(self, data: bytes) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write(data)

    def _done(self) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write_eof()
            self._chan.close()


class ExecSession(SSHServerStreamSession[str]):
    """One exec request, whose command outlives the session as a real process does, or SFTP."""

    def __init__(self, door: Door, server: Server, running: "set[ExecSession]") -> None:
        daemon = door.daemon
        super().__init__(
            None,
            sftp_factory=lambda chan: Files(chan, daemon.exchange, daemon.faults),
            sftp_version=3,
        )
        self._door = door
        self._server = server
        self._running = running
        self._channel: asyncssh.SSHServerChannel[str] | None = None

    def connection_made(self, chan: SSHChannel[str]) -> None:
        """Keep the channel to answer on."""
        super().connection_made(chan)
        self._channel = cast("asyncssh.SSHServerChannel[str]", chan)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the command run on, unheard."""
        super().connection_lost(exc)
        self._channel = None
        self._running.discard(self)

    def exec_requested(self, command: str) -> bool:
        """Accept any line; the shell says what it does not understand."""
        del command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept SFTP alone, unless sshd is configured without."""
        return not self._door.daemon.faults.refuse_sftp and super().subsystem_requested(subsystem)

    def session_started(self) -> None:
        """Start the command, or SFTP."""
        line = self._channel.get_command() if self._channel else None
        if line is None:
            super().session_started()
            if self._channel is not None and self._door.daemon.faults.sftp_greeting:
                cast("Any", self._channel).write(self._door.daemon.faults.sftp_greeting)
        else:
            self._door.daemon.start_task(self._run(line))

    async def _run(self, line: str) -> None:
        status = await self._door.shell.run(line, self._write, self._server.cut)
        if self._channel is not None and not self._channel.is_closing():
            self._channel.exit(status)

    def _write(self, out: str, err: str) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(out)
            self._channel.write_stderr(err)

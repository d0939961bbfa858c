"""One SSH connection to a PBX host; the only importer of asyncssh.

Every failure says how far things had got, since only that decides whether another attempt is
safe: an error of `shared.errors` with `again` means that nothing was sent.
"""

from __future__ import annotations

import asyncio
import os
import time
from asyncio import FIRST_COMPLETED
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import asyncssh

from shared.deadline import Deadline
from shared.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    HostKeyChanged,
    SocketRefused,
)
from shared.telemetry import count

# Preferred over asyncssh's default chacha20: 1.5 to 2 ms less for each exchange.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
# Opening a socket or a session is one round trip; a connection that takes longer stands still.
_OPEN_TIMEOUT_S = 3.0
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes and as whom."""

    host: str
    port: int
    user: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """A password, or a private key: its text or the path of its file.

    `setting` is where the key came from, and `user` another than the target's.
    """

    user: str | None = None
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    setting: str = "SSH_PRIVATE_KEY"


class HostKeys(Protocol):
    """Remembers the key of each host; keys are OpenSSH public key texts."""

    async def find(self, host: str, port: int) -> str | None:
        """Return the pinned key, if any."""

    async def pin(self, host: str, port: int, key: str) -> str:
        """Pin a host's first key, and return the one that holds."""


@dataclass(frozen=True, slots=True)
class Security:
    """How to prove ourselves to a host, and the host to us.

    `host_keys` is a store of pinned keys, the path of a known_hosts file, or None to trust
    whoever answers.
    """

    credentials: Credentials
    host_keys: HostKeys | Path | None


@dataclass(frozen=True, slots=True)
class Completed:
    """A shell command's end; `exit_status` is None when it may still be running."""

    exit_status: int | None
    output: str


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A part of a file, and how long the whole file was at that moment."""

    size: int
    offset: int
    data: bytes


class FileUnreadable(Exception):
    """The host does not let us read a file; asking again changes nothing."""

    def __init__(self, cause: Literal["no-sftp", "missing", "denied", "failed"]) -> None:
        super().__init__(cause)
        self.cause = cause


class UnixStream:
    """An open Unix socket of the host."""

    def __init__(
        self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionLost."""
        try:
            return await self._reader.read(_READ_BYTES)
        except (asyncssh.Error, OSError) as error:
            raise ConnectionLost("Connection lost") from error

    def write(self, data: bytes) -> None:
        """Send in one piece. Raises ConnectionLost, and sends nothing, if it is closed already."""
        try:
            self._writer.write(data)
        except OSError as error:
            raise ConnectionLost("Connection lost") from error

    def close(self) -> None:
        """Let go, without waiting."""
        self._writer.close()


class Connection:
    """An authenticated connection, shared by any number of exchanges at once."""

    def __init__(self, target: Target, connection: asyncssh.SSHClientConnection) -> None:
        self.target = target
        self._connection = connection
        self.used_at = time.monotonic()
        self.leases = 0

    def is_closed(self) -> bool:
        """Tell whether either side has ended it."""
        return self._connection.is_closed()

    async def open_socket(self, path: str, deadline: Deadline) -> UnixStream:
        """Open a Unix socket of the host.

        Raises:
            SocketRefused: policy, permission, backlog or nobody listening; the host does not say.
            ConnectionLost: this connection is of no more use.
        """
        self.used_at = time.monotonic()
        try:
            async with deadline.sooner(_OPEN_TIMEOUT_S).enforce():
                reader, writer = await self._connection.open_unix_connection(path, encoding=None)
        except TimeoutError:
            raise ConnectionLost("Connection stands still") from None
        except (asyncssh.Error, OSError) as error:
            if self.is_closed():
                raise ConnectionLost("Connection lost") from error
            raise SocketRefused("Asterisk's control socket could not be opened") from error
        return UnixStream(reader, writer)

    async def run(self, command: str, deadline: Deadline) -> Completed:
        """Run a shell command; once it may have begun, this returns and never raises.

        Raises:
            SocketRefused, ConnectionLost: the command was certainly not sent.
        """
        self.used_at = time.monotonic()
        session = _Session()
        opening = asyncio.ensure_future(
            self._connection.create_session(session.started, command, encoding=None)
        )
        begun = asyncio.ensure_future(session.begun.wait())
        limit_s = deadline.sooner(_OPEN_TIMEOUT_S).remaining_s()
        try:
            await asyncio.wait({opening, begun}, timeout=limit_s, return_when=FIRST_COMPLETED)
            if not session.begun.is_set():
                raise self._not_begun(opening.exception() if opening.done() else None)
            async with deadline.enforce():
                await opening
                await session.ended.wait()
        except (asyncssh.Error, OSError) as error:
            if isinstance(error, asyncssh.ChannelOpenError) and not self.is_closed():
                raise SocketRefused("The host runs no commands for us") from error
        except TimeoutError:
            session.close()
        finally:
            begun.cancel()
            opening.cancel()
        return Completed(session.exit_status, session.output())

    async def read_file(self, path: str, offset: int, length: int, deadline: Deadline) -> FileSlice:
        """Read at most `length` bytes from `offset`; a negative one counts from the file's end.

        The SFTP session lives no longer than this: it is one of sshd's MaxSessions.

        Raises:
            FileUnreadable: says why.
            SocketRefused: the host opens no session now.
            ConnectionLost: this connection is of no more use.
        """
        self.used_at = time.monotonic()
        sftp: asyncssh.SFTPClient | None = None
        try:
            async with deadline.sooner(_OPEN_TIMEOUT_S).enforce():
                sftp = await self._connection.start_sftp_client()
            async with deadline.enforce():
                return await _read_slice(sftp, path, offset, length)
        except TimeoutError:
            raise ConnectionLost("Connection stands still") from None
        except (asyncssh.Error, OSError) as error:
            if self.is_closed():
                raise ConnectionLost("Connection lost") from error
            raise _why_unreadable(error) from error
        finally:
            if sftp is not None:
                sftp.exit()

    def _not_begun(self, error: BaseException | None) -> ConnectionLost | SocketRefused:
        if error is not None and not self.is_closed():
            return SocketRefused("The host opens no more sessions")
        return ConnectionLost("Connection lost" if error else "Connection stands still")

    def abort(self) -> None:
        """End it at once; what was under way on it fails."""
        self._connection.abort()

    async def close(self) -> None:
        """End it in good order."""
        self._connection.close()
        await self._connection.wait_closed()


class _Session(asyncssh.SSHClientSession[bytes]):
    """Collects a command's output and notes how far it got.

    asyncssh asks for the session once the channel is open and right before it sends the command:
    from `begun` on, the command may run.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.exit_status: int | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._chunks: list[bytes] = []

    def started(self) -> _Session:
        self.begun.set()
        return self

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        del datatype  # standard error too: it says why `asterisk -rx` failed
        self._chunks.append(data)

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # without an exit status the outcome is unknown, whatever the cause
        self.ended.set()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def output(self) -> str:
        return b"".join(self._chunks).decode("utf-8", errors="replace")


async def _read_slice(sftp: asyncssh.SFTPClient, path: str, offset: int, length: int) -> FileSlice:
    file = await sftp.open(path, "rb")
    # Asked of the open file: the path may be another file's by now.
    size = (await file.stat()).size or 0
    start = max(0, size + offset) if offset < 0 else offset
    return FileSlice(size, start, await file.read(max(0, min(length, size - start)), start))


def _why_unreadable(error: Exception) -> FileUnreadable | SocketRefused:
    match error:
        case asyncssh.ChannelOpenError(code=code) if code != asyncssh.OPEN_REQUEST_SESSION_FAILED:
            return SocketRefused("The host opens no more sessions")
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return FileUnreadable("missing")
        case asyncssh.SFTPPermissionDenied():
            return FileUnreadable("denied")
        # A forced command, or no such program, accepts the subsystem and ends at once.
        case asyncssh.ChannelOpenError() | asyncssh.SFTPConnectionLost():
            return FileUnreadable("no-sftp")
    return FileUnreadable("failed")


async def connect(
    target: Target, security: Security, *, deadline: Deadline, keepalive_s: float
) -> Connection:
    """Connect and authenticate; `keepalive_s` of 0 sends no keepalives.

    Raises:
        ConnectTimeout, ConnectFailed, ConnectionLost, AuthenticationFailed, HostKeyChanged
    """
    user = security.credentials.user or target.user
    options = _options(security.credentials, keepalive_s)
    pinned = None
    try:
        async with deadline.enforce():
            if security.host_keys is not None and not isinstance(security.host_keys, Path):
                pinned = await _pinned_key(target, security.host_keys)
            connection = await asyncssh.connect(
                target.host,
                target.port,
                username=user,
                options=options,
                **_trust(security.host_keys, pinned),
            )
            return await _warmed(Connection(target, connection), connection)
    except TimeoutError:
        raise ConnectTimeout("Connection timeout") from None
    except asyncssh.PermissionDenied as error:
        raise AuthenticationFailed(
            f"{target.host} does not accept the password or key of {user}"
        ) from error
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        if isinstance(error, asyncssh.KeyExchangeFailed) and pinned is None:
            raise ConnectFailed("No SSH algorithm in common with the host") from error
        count("HostKeysChanged")
        raise HostKeyChanged(
            f"The host key of {target.host} is not the known one; no password was sent"
        ) from error
    except (asyncssh.DisconnectError, ConnectionResetError, BrokenPipeError) as error:
        # Among them sshd's limit of pending log-ins, which arrives as a reset.
        raise ConnectionLost("Connection closed by the host before log-in") from error
    except ConnectionRefusedError as error:
        raise ConnectFailed("Connection refused") from error
    except (OSError, asyncssh.Error) as error:
        raise ConnectFailed("Host unreachable") from error


async def _warmed(connection: Connection, raw: asyncssh.SSHClientConnection) -> Connection:
    """Run one command: until the first, OpenSSH 8.4 leaves Nagle's algorithm on, 88 ms a turn."""
    try:
        await raw.run("true", check=False)
    except asyncssh.ChannelOpenError:
        if connection.is_closed():
            raise
    except BaseException:
        connection.abort()
        raise
    return connection


def _options(credentials: Credentials, keepalive_s: float) -> asyncssh.SSHClientConnectionOptions:
    # A uid without a name, as on Lambda, makes asyncssh ask for one of these.
    os.environ.setdefault("LOGNAME", "asterisk")
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        agent_path=None,
        client_keys=_load_keys(credentials),
        password=credentials.password or None,
        encryption_algs=[*_CIPHERS, "chacha20-poly1305@openssh.com"],
        compression_algs=None,
        keepalive_interval=keepalive_s,
        keepalive_count_max=3,
    )


def _load_keys(credentials: Credentials) -> list[asyncssh.SSHKey] | None:
    private_key = credentials.private_key
    if not private_key:
        return None
    try:
        if private_key.lstrip().startswith("-----BEGIN"):
            return [asyncssh.import_private_key(private_key)]
        return [asyncssh.read_private_key(Path(private_key).expanduser())]
    except (OSError, ValueError) as error:
        raise AuthenticationFailed(
            f"{credentials.setting} is not a key that can be read"
        ) from error


async def _pinned_key(target: Target, host_keys: HostKeys) -> asyncssh.SSHKey:
    """Find the host's key, or fetch and pin it before anything secret is sent."""
    pinned = await host_keys.find(target.host, target.port)
    if pinned is None:
        first = await asyncssh.get_server_host_key(target.host, target.port, config=None)
        if first is None:
            raise ConnectFailed("The host has no host key")
        text = first.export_public_key().decode().strip()
        pinned = await host_keys.pin(target.host, target.port, text)
    return asyncssh.import_public_key(pinned)


def _trust(host_keys: HostKeys | Path | None, pinned: asyncssh.SSHKey | None) -> dict[str, Any]:
    """Say which keys to accept; beside a pinned key not even another algorithm is offered."""
    if pinned is not None:
        return {
            "known_hosts": ([pinned], [], []),
            "server_host_key_algs": [name.decode() for name in pinned.sig_algorithms],
        }
    return {"known_hosts": _known_hosts(host_keys) if isinstance(host_keys, Path) else None}


def _known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(path.expanduser()))
    except (OSError, ValueError) as error:
        raise ConnectFailed("SSH_KNOWN_HOSTS_FILE cannot be read") from error

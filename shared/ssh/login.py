"""Logging in to a PBX host: who we are, whom we trust, and why it failed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import asyncssh

from shared.deadline import Deadline
from shared.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    HostKeyChanged,
    NotExecuted,
    ServiceError,
    SocketRefused,
)
from shared.ssh.connection import Connection, Target, too_much
from shared.ssh.intake import Intake
from shared.telemetry import count

# Preferred over asyncssh's default chacha20: 1.5 to 2 ms less for each exchange.
_CIPHERS = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *("aes128-ctr", "aes256-ctr", "aes192-ctr", "chacha20-poly1305@openssh.com"),
)
# A login shell may wait for a person and run nothing; by its sockets the host serves all the same.
_WARM_UP_S = 2.0


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


async def connect(
    target: Target, security: Security, *, deadline: Deadline, keepalive_s: float
) -> Connection:
    """Connect and authenticate; `keepalive_s` of 0 sends no keepalives.

    Raises:
        ConnectTimeout, ConnectFailed, ConnectionLost, AuthenticationFailed, HostKeyChanged
    """
    user = security.credentials.user or target.user
    options = _options(security.credentials, keepalive_s)
    client = _Client(security.credentials.password, has_key=bool(options.client_keys))
    intake = Intake()
    pinned = None
    try:
        async with deadline.enforce():
            if security.host_keys is not None and not isinstance(security.host_keys, Path):
                pinned = await _pinned_key(target, security.host_keys, intake)
            connection = await asyncssh.connect(
                target.host,
                target.port,
                client_factory=lambda: client,
                tunnel=intake,
                username=user,
                options=options,
                **_trust(security.host_keys, pinned),
            )
            made = Connection(target, connection, intake)
            made.begin_with(_warm_up(made, user))
            return made
    except TimeoutError:
        raise ConnectTimeout("Connection timeout") from None
    except (asyncssh.PermissionDenied, asyncssh.ProtocolError) as error:
        if not _is_refusal(error):
            raise _why_unconnected(error, intake) from error
        if client.is_expired:
            raise _expired(target, user) from error
        raise AuthenticationFailed(
            f"{target.host} does not accept the password or key of {user}"
        ) from error
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        if isinstance(error, asyncssh.KeyExchangeFailed) and not _is_of_host_key(error, pinned):
            raise ConnectFailed(_nothing_in_common(error)) from error
        count("HostKeysChanged")
        raise HostKeyChanged(
            f"The host key of {target.host} is not the known one; no password was sent"
        ) from error
    except ServiceError:
        raise
    except Exception as error:  # whatever a hostile host's words make asyncssh raise
        raise _why_unconnected(error, intake) from error


async def load_host_key(target: Target, like: str | None, *, deadline: Deadline) -> str:
    """Fetch the key that a host shows, of the same kind as `like`; nothing secret is sent.

    Raises:
        HostKeyChanged: it has none of that kind.
        ConnectTimeout, ConnectFailed, ConnectionLost
    """
    intake = Intake()
    try:
        async with deadline.enforce():
            return await _shown_key(target, intake, like)
    except TimeoutError:
        raise ConnectTimeout("Connection timeout") from None
    except asyncssh.KeyExchangeFailed as error:
        if like is None or "host key" not in error.reason:
            raise ConnectFailed(_nothing_in_common(error)) from error
        raise HostKeyChanged(f"{target.host} has no host key of the pinned kind") from error
    except ServiceError:
        raise
    except Exception as error:  # likewise
        raise _why_unconnected(error, intake) from error


async def _shown_key(target: Target, intake: Intake, like: str | None = None) -> str:
    known = None if like is None else asyncssh.import_public_key(like)
    key = await asyncssh.get_server_host_key(
        *(target.host, target.port),
        tunnel=cast("Any", intake),
        config=None,
        server_host_key_algs=_algorithms(known),
    )
    if key is None:
        raise ConnectFailed("The host has no host key")
    return key.export_public_key().decode().strip()


def _why_unconnected(error: Exception, intake: Intake) -> NotExecuted:
    if intake.is_exceeded:
        return too_much()
    match error:
        case asyncssh.ProtocolError() | asyncssh.ProtocolNotSupported():
            return ConnectFailed("What answers there does not speak SSH as it should")
        # Among them sshd's limit of pending log-ins, which arrives as a reset.
        case asyncssh.DisconnectError() | ConnectionResetError() | BrokenPipeError():
            return ConnectionLost("Connection closed by the host before log-in")
        case ConnectionRefusedError():
            return ConnectFailed("Connection refused")
        # A name with a label that no name may have is a UnicodeError.
        case OSError() | UnicodeEncodeError() | asyncssh.Error():
            return ConnectFailed("Host unreachable")
    return ConnectFailed("What answers there does not speak SSH as it should")


def _is_refusal(error: asyncssh.DisconnectError) -> bool:
    """Tell whether a log-in was refused; at its MaxAuthTries sshd calls that an error of SSH's."""
    return isinstance(error, asyncssh.PermissionDenied) or (
        error.reason.startswith("Too many authentication failures")
    )


def _is_of_host_key(error: asyncssh.KeyExchangeFailed, pinned: asyncssh.SSHKey | None) -> bool:
    """Tell whether a host has no key of the pinned one's kind any more."""
    return pinned is not None and "host key" in error.reason


def _nothing_in_common(error: asyncssh.KeyExchangeFailed) -> str:
    """Name what both sides cannot agree on, e.g. the encryption."""
    match = re.match("No matching ([a-z ]{1,40}) algorithm", error.reason)
    return f"No SSH algorithm in common with the host{f': {match[1]}' if match else ''}"


def _expired(target: Target, user: str) -> AuthenticationFailed:
    return AuthenticationFailed(
        f"The password of {user} has expired on {target.host}: set a new one there"
    )


class _Client(asyncssh.SSHClient):
    """Answers what a host asks at log-in; `is_expired`: it wants another password than ours.

    A host that asks by keyboard-interactive may call the password anything; only its first hidden
    question is answered, since the next one would ask for a new password. It may offer to ask and
    have no question, as OpenSSH without PAM: offered again, that is passed over for the password.
    """

    def __init__(self, password: str, *, has_key: bool) -> None:
        self.is_expired = False
        self._password = password
        self._has_key = has_key
        self._answered = False
        self._let_ask = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Begin with the key: to ask first what the host takes costs a round trip.

        Not with the password: a host that takes it in another way alone would count a failure.
        """
        if self._has_key:
            conn._auth_methods = [b"publickey"]  # noqa: SLF001 - there is no other way to say so

    def password_auth_requested(self) -> str | None:
        return self._once()

    def _once(self) -> str | None:
        """Give the password once: a wrong one is not to be counted twice against us."""
        given, self._answered = self._answered, True
        return None if given else self._password or None

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        del prompt, lang
        self.is_expired = True
        return NotImplemented

    def kbdint_auth_requested(self) -> str | None:
        asked, self._let_ask = self._let_ask, True
        return "" if self._password and not self._answered and not asked else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        del name, instructions, lang
        if not prompts:
            return []
        if self._answered:
            self.is_expired = True
            return None
        (_, is_shown), *others = prompts
        if is_shown or others:
            return None
        password = self._once()
        return None if password is None else [password]


async def _warm_up(connection: Connection, user: str) -> None:
    """Run one command: until the first, OpenSSH 8.4 leaves Nagle's algorithm on, 88 ms a turn.

    Raises:
        AuthenticationFailed: whoever is logged in has to change his password first.
        ConnectionLost: the connection is of no use.
    """
    deadline = Deadline.after(_WARM_UP_S)
    try:
        running = await connection.start_first("true", deadline)
        try:
            while not running.has_ended:
                await running.progress(deadline)
        finally:
            running.close()
    except (TimeoutError, SocketRefused):
        return
    except ConnectionLost:
        if connection.is_closed():
            raise
        return
    # sshd's word, unless somebody's shell that runs commands says it to whoever comes.
    said = running.errors + running.output
    if b"assword change required" in said and running.exit_status != 0:
        connection.abort()
        raise _expired(connection.target, user)


def _options(credentials: Credentials, keepalive_s: float) -> asyncssh.SSHClientConnectionOptions:
    # A uid without a name, as on Lambda, makes asyncssh ask for one of these.
    os.environ.setdefault("LOGNAME", "asterisk")
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        agent_path=None,
        client_keys=_load_keys(credentials),
        encryption_algs=_CIPHERS,
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


async def _pinned_key(target: Target, host_keys: HostKeys, intake: Intake) -> asyncssh.SSHKey:
    """Find the host's key, or fetch and pin it before anything secret is sent."""
    pinned = await host_keys.find(target.host, target.port)
    if pinned is None:
        shown = await _shown_key(target, intake)
        pinned = await host_keys.pin(target.host, target.port, shown)
    return asyncssh.import_public_key(pinned)


def _trust(host_keys: HostKeys | Path | None, pinned: asyncssh.SSHKey | None) -> dict[str, Any]:
    """Say which keys to accept; beside a pinned key not even another algorithm is offered."""
    if pinned is not None:
        return {
            "known_hosts": ([pinned], [], []),
            "server_host_key_algs": _algorithms(pinned),
        }
    return {"known_hosts": _known_hosts(host_keys) if isinstance(host_keys, Path) else None}


def _algorithms(key: asyncssh.SSHKey | None) -> list[str] | tuple[()]:
    return () if key is None else [name.decode() for name in key.sig_algorithms]


def _known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(path.expanduser()))
    except (OSError, ValueError) as error:
        raise ConnectFailed("SSH_KNOWN_HOSTS_FILE cannot be read") from error

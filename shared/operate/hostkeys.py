"""The pinned SSH host keys, as an operator sees and changes them."""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from shared.operate.command import Add, OperatorError, note, operator
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.database import Database

_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60}) ([A-Za-z0-9+/]{16,8192}={0,2})")


def add_commands(add: Add) -> None:
    """Add what concerns host keys."""

    def add_host(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("host", metavar="HOST", help="as in enterprises.ip")
        sub.add_argument("--port", type=_port, metavar="N", help="default: SSH_PORT")

    add("host-keys", _host_keys, "list the pinned SSH host keys")
    add_host(add("forget-host-key", _forget_host_key, "let the next connection pin the host's key"))
    accept = add("accept-host-key", _accept_host_key, "pin this key, whatever was pinned before")
    add_host(accept)
    accept.add_argument(
        "key", metavar="KEY", type=_public_key, help="'ssh-ed25519 AAAA...', quoted"
    )


def fingerprint(key: str) -> str:
    """Of an OpenSSH public key, as ssh-keygen prints it: `SHA256:...`."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _host_keys(
    database: Database, _settings: Settings, _options: argparse.Namespace
) -> Iterator[str]:
    with database.transaction() as execute:
        rows = execute("SELECT * FROM callapi.host_keys ORDER BY host, port")
    for row in rows:
        algorithm = row["key"].split()[0]
        pinned = f"{row['pinned_at']:%Y-%m-%d %H:%M:%S %Z}"
        yield f"{row['host']}:{row['port']} {algorithm} {fingerprint(row['key'])} pinned {pinned}"
    if not rows:
        yield "No host key is pinned yet"


def _forget_host_key(
    database: Database, settings: Settings, options: argparse.Namespace
) -> Iterator[str]:
    port = options.port or settings.ssh_port
    with database.transaction() as execute:
        rows = execute(
            "DELETE FROM callapi.host_keys WHERE host = :host AND port = :port RETURNING key",
            host=options.host,
            port=port,
        )
        if not rows:
            raise OperatorError(f"No key of {options.host}:{port} is pinned")
        told = f"Forgot {options.host}:{port} {fingerprint(rows[0]['key'])}"
        note(execute, operator(), "host-key", told)
    yield told
    yield "The next connection pins the key that the host shows then"


def _accept_host_key(
    database: Database, settings: Settings, options: argparse.Namespace
) -> Iterator[str]:
    port = options.port or settings.ssh_port
    yield accept_host_key(database, operator(), options.host, port, options.key)


def accept_host_key(database: Database, doer: Doer, host: str, port: int, key: str) -> str:
    """Pin a key, whatever was pinned before; what is said of it. Raises DatabaseUnavailable."""
    with database.transaction() as execute:
        before = execute(
            "SELECT key FROM callapi.host_keys WHERE host = :host AND port = :port FOR UPDATE",
            host=host,
            port=port,
        )
        execute(
            "INSERT INTO callapi.host_keys (host, port, key) VALUES (:host, :port, :key) "
            "ON CONFLICT (host, port) DO UPDATE SET key = EXCLUDED.key, "
            "pinned_at = clock_timestamp()",
            host=host,
            port=port,
            key=key,
        )
        instead = f" instead of {fingerprint(before[0]['key'])}" if before else ""
        told = f"Accepted {host}:{port} {fingerprint(key)}{instead}"
        note(execute, doer, "host-key", told)
    return told


def _public_key(text: str) -> str:
    """Check a key's text; its comment, and a known_hosts line's host before it, are dropped."""
    match = _KEY.search(text)
    if match is None or not _is_key(match[1], match[2]):
        raise argparse.ArgumentTypeError("must be like 'ssh-ed25519 AAAA...'")
    return match[0]


def _is_key(algorithm: str, encoded: str) -> bool:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    name = algorithm.encode()
    return blob.startswith(len(name).to_bytes(4, "big") + name)  # the blob repeats the algorithm


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be from 1 to 65535")
    return int(text)

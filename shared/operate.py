"""An operator's commands: `python -m shared.operate --help`."""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from shared.database import AccessRefused, Database, Rows, cause_of
from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.settings import Settings, SettingsError, load_settings
from shared.telemetry import LOG

SCHEMA = Path(__file__).parent / "schema"

# Any number that no other program uses: two operators migrate one after the other.
_MIGRATION_LOCK = 0x61737465

_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60}) ([A-Za-z0-9+/]{16,8192}={0,2})")


class OperatorError(Exception):
    """What an operator asked for cannot be done; the text says why."""


class Migration(NamedTuple):
    """One numbered file of shared/schema."""

    version: int
    name: str
    sql: str


def migrations(folder: Path = SCHEMA) -> Iterator[Migration]:
    """Yield the migrations in the order of their numbers."""
    for path in sorted(folder.glob("[0-9][0-9][0-9]_*.sql")):
        yield Migration(int(path.name[:3]), path.stem, path.read_text("utf-8"))


def migrate(database: Database, folder: Path = SCHEMA) -> Iterator[tuple[Migration, bool]]:
    """Apply what is missing, each migration in a transaction of its own.

    Yields each migration and whether it was applied now. Running it again, or twice at once, is
    harmless.
    """
    for migration in migrations(folder):
        with database.transaction() as execute:
            execute("SELECT pg_advisory_xact_lock(:key)", key=_MIGRATION_LOCK)
            missing = migration.version not in _applied(execute)
            if missing:
                execute(migration.sql)
                execute(
                    "INSERT INTO callapi.migrations (version, name) VALUES (:version, :name)",
                    version=migration.version,
                    name=migration.name,
                )
        yield migration, missing


def fingerprint(key: str) -> str:
    """Of an OpenSSH public key, as ssh-keygen prints it: `SHA256:...`."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one command; 0 if it is done, 1 if not, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    # What fails is told in one line on stderr; the service's log line would say it once more.
    LOG.addHandler(logging.NullHandler())
    try:
        settings = load_settings()
        database = Database(settings)
        for line in options.command(database, settings, options):
            sys.stdout.write(f"{line}\n")
    except (OperatorError, SettingsError, SchemaMissing) as error:
        return _fail(str(error))
    except AccessRefused as error:
        user = database.where.postgres_user
        return _fail(
            f"PostgreSQL user {user} has no right to do this: {_why(error)}; "
            "run it as the owner of the database, or have them CREATE SCHEMA callapi "
            f"AUTHORIZATION {user}"
        )
    except DatabaseUnavailable as error:
        place = database.where
        where = f"{place.postgres_host}:{place.postgres_port}/{place.postgres_db}"
        return _fail(f"PostgreSQL {where} is unavailable: {_why(error)}")
    return 0


def _applied(execute: Callable[..., Rows]) -> set[int]:
    if execute("SELECT to_regclass('callapi.migrations') AS found")[0]["found"] is None:
        return set()
    return {row["version"] for row in execute("SELECT version FROM callapi.migrations")}


def _migrate(
    database: Database, _settings: Settings, _options: argparse.Namespace
) -> Iterator[str]:
    for migration, applied_now in migrate(database):
        yield f"{migration.name}: {'applied' if applied_now else 'already applied'}"


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
    yield f"Forgot {options.host}:{port} {fingerprint(rows[0]['key'])}"
    yield "The next connection pins the key that the host shows then"


def _accept_host_key(
    database: Database, settings: Settings, options: argparse.Namespace
) -> Iterator[str]:
    port = options.port or settings.ssh_port
    with database.transaction() as execute:
        before = execute(
            "SELECT key FROM callapi.host_keys WHERE host = :host AND port = :port FOR UPDATE",
            host=options.host,
            port=port,
        )
        execute(
            "INSERT INTO callapi.host_keys (host, port, key) VALUES (:host, :port, :key) "
            "ON CONFLICT (host, port) DO UPDATE SET key = EXCLUDED.key, "
            "pinned_at = clock_timestamp()",
            host=options.host,
            port=port,
            key=options.key,
        )
    instead = f" instead of {fingerprint(before[0]['key'])}" if before else ""
    yield f"Accepted {options.host}:{port} {fingerprint(options.key)}{instead}"


def _rules(database: Database, _settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    given = {
        name: value
        for name in ("dialling", "allowed", "denied", "extensions")
        if (value := getattr(options, name)) is not None
    }
    with database.transaction() as execute:
        if given:
            execute(
                "INSERT INTO callapi.enterprise_rules (enterprise) VALUES (:enterprise) "
                "ON CONFLICT DO NOTHING",
                enterprise=options.enterprise,
            )
            for name, value in given.items():
                # `name` is one of the four above; an empty list is no rule.
                execute(
                    f"UPDATE callapi.enterprise_rules SET {name} = :value "  # noqa: S608
                    "WHERE enterprise = :enterprise",
                    enterprise=options.enterprise,
                    value=value == "on" if name == "dialling" else (value or None),
                )
        rows = execute(
            "SELECT * FROM callapi.enterprise_rules WHERE enterprise = :enterprise",
            enterprise=options.enterprise,
        )
    if not rows:
        yield f"No rules for enterprise {options.enterprise}"
    for row in rows:
        yield f"enterprise {row['enterprise']}: dialling {'on' if row['dialling'] else 'STOPPED'}"
        for name, none in (("allowed", "all"), ("denied", "none"), ("extensions", "not named")):
            yield f"  {name}: {' '.join(row[name]) if row[name] else none}"


def _sweep(database: Database, _settings: Settings, _options: argparse.Namespace) -> Iterator[str]:
    with database.transaction() as execute:
        swept = execute("SELECT callapi.sweep() AS rows")[0]["rows"]
    yield f"Removed {swept} expired rows"


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


def _prefix(text: str) -> str:
    if not re.fullmatch("[+]?[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError("must be digits with at most one leading +, e.g. +375")
    return text


def _extension(text: str) -> str:
    if not re.fullmatch("[0-9]{1,10}", text):
        raise argparse.ArgumentTypeError("must be 1 to 10 digits, e.g. 150")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be from 1 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.operate",
        description="Commands for an operator. The database is the service's: POSTGRES_*.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[..., Iterator[str]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    def add_host(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("host", metavar="HOST", help="as in enterprises.ip")
        sub.add_argument("--port", type=_port, metavar="N", help="default: SSH_PORT")

    add("migrate", _migrate, "apply the migrations of schema callapi that are missing")
    add("host-keys", _host_keys, "list the pinned SSH host keys")
    add_host(add("forget-host-key", _forget_host_key, "let the next connection pin the host's key"))
    accept = add("accept-host-key", _accept_host_key, "pin this key, whatever was pinned before")
    add_host(accept)
    accept.add_argument(
        "key", metavar="KEY", type=_public_key, help="'ssh-ed25519 AAAA...', quoted"
    )
    rules = add(
        "rules", _rules, "show or set what an enterprise may do; lists replace, none clears"
    )
    rules.add_argument("enterprise", metavar="NUMBER", help="as in enterprises.number")
    rules.add_argument("--dialling", choices=["on", "off"], help="off stops every call at once")
    for name, kind, text in (
        ("allowed", _prefix, "prefixes that may be called, e.g. +375 8029"),
        ("denied", _prefix, "prefixes that may not be called, whatever is allowed"),
        ("extensions", _extension, "the only extensions it may ring and monitor"),
    ):
        rules.add_argument(f"--{name}", nargs="*", type=kind, metavar="TEXT", help=text)
    add("sweep", _sweep, "remove claims and rate limits that expired over a day ago")
    return parser


def _why(error: Exception) -> str:
    return cause_of(error.__cause__ or error)


def _fail(text: str) -> int:
    sys.stderr.write(f"{' '.join(text.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""An enterprise's secrets beside the one in its table: given out, listed, ended."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shared.operate import times
from shared.operate.command import Add, Execute, OperatorError, no_enterprise, note, operator
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.connection import Rows
from shared.store.database import Database

# What the secret that stands in the table is called here.
_FIRST = "enterprises"
_SECRET_BYTES = 32
_FINGERPRINT = 12

_ENTERPRISES = "SELECT number, name, number_there FROM callapi.enterprises()"
# A row of the table's that is about another secret than stands there now tells nothing.
_KEYS = """
SELECT k.name, left(encode(k.digest, 'hex'), :shown) AS fingerprint, k.of_table, k.created_at,
       k.until, coalesce(k.until <= clock_timestamp(), false) AS has_ended
  FROM callapi.keys k
 WHERE btrim(k.number) = :number
   AND (NOT k.of_table OR k.digest IN (SELECT sha256(convert_to(x.secret, 'UTF8'))
                                         FROM callapi.enterprises() x WHERE x.number = :number))
 ORDER BY k.of_table DESC, k.created_at, k.name
"""
_ADD = """
INSERT INTO callapi.keys (digest, number, name, until)
VALUES (decode(:digest, 'hex'), :number, :name, :until)
"""
_END = """
UPDATE callapi.keys SET until = coalesce(CAST(:at AS timestamptz), clock_timestamp())
 WHERE btrim(number) = :number AND name = :name
RETURNING until
"""
# What was said of an earlier secret of the table still holds, should that one come back.
_KEEP_EARLIER = """
UPDATE callapi.keys SET name = name || '-' || left(encode(digest, 'hex'), 12)
 WHERE btrim(number) = :number AND name = :name
   AND digest NOT IN (SELECT sha256(convert_to(x.secret, 'UTF8'))
                        FROM callapi.enterprises() x WHERE x.number = :number)
"""
_END_FIRST = """
INSERT INTO callapi.keys (digest, number, name, of_table, until)
SELECT sha256(convert_to(x.secret, 'UTF8')), x.number_there, :name, true,
       coalesce(CAST(:at AS timestamptz), clock_timestamp())
  FROM callapi.enterprises() x WHERE x.number = :number AND x.secret IS NOT NULL
ON CONFLICT (digest, number) DO UPDATE SET until = EXCLUDED.until
RETURNING until
"""


def add_commands(add: Add) -> None:
    """Add what concerns secrets."""
    keys = add("keys", _keys, "list, add or end the secrets of an enterprise")
    keys.add_argument("enterprise", metavar="NUMBER", help="as in enterprises.number")
    actions = keys.add_subparsers(dest="action", metavar="add | end")
    adding = actions.add_parser("add", help="make a secret; it is shown once, and kept nowhere")
    adding.add_argument("--name", type=parse_name, help="what it is for, e.g. crm")
    adding.add_argument("--until", type=times.until, metavar="TIME", help=times.UNTIL)
    ending = actions.add_parser("end", help="end a secret, now or later; it never holds again")
    ending.add_argument("key", metavar="NAME", help=f"or fingerprint; {_FIRST}: the table's own")
    ending.add_argument("--at", type=times.until, metavar="TIME", help=times.UNTIL)


def _keys(database: Database, _settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    number = options.enterprise.strip(" ")
    match options.action:
        case "add":
            yield from add_secret(database, operator(), number, options.name, options.until)
        case "end":
            yield end_secret(database, operator(), number, options.key, options.at)
        case _:
            with database.transaction() as execute:
                yield from list(_list(execute, number))


def add_secret(
    database: Database, doer: Doer, number: str, name: str | None, until: datetime | None
) -> tuple[str, str]:
    """Make a secret: what is said of it, and itself, once it is sure to be kept.

    Raises OperatorError, DatabaseUnavailable.
    """
    with database.transaction() as execute:
        said, secret = _add(execute, doer, _find_enterprise(execute, number), name, until)
    return said, secret


def end_secret(
    database: Database, doer: Doer, number: str, wanted: str, at: datetime | None
) -> str:
    """End a secret, by its name or fingerprint. Raises OperatorError, DatabaseUnavailable."""
    with database.transaction() as execute:
        _find_owner(execute, number)
        (said,) = _end(execute, doer, number, wanted, at)
    return said


def load_keys(database: Database, number: str) -> Rows:
    """List an enterprise's secrets: name, fingerprint, of_table, created_at, until, has_ended.

    The table's own is there only where an end of it was said. Raises DatabaseUnavailable.
    """
    with database.transaction() as execute:
        return _known(execute, number)


def _find_enterprise(execute: Execute, number: str) -> dict[str, Any]:
    rows = execute(_ENTERPRISES)
    found = [row for row in rows if row["number"] == number]
    if len(found) == 1:
        return found[0]
    if found:
        raise OperatorError(f"{len(found)} enterprises have the number {number}: it names no one")
    raise OperatorError(no_enterprise(number, (row["number"] for row in rows)))


def _find_owner(execute: Execute, number: str) -> dict[str, Any] | None:
    """Find whose secrets a number has; None: an enterprise's that is not there any more.

    They would open whichever gets the number next. Raises OperatorError: there are none.
    """
    try:
        return _find_enterprise(execute, number)
    except OperatorError:
        is_there = any(row["number"] == number for row in execute(_ENTERPRISES))
        if is_there or not _known(execute, number):
            raise
        return None


def _list(execute: Execute, number: str) -> Iterator[str]:
    row = _find_owner(execute, number)
    keys = _known(execute, number)
    if row is None:
        yield f"No enterprise has the number {number}; what has not ended opens whichever gets it"
    else:
        yield f"enterprise {number} {row['name']}"
    if row is not None and not any(key["of_table"] for key in keys):
        yield f"  {_FIRST}: the table's own, without an end"
    for key in keys:
        yield f"  {_described(key)}"


def _known(execute: Execute, number: str) -> Rows:
    return execute(_KEYS, number=number, shown=_FINGERPRINT)


def _described(key: dict[str, Any]) -> str:
    # Of a secret that somebody has thought up, even a part of the digest might tell it.
    which = "the table's own" if key["of_table"] else f"{key['fingerprint']}, made {_day(key)}"
    if key["until"] is None:
        return f"{key['name']}: {which}, without an end"
    word = "ENDED" if key["has_ended"] else "until"
    return f"{key['name']}: {which}, {word} {times.shown(key['until'])}"


def _add(
    execute: Execute, doer: Doer, row: dict[str, Any], name: str | None, until: datetime | None
) -> Iterator[str]:
    if until is not None and until <= datetime.now(UTC):
        raise OperatorError(f"--until {times.shown(until)} is over")
    names = {key["name"] for key in _known(execute, row["number"])}
    if name in names:
        raise OperatorError(f"Enterprise {row['number']} has a secret of the name {name} already")
    name = name or next(free for n in range(1, len(names) + 2) if (free := f"key-{n}") not in names)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    execute(_ADD, digest=digest, number=row["number_there"], name=name, until=until)
    end = f"until {times.shown(until)}" if until else "without an end"
    note(execute, doer, "keys", f"{name} {digest[:_FINGERPRINT]}: {end}", enterprise=row["number"])
    yield f"{name}: {digest[:_FINGERPRINT]}, {end}. The secret, shown this once:"
    yield secret


def _end(
    execute: Execute, doer: Doer, number: str, wanted: str, at: datetime | None
) -> Iterator[str]:
    if at is not None and at < datetime.now(UTC):
        raise OperatorError(f"--at {times.shown(at)} is over")
    keys = _known(execute, number)
    named = [key for key in keys if key["name"] == wanted]
    found = named or [key for key in keys if key["fingerprint"] == wanted and not key["of_table"]]
    for key in found:
        if key["has_ended"]:
            raise OperatorError(f"{_described(key)}: it never holds again")
    if wanted == _FIRST:
        execute(_KEEP_EARLIER, number=number, name=_FIRST)
        rows = execute(_END_FIRST, number=number, name=_FIRST, at=at)
    elif found:
        rows = execute(_END, number=number, name=found[0]["name"], at=at)
    else:
        names = ", ".join([_FIRST, *(key["name"] for key in keys if not key["of_table"])])
        raise OperatorError(f"Enterprise {number} has no secret {wanted}; it has {names}")
    if not rows:
        raise OperatorError(f"Enterprise {number} has no secret in its table")
    name = found[0]["name"] if found else _FIRST
    told = f"{name}: {'ends' if at else 'ENDED'} {times.shown(rows[0]['until'])}"
    note(execute, doer, "keys", told, enterprise=number)
    yield told


def _day(key: dict[str, Any]) -> str:
    return f"{key['created_at']:%Y-%m-%d}"


def parse_name(text: str) -> str:
    """Check a secret's name. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch("[A-Za-z0-9_.-]{1,40}", text) or text.split("-", maxsplit=1)[0] == _FIRST:
        raise argparse.ArgumentTypeError(
            f"must be 1 to 40 letters, digits, _ . or -, and not {_FIRST}"
        )
    return text

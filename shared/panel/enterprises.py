"""The enterprises: their rules, secrets and weaknesses; no secret is read, none is shown."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.notices import SECRET_IN_URL
from shared.operate import times
from shared.operate.check import findings_of_row
from shared.operate.command import no_enterprise
from shared.operate.findings import Finding
from shared.operate.keys import load_keys, parse_name
from shared.operate.rules import load_rules
from shared.panel.refusals import Said
from shared.pbx.telling import the_telling
from shared.settings import Settings
from shared.store.connection import Rows
from shared.store.database import Database
from shared.store.enterprises import ListedEnterprise, list_enterprises
from shared.store.told import Noticed, load_notices
from shared.telemetry import printable

_LATELY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the table, what of it is weak, and which limits have refused it lately."""

    row: ListedEnterprise
    weaknesses: tuple[Finding, ...]
    limits: tuple[Noticed, ...]


class Statement(NamedTuple):
    """What an operator may run on the table `enterprises`, which is the user's own."""

    key: str
    sql: str


@dataclass(frozen=True, slots=True)
class Enterprise:
    """One of them, whole; the lists are None where nobody said."""

    row: ListedEnterprise
    weaknesses: tuple[Finding, ...]
    allowed: tuple[str, ...] | None
    denied: tuple[str, ...] | None
    extensions: tuple[str, ...] | None
    keys: Rows
    limits: tuple[Noticed, ...]
    statements: tuple[Statement, ...]


async def list_all(database: Database, settings: Settings) -> tuple[Listed, ...]:
    """List them by their numbers. Raises DatabaseUnavailable."""
    await the_telling().tell()
    rows = await list_enterprises(database)
    limits: dict[str, list[Noticed]] = defaultdict(list)
    for one in await load_limits(database, None):
        if datetime.now(UTC) - one.last_at < _LATELY:
            limits[one.enterprise].append(one)
    return tuple(Listed(row, _weaknesses(row, settings), tuple(limits[row.number])) for row in rows)


async def load_limits(database: Database, number: str | None) -> tuple[Noticed, ...]:
    """List the limits that have refused an enterprise, or all of them, the newest first."""
    noticed = await load_notices(database, number)
    return tuple(one for one in noticed if one.what != SECRET_IN_URL)


def _weaknesses(row: ListedEnterprise, settings: Settings) -> tuple[Finding, ...]:
    found = findings_of_row(row, settings)
    return tuple(one for one in found if one.state != "good" and one.name != "dialling")


async def find_row(database: Database, number: str) -> ListedEnterprise:
    """Find the enterprise of a number, of several the first. Raises Said.

    A page shows a number's tab or mark of no width written out, and its forms send that back.
    """
    rows = await list_enterprises(database)
    for row in rows:
        if not {number, number.strip()}.isdisjoint({row.number, printable(row.number)}):
            return row
    raise Said(no_enterprise(number.strip(), (row.number for row in rows)), status=404)


async def load_place(database: Database) -> str:
    """Tell where the user's table is, as SQL names it. Raises DatabaseUnavailable."""
    rows = await database.run("SELECT callapi.enterprises_at() AS place")
    return str(rows[0]["place"])


def load(
    database: Database,
    settings: Settings,
    row: ListedEnterprise,
    place: str,
    limits: tuple[Noticed, ...],
) -> Enterprise:
    """Read all of one; blocking. Raises DatabaseUnavailable, OperatorError."""
    rules = dict(next(iter(load_rules(database, row.number)), {}))
    lists = {name: rules.get(name) for name in ("allowed", "denied", "extensions")}
    return Enterprise(
        row=row,
        weaknesses=_weaknesses(row, settings),
        keys=load_keys(database, row.number),
        limits=limits,
        statements=tuple(_statements(row, place)),
        **{name: None if value is None else tuple(value) for name, value in lists.items()},
    )


def _statements(row: ListedEnterprise, place: str) -> Iterator[Statement]:
    where = f"WHERE number = {_literal(row.written)};"
    key, active = ("sql_off", "false") if row.active else ("sql_on", "true")
    for name, value in (
        # Two random UUIDs, whose randomness is the operating system's: nobody has seen it before.
        ("sql_secret", "secret = replace(gen_random_uuid()::text || gen_random_uuid(), '-', '')"),
        ("sql_host", f"ip = {_literal(row.host)}"),  # as it is, until somebody writes another
        (key, f"active = {active}"),
    ):
        yield Statement(name, f"UPDATE {place} SET {value}\n {where}")  # noqa: S608 - printed


def _literal(text: str) -> str:
    """Quote a text for SQL, whatever standard_conforming_strings is."""
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        doubled = quoted.replace("\\", "\\\\")
        return f"E'{doubled}'"
    return f"'{quoted}'"


class NewKey(NamedTuple):
    """What a new secret is to be called, and when it ends; None: by itself, never."""

    name: str | None
    until: datetime | None

    @classmethod
    def parse(cls, name: str, until: str) -> NewKey:
        """Read a form. Raises Said."""
        try:
            return cls(parse_name(name) if name else None, times.until(until) if until else None)
        except argparse.ArgumentTypeError as error:
            raise Said(str(error), status=422) from None

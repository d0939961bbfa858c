"""The schema `callapi`: tables in numbered migrations, each function in a file of its own.

A migration is applied once. A function is applied again whenever its file has changed, after all
migrations; one whose signature changes gets a new name, so that a process of the release before
goes on beside it.

The user's table `enterprises` may live in any schema. Where, is found once, by the search_path of
whoever migrates, and written into the functions that read it; nothing else names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from shared.errors import SchemaMissing
from shared.process import once
from shared.store.connection import Rows
from shared.store.database import Database, Door
from shared.store.sqlstates import AccessRefused, TableHeld, cause_of

SCHEMA = Path(__file__).parent / "schema"

# Any number that no other program uses: two operators migrate one after the other.
_MIGRATION_LOCK = 0x61737465

# Nothing is read of `enterprises`: that it can be is what is asked.
_STATE = """
SELECT ARRAY(SELECT version FROM callapi.migrations) AS versions,
       ARRAY(SELECT name FROM callapi.functions) AS functions,
       ARRAY(SELECT p || ' on callapi.' || r.relation
               FROM callapi.rights() r, unnest(r.privileges) p
              WHERE NOT has_table_privilege('callapi.' || r.relation, p)) AS refused,
       EXISTS (SELECT 1 FROM callapi.enterprise_of(NULL))
"""

# Whoever waits for a table keeps all others from it who come later: calls are placed meanwhile.
_LOCK_TIMEOUT = "2s"
_TRIES, _PAUSE_S = 5, 1.0

_ENTERPRISES = "@enterprises@"
# Where the table is looked for until there is one.
_USUAL_PLACE = "public.enterprises"
# A table's name, quoted where it must be; NULL: there is none.
_QUALIFIED = """
SELECT (SELECT format('%I.%I', n.nspname, c.relname)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = CAST(:oid AS oid)) AS name
"""

T = TypeVar("T")


class TooOld(Exception):
    """The database was left in the middle of migrations that are not kept any more."""


class NoSuchTable(Exception):
    """There is no table of the name that an operator gave, or it is one that cannot be written."""


class Migration(NamedTuple):
    """One numbered file of the schema: tables, and what changes them."""

    version: int
    name: str
    sql: str


class Function(NamedTuple):
    """One file of the schema's functions."""

    name: str
    template: str

    def sql(self, enterprises: str) -> str:
        """Write it for a database where `enterprises` has this qualified name."""
        return self.template.replace(_ENTERPRISES, enterprises)


class Step(NamedTuple):
    """A migration or a function, by its name, and whether it was applied now."""

    name: str
    applied_now: bool


def load_migrations(folder: Path = SCHEMA) -> Iterator[Migration]:
    """Yield the migrations in the order of their numbers."""
    for path in sorted(folder.glob("[0-9][0-9][0-9]_*.sql")):
        yield Migration(int(path.name[:3]), path.stem, path.read_text("utf-8"))


def load_functions(folder: Path = SCHEMA) -> Iterator[Function]:
    """Yield the functions by their names."""
    for path in sorted(folder.glob("functions/*.sql")):
        yield Function(path.stem, path.read_text("utf-8"))


@once
def the_schema() -> frozenset[int | str]:
    """What this release needs: the versions of its migrations, the names of its functions."""
    versions = (migration.version for migration in load_migrations())
    return frozenset([*versions, *(function.name for function in load_functions())])


async def check_schema(database: Door) -> None:
    """Make sure that calls can be placed, as far as the database can tell; one round trip.

    A function that is there with another text may be a newer release's, beside which this one goes
    on: one whose signature changes has another name.

    Raises:
        SchemaMissing: a migration was not applied, or `enterprises` is not as it must be.
        AccessRefused: a right is missing; the sentence names it.
        DatabaseUnavailable: PostgreSQL cannot be asked.
    """
    try:
        (row,) = await database.run(_STATE)
    except AccessRefused as error:
        raise _refused(cause_of(error.__cause__ or error)) from error
    missing = the_schema() - {*row["versions"], *row["functions"]}
    if missing:
        raise SchemaMissing("Database schema callapi is incomplete: run ./asterisk.sh migrate")
    if row["refused"]:
        raise _refused(f"no {', no '.join(row['refused'])}")


def _refused(why: str) -> AccessRefused:
    return AccessRefused(
        f"The service's PostgreSQL user lacks a right: {why}. Apply deploy/grants.sql"
    )


def migrate(
    database: Database, folder: Path = SCHEMA, *, enterprises: str | None = None
) -> Iterator[Step]:
    """Apply what is missing or has changed: each migration in a transaction, then the functions.

    Running it again, or twice at once, is harmless. `enterprises` is an operator's own choice of
    that table, SCHEMA.TABLE; without it the one that was chosen before stays as long as it exists.

    Raises:
        TooOld, NoSuchTable: nothing was applied.
        TableHeld: another session has had a table for too long; what was yielded is applied.
        DatabaseUnavailable: likewise.
    """
    if enterprises is not None:
        with database.transaction() as execute:
            _find_table(execute, enterprises)
    oldest = min((migration.version for migration in load_migrations(folder)), default=0)
    for migration in load_migrations(folder):
        missing = _patiently(partial(_apply, database, migration, oldest))
        yield Step(migration.name, missing)
    yield from _patiently(partial(_apply_functions, database, folder, enterprises))


def _patiently(apply: Callable[[], T]) -> T:
    """Apply something; where others hold a table, let those by who wait, and try again."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(TableHeld):
            return apply()
        time.sleep(_PAUSE_S)
    return apply()


def _apply(database: Database, migration: Migration, oldest: int) -> bool:
    """Apply a migration, unless it is applied; tell whether it was now."""
    with database.transaction() as execute:
        execute("SELECT pg_advisory_xact_lock(:key)", key=_MIGRATION_LOCK)
        execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        applied = _applied(execute)
        if applied and max(applied) < oldest:
            raise TooOld(
                f"Schema callapi is at migration {max(applied)}, of before the first release;"
                f" this release begins at {oldest}. Drop it, or migrate with a version between"
            )
        missing = migration.version not in applied
        if missing:
            execute(migration.sql)
            execute(
                "INSERT INTO callapi.migrations (version, name) VALUES (:version, :name)",
                version=migration.version,
                name=migration.name,
            )
    return missing


def _applied(execute: Callable[..., Rows]) -> set[int]:
    if execute("SELECT to_regclass('callapi.migrations') AS found")[0]["found"] is None:
        return set()
    return {row["version"] for row in execute("SELECT version FROM callapi.migrations")}


def _apply_functions(database: Database, folder: Path, enterprises: str | None) -> list[Step]:
    """Apply the functions that have changed, all of them or none: they call each other."""
    steps = []
    with database.transaction() as execute:
        execute("SELECT pg_advisory_xact_lock(:key)", key=_MIGRATION_LOCK)
        execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        # What they name may be another function, applied after it, or `enterprises`, made later.
        execute("SET LOCAL check_function_bodies = off")
        place = _find_table(execute, enterprises) if enterprises else _find_enterprises(execute)
        known = {row["name"]: row["digest"] for row in execute("SELECT * FROM callapi.functions")}
        for function in load_functions(folder):
            sql = function.sql(place)
            digest = hashlib.sha256(sql.encode()).hexdigest()
            changed = known.get(function.name) != digest
            if changed:
                execute(sql)
                execute(
                    "INSERT INTO callapi.functions (name, digest) VALUES (:name, :digest) "
                    "ON CONFLICT (name) DO UPDATE "
                    "SET digest = EXCLUDED.digest, applied_at = clock_timestamp()",
                    name=function.name,
                    digest=digest,
                )
            steps.append(Step(f"function {function.name}", changed))
    return steps


def _find_enterprises(execute: Callable[..., Rows]) -> str:
    """Find where `enterprises` is: where it was, or else where this user's search_path finds it.

    A path may begin with a schema in which others may create; so one that is known is kept.
    """
    (row,) = execute("SELECT to_regproc('callapi.enterprises_at') IS NOT NULL AS known")
    if row["known"]:
        (row,) = execute("SELECT callapi.enterprises_at() AS name")
        with contextlib.suppress(NoSuchTable):
            return _find_table(execute, row["name"])
    execute("SET LOCAL search_path TO DEFAULT")
    (row,) = execute("SELECT pg_catalog.to_regclass('enterprises')::pg_catalog.oid AS oid")
    execute("SET LOCAL search_path = pg_catalog, pg_temp")
    return _qualified(execute, row["oid"], "enterprises") if row["oid"] else _USUAL_PLACE


def _find_table(execute: Callable[..., Rows], name: str) -> str:
    (row,) = execute("SELECT to_regclass(:name)::oid AS oid", name=name)
    return _qualified(execute, row["oid"], name)


def _qualified(execute: Callable[..., Rows], oid: int | None, name: str) -> str:
    """Name a table with its schema. Raises NoSuchTable."""
    (row,) = execute(_QUALIFIED, oid=oid)
    qualified: str | None = row["name"]
    if qualified is None:
        raise NoSuchTable(f"There is no table {name} that this user may see")
    if "$" in qualified:  # it would end the text of a function, and begin another
        raise NoSuchTable(f"The table {qualified} must have no $ in its name or schema")
    return qualified

"""The schema `callapi`, as an operator cares for it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from shared.operate.command import Add
from shared.settings import Settings
from shared.store.database import Database
from shared.store.migrations import migrate


def add_commands(add: Add) -> None:
    """Add what concerns the schema."""
    migrating = add("migrate", _migrate, "apply the migrations of schema callapi that are missing")
    migrating.add_argument(
        "--enterprises",
        metavar="SCHEMA.TABLE",
        type=_table,
        help="the table of that name to read, where your search_path finds another one first",
    )
    migrating.add_argument(
        "--sweep", action="store_true", help="then do what sweep does, as each start has it"
    )
    add("renew-cursor-key", _renew_cursor_key, "end every cursor that was given out")
    add("sweep", _sweep, "remove what has expired, but for calls, events and the audit")


def _table(text: str) -> str:
    if not re.fullmatch(r'(\w+|"[^"$]+")\.(\w+|"[^"$]+")', text):
        raise argparse.ArgumentTypeError("must be SCHEMA.TABLE, e.g. crm.enterprises")
    return text


def _migrate(database: Database, settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    steps = list(migrate(database, enterprises=options.enterprises))
    yield from (f"{step.name}: applied" for step in steps if step.applied_now)
    if not any(step.applied_now for step in steps):
        yield f"Schema callapi is up to date: {len(steps)} files"
    if options.sweep:
        yield from _sweep(database, settings, options)


def _renew_cursor_key(
    database: Database, _settings: Settings, _options: argparse.Namespace
) -> Iterator[str]:
    with database.transaction() as execute:
        execute("UPDATE callapi.cursor_key SET key = DEFAULT, renewed_at = clock_timestamp()")
    yield "Every cursor that was given out has ended; clients begin again without one"


def _sweep(database: Database, _settings: Settings, _options: argparse.Namespace) -> Iterator[str]:
    swept, last = 0, None
    while last != 0:  # some thousand at a time, each in a transaction of its own
        with database.transaction() as execute:
            last = execute("SELECT callapi.sweep() AS rows")[0]["rows"]
        swept += last
    yield f"Removed {swept} expired rows"

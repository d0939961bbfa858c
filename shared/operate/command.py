"""What an operator's command is: it yields the lines that it prints, or says why it cannot."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, TypeAlias

from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.operate.findings import Words
from shared.settings import Settings
from shared.store.audit import Action, Doer
from shared.store.connection import Rows
from shared.store.database import Database
from shared.store.enterprises import NUMBERS
from shared.store.sqlstates import UNAVAILABLE, AccessRefused, TableHeld, cause_of

Command: TypeAlias = Callable[[Database, Settings, argparse.Namespace], Iterator[str]]
Execute: TypeAlias = Callable[..., Rows]

_NOTE = "SELECT callapi.note(:enterprise, :action, NULL, NULL, :what, NULL, CAST(:who AS jsonb))"
_NOBODY = 2**32 - 1

_NEAREST = 3


class OperatorError(Exception):
    """What an operator asked for cannot be done; the text says why."""


class Add(Protocol):
    """Adds a command to the command line; its arguments are the caller's to add."""

    def __call__(self, name: str, command: Command, text: str) -> argparse.ArgumentParser:
        """Return the command's own parser."""


def note(execute: Execute, doer: Doer, action: Action, what: str, *, enterprise: str = "") -> None:
    """Note in the audit what an operator changes, in the transaction that changes it."""
    execute(_NOTE, enterprise=enterprise, action=action, what=what, who=doer.render())


def operator() -> Doer:
    """Who has logged in to this machine, whatever user he is by now; else the user."""
    uid = os.getuid()
    with suppress(OSError, ValueError):
        logged_in = int(Path("/proc/self/loginuid").read_text("ascii"))
        uid = uid if logged_in == _NOBODY else logged_in
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Doer("operator", actor=name)


def nearest(number: str, numbers: Iterable[str]) -> Words:
    """Say which enterprises there are instead of one that there is not."""
    found = get_close_matches(number, sorted(set(numbers)), n=_NEAREST, cutoff=0)
    if not found:
        return Words.of("The table has no row")
    return Words.of("The nearest are {found}", found=", ".join(found))


def no_enterprise(number: str, numbers: Iterable[str]) -> Words:
    """Say that no enterprise has a number, which is a typing error most likely."""
    told = nearest(number, numbers)
    return Words.of("There is no enterprise {number}. {told}", number=number, told=told)


def check_number(execute: Execute, number: str) -> None:
    """Refuse a number that no enterprise has: a typing error would change nobody, and say it did.

    Raises OperatorError.
    """
    numbers = {row["number"] for row in execute(NUMBERS)}
    if number not in numbers:
        raise OperatorError(no_enterprise(number, numbers))


def explain(error: DatabaseUnavailable, database: Database) -> str:
    """Say what an operator has to know of it: which server, which user, why. No secret."""
    why = cause_of(error.__cause__ or error)
    where = database.where
    match error:
        case SchemaMissing():
            return error.reason
        case AccessRefused() if error.reason != UNAVAILABLE:
            return error.reason
        case AccessRefused():
            user = where.postgres_user
            return (
                f"PostgreSQL user {user} has no right to do this: {why}; "
                "run it as the owner of the database, or have them CREATE SCHEMA callapi "
                f"AUTHORIZATION {user}"
            )
        case TableHeld():
            return (
                "Another session holds a table of schema callapi, e.g. a report or a backup; "
                "nothing is half done, so run this again when it has ended"
            )
    place = f"{where.postgres_host}:{where.postgres_port}/{where.postgres_db}"
    return f"PostgreSQL {place} is unavailable: {why}"

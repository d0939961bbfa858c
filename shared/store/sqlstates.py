"""What PostgreSQL's errors mean, by their SQLSTATE: ask once more, or raise which of ours."""

from __future__ import annotations

import re
from typing import NoReturn

import pg8000.exceptions

from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.telemetry import LOG

UNAVAILABLE = "Database is unavailable; nothing was dialled, try again"
POOLER = (
    "Database is unavailable: a pooler before PostgreSQL loses prepared statements; nothing was"
    " dialled. Set its pool_mode to transaction or session, or connect to PostgreSQL itself"
)
SCHEMA_MISSING = "Database schema callapi is missing: run ./asterisk.sh migrate"
NO_ENTERPRISES = (
    "Table enterprises is missing from the database; if it was moved, run ./asterisk.sh migrate"
)
WRONG_ENTERPRISES = (
    "Table enterprises must have number, name, ip, secret and active (boolean); "
    "if it has, run ./asterisk.sh migrate"
)

# The user, the password, or pg_hba.conf: the same log-in will be refused again.
_REFUSED = re.compile(r"28...")

# A fresh connection may well succeed: the server closed or left this one behind (08, 57P),
# became a standby (25006), broke a deadlock (40), or a prepared statement was changed by a
# migration, or is another's: behind a pooler.
_LOST = re.compile(r"08...|57P0[123]|25006|40001|40P01|0A000|26000|42P05")
_PREPARED_LOST = frozenset({"26000", "42P05"})

# Wrong password, role or database, no free slot, time-out, disk or memory full.
_UNAVAILABLE = re.compile(r"28...|3D000|53...|57...|58...|XX...")

# Characters that the database cannot hold, or text that its column's type refuses.
_TEXT_REFUSED = re.compile(r"22021|22P05|22P02")


class AccessRefused(DatabaseUnavailable):
    """The PostgreSQL user has no right to do this; an operator has to grant it."""


class TableHeld(DatabaseUnavailable):
    """Another session holds what is to be changed for longer than it may be waited for."""


class TextRefused(Exception):
    """A parameter cannot exist in this database (NUL, lone surrogate), so nothing equals it.

    Never carries the text: it may be a caller's secret.
    """


def server_error(error: BaseException) -> dict[str, str]:
    """What PostgreSQL itself said, even if closing the refused connection failed afterwards."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, pg8000.exceptions.DatabaseError) and seen.args:
            fields: dict[str, str] = seen.args[0]
            return fields
        seen = seen.__context__
    return {}


def is_refused(error: BaseException) -> bool:
    """Tell whether the log-in was refused, and will be again."""
    return bool(_REFUSED.fullmatch(server_error(error).get("C", "")))


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is of no use any more, and a fresh one may well succeed."""
    said = server_error(error)
    if is_refused(error):
        return False
    return not said or said.get("S") == "FATAL" or bool(_LOST.fullmatch(said.get("C", "")))


def cause_of(error: BaseException) -> str:
    """One line for the log or an operator: what PostgreSQL or the network said. No secret."""
    said = server_error(error)
    if said:
        text = f"{said.get('C', '')} {said.get('M', '')}"
    else:
        text = f"{type(error).__name__}: {error}"
        if error.__cause__:
            text += f" ({type(error.__cause__).__name__}: {error.__cause__})"
    return " ".join(text.split())


def raise_ours(error: BaseException) -> NoReturn:
    """Raise the error of ours that `error` means, or `error` itself: then it is our mistake."""
    said = server_error(error)
    code, message = said.get("C", ""), said.get("M", "")
    if _TEXT_REFUSED.fullmatch(code):
        raise TextRefused from None  # PostgreSQL's message may quote the text
    ours: DatabaseUnavailable
    if code == "42P01" and "enterprises" in message:
        ours = SchemaMissing(NO_ENTERPRISES)
    elif code == "42703" or (code == "42883" and "callapi" not in message):
        ours = SchemaMissing(WRONG_ENTERPRISES)
    elif code in {"3F000", "42883", "42P01"}:
        ours = SchemaMissing(SCHEMA_MISSING)
    elif code in _PREPARED_LOST:
        ours = DatabaseUnavailable(POOLER)
    elif code == "55P03":
        ours = TableHeld(UNAVAILABLE)
    elif code == "42501":
        ours = AccessRefused(UNAVAILABLE)
    elif not code or _LOST.fullmatch(code) or _UNAVAILABLE.fullmatch(code):
        ours = DatabaseUnavailable(UNAVAILABLE)
    else:
        raise error
    LOG.warning("⚠️ PostgreSQL недоступен: %s", cause_of(error))
    raise ours from error

"""What an enterprise may do, as an operator says it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from shared.operate.command import Add, check_number, note, operator
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.connection import Rows
from shared.store.database import Database

_DENIED = (
    "prefixes that may not be called, whatever is allowed; a number of up to EXTENSION_DIGITS"
    " digits still rings as an extension (code, monitor_from, to)"
)

_SWITCHES = ("dialling", "audit", "webhooks")


def add_commands(add: Add) -> None:
    """Add what concerns rules."""
    rules = add(
        "rules", _rules, "show or set what an enterprise may do; lists replace, none clears"
    )
    rules.add_argument("enterprise", metavar="NUMBER", help="as in enterprises.number")
    rules.add_argument("--dialling", choices=["on", "off"], help="off refuses whatever would ring")
    rules.add_argument("--audit", choices=["on", "off"], help="on: it may read GET /api/audit")
    rules.add_argument(
        "--webhooks", choices=["on", "off"], help="on: it may have webhooks by /api/webhooks"
    )
    for name, kind, text in (
        ("allowed", _prefix, "prefixes that may be called, e.g. +375 8029"),
        ("denied", _prefix, _DENIED),
        ("extensions", _extension, "the only extensions it may ring and monitor"),
    ):
        rules.add_argument(f"--{name}", nargs="*", type=kind, metavar="TEXT", help=text)


def _rules(database: Database, _settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    given = {
        name: value
        for name in ("dialling", "audit", "webhooks", "allowed", "denied", "extensions")
        if (value := getattr(options, name)) is not None
    }
    enterprise = options.enterprise.strip(" ")
    if given:
        set_rules(database, operator(), enterprise, given)
    rows = load_rules(database, enterprise)
    if not rows:
        yield f"No rules for enterprise {enterprise}"
    for row in rows:
        yield f"enterprise {row['enterprise']}: dialling {'on' if row['dialling'] else 'STOPPED'}"
        for name, none in (("allowed", "all"), ("denied", "none"), ("extensions", "not named")):
            yield f"  {name}: {' '.join(row[name]) if row[name] else none}"
        yield f"  audit: {'may read its own' if row['audit'] else 'operators only'}"
        yield f"  webhooks: {'may have them' if row['webhooks'] else 'operators only'}"


def load_rules(database: Database, enterprise: str) -> Rows:
    """Read an enterprise's rules: one row, or none where nobody said anything.

    Raises OperatorError: no enterprise has this number. DatabaseUnavailable.
    """
    with database.transaction() as execute:
        check_number(execute, enterprise)
        return execute(
            "SELECT * FROM callapi.enterprise_rules WHERE enterprise = :enterprise",
            enterprise=enterprise,
        )


def set_rules(database: Database, doer: Doer, enterprise: str, given: dict[str, Any]) -> None:
    """Set what is given of an enterprise's rules, as `_rules` names it.

    Raises:
        OperatorError: no enterprise has this number; nothing is set.
        DatabaseUnavailable: likewise.
    """
    with database.transaction() as execute:
        check_number(execute, enterprise)
        execute(
            "INSERT INTO callapi.enterprise_rules (enterprise) VALUES (:enterprise) "
            "ON CONFLICT DO NOTHING",
            enterprise=enterprise,
        )
        for name, value in given.items():
            # `name` is one of the six above; an empty list is no rule.
            execute(
                f"UPDATE callapi.enterprise_rules SET {name} = :value "  # noqa: S608
                "WHERE enterprise = :enterprise",
                enterprise=enterprise,
                value=value == "on" if name in _SWITCHES else (value or None),
            )
        note(execute, doer, "rules", _said(given), enterprise=enterprise)


def _said(given: dict[str, Any]) -> str:
    """What was asked for, as it was written."""
    parts = ((name, [value] if name in _SWITCHES else value) for name, value in given.items())
    return " ".join(" ".join((f"--{name}", *values)) for name, values in parts)


def _prefix(text: str) -> str:
    if not re.fullmatch("[+]?[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError("must be digits with at most one leading +, e.g. +375")
    return text


def _extension(text: str) -> str:
    if not re.fullmatch("[0-9]{1,10}", text):
        raise argparse.ArgumentTypeError("must be 1 to 10 digits, e.g. 150")
    return text

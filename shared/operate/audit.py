"""Who did what, as an operator reads it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from uuid import UUID

from shared.asterisk.models import Phone
from shared.numbering import spellings
from shared.operate import times
from shared.operate.command import Add, check_number
from shared.settings import Settings
from shared.store.audit import OF_ALL, OF_ONE, Note, Noted, Place, page_of, selected
from shared.store.database import Database

_AT_ONCE = 500
_LAST = 50
_IS_NOTED = """
SELECT EXISTS (SELECT FROM callapi.audit a WHERE a.enterprise = :enterprise) AS noted
"""


def add_commands(add: Add) -> None:
    """Add what concerns the audit."""
    audit = add("audit", _audit, "list who did what, the newest first")
    audit.add_argument("enterprise", metavar="NUMBER", nargs="?", help="default: all of them")
    audit.add_argument("--number", type=phone, metavar="PHONE", help="whom it was about")
    audit.add_argument("--call", type=_call_id, metavar="CALL_ID", help="one call")
    audit.add_argument("--actor", metavar="NAME", help="X-Actor, or an operator's name")
    audit.add_argument("--since", type=times.since, metavar="TIME", help=times.SINCE)
    audit.add_argument(
        "--last", type=_count, default=_LAST, metavar="N", help="default: %(default)s"
    )


def phone(text: str) -> str:
    """Check a number's text."""
    try:
        return Phone(text).number
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _call_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a call_id") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):  # noqa: PLR2004
        raise argparse.ArgumentTypeError("must be from 1 to 1000000")
    return int(text)


def _audit(database: Database, settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    enterprise = {"enterprise": options.enterprise.strip(" ")} if options.enterprise else {}
    wanted = Noted(
        actor=options.actor,
        call_id=options.call,
        numbers=spellings(options.number, settings.region) if options.number else None,
        since=options.since,
    )
    if enterprise:
        _check_number(database, enterprise["enterprise"])
    left: int = options.last
    before: Place | None = None
    while left:  # a page at a time: whoever reads by a pager keeps nothing waiting
        limit = min(left, _AT_ONCE)
        with database.transaction() as execute:
            asked = enterprise | selected(wanted, limit=limit, before=before)
            page = page_of(execute(OF_ONE if enterprise else OF_ALL, **asked), limit)
        yield from map(_line, page.notes)
        before, left = page.next, left - limit
        if before is None:
            break


def _check_number(database: Database, number: str) -> None:
    """Refuse a number that nobody has and nobody had, as far as anything is noted of it."""
    with database.transaction() as execute:
        if not execute(_IS_NOTED, enterprise=number)[0]["noted"]:
            check_number(execute, number)


def _line(note: Note) -> str:
    who = [
        note.actor,
        note.secret and f"secret {note.secret}",
        note.address and f"from {note.address}",
    ]
    parts = [
        times.shown(note.at),
        note.enterprise or "-",
        _what(note),
        f"by {note.done_by} {', '.join(filter(None, who))}".rstrip(),
        _became(note),
        note.call_id and f"call_id={note.call_id}",
        note.request_id and f"request_id={note.request_id}",
    ]
    return " | ".join(filter(None, map(str, filter(None, parts))))


def _what(note: Note) -> str:
    listening = f" {note.listening}" if note.listening else ""
    return (
        f"{note.action}{listening} {note.code} -> {note.whom}"
        if note.code
        else f"{note.action} {note.whom}"
    )


def _became(note: Note) -> str:
    """How it ended, or how far it is."""
    talk = "" if note.talk_s is None else f", {note.talk_s} s"
    return note.error_code or f"{note.reason or note.outcome or note.phase or ''}{talk}"

"""Forgets a person's number, wherever this service keeps it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from shared.numbering import spellings
from shared.operate import times
from shared.operate.audit import phone
from shared.operate.command import Add, Execute, OperatorError, note, operator
from shared.settings import Settings
from shared.store.database import Database

_FORGOTTEN = "forgotten"
# No index leads to a number: tables of a year are read through.
_LIMIT_S = 3600.0

# With its + and without are one number.
_ABOUT = """
ltrim(c.phone, '+') = ANY (CAST(:numbers AS text[])) OR ltrim(c.code, '+') = ANY (:numbers)
  OR ltrim(c.transferred_to, '+') = ANY (:numbers)
"""
# What is placed meanwhile is seen by none of the statements: it stays whole, with its claims.
_AS_OF_NOW = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_COUNT = f"""
SELECT count(*) AS calls, count(*) FILTER (WHERE c.ended_at IS NULL) AS open,
       array_agg(DISTINCT c.host ORDER BY c.host) AS hosts,
       (SELECT max(m.until) FROM callapi.claims m
         WHERE m.until > clock_timestamp()
           AND m.call_id IN (SELECT c.call_id FROM callapi.calls c WHERE {_ABOUT})) AS asked_until
  FROM callapi.calls c WHERE {_ABOUT}
"""  # noqa: S608 - a constant of this module
# An event keeps its number, so that whoever reads the feed finds no gap; it tells nobody anything.
_EMPTY_EVENTS = f"""
WITH emptied AS (
  UPDATE callapi.call_events e
     SET call = NULL, call_id = NULL, phase = NULL, reason = NULL, pbx = NULL
   WHERE e.call_id IN (SELECT c.call_id FROM callapi.calls c WHERE {_ABOUT})
      OR ltrim(e.call->>'phone', '+') = ANY (:numbers)
      OR ltrim(e.call->>'code', '+') = ANY (:numbers)
      OR ltrim(e.call->>'transferred_to', '+') = ANY (:numbers)
      OR ltrim(e.pbx->>'from_', '+') = ANY (:numbers)
      OR ltrim(e.pbx->>'to', '+') = ANY (:numbers)
  RETURNING 1)
SELECT count(*) AS n FROM emptied
"""  # noqa: S608 - a constant of this module
_CLAIMS = f"""
DELETE FROM callapi.claims m
 WHERE m.call_id IN (SELECT c.call_id FROM callapi.calls c WHERE {_ABOUT})
    OR m.params ~ :word
"""  # noqa: S608 - a constant of this module
_AUDIT = f"""
WITH emptied AS (
  UPDATE callapi.audit a
     SET whom = CASE WHEN a.call_id IN (SELECT c.call_id FROM callapi.calls c WHERE {_ABOUT})
                     THEN :forgotten ELSE regexp_replace(a.whom, :word, :forgotten, 'g') END,
         code = regexp_replace(a.code, :word, :forgotten, 'g'),
         actor = regexp_replace(a.actor, :word, :forgotten, 'g')
   WHERE a.whom ~ :word OR a.code ~ :word OR a.actor ~ :word
      OR a.call_id IN (SELECT c.call_id FROM callapi.calls c WHERE {_ABOUT})
  RETURNING 1)
SELECT count(*) AS n FROM emptied
"""  # noqa: S608 - a constant of this module
_CALLS = f"DELETE FROM callapi.calls c WHERE {_ABOUT}"  # noqa: S608 - a constant of this module
_LIMITS = """
DELETE FROM callapi.rate_limits r
 WHERE r.key LIKE 'x:%' AND ltrim(split_part(r.key, ':', 3), '+') = ANY (CAST(:numbers AS text[]))
"""
_VIEWS = """
UPDATE callapi.host_views v SET calls = NULL, taken_at = NULL
 WHERE EXISTS (SELECT 1 FROM unnest(CAST(:numbers AS text[])) n
                WHERE v.calls::text LIKE '%"' || n || '"%' OR v.calls::text LIKE '%"+' || n || '"%')
"""
_ELSEWHERE = """
SELECT count(*) AS n FROM callapi.pbx_calls p
 WHERE ltrim(p.call->>'from_', '+') = ANY (CAST(:numbers AS text[]))
    OR ltrim(p.call->>'to', '+') = ANY (:numbers)
"""
_RULES = """
SELECT r.enterprise FROM callapi.enterprise_rules r
 WHERE EXISTS (SELECT 1 FROM unnest(r.allowed || r.denied) x
                WHERE ltrim(x, '+') = ANY (CAST(:numbers AS text[])))
 ORDER BY r.enterprise
"""
# Of what is sent nothing is kept but ids; a filter or an address may name somebody all the same.
_WEBHOOKS = """
SELECT DISTINCT w.enterprise FROM callapi.webhooks w
 WHERE EXISTS (SELECT 1 FROM unnest(CAST(:numbers AS text[])) n
                WHERE w.url LIKE '%' || n || '%' OR ltrim(w.wanted->>'extension', '+') = n)
 ORDER BY w.enterprise
"""
# Their last events are in a table of AWS's, from which no operator's command takes anything.
_OUTBOX = "SELECT EXISTS (SELECT 1 FROM callapi.push_places) AS is_used"


def add_commands(add: Add) -> None:
    """Add what forgets."""
    purge = add("purge", _purge, "forget a person's number; without --yes only say what would go")
    purge.add_argument("--number", type=phone, metavar="PHONE", required=True, help="e.g. +375...")
    purge.add_argument("--yes", action="store_true", help="do it; it cannot be undone")


def _purge(database: Database, settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    digits = options.number.lstrip("+")
    if len(digits) <= settings.extension_digits:
        raise OperatorError(
            f"{options.number} is an extension, by EXTENSION_DIGITS: a person's number is longer"
        )
    every = spellings(options.number, settings.region)
    numbers = sorted({spelling.lstrip("+") for spelling in every})
    with database.transaction(_LIMIT_S) as execute:
        execute(_AS_OF_NOW)
        lines = list(_forget(execute, numbers) if options.yes else _found(execute, numbers))
    yield from lines
    yield from _out_of_reach(settings)


def _found(execute: Execute, numbers: list[str]) -> Iterator[str]:
    (row,) = execute(_COUNT, numbers=numbers)
    yield f"{row['calls']} calls, with their events and notes: add --yes to forget them"
    yield from _elsewhere(execute, numbers, row["hosts"])


def _forget(execute: Execute, numbers: list[str]) -> Iterator[str]:
    (row,) = execute(_COUNT, numbers=numbers)
    under_way = row["open"] + execute(_ELSEWHERE, numbers=numbers)[0]["n"]
    if under_way:
        raise OperatorError(
            f"{under_way} calls with this number are under way; nothing was forgotten,"
            " run this again when they are over"
        )
    if row["asked_until"]:
        raise OperatorError(
            "Calls with this number may be asked for again, by their Idempotency-Key, until"
            f" {times.shown(row['asked_until'])}, and would ring once more; nothing was forgotten,"
            " run this again then"
        )
    given: dict[str, Any] = {"numbers": numbers}
    # A rule or a name may have it among other words; a + may be before it.
    word = rf"[+]?\y({'|'.join(numbers)})\y"
    events = execute(_EMPTY_EVENTS, **given)[0]["n"]
    notes = execute(_AUDIT, word=word, forgotten=_FORGOTTEN, **given)[0]["n"]
    execute(_CLAIMS, word=word, **given)
    for statement in (_LIMITS, _VIEWS, _CALLS):
        execute(statement, **given)
    told = f"Forgot {row['calls']} calls, {events} events, the number in {notes} notes of the audit"
    note(execute, operator(), "purge", f"{row['calls']} calls, {events} events, {notes} notes")
    yield told
    yield from _elsewhere(execute, numbers, row["hosts"])


def _elsewhere(execute: Execute, numbers: list[str], hosts: list[str] | None) -> Iterator[str]:
    """Say where it may stand that this database tells of, and does not hold."""
    for rule in execute(_RULES, numbers=numbers):
        yield f"The rules of enterprise {rule['enterprise']} name it: change them with rules"
    for webhook in execute(_WEBHOOKS, numbers=numbers):
        yield f"A webhook of enterprise {webhook['enterprise']} names it: look at webhooks"
    if execute(_OUTBOX)[0]["is_used"]:
        yield "The outbox in DynamoDB, by which WebSockets are told events, may have it for a day"
    if hosts:
        yield f"The PBXs' own records have it, as of calls through {', '.join(hosts)}"


def _out_of_reach(settings: Settings) -> Iterator[str]:
    yield (
        f"Out of reach: log files ({settings.log_file} and what was rotated of it), the PBXs' own"
        " records, backups of the database, and whoever was told: the enterprises' own systems"
    )

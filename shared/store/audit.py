"""Who did what: a note of everything that rings, ends or changes something, written with it.

A note is made in the statement that lets the thing be done, by `callapi.note`, and costs no round
trip of its own. Of a call the end is not noted: its row says it, and is read beside.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.store.connection import Rows
from shared.store.database import Door

By: TypeAlias = Literal["client", "operator", "panel"]
Action: TypeAlias = Literal[
    "call",
    "monitor",
    "transfer",
    "hang-up",
    "rules",
    "keys",
    "host-key",
    "webhooks",
    "sandbox",
    "purge",
]

_NOTES = """
SELECT a.id, a.at, a.enterprise, a.action, a.done_by, a.secret, a.actor, a.address, a.request_id,
       a.call_id, a.code, a.whom,
       CASE WHEN a.action NOT IN ('call', 'monitor') THEN a.outcome
            ELSE coalesce(a.outcome, nullif(c.state, 'placing')) END AS outcome,
       c.phase, c.reason, c.error_code, c.talk_s, c.action AS listening
  FROM callapi.audit a
  LEFT JOIN callapi.calls c ON c.call_id = a.call_id AND a.action IN ('call', 'monitor')
 WHERE (CAST(:action AS text) IS NULL OR a.action = :action)
   AND (CAST(:actor AS text) IS NULL
        OR a.actor = :actor AND (a.done_by = 'client' OR CAST(:by_operators AS boolean)))
   AND (CAST(:call_id AS uuid) IS NULL OR a.call_id = :call_id)
   AND (CAST(:extension AS text) IS NULL OR a.code = :extension)
   AND (CAST(:numbers AS text[]) IS NULL OR a.whom = ANY (CAST(:numbers AS text[])))
   AND (CAST(:about AS text[]) IS NULL OR a.whom = ANY (:about) OR a.code = ANY (:about)
        OR a.actor = ANY (:about) OR CAST(a.call_id AS text) = ANY (:about))
   AND a.at >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND a.at < coalesce(CAST(:until AS timestamptz), 'infinity')
   AND (a.at, a.id) < (coalesce(CAST(:before AS timestamptz), 'infinity'),
                       CAST(:before_id AS bigint))
"""
_NEWEST_FIRST = " ORDER BY a.at DESC, a.id DESC LIMIT :limit"
# Of two texts, so that either goes by an index of its own.
OF_ALL = _NOTES + _NEWEST_FIRST
OF_ONE = f"{_NOTES} AND a.enterprise = :enterprise {_NEWEST_FIRST}"
_MAY_READ = """
SELECT r.audit FROM callapi.enterprise_rules r WHERE r.enterprise = :enterprise
"""
_NEWEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Doer:
    """Whoever does something, as far as it is known.

    `secret` is the enterprise's own that a client has sent: of it only the name and a fingerprint
    are kept. `actor` is who the client says that it asks for, or an operator's name.
    """

    done_by: By
    secret: str | None = field(default=None, repr=False)
    actor: str | None = None
    address: str | None = None
    request_id: str | None = None

    def render(self) -> str:
        """Write it for `callapi.note`."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Note:
    """One row, as it is told; `outcome` is None where nobody knows it, or not yet.

    `phase`, `reason`, `error_code` and `talk_s` are the call's own, of a call or a monitoring whose
    row is kept; `listening` is how a supervisor listens.
    """

    id: int
    at: datetime
    enterprise: str
    action: str
    done_by: By
    secret: str | None
    actor: str | None
    address: str | None
    request_id: str | None
    call_id: UUID | None
    code: str | None
    whom: str
    outcome: str | None
    phase: str | None
    reason: str | None
    error_code: str | None
    talk_s: int | None
    listening: str | None


@dataclass(frozen=True, slots=True)
class Noted:
    """Which notes; None is any. `numbers` are spellings of one.

    `about` are texts, one of which is whom it was about, who rang first, who did it, or the
    call_id.
    """

    action: str | None = None
    actor: str | None = None
    call_id: UUID | None = None
    extension: str | None = None
    numbers: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    about: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The place after a note in the list: those that are new meanwhile shift nothing."""

    at: datetime
    id: int

    def render(self) -> bytes:
        """Write it, to be signed."""
        return f"{self.at.astimezone(UTC).isoformat()} {self.id}".encode()

    @classmethod
    def parse(cls, content: bytes) -> Place:
        """Read it again, once its signature was checked."""
        moment, _, number = content.decode().partition(" ")
        return cls(datetime.fromisoformat(moment), int(number))


@dataclass(frozen=True, slots=True)
class Page:
    """Some notes, newest first, and where those follow that are left; None: none is."""

    notes: tuple[Note, ...]
    next: Place | None


def selected(
    wanted: Noted, *, limit: int, before: Place | None = None, by_operators: bool = True
) -> dict[str, Any]:
    """What a list is asked with; one more than `limit` tells whether any is left.

    `by_operators` tells whether an operator is found by his name.
    """
    return {
        **{name: getattr(wanted, name) for name in Noted.__slots__},
        "numbers": wanted.numbers and list(wanted.numbers),
        "about": wanted.about and list(wanted.about),
        "before": before and before.at,
        "before_id": before.id if before else _NEWEST_ID,
        "limit": limit + 1,
        "by_operators": by_operators,
    }


async def may_read(database: Door, enterprise: str) -> bool:
    """Whether an operator has let an enterprise read what was noted of it."""
    rows = await database.run(_MAY_READ, enterprise=enterprise)
    return bool(rows and rows[0]["audit"])


async def list_notes(
    database: Door, enterprise: str, wanted: Noted, *, limit: int, before: Place | None = None
) -> Page:
    """List what was noted of an enterprise, for itself: the newest first, those after `before`.

    Who the operators are is told to no enterprise, nor where they sit, nor by what they do it.
    """
    asked = selected(wanted, limit=limit, before=before, by_operators=False)
    page = page_of(await database.run(OF_ONE, enterprise=enterprise, **asked), limit)
    return replace(page, notes=tuple(map(_nameless, page.notes)))


def _nameless(note: Note) -> Note:
    if note.done_by == "client":
        return note
    return replace(note, done_by="operator", actor=None, address=None, request_id=None)


async def list_all_notes(database: Door, wanted: Noted, *, limit: int) -> Page:
    """List what was noted of everybody, the newest first; an operator's question."""
    return page_of(await database.run(OF_ALL, **selected(wanted, limit=limit)), limit)


def page_of(rows: Rows, limit: int) -> Page:
    """Make a page of what a list answered."""
    notes = tuple(Note(**row) for row in rows[:limit])
    last = notes[-1] if len(rows) > limit else None
    return Page(notes, Place(last.at, last.id) if last else None)

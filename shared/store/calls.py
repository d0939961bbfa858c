"""The calls that this service placed, as their enterprise may read them; the database alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.asterisk.models import CdrState, Kind, Leg, Party, Phase, Reason, Root, Side
from shared.errors import NoSuchCall
from shared.store.database import Database, Door
from shared.store.jsonb import parse_legs

# Of the newest transfer; `executed`: Asterisk said that it was.
TransferState: TypeAlias = Literal["sending", "executed", "unknown"]

_HUNG_UP_LATE = "late-call-hung-up"  # by nobody's wish

_COLUMNS = """
  call_id, enterprise, host, state, kind, code, phone, action, phase, reason, error_code,
  created_at, settled_at, agent_ringing_at, agent_answered_at, customer_ringing_at, talking_at,
  ended_at, cancelled_at, cut_at, transferred_to, transferred_at, transfer_state, disposition,
  ring_s, talk_s, agent_answered_by, agent_ring_s, agent_talk_s, customer_answered_by,
  customer_ring_s, customer_talk_s, cdr, root_channel, root_uniqueid, legs, sandbox
"""
_NAMES = tuple(name.strip() for name in _COLUMNS.split(","))
_FIND = f"""
SELECT {_COLUMNS} FROM callapi.calls WHERE enterprise = :enterprise AND call_id = :call_id
"""  # noqa: S608 - a constant of this module
# In one moment, so that what becomes of it after that has a higher number.
_FIND_AND_NEWEST = f"""
SELECT {_COLUMNS}, coalesce((SELECT c.seq FROM callapi.event_counters c
                              WHERE c.enterprise = :enterprise), 0) AS newest
  FROM callapi.calls WHERE enterprise = :enterprise AND call_id = :call_id
"""  # noqa: S608 - a constant of this module
# Only what is asked for stands in the statement: a condition that may be none is found by no index.
_CONDITIONS = {
    "kind": "kind = :kind",
    "phase": "phase = :phase",
    "reason": "reason = :reason",
    "extension": "code = :extension",
    "numbers": "kind = 'call' AND ltrim(phone, '+') = ANY (CAST(:digits AS text[]))"
    " AND phone = ANY (CAST(:numbers AS text[]))",
}
_OPEN = {None: "", True: " AND ended_at IS NULL", False: " AND ended_at IS NOT NULL"}
_LIST = f"""
SELECT {_COLUMNS} FROM callapi.calls
 WHERE enterprise = :enterprise %s
   AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND created_at < coalesce(CAST(:until AS timestamptz), 'infinity')
   AND (created_at, call_id) < (coalesce(CAST(:before AS timestamptz), 'infinity'),
                                coalesce(CAST(:before_id AS uuid),
                                         'ffffffff-ffff-ffff-ffff-ffffffffffff'))
 ORDER BY created_at DESC, call_id DESC LIMIT :limit
"""  # noqa: S608 - a constant of this module

_BEGINNING = """
SELECT CASE WHEN phase = 'placing'
             AND created_at < clock_timestamp() - make_interval(secs => :longest_s)
            THEN 'unknown' ELSE phase END AS phase, reason, error_code, error_detail
  FROM callapi.calls WHERE call_id = :call_id
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call or monitoring; all moments are aware datetimes.

    `code` rings first; `to` is whom it is connected with, or the tapped extension. `cut_at` is when
    the service ended it because it had lasted too long. `cdr` tells whether the PBX's own record
    confirms the end; `sandbox` that a stand-in had it.
    """

    call_id: UUID
    enterprise: str
    host: str
    kind: Kind
    code: str
    to: str
    action: str
    phase: Phase
    reason: Reason | None
    error_code: str | None
    created_at: datetime
    accepted_at: datetime | None
    agent_ringing_at: datetime | None
    agent_answered_at: datetime | None
    customer_ringing_at: datetime | None
    talking_at: datetime | None
    ended_at: datetime | None
    cancelled_at: datetime | None
    cut_at: datetime | None
    transferred_to: str | None
    transferred_at: datetime | None
    transfer_state: TransferState | None
    disposition: str | None
    ring_s: int | None
    talk_s: int | None
    agent: Side
    customer: Side
    cdr: CdrState | None
    root: Root | None
    legs: tuple[Leg, ...]
    sandbox: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or never began."""
        return self.phase == "ended"

    @property
    def ended_by(self) -> Literal["api", "limit"] | None:
        """Who of the service had it ended: a DELETE, or MAX_CALL_S, whichever came first."""
        if not self.is_over or (self.cancelled_at is None and self.cut_at is None):
            return None
        if self.error_code == _HUNG_UP_LATE:
            return None
        if self.cancelled_at is None or self.cut_at is None:
            return "limit" if self.cut_at else "api"
        return "limit" if self.cut_at < self.cancelled_at else "api"


@dataclass(frozen=True, slots=True)
class Beginning:
    """How far a call is, and the error with which placing it failed, if it did."""

    phase: Phase
    reason: Reason | None
    error_code: str | None
    error_detail: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls to list; None is any. `numbers` are spellings of one."""

    kind: Kind | None = None
    phase: Phase | None = None
    reason: Reason | None = None
    extension: str | None = None
    numbers: tuple[str, ...] | None = None
    is_open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The place after a call in the list: calls that are new meanwhile shift nothing."""

    placed_at: datetime
    call_id: UUID

    @classmethod
    def of(cls, call: Call) -> Position:
        """Name the place after a call."""
        return cls(call.created_at, call.call_id)

    def render(self) -> bytes:
        """Write it, to be signed."""
        return f"{self.placed_at.astimezone(UTC).isoformat()} {self.call_id}".encode()

    @classmethod
    def parse(cls, content: bytes) -> Position:
        """Read it again, once its signature was checked."""
        moment, _, call_id = content.decode().partition(" ")
        return cls(datetime.fromisoformat(moment), UUID(call_id))


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, newest first, and where those follow that are left; None: none is."""

    calls: tuple[Call, ...]
    next: Position | None


async def get_call(database: Door, enterprise: str, call_id: UUID) -> Call:
    """Read one call of an enterprise. Raises NoSuchCall."""
    rows = await database.run(_FIND, enterprise=enterprise, call_id=call_id)
    if not rows:
        raise NoSuchCall
    return _call(rows[0])


async def get_call_and_newest(database: Door, enterprise: str, call_id: UUID) -> tuple[Call, int]:
    """Read one call, and the number of the newest event of that moment. Raises NoSuchCall."""
    rows = await database.run(_FIND_AND_NEWEST, enterprise=enterprise, call_id=call_id)
    if not rows:
        raise NoSuchCall
    return _call(rows[0]), rows[0]["newest"]


async def load_beginning(
    database: Database, call_id: UUID, *, longest_request_s: float
) -> Beginning:
    """Read what became of placing a call; one that is older and not settled is unknown."""
    (row,) = await database.run(_BEGINNING, call_id=call_id, longest_s=longest_request_s)
    return Beginning(**row)


async def list_calls(
    database: Door,
    enterprise: str,
    wanted: Filter,
    *,
    limit: int,
    before: Position | None = None,
) -> Page:
    """List an enterprise's calls, the newest first; those that follow `before`."""
    asked = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    conditions = "".join(f" AND {_CONDITIONS[name]}" for name in asked) + _OPEN[wanted.is_open]
    if wanted.numbers is not None:
        asked["numbers"] = list(wanted.numbers)
        asked["digits"] = [number.lstrip("+") for number in wanted.numbers]
    rows = await database.run(
        _LIST % conditions,
        enterprise=enterprise,
        **asked,
        since=wanted.since,
        until=wanted.until,
        before=before and before.placed_at,
        before_id=before and before.call_id,
        limit=limit + 1,
    )
    calls = tuple(map(_call, rows[:limit]))
    return Page(calls, Position.of(calls[-1]) if len(rows) > limit else None)


def parse_call(told: dict[str, Any]) -> Call:
    """Read a call that was written down whole, as JSON; what had no column then is unknown."""
    row: dict[str, Any] = dict.fromkeys(_NAMES) | told
    row["call_id"] = UUID(row["call_id"])
    for name, value in row.items():
        if name.endswith("_at") and value is not None:
            row[name] = datetime.fromisoformat(value)
    return _call(row)


def _call(row: dict[str, Any]) -> Call:
    executed = row["root_uniqueid"] is not None
    root = Root(row["root_channel"], row["root_uniqueid"], row["kind"], row["code"], row["phone"])
    names = set(Call.__slots__)
    names -= {"to", "accepted_at", "agent", "customer", "root", "legs", "sandbox"}
    return Call(
        **{name: row[name] for name in names},
        to=row["phone"],
        accepted_at=row["settled_at"] if row["state"] == "executed" else None,
        agent=_side(row, "agent"),
        customer=_side(row, "customer"),
        root=root if executed else None,
        legs=parse_legs(row["legs"], f"callapi.calls {row['call_id']} legs"),
        sandbox=bool(row["sandbox"]),  # nothing, in what the release before has told
    )


def _side(row: dict[str, Any], party: Party) -> Side:
    return Side(**{name: row[f"{party}_{name}"] for name in Side.__slots__})

"""The calls that this service placed, as their enterprise may read them; the database alone."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.admission import Kind
from shared.asterisk.phases import CallPhase, Leg, Reason, Root
from shared.database import Database
from shared.errors import FieldError, InvalidParameter, NoSuchCall
from shared.following import CdrState

Phase: TypeAlias = Literal["placing", "unknown", CallPhase]

_COLUMNS = """
  call_id, enterprise, host, state, kind, code, phone, action, phase, reason, error_code,
  created_at, settled_at, agent_ringing_at, agent_answered_at, customer_ringing_at, talking_at,
  ended_at, cancelled_at, transferred_to, disposition, ring_s, talk_s, cdr, root_channel,
  root_uniqueid, legs
"""
_FIND = f"""
SELECT {_COLUMNS} FROM callapi.calls WHERE enterprise = :enterprise AND call_id = :call_id
"""  # noqa: S608 - a constant of this module
_LIST = f"""
SELECT {_COLUMNS} FROM callapi.calls
 WHERE enterprise = :enterprise
   AND (CAST(:kind AS text) IS NULL OR kind = :kind)
   AND (CAST(:phase AS text) IS NULL OR phase = :phase)
   AND (CAST(:reason AS text) IS NULL OR reason = :reason)
   AND (CAST(:extension AS text) IS NULL OR code = :extension)
   AND (CAST(:number AS text) IS NULL OR phone = :number)
   AND (CAST(:is_open AS boolean) IS NULL OR (ended_at IS NULL) = :is_open)
   AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND created_at < coalesce(CAST(:until AS timestamptz), 'infinity')
   AND (created_at, call_id) < (coalesce(CAST(:before AS timestamptz), 'infinity'),
                                coalesce(CAST(:before_id AS uuid),
                                         'ffffffff-ffff-ffff-ffff-ffffffffffff'))
 ORDER BY created_at DESC, call_id DESC LIMIT :limit
"""  # noqa: S608 - a constant of this module

# Whoever asks is told what a tracker has seen after that moment; a tracker asks as often as it may.
_WANT = """
INSERT INTO callapi.host_views AS v (host, wanted_until)
VALUES (:host, clock_timestamp() + make_interval(secs => :hold_s))
ON CONFLICT (host) DO UPDATE SET wanted_until = EXCLUDED.wanted_until
RETURNING clock_timestamp() AS now, EXISTS (
  SELECT 1 FROM callapi.trackers t
   WHERE t.host = v.host AND t.lease_until > clock_timestamp()) AS tracked
"""
_VIEW = """
SELECT v.taken_at, v.error_code, item AS call, v.taken_at > CAST(:asked_at AS timestamptz) AS fresh
  FROM callapi.host_views v
  LEFT JOIN LATERAL jsonb_array_elements(v.calls) item ON NOT EXISTS (
    SELECT 1 FROM callapi.calls c
     WHERE c.host = v.host AND c.root_uniqueid = item->>'root_uniqueid')
 WHERE v.host = :host
"""
_CANCEL = """
UPDATE callapi.calls SET cancelled_at = coalesce(cancelled_at, clock_timestamp())
 WHERE call_id = :call_id AND ended_at IS NULL
"""
_CANCEL_NOT = """
UPDATE callapi.calls SET cancelled_at = NULL WHERE call_id = :call_id AND ended_at IS NULL
"""
# Asked again with the same moment, it says again that this transfer is the one to send.
_TRANSFER = """
UPDATE callapi.calls SET transferred_to = :target, transferred_at = :now
 WHERE call_id = :call_id AND (transferred_to IS DISTINCT FROM :target
   OR transferred_at = :now OR transferred_at < CAST(:now AS timestamptz)
      - make_interval(secs => :window_s))
RETURNING call_id
"""
_TRANSFER_NOT = """
UPDATE callapi.calls SET transferred_to = NULL, transferred_at = NULL
 WHERE call_id = :call_id AND transferred_to = :target AND transferred_at = :now
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call or monitoring; all moments are aware datetimes.

    `code` rings first; `phone` is whom it is connected with, or the tapped extension. `cdr` tells
    whether the PBX's own record confirms the end.
    """

    call_id: UUID
    host: str
    kind: Kind
    code: str
    phone: str
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
    transferred_to: str | None
    disposition: str | None
    ring_s: int | None
    talk_s: int | None
    cdr: CdrState | None
    root: Root | None
    legs: tuple[Leg, ...]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or never began."""
        return self.phase == "ended"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls to list; None is any."""

    kind: Kind | None = None
    phase: Phase | None = None
    reason: Reason | None = None
    extension: str | None = None
    number: str | None = None
    is_open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, newest first, and the cursor of those that follow."""

    calls: tuple[Call, ...]
    next: str | None


async def get_call(database: Database, enterprise: str, call_id: UUID) -> Call:
    """Read one call of an enterprise. Raises NoSuchCall."""
    rows = await database.run(_FIND, enterprise=enterprise, call_id=call_id)
    if not rows:
        raise NoSuchCall
    return _call(rows[0])


async def list_calls(
    database: Database, enterprise: str, wanted: Filter, *, limit: int, cursor: str | None
) -> Page:
    """List an enterprise's calls, newest first. Raises InvalidParameter: not a cursor of ours."""
    before = _parse_cursor(cursor) if cursor else (None, None)
    rows = await database.run(
        _LIST,
        enterprise=enterprise,
        kind=wanted.kind,
        phase=wanted.phase,
        reason=wanted.reason,
        extension=wanted.extension,
        number=wanted.number,
        is_open=wanted.is_open,
        since=wanted.since,
        until=wanted.until,
        before=before[0],
        before_id=before[1],
        limit=limit + 1,
    )
    calls = tuple(map(_call, rows[:limit]))
    return Page(calls, _cursor(calls[-1]) if len(rows) > limit else None)


def _call(row: dict[str, Any]) -> Call:
    executed = row["root_uniqueid"] is not None
    root = Root(row["root_channel"], row["root_uniqueid"], row["kind"], row["code"], row["phone"])
    names = set(Call.__slots__) - {"accepted_at", "root", "legs"}
    return Call(
        **{name: row[name] for name in names},
        accepted_at=row["settled_at"] if row["state"] == "executed" else None,
        root=root if executed else None,
        legs=tuple(Leg(**leg) for leg in row["legs"]),
    )


def _cursor(last: Call) -> str:
    """Name the place after a call, so that calls that are new meanwhile shift nothing."""
    text = f"{last.created_at.astimezone(UTC).isoformat()} {last.call_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        moment, _, call_id = text.partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(call_id)
    except (ValueError, binascii.Error):
        message = "must be the `next` of an earlier answer, or absent"
        raise InvalidParameter(FieldError("cursor", message)) from None


@dataclass(frozen=True, slots=True)
class HostView:
    """The calls of a host that this service did not start, as a tracker saw them at `taken_at`.

    A call is as `shared.asterisk.views.view_of` has it. `is_fresh` tells that it is not older than
    the asking; `error_code` is why it may not be.
    """

    calls: tuple[dict[str, Any], ...]
    taken_at: datetime | None
    is_fresh: bool
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """When somebody asked for a view of a host, and whether a tracker is live there."""

    at: datetime
    tracked: bool


async def ask_for_view(database: Database, host: str, *, hold_s: float) -> Asked:
    """Have a host's tracker look at all of its calls, for `hold_s` seconds."""
    rows = await database.run(_WANT, host=host, hold_s=hold_s)
    return Asked(rows[0]["now"], rows[0]["tracked"])


async def read_view(database: Database, host: str, asked_at: datetime) -> HostView:
    """Read what a tracker saw last."""
    rows = await database.run(_VIEW, host=host, asked_at=asked_at)
    return HostView(
        calls=tuple(row["call"] for row in rows if row["call"] is not None),
        taken_at=rows[0]["taken_at"] if rows else None,
        is_fresh=bool(rows and rows[0]["fresh"]),
        error_code=rows[0]["error_code"] if rows else None,
    )


async def cancel(database: Database, call_id: UUID) -> None:
    """Note that the API was asked to end a call, before it is ended: why, is known then."""
    await database.run(_CANCEL, call_id=call_id)


async def cancel_not(database: Database, call_id: UUID) -> None:
    """Take that back: there was nothing to end."""
    await database.run(_CANCEL_NOT, call_id=call_id)


@dataclass(frozen=True, slots=True)
class Transfer:
    """The right to send one transfer: of two equal ones within the repeat window, one has it."""

    database: Database
    call_id: UUID
    target: str
    at: datetime

    @classmethod
    async def claim(
        cls, database: Database, call_id: UUID, target: str, *, window_s: float
    ) -> Transfer | None:
        """Claim it before anything is sent; None if it repeats one that was sent just before."""
        now = datetime.now(UTC)
        rows = await database.run(
            _TRANSFER, call_id=call_id, target=target, now=now, window_s=window_s
        )
        return cls(database, call_id, target, now) if rows else None

    async def release(self) -> None:
        """Give it back: nothing was sent."""
        await self.database.run(
            _TRANSFER_NOT, call_id=self.call_id, target=self.target, now=self.at
        )

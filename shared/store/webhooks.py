"""Webhooks: kept, changed, taken by whoever sends, and what became of each attempt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.store.audit import Doer
from shared.store.connection import Rows
from shared.store.database import Database, Door

MOST = 10
LEASE_S = 40.0
# How long whoever sends is believed to do so; it says so oftener.
SENDS_S = 30.0

_ADD = """
SELECT callapi.add_webhook(
  p_id => CAST(:id AS uuid), p_enterprise => :enterprise, p_url => :url,
  p_wanted => CAST(:wanted AS jsonb), p_secret => decode(:secret, 'hex'),
  p_after => CAST(:after AS bigint), p_most => CAST(:most AS integer), p_what => :what,
  p_who => CAST(:who AS jsonb)) AS verdict
"""
_CHANGE = """
SELECT callapi.change_webhook(
  p_enterprise => :enterprise, p_id => CAST(:id AS uuid), p_change => CAST(:change AS jsonb),
  p_what => :what, p_who => CAST(:who AS jsonb)) AS found
"""
_LIST = """
SELECT w.id, w.url, w.wanted, w.created_at, w.after_seq AS after,
       coalesce(c.seq, 0) AS newest, w.failures, w.failing_since,
       CASE WHEN w.failures > 0 THEN w.due_at END AS next_attempt_at,
       w.disabled_at, w.disabled_why,
       CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_until END AS previous_until
  FROM callapi.webhooks w LEFT JOIN callapi.event_counters c USING (enterprise)
 WHERE w.enterprise = :enterprise
   AND (CAST(:id AS uuid) IS NULL OR w.id = CAST(:id AS uuid))
   AND (:is_operators OR w.disabled_why IS DISTINCT FROM 'enterprise-gone')
 ORDER BY w.created_at, w.id
"""
_DELIVERIES = """
SELECT d.at, d.message, d.seq, d.type, d.status, d.error, d.took_ms
  FROM callapi.webhook_deliveries d JOIN callapi.webhooks w ON w.id = d.webhook
 WHERE w.enterprise = :enterprise AND w.id = CAST(:id AS uuid)
 ORDER BY d.attempt DESC LIMIT CAST(:limit AS integer)
"""
_MAY_HAVE = """
SELECT r.webhooks FROM callapi.enterprise_rules r WHERE r.enterprise = :enterprise
"""
_TAKE = """
SELECT callapi.take_webhooks(
  p_owner => :owner, p_lease_s => :lease_s, p_quick => CAST(:quick AS integer),
  p_slow => CAST(:slow AS integer)) AS answer
"""
_NOTE = """
SELECT callapi.note_delivery(
  p_owner => :owner, p_id => CAST(:id AS uuid), p_lease_s => :lease_s,
  p_told => CAST(:told AS jsonb)) AS state
"""
# Nobody's from then on, and as far as was looked.
_GIVE_BACK = """
UPDATE callapi.webhooks
   SET owner = '', lease_until = clock_timestamp(),
       after_seq = CASE WHEN after_seq = :before AND wanted = CAST(:wanted AS jsonb)
                        THEN :after ELSE after_seq END
 WHERE id = CAST(:id AS uuid) AND owner = :owner
"""
_KEEP = """
SELECT callapi.keep_webhooks(
  p_sender_s => :sender_s, p_watch_s => :watch_s, p_gone_s => :gone_s) AS off
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as its owner sees it.

    Up to the event `after` of `newest` all that is wanted was accepted.
    """

    id: UUID
    url: str
    wanted: dict[str, Any]
    created_at: datetime
    after: int
    newest: int
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    disabled_at: datetime | None
    disabled_why: str | None
    previous_until: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An attempt: which message, and HTTP's status, or the error in whose place there is none."""

    at: datetime
    message: str
    seq: int | None
    type: str
    status: int | None
    error: str | None
    took_ms: int


@dataclass(frozen=True, slots=True)
class ToSend:
    """A webhook as whoever sends to it knows it; ages are in seconds.

    `test` waits to be sent. `attempts` is how many there were. `ready`: events may be sent now.
    """

    id: UUID
    enterprise: str
    url: str
    wanted: dict[str, Any]
    secrets: tuple[bytes, ...] = field(repr=False)
    after: int
    test: UUID | None
    attempts: int
    failures: int
    failed_s: float | None
    failing_s: float | None
    slow: bool
    ready: bool

    @classmethod
    def parse(cls, told: dict[str, Any]) -> ToSend:
        """Read what `callapi.webhook_to_send` tells."""
        known: dict[str, Any] = {name: told[name] for name in cls.__slots__}
        known["id"] = UUID(told["id"])
        known["test"] = told["test"] and UUID(told["test"])
        known["secrets"] = tuple(map(bytes.fromhex, told["secrets"]))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Added:
    """What is asked for: a webhook that is to be; `what` is said of it in the audit."""

    id: UUID
    url: str
    wanted: str
    secret: bytes = field(repr=False)
    after: int | None
    what: str


def to_add(enterprise: str, added: Added, doer: Doer) -> tuple[str, dict[str, Any]]:
    """Make the statement that adds a webhook; `verdict` is `added`, `no-sender` or `too-many`."""
    given = {"id": added.id, "url": added.url, "wanted": added.wanted, "after": added.after}
    return _ADD, given | {
        "enterprise": enterprise,
        "secret": added.secret.hex(),
        "what": added.what,
        "most": MOST,
        "who": doer.render(),
    }


def to_change(
    enterprise: str, webhook: UUID, change: dict[str, Any], what: str, doer: Doer
) -> tuple[str, dict[str, Any]]:
    """Make the statement of a change, as `callapi.change_webhook` takes it; it tells `found`."""
    return _CHANGE, {
        "enterprise": enterprise,
        "id": webhook,
        "change": json.dumps(change),
        "what": what,
        "who": doer.render(),
    }


def to_list(
    enterprise: str, webhook: UUID | None = None, *, is_operators: bool = False
) -> tuple[str, dict[str, Any]]:
    """Make the statement that lists an enterprise's webhooks, or tells one of them.

    What an earlier enterprise of that number has left an operator alone sees.
    """
    return _LIST, {"enterprise": enterprise, "id": webhook, "is_operators": is_operators}


def to_list_deliveries(enterprise: str, webhook: UUID, limit: int) -> tuple[str, dict[str, Any]]:
    """Make the statement that lists the last attempts, the newest first."""
    return _DELIVERIES, {"enterprise": enterprise, "id": webhook, "limit": limit}


def webhooks_of(rows: Rows) -> tuple[Webhook, ...]:
    """Read what a list answered."""
    return tuple(Webhook(**row) for row in rows)


def deliveries_of(rows: Rows) -> tuple[Delivery, ...]:
    """Read what a list of attempts answered."""
    return tuple(Delivery(**row) for row in rows)


async def may_have(database: Door, enterprise: str) -> bool:
    """Whether an operator has let an enterprise have webhooks by the API."""
    rows = await database.run(_MAY_HAVE, enterprise=enterprise)
    return bool(rows and rows[0]["webhooks"])


async def take(
    database: Database, owner: str, *, quick: int, slow: int
) -> tuple[Sequence[ToSend], bool]:
    """Take webhooks to send to, and tell whether there are any. Raises DatabaseUnavailable."""
    rows = await database.run(_TAKE, owner=owner, lease_s=LEASE_S, quick=quick, slow=slow)
    answer = rows[0]["answer"]
    return tuple(map(ToSend.parse, answer["taken"])), answer["any"]


async def note_delivery(
    database: Database, owner: str, webhook: UUID, told: dict[str, Any]
) -> ToSend | None:
    """Note an attempt and keep the lease; None: it is lost. Raises DatabaseUnavailable."""
    rows = await database.run(
        _NOTE, owner=owner, id=webhook, lease_s=LEASE_S, told=json.dumps(told)
    )
    state = rows[0]["state"]
    return None if state is None else ToSend.parse(state)


async def give_back(database: Database, owner: str, state: ToSend, *, after: int) -> None:
    """Let others have it; up to `after` its filters wanted nothing more.

    Raises DatabaseUnavailable.
    """
    await database.run(
        _GIVE_BACK,
        owner=owner,
        id=state.id,
        before=state.after,
        after=after,
        wanted=json.dumps(state.wanted),
    )


async def keep(database: Database, *, watch_s: float, gone_s: float) -> list[dict[str, str]]:
    """See to what a sender sees to now and then; which were switched off.

    Raises DatabaseUnavailable.
    """
    rows = await database.run(_KEEP, sender_s=SENDS_S, watch_s=watch_s, gone_s=gone_s)
    off: list[dict[str, str]] = rows[0]["off"]
    return off

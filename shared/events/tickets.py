"""Tickets: each opens one stream in the place of a secret, once and within half a minute."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.auth.enterprise import Enterprise
from shared.errors import InvalidParameter, LimitExceeded, TicketExpired
from shared.events.filters import Filters, parse_filters
from shared.store.database import Door
from shared.telemetry import note_enterprise

LASTS_S = 30.0
# A page asks for one and uses it: so many at once are thousands of pages a minute.
_MOST = 1000
_BYTES = 32
TICKET_PATTERN = "^[A-Za-z0-9_-]{43}$"
_TICKET = re.compile(TICKET_PATTERN)
_RETRY_AFTER_S = 5.0

_ISSUE = """
SELECT callapi.issue_ticket(
  p_digest => decode(:digest, 'hex'), p_enterprise => :enterprise,
  p_secret_digest => decode(:secret_digest, 'hex'), p_wanted => CAST(:wanted AS jsonb),
  p_lasts_s => CAST(:lasts_s AS float8), p_most => CAST(:most AS integer)) AS until
"""
# Asked again after a lost reply, a ticket is used: then its page asks for another.
_USE = "SELECT callapi.use_ticket(p_digest => decode(:digest, 'hex')) AS told"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may listen: an enterprise, for as long as a secret of its own is one.

    Of the secret only its SHA-256 is kept, in hexadecimal.
    """

    number: str
    host: str
    secret_digest: str = field(repr=False)


def grant_of(enterprise: Enterprise, secret: str) -> Grant:
    """Make the grant of whoever showed the secret itself."""
    return Grant(enterprise.number, enterprise.host, _digest(secret))


async def issue_ticket(database: Door, grant: Grant, filters: Filters) -> tuple[str, datetime]:
    """Give out a ticket; it, and until when it can be used.

    Raises:
        LimitExceeded: as many as may be were given out, and used by nobody.
        DatabaseUnavailable: there is none.
    """
    ticket = secrets.token_urlsafe(_BYTES)
    rows = await database.run(
        _ISSUE,
        digest=_digest(ticket),
        enterprise=grant.number,
        secret_digest=grant.secret_digest,
        wanted=filters.model_dump_json(exclude_none=True),
        lasts_s=LASTS_S,
        most=_MOST,
    )
    until: datetime | None = rows[0]["until"]
    if until is None:
        raise LimitExceeded(
            f"{_MOST} tickets of this enterprise wait to be used", retry_after_s=_RETRY_AFTER_S
        )
    return ticket, until


async def use_ticket(database: Door, ticket: str) -> tuple[Grant, Filters]:
    """Use a ticket up: who may listen, and to what.

    Raises:
        TicketExpired: it was used, came too late, never was, or its secret has ended.
        DatabaseUnavailable: not known; it may be used up.
    """
    if not _TICKET.fullmatch(ticket):
        raise TicketExpired
    rows = await database.run(_USE, digest=_digest(ticket))
    told: dict[str, Any] | None = rows[0]["told"]
    if told is None:
        raise TicketExpired
    note_enterprise(told["enterprise"])
    try:
        filters = parse_filters(told["wanted"])
    except InvalidParameter:  # of another release, which knows more filters
        raise TicketExpired from None
    return Grant(told["enterprise"], told["host"], told["secret_digest"]), filters


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

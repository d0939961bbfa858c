"""Which of a PBX's past calls this service placed, and whom those were for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from shared.asterisk.cdr.pastcalls import PastCall
from shared.asterisk.cdr.rows import epoch_of
from shared.asterisk.cdr.whose import EXTENSION_DIGITS, Direction, direction_to
from shared.auth.enterprise import Enterprise
from shared.store.database import Door

# So far apart may rows and root tell the birth of one call.
SAME_BIRTH_S = 2
# The two clocks may differ by so much before a call of ours is not found any more.
_CLOCKS_APART = timedelta(hours=1)
# A channel's name and second of birth are one call's, unless a PBX tells what cannot be.
_MOST_OURS = 4

_FIND_OURS = """
SELECT call_id, root_channel, root_uniqueid, phone FROM callapi.calls
 WHERE enterprise = :enterprise AND host = :host
   AND created_at BETWEEN CAST(:since AS timestamptz) AND CAST(:until AS timestamptz)
   AND (root_channel, substring(root_uniqueid FROM '([0-9]{9,11})[.][0-9]{1,20}$')) IN (
         SELECT * FROM unnest(CAST(:channels AS text[]), CAST(:births AS text[])))
 ORDER BY created_at DESC LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call; `call_id` and whom it was for, if the enterprise placed it through this service."""

    call: PastCall
    to: str
    direction: Direction
    call_id: UUID | None


async def with_ours(
    database: Door, enterprise: Enterprise, calls: list[PastCall], digits: int = EXTENSION_DIGITS
) -> tuple[Entry, ...]:
    """Find which calls this service placed for the enterprise."""
    if not calls:
        return ()
    # What else a file may hold, the database cannot: a NUL.
    births = {birth for call in calls if call.channel.isprintable() for birth in _births_of(call)}
    rows = await database.run(
        _FIND_OURS,
        enterprise=enterprise.number,
        host=enterprise.host,
        since=(min(call.started_at for call in calls) - _CLOCKS_APART).isoformat(),
        until=(max(call.started_at for call in calls) + _CLOCKS_APART).isoformat(),
        channels=[channel for channel, _ in births],
        births=[str(second) for _, second in births],
        most=_MOST_OURS * len(calls),
    )
    ours: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        born = epoch_of(row["root_uniqueid"])
        if born is not None:
            ours.setdefault((row["root_channel"], int(born.timestamp())), row)
    return tuple(_entry(call, ours, digits) for call in calls)


def _births_of(call: PastCall) -> Iterator[tuple[str, int]]:
    """Yield by what a call of ours is known: its root's name and birth, the likeliest first."""
    second = int((epoch_of(call.uniqueid) or call.started_at).timestamp())
    yield call.channel, second
    for apart in range(1, SAME_BIRTH_S + 1):
        yield call.channel, second - apart
        yield call.channel, second + apart


def _entry(call: PastCall, ours: Mapping[tuple[str, int], dict[str, Any]], digits: int) -> Entry:
    row = next((ours[birth] for birth in _births_of(call) if birth in ours), None)
    if row is None:
        return Entry(call, call.to, call.direction, None)
    to = call.to or row["phone"]
    is_known = call.to or call.kind == "monitor"
    return Entry(call, to, call.direction if is_known else direction_to(to, digits), row["call_id"])

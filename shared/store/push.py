"""Connections of the WebSocket API on AWS: who has one, and what is due to be put for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.settings import Rate
from shared.store.database import Door

# API Gateway closes whoever says nothing and is told nothing for 10 min, and everybody after 2 h.
SILENT_S = 660.0
LASTS_S = 7200.0
# As long as a host is watched for a long poll; it is renewed once a minute.
_WATCH_S = 90.0
# What one look finds is told within a request; what is left the next one finds.
MOST_DUE = 20

_OPEN = """
SELECT callapi.open_connection(
  p_id => :id, p_enterprise => :enterprise, p_digest => decode(:digest, 'hex'),
  p_wanted => CAST(:wanted AS jsonb), p_silent_s => :silent_s, p_lasts_s => :lasts_s,
  p_most => CAST(:most AS integer)) AS is_open
"""
_KEEP = """
SELECT callapi.keep_connection(
  p_id => :id, p_silent_s => :silent_s, p_limit => CAST(:limit AS jsonb)) AS told
"""
_CLOSE = "DELETE FROM callapi.push_connections WHERE id = :id RETURNING enterprise"
_DUE = """
SELECT enterprise, after, newest, ended
  FROM callapi.push_due(CAST(:most AS integer), :all_of_them, :watch_s)
"""
_DONE = """
SELECT callapi.push_done(
  p_enterprise => :enterprise, p_seq => CAST(:seq AS bigint),
  p_ended => CAST(:ended AS text[]), p_back => :back) AS done
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection that was heard of; `wait_s` is over 0 where it has used its limit up."""

    enterprise: str
    host: str
    wanted: dict[str, Any]
    wait_s: float


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be put for an enterprise's connections: what follows `after`, who is to end."""

    enterprise: str
    after: int
    newest: int
    ended: tuple[str, ...]


async def open_connection(
    database: Door, connection: str, *, enterprise: str, digest: str, wanted: str, most: int
) -> bool:
    """Let a connection in, by the hexadecimal digest of its secret and its filters as JSON.

    False: the enterprise has as many as it may. Raises DatabaseUnavailable.
    """
    rows = await database.run(
        _OPEN,
        id=connection,
        enterprise=enterprise,
        digest=digest,
        wanted=wanted,
        silent_s=SILENT_S,
        lasts_s=LASTS_S,
        most=most,
    )
    return bool(rows[0]["is_open"])


async def keep_connection(database: Door, connection: str, limit: Rate) -> Kept | None:
    """Hear of a connection; None: there is none, or its right has ended.

    `limit` is that of the enterprise's reads, of which it costs one. Raises DatabaseUnavailable.
    """
    asked = json.dumps({"name": "reads", **limit.model_dump()})
    rows = await database.run(_KEEP, id=connection, silent_s=SILENT_S, limit=asked)
    told = rows[0]["told"]
    if told is None:
        return None
    return Kept(told["enterprise"], told["host"], told["wanted"], told["wait_s"])


async def close_connection(database: Door, connection: str) -> str | None:
    """Let a connection go; the enterprise whose it was. Raises DatabaseUnavailable."""
    rows = await database.run(_CLOSE, id=connection)
    return str(rows[0]["enterprise"]) if rows else None


async def load_due(database: Door, *, all_of_them: bool) -> tuple[Due, ...]:
    """Tell what is due of some; with `all_of_them` also whose right has ended where nothing is new.

    Then, too, the PBXs go on to be watched of those who want all of its calls.
    Raises DatabaseUnavailable.
    """
    rows = await database.run(_DUE, most=MOST_DUE, all_of_them=all_of_them, watch_s=_WATCH_S)
    return tuple(
        Due(row["enterprise"], row["after"], row["newest"], tuple(row["ended"])) for row in rows
    )


async def note_done(
    database: Door, enterprise: str, seq: int, ended: Sequence[str], *, back: bool = False
) -> None:
    """Note up to which number it was put; `back`: though that is lower than before.

    Raises DatabaseUnavailable.
    """
    await database.run(_DONE, enterprise=enterprise, seq=seq, ended=list(ended), back=back)

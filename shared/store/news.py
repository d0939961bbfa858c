"""What whoever follows asks several times a second: whom does nobody follow, and what is new?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from shared.store.database import Database

# Of a call that Asterisk has it, or another extension; all else a tracker sees by itself.
_LOOK = """
SELECT host, NULL AS what, CAST(NULL AS timestamptz) AS at FROM callapi.untracked_hosts()
UNION ALL
SELECT c.host, 'calls', max(greatest(c.settled_at, c.transferred_at))
  FROM callapi.calls c
 WHERE c.host = ANY (CAST(:followed AS text[])) AND (c.ended_at IS NULL OR c.cdr = 'pending')
 GROUP BY c.host
UNION ALL
SELECT v.host, 'view', v.wanted_until FROM callapi.host_views v
 WHERE v.host = ANY (CAST(:followed AS text[])) AND v.wanted_until > clock_timestamp()
UNION ALL
SELECT w.host, 'watch', max(w.until) FROM callapi.watches w
 WHERE w.host = ANY (CAST(:followed AS text[])) AND w.watched_at IS NULL
 GROUP BY w.host
"""


@dataclass(frozen=True, slots=True)
class News:
    """Hosts that somebody should follow and nobody does; when something was last begun on others.

    `begun` has a host and what it was: `calls`, `view` or `watch`. Only that a moment is later than
    it was means something.
    """

    untracked: tuple[str, ...]
    begun: dict[tuple[str, str], datetime]


async def look_for_news(database: Database, followed: Collection[str]) -> News:
    """Ask once for all hosts; `followed` are those of whoever asks. Raises DatabaseUnavailable."""
    untracked, begun = [], {}
    for row in await database.run(_LOOK, followed=list(followed)):
        if row["what"] is None:
            untracked.append(row["host"])
        elif row["at"] is not None:
            begun[row["host"], row["what"]] = row["at"]
    return News(tuple(untracked), begun)

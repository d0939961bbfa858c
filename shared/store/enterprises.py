"""The user's table `enterprises`, as an operator sees it: every row, its secret unread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.notices import SECRET_IN_URL
from shared.store.database import Database

_LIST = """
SELECT x.number, x.number_there AS written, x.name, x.host, x.active,
       char_length(btrim(x.secret)) AS secret_characters,
       count(*) FILTER (WHERE x.active) OVER (PARTITION BY x.secret) AS holders,
       k.has_ended, k.further, coalesce(r.dialling, true) AS dialling,
       r.extensions IS NOT NULL AS names_extensions,
       n.times AS times_in_url, n.last_at AS in_url_at
  FROM callapi.enterprises() x
  LEFT JOIN callapi.enterprise_rules r ON r.enterprise = x.number
  LEFT JOIN callapi.notices n ON n.enterprise = x.number AND n.what = :in_url
 CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(g.until <= clock_timestamp())
                    FILTER (WHERE g.digest = sha256(convert_to(x.secret, 'UTF8'))), false)
             AS has_ended,
           count(*) FILTER (WHERE NOT g.of_table AND (g.until IS NULL
                                                      OR g.until > clock_timestamp())) AS further
      FROM callapi.keys g WHERE btrim(g.number) = x.number) k
 ORDER BY 1, 2, 3
"""


# Of every row, active or not, for an operator's own transaction.
NUMBERS = "SELECT DISTINCT number FROM callapi.enterprises()"


@dataclass(frozen=True, slots=True)
class ListedEnterprise:
    """A row, trimmed as every request reads it.

    `written` is its number with the spaces around it. `holders` are the active enterprises that
    have its secret, `has_ended` tells that an operator has ended that one, `further` are those
    beside it; `dialling` is an operator's rule, as is that it `names_extensions`. `times_in_url` is
    how often a right secret of its came in a URL, `in_url_at` when last; None: it never did.
    """

    number: str
    written: str
    name: str
    host: str
    active: bool
    secret_characters: int
    holders: int
    has_ended: bool
    further: int
    dialling: bool
    names_extensions: bool
    times_in_url: int | None
    in_url_at: datetime | None


async def list_enterprises(database: Database) -> tuple[ListedEnterprise, ...]:
    """List them by their numbers. Raises DatabaseUnavailable."""
    rows = await database.run(_LIST, in_url=SECRET_IN_URL)
    return tuple(ListedEnterprise(**row) for row in rows)

"""The PBX hosts of the active enterprises: how each is reached, and the key that it must show."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import anyio.to_thread

from shared.deadline import Deadline
from shared.errors import ConnectFailed, HostKeyChanged
from shared.operate.hostkeys import accept_host_key, fingerprint
from shared.operate.hosts import remedy_of
from shared.panel.reached import Reached, merge
from shared.panel.refusals import Refused
from shared.pbx import probing
from shared.pbx.hosts import Pbx
from shared.pbx.telling import the_telling
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.database import Database
from shared.store.told import ToldState, load_states

# The row of a text that was connected to tells what is; of any other it is the text itself.
_HOSTS = """
SELECT o.host, o.numbers, coalesce(h.target, o.host) AS target, h.met_at, h.peer,
       r.is_up, r.since, r.seen_at, r.error_code, r.error_at,
       coalesce(t.lease_until > clock_timestamp(), false) AS followed,
       k.key AS host_key, k.pinned_at
  FROM (SELECT x.host, array_agg(DISTINCT x.number ORDER BY x.number) AS numbers
          FROM callapi.enterprises() x WHERE x.active AND x.host <> '' GROUP BY x.host) o
  LEFT JOIN callapi.hosts h ON h.host = o.host
  LEFT JOIN callapi.host_reach r ON r.host = o.host
  LEFT JOIN callapi.trackers t ON t.host = o.host
  LEFT JOIN callapi.host_keys k ON k.host = coalesce(h.target, o.host) AND k.port = coalesce(
    (SELECT s.port FROM callapi.sandboxes s WHERE s.host = o.host), :port)
 ORDER BY o.host
"""

_PINNED = """
SELECT k.key FROM (SELECT DISTINCT x.host FROM callapi.enterprises() x
                    WHERE x.active AND x.host = :host AND x.host <> '') o
  LEFT JOIN callapi.hosts h ON h.host = o.host
  LEFT JOIN callapi.host_keys k ON k.host = coalesce(h.target, o.host) AND k.port = coalesce(
    (SELECT s.port FROM callapi.sandboxes s WHERE s.host = o.host), :port)
"""


class Problem(NamedTuple):
    """An error of a host's, when it was met (None: it always is), and what to do."""

    code: str
    at: datetime | None
    remedy: str


@dataclass(frozen=True, slots=True)
class Host:
    """A PBX, by its text in `enterprises.ip`.

    `is_up` tells whether it could be reached when a process last asked it, at `seen_at`, and that
    it is so `since`; None: none ever did. `met_at` is when one last connected. `error` is the last
    one, also of a host that is reached again.
    """

    host: str
    numbers: tuple[str, ...]
    is_up: bool | None
    since: datetime | None
    seen_at: datetime | None
    error: Problem | None
    reached: Reached
    met_at: datetime | None
    peer: str | None
    followed: bool
    host_key: str | None
    pinned_at: datetime | None


async def list_hosts(database: Database, pbx: Pbx, settings: Settings) -> tuple[Host, ...]:
    """List them by their texts, as all processes know them. Raises DatabaseUnavailable."""
    await the_telling().tell()
    told: dict[str, list[ToldState]] = defaultdict(list)
    for one in await load_states(database):
        told[one.host].append(one)
    hosts = []
    for row in await database.reads.run(_HOSTS, port=settings.ssh_port):
        host, is_up, key = row["host"], row["is_up"], row["host_key"]
        error = _problem(row["error_code"], row["error_at"], host, settings)
        try:
            pbx.target(host)
        except ConnectFailed as wrong:
            is_up, error = False, _problem(wrong.code, None, host, settings)
        hosts.append(
            Host(
                host=host,
                numbers=tuple(row["numbers"]),
                is_up=is_up,
                since=row["since"],
                seen_at=row["seen_at"],
                error=error,
                reached=merge(told[host], is_up=bool(is_up)),
                met_at=row["met_at"],
                peer=row["peer"],
                followed=row["followed"],
                host_key=fingerprint(key) if key else None,
                pinned_at=row["pinned_at"],
            )
        )
    return tuple(hosts)


def _problem(
    code: str | None, at: datetime | None, host: str, settings: Settings
) -> Problem | None:
    return None if code is None else Problem(code, at, remedy_of(code, host, settings))


class Keys(NamedTuple):
    """The pinned key of a host and the one that it shows now, as fingerprints."""

    host: str
    pinned: str | None
    shown: str

    @property
    def is_same(self) -> bool:
        """Whether there is nothing to accept."""
        return self.pinned == self.shown


async def compare_keys(database: Database, pbx: Pbx, settings: Settings, host: str) -> Keys:
    """Look which key a host shows; nothing secret is sent. Raises Refused, PbxError."""
    pinned, shown = await _keys(database, pbx, settings, host)
    return Keys(host, fingerprint(pinned) if pinned else None, fingerprint(shown))


async def accept_key(
    database: Database, pbx: Pbx, settings: Settings, host: str, *, confirmed: str, doer: Doer
) -> None:
    """Have the key hold that a host shows, if it is the one that somebody has confirmed.

    Raises Refused, PbxError, DatabaseUnavailable.
    """
    _, shown = await _keys(database, pbx, settings, host)
    if fingerprint(shown) != confirmed:
        raise Refused("key_moved")
    place = await pbx.place(host)
    await anyio.to_thread.run_sync(accept_host_key, database, doer, place.host, place.port, shown)


async def _keys(
    database: Database, pbx: Pbx, settings: Settings, host: str
) -> tuple[str | None, str]:
    rows = await database.run(_PINNED, host=host, port=settings.ssh_port)
    if not rows:
        raise Refused("not_found", status=404)
    pinned = rows[0]["key"]
    deadline = Deadline.after(settings.ssh_connect_timeout_s)
    try:
        return pinned, await probing.show_key(pbx, host, pinned, deadline)
    except HostKeyChanged:  # it has none of the pinned one's kind
        deadline = Deadline.after(settings.ssh_connect_timeout_s)
        return pinned, await probing.show_key(pbx, host, None, deadline)

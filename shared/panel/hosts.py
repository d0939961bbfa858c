"""The PBX hosts of the active enterprises: how each is reached, and the key that it must show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from shared.deadline import Deadline
from shared.errors import ConnectFailed, HostKeyChanged
from shared.operate.hostkeys import accept_host_key, fingerprint
from shared.operate.hosts import remedy_of
from shared.panel.refusals import Refused
from shared.pbx import probing
from shared.pbx.hosts import Pbx
from shared.pbx.state import Failure, HostState
from shared.settings import Settings
from shared.store.audit import Doer
from shared.store.database import Database

# The row of a text that was connected to tells what is; of any other it is the text itself.
_HOSTS = """
SELECT o.host, o.numbers, coalesce(h.target, o.host) AS target, h.met_at, h.peer, t.reached_at,
       coalesce(t.lease_until > clock_timestamp(), false) AS followed,
       k.key AS host_key, k.pinned_at
  FROM (SELECT x.host, array_agg(DISTINCT x.number ORDER BY x.number) AS numbers
          FROM callapi.enterprises() x WHERE x.active AND x.host <> '' GROUP BY x.host) o
  LEFT JOIN callapi.hosts h ON h.host = o.host
  LEFT JOIN callapi.trackers t ON t.host = o.host
  LEFT JOIN callapi.host_keys k ON k.host = coalesce(h.target, o.host) AND k.port = :port
 ORDER BY o.host
"""

_PINNED = """
SELECT k.key FROM (SELECT DISTINCT x.host FROM callapi.enterprises() x
                    WHERE x.active AND x.host = :host AND x.host <> '') o
  LEFT JOIN callapi.hosts h ON h.host = o.host
  LEFT JOIN callapi.host_keys k ON k.host = coalesce(h.target, o.host) AND k.port = :port
"""


class Problem(NamedTuple):
    """An error of a host's, how long ago it was met, and what to do."""

    code: str
    ago_s: float
    remedy: str


@dataclass(frozen=True, slots=True)
class Host:
    """A PBX, by its text in `enterprises.ip`.

    `met_at` is when a process last connected, `reached_at` when one last looked at it. `state` is
    what this process knows, None: the text is neither an address nor a name.
    """

    host: str
    numbers: tuple[str, ...]
    met_at: datetime | None
    peer: str | None
    reached_at: datetime | None
    followed: bool
    host_key: str | None
    pinned_at: datetime | None
    state: HostState | None
    problem: Problem | None

    @property
    def is_up(self) -> bool:
        """Whether this process is connected, and nothing has failed since."""
        return self.state is not None and self.state.transport is not None and not self.problem


async def list_hosts(database: Database, pbx: Pbx, settings: Settings) -> tuple[Host, ...]:
    """List them by their texts. Raises DatabaseUnavailable."""
    rows = await database.reads.run(_HOSTS, port=settings.ssh_port)
    hosts = []
    for row in rows:
        host = row["host"]
        state: HostState | None = None
        try:
            state = pbx.state(host)
            failure = state.breaker or state.last_error
        except ConnectFailed as error:
            failure = Failure(error.code, 0)
        key = row["host_key"]
        hosts.append(
            Host(
                host=host,
                numbers=tuple(row["numbers"]),
                met_at=row["met_at"],
                peer=row["peer"],
                reached_at=row["reached_at"],
                followed=row["followed"],
                host_key=fingerprint(key) if key else None,
                pinned_at=row["pinned_at"],
                state=state,
                problem=_problem(host, failure, settings),
            )
        )
    return tuple(hosts)


def _problem(host: str, failure: Failure | None, settings: Settings) -> Problem | None:
    if failure is None:
        return None
    return Problem(failure.code, failure.ago_s, remedy_of(failure.code, host, settings))


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
    database: Database, pbx: Pbx, settings: Settings, host: str, confirmed: str
) -> str:
    """Return the key that a host shows, if it is the one that somebody has confirmed.

    Raises Refused, PbxError.
    """
    _, shown = await _keys(database, pbx, settings, host)
    if fingerprint(shown) != confirmed:
        raise Refused("key_moved")
    return shown


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


def pin(database: Database, doer: Doer, pbx: Pbx, host: str, key: str) -> None:
    """Have a key hold for a host from now on; blocking. Raises DatabaseUnavailable."""
    target = pbx.target(host)
    accept_host_key(database, doer, target.host, target.port, key)

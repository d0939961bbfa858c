"""A tracker's lease of a host: who may write what becomes of the calls there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from shared.asterisk.models import CallElsewhere, PbxCall
from shared.store.database import Database
from shared.store.followed import Change, Following, parse_following
from shared.store.jsonb import Malformed, parse_call_elsewhere, render, render_one
from shared.telemetry import LOG, count

# Renewed when a second of it is over, or with what is written; who dies is replaced after this.
LEASE_S = 5.0

_TAKE = "SELECT callapi.take_lease(:host, :owner, :lease_s) AS fence"
_TAKE_PLACE = "SELECT callapi.take_place(:host, :owner, :lease_s, :places) AS fence"
_GIVES_WAY = "SELECT callapi.gives_way(:host, :owner, :places, :held_s) AS gives_way"
# Nobody's from then on: a turn that was given up, and may yet come, must not keep it.
_GIVE_BACK = """
UPDATE callapi.trackers SET lease_until = clock_timestamp(), owner = ''
 WHERE host = :host AND owner = :owner AND fence = :fence
"""
_FOLLOW = """
SELECT callapi.take_turn(
  p_host => :host, p_owner => :owner, p_fence => :fence, p_lease_s => :lease_s,
  p_changes => CAST(:changes AS jsonb), p_view => CAST(:view AS jsonb),
  p_error_code => :error_code, p_reached_s => :reached_s) AS answer
"""
_TELL_ELSEWHERE = """
SELECT callapi.tell_elsewhere(
  p_host => :host, p_owner => :owner, p_fence => :fence,
  p_seen => CAST(:seen AS jsonb)) AS answer
"""
_NEWEST = """
SELECT t.host FROM callapi.trackers t
  JOIN jsonb_to_recordset(CAST(:leases AS jsonb)) x (host text, fence bigint)
    ON x.host = t.host AND x.fence = t.fence
 WHERE t.host IN (SELECT e.host FROM callapi.enterprises() e WHERE e.active)
"""
_UNTRACKED = "SELECT host FROM callapi.untracked_hosts()"
# Who waits longest comes first, and no more of them than have a place.
_DUE = """
SELECT u.host FROM callapi.untracked_hosts() u LEFT JOIN callapi.trackers t USING (host)
 ORDER BY t.lease_until NULLS FIRST, u.host
 LIMIT greatest(0, CAST(:places AS bigint) - (
   SELECT count(*) FROM callapi.trackers p
    WHERE p.place_since IS NOT NULL AND p.lease_until > clock_timestamp()))
"""


class NoPlace(Exception):
    """As many hosts are followed by functions as may be at once."""


@dataclass(frozen=True, slots=True)
class ToldElsewhere:
    """What became of what was seen of calls that began elsewhere.

    `watched` tells that somebody listens still. Of the roots `ours` and `held` nothing was written:
    those are this service's own calls, or may be. `known` is None where it was not asked for.
    """

    watched: bool
    ours: frozenset[str]
    held: frozenset[str]
    known: tuple[CallElsewhere, ...] | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to follow a host, until another owner has taken it."""

    database: Database = field(repr=False)
    host: str
    owner: str
    fence: int

    @classmethod
    async def take(cls, database: Database, host: str) -> Lease | None:
        """Take a host that nobody follows. Raises DatabaseUnavailable."""
        owner = uuid4().hex
        rows = await database.run(_TAKE, host=host, owner=owner, lease_s=LEASE_S)
        fence = rows[0]["fence"]
        return None if fence is None else cls(database, host, owner, fence)

    @classmethod
    async def take_place(cls, database: Database, host: str, places: int) -> Lease | None:
        """Take a host that nobody follows, as a function, of which at most `places` have one.

        Raises NoPlace, DatabaseUnavailable.
        """
        owner = uuid4().hex
        rows = await database.run(
            _TAKE_PLACE, host=host, owner=owner, lease_s=LEASE_S, places=places
        )
        fence = rows[0]["fence"]
        if fence == 0:
            raise NoPlace
        return None if fence is None else cls(database, host, owner, fence)

    async def gives_way(self, places: int, held_s: float) -> bool:
        """Tell whether a host waits whose turn it is now, after `held_s` of this one's.

        Raises DatabaseUnavailable.
        """
        rows = await self.database.run(
            _GIVES_WAY, host=self.host, owner=self.owner, places=places, held_s=held_s
        )
        return bool(rows[0]["gives_way"])

    async def write(
        self,
        changes: Sequence[Change] = (),
        *,
        view: Sequence[PbxCall] | None = None,
        error_code: str | None = None,
        reached_s: float | None = None,
    ) -> Following | None:
        """Write what was seen, keep the lease, read what there is to follow: one round trip.

        `reached_s` is how long ago the PBX was looked at, None: not by this tracker. None once
        another one has the host; then nothing was written. Raises DatabaseUnavailable.
        """
        rows = await self.database.run(
            _FOLLOW,
            host=self.host,
            owner=self.owner,
            fence=self.fence,
            lease_s=LEASE_S,
            changes=render(changes),
            view=None if view is None else render(view),
            error_code=error_code,
            reached_s=reached_s,
        )
        answer = rows[0]["answer"]
        return None if answer is None else parse_following(answer)

    async def tell_elsewhere(
        self,
        changes: Sequence[tuple[CallElsewhere, float]],
        *,
        error_code: str | None,
        may_share: bool,
        load: bool,
    ) -> ToldElsewhere | None:
        """Write what is new of calls that began elsewhere, and tell whoever listens.

        With each call comes its age in seconds. None once another one has the host; then nothing
        was written. Raises DatabaseUnavailable.
        """
        seen = {
            "error_code": error_code,
            "may_share": may_share,
            "load": load,
            "changes": [
                {
                    "call": call,
                    "root_uniqueid": call.root_uniqueid,
                    "step": call.step,
                    "phase": call.phase,
                    "took_part": call.took_part,
                    "root_extension": call.root_extension,
                    "extensions": call.took_part,
                    "age_s": age_s,
                }
                for call, age_s in changes
            ],
        }
        rows = await self.database.run(
            _TELL_ELSEWHERE,
            host=self.host,
            owner=self.owner,
            fence=self.fence,
            seen=render_one(seen),
        )
        answer = rows[0]["answer"]
        if answer is None:
            return None
        known = answer["calls"]
        return ToldElsewhere(
            answer["watched"],
            frozenset(answer["ours"]),
            frozenset(answer["held"]),
            None if known is None else tuple(_known(known, self.host)),
        )

    async def give_back(self) -> None:
        """Let another tracker take over at once. Raises DatabaseUnavailable."""
        await self.database.run(_GIVE_BACK, host=self.host, owner=self.owner, fence=self.fence)


async def still_newest(database: Database, fences: Mapping[str, int]) -> frozenset[str]:
    """Tell of which of these hosts nobody has had a lease since, and an enterprise still has them.

    `fences` are those of one's own last leases. Raises DatabaseUnavailable.
    """
    leases = json.dumps([{"host": host, "fence": fence} for host, fence in fences.items()])
    rows = await database.run(_NEWEST, leases=leases)
    return frozenset(row["host"] for row in rows)


async def untracked_hosts(database: Database) -> tuple[str, ...]:
    """List the hosts that have something to follow and nobody who does."""
    return tuple(row["host"] for row in await database.run(_UNTRACKED))


async def hosts_due(database: Database, places: int) -> tuple[str, ...]:
    """List those of them that a function can begin to follow, whoever waits longest first."""
    return tuple(row["host"] for row in await database.run(_DUE, places=places))


def _known(rows: list[Any], host: str) -> Iterator[CallElsewhere]:
    """Read calls; one that cannot be read is found anew, as it is now."""
    for row in rows:
        try:
            yield parse_call_elsewhere(row, f"callapi.pbx_calls {host}")
        except Malformed as error:
            count("InternalErrors")
            LOG.error("❌ Чужой звонок не читается: %s", error)

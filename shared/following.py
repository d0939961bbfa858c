"""What a tracker keeps in the database: its lease of a host, and the calls it follows there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict
from uuid import uuid4

from shared.asterisk.phases import CallPhase, Kind, Leg, Progress, Reason, Root
from shared.database import Database

# Renewed each turn; whoever dies is replaced after this.
LEASE_S = 5.0

CdrState: TypeAlias = Literal["pending", "confirmed", "none", "off", "unreadable"]

_TAKE = "SELECT callapi.take_lease(:host, :owner, :lease_s) AS fence"
_GIVE_BACK = """
UPDATE callapi.trackers SET lease_until = clock_timestamp()
 WHERE host = :host AND owner = :owner AND fence = :fence
"""
_FOLLOW = """
SELECT callapi.follow(
  p_host => :host, p_owner => :owner, p_fence => :fence, p_lease_s => :lease_s,
  p_changes => CAST(:changes AS jsonb), p_view => CAST(:view AS jsonb),
  p_error_code => :error_code) AS answer
"""
_UNTRACKED = "SELECT host FROM callapi.untracked_hosts()"


class Change(TypedDict, total=False):
    """What a tracker has seen of one call; what is missing stays as it is.

    `ago_s` is how long ago it happened.
    """

    call_id: str
    phase: CallPhase | Literal["unknown"]
    reason: Reason
    ago_s: float
    legs: list[dict[str, str | None]]
    root_channel: str
    root_uniqueid: str
    disposition: str
    ring_s: int | None
    talk_s: int | None
    cdr: CdrState


@dataclass(frozen=True, slots=True)
class FollowedCall:
    """A call whose end is not confirmed yet.

    `root` is None where it could not be told from other programs' (`candidates`), or was over
    before anybody could look. `ended_s` is how long ago it ended, None while it has not.
    """

    call_id: str
    kind: Kind
    code: str
    phone: str
    phase: CallPhase | Literal["placing", "unknown"]
    root: Root | None
    candidates: tuple[Root, ...]
    legs: tuple[Leg, ...]
    transferred: bool
    cdr: CdrState | None
    age_s: float
    ended_s: float | None

    @property
    def progress(self) -> Progress:
        """How far it was when it was written."""
        phase = "accepted" if self.phase in {"placing", "unknown"} else self.phase
        return Progress(phase, self.legs)  # type: ignore[arg-type] # narrowed by the set above


@dataclass(frozen=True, slots=True)
class Following:
    """What there is to follow; `wanted` tells that somebody asks for all calls of the host."""

    calls: tuple[FollowedCall, ...]
    wanted: bool

    @property
    def is_over(self) -> bool:
        """Whether there is nothing: then the lease has been given back."""
        return not self.calls and not self.wanted


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

    async def write(
        self,
        changes: Sequence[Change] = (),
        *,
        view: Sequence[Mapping[str, Any]] | None = None,
        error_code: str | None = None,
    ) -> Following | None:
        """Write what was seen, keep the lease, read what there is to follow: one round trip.

        None once another tracker has the host; then nothing was written. Raises
        DatabaseUnavailable.
        """
        rows = await self.database.run(
            _FOLLOW,
            host=self.host,
            owner=self.owner,
            fence=self.fence,
            lease_s=LEASE_S,
            changes=json.dumps(list(changes)),
            view=None if view is None else json.dumps(list(view)),
            error_code=error_code,
        )
        answer = rows[0]["answer"]
        if answer is None:
            return None
        return Following(tuple(map(_call, answer["calls"])), answer["wanted"])

    async def give_back(self) -> None:
        """Let another tracker take over at once. Raises DatabaseUnavailable."""
        await self.database.run(_GIVE_BACK, host=self.host, owner=self.owner, fence=self.fence)


async def untracked_hosts(database: Database) -> tuple[str, ...]:
    """List the hosts that have something to follow and nobody who does."""
    return tuple(row["host"] for row in await database.run(_UNTRACKED))


def rendered(legs: Sequence[Leg]) -> list[dict[str, str | None]]:
    """Legs as the database keeps them."""
    return [
        {"channel": leg.channel, "uniqueid": leg.uniqueid, "party": leg.party, "state": leg.state}
        for leg in legs
    ]


def _call(row: dict[str, Any]) -> FollowedCall:
    def root(channel: str, uniqueid: str) -> Root:
        return Root(channel, uniqueid, row["kind"], row["code"], row["phone"])

    known = row["root_uniqueid"] is not None
    return FollowedCall(
        call_id=row["call_id"],
        kind=row["kind"],
        code=row["code"],
        phone=row["phone"],
        phase=row["phase"],
        root=root(row["root_channel"], row["root_uniqueid"]) if known else None,
        candidates=tuple(root(item["channel"], item["uniqueid"]) for item in row["candidates"]),
        legs=tuple(Leg(**leg) for leg in row["legs"]),
        transferred=row["transferred"],
        cdr=row["cdr"],
        age_s=row["age_s"],
        ended_s=row["ended_s"],
    )

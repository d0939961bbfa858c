"""The calls that a tracker follows, as the database tells them, and what it has seen of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

from shared.asterisk.models import (
    CallPhase,
    CdrState,
    Kind,
    Leg,
    Phase,
    Progress,
    Reason,
    Root,
    Side,
)
from shared.store.jsonb import Candidate, Malformed, parse_candidates, parse_legs


class Change(TypedDict, total=False):
    """What a tracker has seen of one call; what is missing stays as it is.

    `ago_s` is how long ago it happened. `cut`: it is ended because it lasts too long, or, false,
    that was not sent. `candidates` are roots that may be its own, while nobody has settled it.
    """

    call_id: UUID
    phase: CallPhase | Literal["unknown"]
    reason: Reason
    ago_s: float
    legs: tuple[Leg, ...]
    root_channel: str
    root_uniqueid: str
    candidates: tuple[Candidate, ...]
    disposition: str
    ring_s: int | None
    talk_s: int | None
    agent: Side
    customer: Side
    cdr: CdrState
    cut: bool


@dataclass(frozen=True, slots=True)
class FollowedCall:
    """A call whose end is not confirmed yet.

    `root` is None where it could not be told from other programs' (`candidates`), or was over
    before anybody could look. `ended_s` is how long ago it ended, None while it has not; `cut_s`
    how long ago it was first hung up for lasting too long. `agent` and `customer` are what was told
    of them so far; `talked`: it was told that they talk. `settled`: whoever placed it has told what
    became of that, `placing_s` after it was asked for. `taken` are the names of others' roots, none
    of which is its own.
    """

    call_id: UUID
    kind: Kind
    code: str
    to: str
    phase: Phase
    root: Root | None
    candidates: tuple[Root, ...]
    legs: tuple[Leg, ...]
    transferred: bool
    cdr: CdrState | None
    age_s: float
    ended_s: float | None
    cut_s: float | None = None
    agent: Side = field(default_factory=Side)
    customer: Side = field(default_factory=Side)
    talked: bool = False
    settled: bool = True
    placing_s: float = 0.0
    taken: frozenset[str] = frozenset()

    def after(self, seconds: float) -> FollowedCall:
        """Make it so much older."""
        return replace(
            self,
            age_s=self.age_s + seconds,
            ended_s=None if self.ended_s is None else self.ended_s + seconds,
            cut_s=None if self.cut_s is None else self.cut_s + seconds,
        )

    @property
    def progress(self) -> Progress:
        """How far it was when it was written."""
        match self.phase:
            case "placing" | "unknown":
                phase: CallPhase = "accepted"
            case known:
                phase = known
        return Progress(phase, self.legs, self.agent, self.customer, self.talked)


class MalformedCall(NamedTuple):
    """A call that cannot be read, and why."""

    call_id: str
    why: str


class EndedCall(NamedTuple):
    """An end as it was written just now; `corrected`: it was told before, otherwise."""

    call_id: str
    code: str
    to: str
    reason: Reason
    talk_s: int | None
    corrected: bool


@dataclass(frozen=True, slots=True)
class Following:
    """What there is to follow; `wanted` tells that somebody asks for all calls of the host.

    `watched` tells that somebody listens to all of them, or did, and has yet to be told the end.

    `malformed` says which calls cannot be read, and why. They are left out, so that one bad row
    ends nobody else's following; but the host is kept, since they have not ended.
    `ended` are the ends that this turn has written.
    """

    calls: tuple[FollowedCall, ...]
    wanted: bool
    malformed: tuple[MalformedCall, ...] = ()
    watched: bool = False
    ended: tuple[EndedCall, ...] = ()

    def after(self, seconds: float) -> Following:
        """Tell what there is so much later, if nothing was begun meanwhile.

        Only whoever is judged by age grows older: most calls are looked at, ten times as often.
        """
        return replace(
            self,
            calls=tuple(
                call.after(seconds) if call.root is None or call.phase == "ended" else call
                for call in self.calls
            ),
        )

    @property
    def is_over(self) -> bool:
        """Whether there is nothing: then the lease has been given back."""
        return not (self.calls or self.wanted or self.watched or self.malformed)

    @property
    def sees_all(self) -> bool:
        """Whether calls are looked at that this service did not place."""
        return self.wanted or self.watched


def parse_following(answer: dict[str, Any]) -> Following:
    """Read what `callapi.take_turn` answers."""
    calls, malformed = [], []
    for row in answer["calls"]:
        try:
            calls.append(_call(row))
        except Malformed as error:
            malformed.append(MalformedCall(str(row["call_id"]), str(error)))
    # The function of the release before, which a process of it may have brought back, tells none.
    ended = tuple(
        EndedCall(
            *(row["call_id"], row["code"], row["phone"]),
            *(row["reason"], row["talk_s"], row["corrected"]),
        )
        for row in answer.get("ended", ())
    )
    return Following(tuple(calls), answer["wanted"], tuple(malformed), answer["watched"], ended)


def _call(row: dict[str, Any]) -> FollowedCall:
    def root(own: Candidate) -> Root:
        return Root(own.channel, own.uniqueid, row["kind"], row["code"], row["phone"])

    place = f"callapi.calls {row['call_id']}"
    candidates = parse_candidates(row["candidates"], f"{place} candidates")
    known = row["root_uniqueid"] is not None
    return FollowedCall(
        call_id=UUID(row["call_id"]),
        kind=row["kind"],
        code=row["code"],
        to=row["phone"],
        phase=row["phase"],
        root=root(Candidate(row["root_channel"], row["root_uniqueid"])) if known else None,
        candidates=tuple(map(root, candidates)),
        legs=parse_legs(row["legs"], f"{place} legs"),
        transferred=row["transferred"],
        cdr=row["cdr"],
        age_s=row["age_s"],
        ended_s=row["ended_s"],
        cut_s=row["cut_s"],
        agent=Side(**row["agent"]),
        customer=Side(**row["customer"]),
        talked=row["talked"],
        # The function of the release before tells nothing of these.
        settled=row.get("settled", True),
        placing_s=row.get("placing_s") or 0.0,
        taken=frozenset(row.get("taken") or ()),
    )

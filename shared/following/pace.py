"""How soon a tracker looks again, and for how long it waits for what: said here alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from shared.process import once
from shared.store.followed import FollowedCall, Following


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, all of them.

    `busy_s`: between two looks while phases change. `talk_s`: while the parties talk, whose end may
    be told half a second late. `idle_s`: while nothing but a record or a late call is waited for,
    and the lease is all there is to keep. `turn_s`: between two turns at the database without news,
    of a tracker that is told what others begin. `unreachable_s`: without the PBX, or the database.
    `cdr_wait_s`: how long the final event waits for the PBX's record of the call; `batch_s`: how
    long a record is waited for that is written in batches, of 5 minutes unless somebody set it
    longer. `cdr_mode_s`: how long it is believed how a PBX writes its records. `give_up_s`: a host
    was away for so long that what became of its calls will not be known. `left_behind_s`: how soon
    is found what other processes begin, and a host that its tracker left behind; without the
    database, `longest_left_behind_s`. `expiry_s`: between two removals of what has expired;
    `tidy_s`: how often it is looked whether that, and the like, is due. `count_s`: between two
    counts of what a PBX has, while its calls are followed and somebody reads metrics;
    `count_idle_s`: while none is, or it could not be asked, and between two counts of its devices.
    """

    busy_s: float = 0.2
    talk_s: float = 0.5
    idle_s: float = 2.0
    turn_s: float = 1.0
    unreachable_s: float = 2.0
    cdr_wait_s: float = 1.0
    batch_s: float = 900.0
    cdr_mode_s: float = 60.0
    give_up_s: float = 3600.0
    left_behind_s: float = 0.2
    longest_left_behind_s: float = 5.0
    expiry_s: float = 3600.0
    tidy_s: float = 2.0
    count_s: float = 15.0
    count_idle_s: float = 60.0

    def pause_s(
        self,
        following: Following,
        gone: Collection[UUID],
        *,
        is_unreachable: bool,
        rings: bool = False,
    ) -> float:
        """Tell how soon the next look is; `gone` are the calls that have no channel left.

        `rings`: a call does that began elsewhere and that somebody listens to.
        """
        if is_unreachable:
            return self.unreachable_s
        pauses = [self._pause_s(call, gone) for call in following.calls]
        if following.sees_all:
            pauses.append(self.busy_s if rings else self.talk_s)
        return min(pauses, default=self.idle_s)

    def _pause_s(self, call: FollowedCall, gone: Collection[UUID]) -> float:
        if call.phase in {"placing", "unknown", "ended"}:
            return self.idle_s
        return self.talk_s if call.phase == "talking" and call.call_id not in gone else self.busy_s


@once
def the_pace() -> Pace:
    """That of this process."""
    return Pace()

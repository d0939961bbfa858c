"""Calls that nobody has settled: whoever placed one died after Asterisk had taken it, perhaps.

An accepted call is settled once its answer has gone out. So its caller may have been told that it
is placed, and only the PBX knows of it: it is found there as a late call is, but never hung up,
since nobody was told that it is unknown. While whoever placed it may yet settle it, none is taken
for its own: the roots that were seen are noted, for a root may be gone once both have answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from shared.asterisk.commands import Originate, OriginateCall
from shared.asterisk.models import CallOrder, Channel, Context, Extension, Phone
from shared.asterisk.originating import is_root
from shared.following.judge import is_unsettled
from shared.settings import Settings
from shared.store.followed import Change, FollowedCall
from shared.store.jsonb import Candidate
from shared.store.late import load_orphans
from shared.store.leases import Lease
from shared.telemetry import LOG, of_call, of_pbx

# Between the database's clock and a channel's age, which is told in whole seconds.
_SLACK_S = 2.0


def command_of(call: FollowedCall, settings: Settings) -> Originate:
    """Make the command with which a call was placed, as far as it tells whose its root is."""
    order = CallOrder(Extension(call.code), Phone(call.to))
    return OriginateCall(order, Context(settings.dialplan_context))


class Unsettled:
    """What is to be told of such calls on one host."""

    def __init__(self, lease: Lease, settings: Settings) -> None:
        self._lease = lease
        self._settings = settings

    async def judge(
        self, calls: Sequence[FollowedCall], channels: Sequence[Channel]
    ) -> dict[UUID, Change]:
        """Tell what one look says of those calls, by their ids.

        Raises:
            DatabaseUnavailable: whose the roots are cannot be told.
        """
        known = frozenset(call.root.uniqueid for call in calls if call.root is not None)
        changes: dict[UUID, Change] = {}
        for call in filter(is_unsettled, calls):
            seen = tuple(self._seen(call, channels, known))
            if call.phase == "placing" and call.age_s <= self._settings.settled_within_s:
                if seen and not call.candidates:
                    changes[call.call_id] = Change(call_id=call.call_id, candidates=seen)
                continue
            noted = (Candidate(root.channel, root.uniqueid) for root in call.candidates)
            change = await self._settled(call, (*noted, *seen))
            if change is not None:
                changes[call.call_id] = change
            elif call.phase == "placing":
                changes[call.call_id] = Change(call_id=call.call_id, phase="unknown")
        return changes

    def _seen(
        self, call: FollowedCall, channels: Sequence[Channel], known: frozenset[str]
    ) -> Iterator[Candidate]:
        """Yield the roots that may be its own: those that began while it was being placed."""
        command = command_of(call, self._settings)
        for channel in channels:
            began_s = call.age_s - channel.duration_s
            is_of_its_time = -_SLACK_S <= began_s <= self._settings.settled_within_s
            if is_of_its_time and channel.uniqueid not in known and is_root(channel, command):
                yield Candidate(channel.name, channel.uniqueid)

    async def _settled(self, call: FollowedCall, roots: Sequence[Candidate]) -> Change | None:
        """Take for its own what is nobody else's; None: nothing is."""
        if not roots:
            return None
        by_id = {root.uniqueid: root for root in roots}
        database, host = self._lease.database, self._lease.host
        free = await load_orphans(
            database, call.call_id, host=host, code=call.code, uniqueids=list(by_id)
        )
        ours = tuple(root for uniqueid, root in by_id.items() if uniqueid in free)
        if not ours:
            return None
        with of_call(call.call_id):
            LOG.warning(
                "🩹 Звонок на %s найден на АТС: его исход не был записан", host, extra=of_pbx(host)
            )
        if len(ours) > 1:
            return Change(call_id=call.call_id, phase="accepted", candidates=ours)
        channel, uniqueid = ours[0].channel, ours[0].uniqueid
        return Change(
            call_id=call.call_id, phase="accepted", root_channel=channel, root_uniqueid=uniqueid
        )

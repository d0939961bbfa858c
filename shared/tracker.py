"""Follows every open call of one host: one poll for all of them, one round trip to the database.

Nothing is kept here that the database does not have, but for how long a call has been gone: a
tracker that dies is replaced by any other, which misses nothing that the PBX's records know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from shared.asterisk.models import Channel
from shared.asterisk.outcome import Confirmed, agent_gave_up, confirm
from shared.asterisk.phases import Root, observe, reason_unconfirmed, resolve_root, steps
from shared.asterisk.views import view_of
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, PbxBusy, PbxError
from shared.following import Change, FollowedCall, Following, Lease, rendered
from shared.pbx import Pbx
from shared.records import Records
from shared.settings import Settings
from shared.telemetry import LOG, count

End: TypeAlias = Literal["idle", "replaced", "time"]

_ASK_TIMEOUT_S = 5.0
# Phases change: quick. The parties talk: an event may be half a second late. Nothing but a record
# or a late call is waited for: the lease is all there is to keep.
_BUSY_PAUSE_S, _TALK_PAUSE_S, _IDLE_PAUSE_S = 0.2, 0.5, 2.0
_UNREACHABLE_PAUSE_S = 2.0
# How long the final event waits for the PBX's record of the call.
_CDR_WAIT_S = 1.0
# A host that was away for so long: what became of its calls will not be known.
_GIVE_UP_S = 3600.0
# A channel's age is told in whole seconds, and the database's clock is not Asterisk's.
_AGE_SLACK_S = 3.0


class Tracker:
    """The tracker of one host.

    `on_unknown(host, call)` is called once for each call of unknown outcome, for whoever looks for
    those; the process that sent it does that itself where it lives on.
    """

    def __init__(
        self,
        lease: Lease,
        pbx: Pbx,
        settings: Settings,
        *,
        on_unknown: Callable[[str, FollowedCall], None] | None = None,
    ) -> None:
        self._lease = lease
        self._pbx = pbx
        self._settings = settings
        self._records = Records(pbx, lease.host, settings)
        self._linkedids: dict[str, str] = {}
        self._gone_at: dict[str, float] = {}
        self._reached_at = time.monotonic()
        self._error_code: str | None = None
        self._looked_at = 0.0
        self._news = asyncio.Event()
        self._on_unknown = on_unknown
        self._unknown: set[str] = set()

    def wake(self) -> None:
        """Look soon: there is a new call. Many calls at once do not hurry it more than one."""
        self._news.set()

    async def run(self, until_s: float = float("inf")) -> End:
        """Follow until nothing is left, another tracker has the host, or `until_s` seconds passed.

        The lease is given back, unless another owner has it.
        """
        ends_at = time.monotonic() + until_s
        following = await self._write()
        while following is not None and not following.is_over:
            if time.monotonic() >= ends_at:
                await self._lease.give_back()
                return "time"
            changes, view = await self._look(following)
            following = await self._write(changes, view)
            if following is not None and not following.is_over:
                await self._pause(following)
                if self._news.is_set():
                    self._news.clear()
                    following = await self._write()
        return "replaced" if following is None else "idle"

    async def _write(
        self, changes: Sequence[Change] = (), view: Sequence[dict[str, Any]] | None = None
    ) -> Following | None:
        """Write what was seen; a database that is away is asked until it answers."""
        while True:
            try:
                following = await self._lease.write(changes, view=view, error_code=self._error_code)
            except DatabaseUnavailable:
                await asyncio.sleep(_UNREACHABLE_PAUSE_S)
            else:
                if following is not None:
                    _count(changes)
                self._tell_unknown(following)
                return following

    def _tell_unknown(self, following: Following | None) -> None:
        for call in following.calls if following else ():
            if call.phase == "unknown" and call.call_id not in self._unknown and self._on_unknown:
                self._unknown.add(call.call_id)
                self._on_unknown(self._lease.host, call)

    async def _look(self, following: Following) -> tuple[list[Change], list[dict[str, Any]] | None]:
        """Ask the PBX what is new of these calls, and of all calls where somebody wants them."""
        changes = [change for call in following.calls for change in self._by_age(call)]
        asked = [call for call in following.calls if call.phase not in {"placing", "unknown"}]
        if not asked and not following.wanted:
            return changes, None
        self._looked_at = time.monotonic()
        try:
            channels: tuple[Channel, ...] = ()
            if following.wanted or any(call.phase != "ended" for call in asked):
                channels = await self._channels(following)
            self._gone_at = {
                call.call_id: self._gone_at.get(call.call_id, time.monotonic())
                for call in asked
                if call.phase != "ended" and _is_gone(call, channels, self._linkedids)
            }
            if self._gone_at or any(call.phase == "ended" for call in asked):
                await self._records.read_on()
        except (PbxError, PbxBusy) as error:
            self._unreachable(error)
            return changes + [change for call in asked for change in self._given_up(call)], None
        self._reached_at, self._error_code = time.monotonic(), None
        changes += [change for call in asked for change in self._changes(call, channels)]
        return changes, view_of(channels, self._linkedids) if following.wanted else None

    async def _channels(self, following: Following) -> tuple[Channel, ...]:
        """List the channels, and find out once whose call each new one belongs to."""
        host = self._lease.host
        channels = await self._pbx.list_channels(host, Deadline.after(_ASK_TIMEOUT_S))
        live = {channel.uniqueid for channel in channels}
        self._linkedids = {u: root for u, root in self._linkedids.items() if u in live}
        oldest_s = max((call.age_s for call in following.calls), default=0.0) + _AGE_SLACK_S
        new = [
            channel
            for channel in channels
            if channel.uniqueid not in self._linkedids
            and (following.wanted or channel.duration_s <= oldest_s)
        ]
        if new:
            self._linkedids |= await self._pbx.find_linkedids(
                host, new, Deadline.after(_ASK_TIMEOUT_S)
            )
        return channels

    def _by_age(self, call: FollowedCall) -> Iterator[Change]:
        """End the waiting for what nobody settled: its process died, or Asterisk never said."""
        if call.phase == "placing" and call.age_s > 2 * self._settings.request_timeout_s:
            yield Change(call_id=call.call_id, phase="unknown")
        elif call.phase == "unknown" and call.age_s > self._settings.unknown_hold_s:
            yield Change(call_id=call.call_id, phase="ended", reason="unknown")

    def _changes(self, call: FollowedCall, channels: tuple[Channel, ...]) -> Iterator[Change]:
        if call.phase == "ended":
            yield from self._corrected(call)
        elif call.root is None:
            yield from self._resolved(call, channels)
        elif call.call_id in self._gone_at:
            yield from self._ended(call, call.root, self._gone_at[call.call_id])
        else:
            before = call.progress
            after = observe(call.root, before, channels, self._linkedids)
            if after.legs != before.legs:
                yield Change(call_id=call.call_id, legs=rendered(after.legs))
            for phase in steps(before.phase, after.phase):
                yield Change(call_id=call.call_id, phase=phase)

    def _resolved(self, call: FollowedCall, channels: tuple[Channel, ...]) -> Iterator[Change]:
        root = resolve_root(call.candidates, channels)
        live = {channel.uniqueid for channel in channels}
        if root is not None:
            yield Change(
                call_id=call.call_id, root_channel=root.channel, root_uniqueid=root.uniqueid
            )
        elif not any(candidate.uniqueid in live for candidate in call.candidates):
            yield Change(call_id=call.call_id, phase="ended", reason="unknown")

    def _ended(self, call: FollowedCall, root: Root, gone_at: float) -> Iterator[Change]:
        """Tell the end, with the PBX's record of it, or without once that was waited for."""
        ago_s = time.monotonic() - gone_at
        end = Change(
            call_id=call.call_id,
            phase="ended",
            ago_s=ago_s,
            legs=rendered(observe(root, call.progress, (), {}).legs),
        )
        confirmed = self._confirmed(call, root, complete=ago_s >= _CDR_WAIT_S)
        if confirmed is not None:
            yield end | _confirmation(confirmed)
        elif self._records.state in {"off", "unreadable"} or ago_s >= _CDR_WAIT_S:
            none_written = self._records.state == "none"
            reason = reason_unconfirmed(root, call.progress.phase, none_written=none_written)
            yield end | Change(reason=reason, cdr=self._records.state)

    def _corrected(self, call: FollowedCall) -> Iterator[Change]:
        """Correct an end that was told before its record came."""
        confirmed = call.root and self._confirmed(call, call.root, complete=False)
        if confirmed:
            yield Change(call_id=call.call_id) | _confirmation(confirmed)
        elif self._records.state != "pending" or (call.ended_s or 0.0) > self._records.longest_s:
            state = "none" if self._records.state == "pending" else self._records.state
            yield Change(call_id=call.call_id, cdr=state)

    def _confirmed(self, call: FollowedCall, root: Root, *, complete: bool) -> Confirmed | None:
        rows = (self._records.seen, root.channel, root.uniqueid)
        found = confirm(*rows, kind=root.kind, is_transferred=call.transferred, complete=complete)
        if found is None or found.reason != "no_answer":
            return found
        by_agent = agent_gave_up(*rows)
        if by_agent is None and not complete:
            return None
        return replace(found, reason="cancelled") if by_agent else found

    def _given_up(self, call: FollowedCall) -> Iterator[Change]:
        if time.monotonic() - self._reached_at > _GIVE_UP_S and call.phase != "ended":
            yield Change(call_id=call.call_id, phase="ended", reason="unknown", cdr="unreadable")

    def _unreachable(self, error: PbxError | PbxBusy) -> None:
        if self._error_code != error.code:
            LOG.warning("⚠️ Трекер %s: %s", self._lease.host, error)
        self._error_code = error.code

    async def _pause(self, following: Following) -> None:
        """Wait before the next look, or for a new call."""
        pause_s = min(map(self._pause_s, following.calls), default=_TALK_PAUSE_S)
        if self._error_code is not None:
            pause_s = _UNREACHABLE_PAUSE_S
        elif following.wanted:
            pause_s = min(pause_s, _TALK_PAUSE_S)
        try:
            await asyncio.wait_for(self._news.wait(), pause_s)
        except TimeoutError:
            return
        await asyncio.sleep(self._looked_at + _BUSY_PAUSE_S - time.monotonic())

    def _pause_s(self, call: FollowedCall) -> float:
        if call.phase in {"placing", "unknown", "ended"}:
            return _IDLE_PAUSE_S
        talks = call.phase == "talking" and call.call_id not in self._gone_at
        return _TALK_PAUSE_S if talks else _BUSY_PAUSE_S


def _count(changes: Iterable[Change]) -> None:
    """Count what is news to an operator."""
    for change in changes:
        if change.get("phase") == "ended":
            count("CallsEnded", reason=change.get("reason", "unknown"))
        elif change.get("phase") == "unknown":
            count("UnknownOutcomes")


def _is_gone(call: FollowedCall, channels: Iterable[Channel], linkedids: dict[str, str]) -> bool:
    """Tell whether a call has no channel left."""
    if call.root is None:
        return False
    return observe(call.root, call.progress, channels, linkedids).phase == "ended"


def _confirmation(confirmed: Confirmed) -> Change:
    return Change(
        reason=confirmed.reason,
        disposition=confirmed.disposition,
        ring_s=confirmed.ring_s,
        talk_s=confirmed.talk_s,
        cdr="confirmed",
    )

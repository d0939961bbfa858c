"""Follows every open call of one host: one poll for all of them, one round trip to the database.

What a look means is `judge`'s to say; here it is taken, in time, and written. Nothing is kept that
the database does not have, but for how long a call has been gone: a tracker that dies is replaced
by any other, which misses nothing that the PBX's records know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeAlias
from uuid import UUID

from shared.asterisk import client
from shared.asterisk.models import Channel, PbxCall
from shared.asterisk.views import view_of
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, PbxError
from shared.following.cutting import Cutting
from shared.following.judge import (
    Look,
    is_asked_about,
    is_rootless,
    judge,
    judge_age,
    judge_unreachable,
)
from shared.following.pace import Pace
from shared.following.records import Records
from shared.following.unsettled import Unsettled
from shared.following.watching import Seen, Watching
from shared.measures import observe
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store.followed import Change, FollowedCall, Following, MalformedCall
from shared.store.leases import Lease
from shared.telemetry import LOG, count, of_call, of_host, of_pbx

End: TypeAlias = Literal["idle", "replaced", "time"]

_ASK_TIMEOUT_S = 5.0
# A busy PBX had a thousand channels before a tracker came; over a long way each few are a round
# trip. What was learned is kept, and our own calls wait for no more than this.
_LEARN_S, _LEARN_AT_ONCE = 1.0, 64
# A channel's age is told in whole seconds, and the database's clock is not Asterisk's.
_AGE_SLACK_S = 3.0
# When the time is up, a look and the turn that writes it may end in order, and so may the lease.
_LAST_TURN_S, _GIVE_BACK_S = 8.0, 3.0


class _TimeIsUp(Exception):
    """The database is away, and the time to ask it until it answers is over."""


class Tracker:
    """The tracker of one host.

    `on_unknown(host, call)` is called once for each call of unknown outcome, for whoever looks for
    those; the process that sent it does that itself where it lives on. `on_written()` is called
    after each write that may have told anything. `is_told` says that somebody wakes it whenever
    something was begun: then it asks the database each second, and when it has something to write,
    not at each look. `sleep` is a test's clock.

    `seen_at` is when it last saw all that it was to see, by `time.monotonic`.
    """

    def __init__(
        self,
        lease: Lease,
        pbx: Pbx,
        settings: Settings,
        pace: Pace,
        *,
        on_unknown: Callable[[str, FollowedCall], None] | None = None,
        on_written: Callable[[], object] = lambda: None,
        is_told: bool = False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._lease = lease
        self._pbx = pbx
        self._settings = settings
        self._pace = pace
        self._sleep = sleep
        self._records = Records(pbx, lease.host, settings, pace)
        self._linkedids: dict[str, str] = {}
        self._unaskable: frozenset[str] = frozenset()
        self._gone: Mapping[UUID, float] = {}
        self._watching = Watching(lease, settings)
        self._seen: Seen | None = None  # all calls, by the look that is being told of
        self._unsettled = Unsettled(lease, settings)
        self._cutting = Cutting(lease.host, pbx, settings.max_call_s)
        self._reached_at = time.monotonic()
        self._untold_reach: float | None = None  # a look that succeeded, until that is written
        self._error_code: str | None = None
        self._looked_at = 0.0
        self._ends_at = float("inf")
        self._is_told = is_told
        self._turn_at = 0.0
        self._written_code: str | None = None
        self.seen_at = time.monotonic()
        self._news = asyncio.Event()
        self._on_unknown = on_unknown
        self._on_written = on_written
        self._unknown: set[UUID] = set()
        self._malformed: set[MalformedCall] = set()

    def wake(self) -> None:
        """Look soon: there is a new call. Many calls at once do not hurry it more than one."""
        self._news.set()

    def end_soon(self) -> None:
        """End in order after this look, as if the time were up."""
        self._ends_at = min(self._ends_at, time.monotonic())
        self.wake()

    async def run(self, until_s: float = float("inf")) -> End:
        """Follow until nothing is left, another tracker has the host, or `until_s` seconds passed.

        The lease is given back, unless another owner has it, or the database is away: then it runs
        out. What is still under way some seconds after the time is up is given up, as the database
        or the PBX may answer nothing: the turn of it that may yet come keeps no lease.
        """
        self._ends_at = time.monotonic() + until_s
        last_s = None if until_s == float("inf") else until_s + _LAST_TURN_S
        try:
            with of_host(self._lease.host):
                async with asyncio.timeout(last_s):
                    end = await self._follow()
        except TimeoutError:
            if time.monotonic() < self._ends_at:  # somebody else's
                raise
            end = "time"
        except _TimeIsUp:
            end = "time"
        if end == "time":
            await self._give_back()
        return end

    async def _follow(self) -> End:
        written = await self._write()
        while written is not None and not written.is_over:
            if time.monotonic() >= self._ends_at:
                return "time"
            following = written.after(time.monotonic() - self._turn_at)
            changes, view = await self._look(following)
            if not await self._tell_elsewhere(following):
                return "replaced"
            if self._is_due(changes, view):
                written = await self._write(changes, view)
                written = written and await self._cut(written)
            if written is not None and not written.is_over:
                await self._pause(written)
                if self._news.is_set():
                    self._news.clear()
                    written = await self._write()
        return "replaced" if written is None else "idle"

    def _is_due(self, changes: Sequence[Change], view: Sequence[PbxCall] | None) -> bool:
        """Tell whether a look is to be written, or the lease to be renewed."""
        is_news = changes or view is not None or self._error_code != self._written_code
        is_late = time.monotonic() - self._turn_at >= self._pace.turn_s
        return bool(is_news or is_late or not self._is_told)

    async def _give_back(self) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK_S):
                await self._lease.give_back()
        except (TimeoutError, DatabaseUnavailable):
            LOG.warning(
                "⚠️ Трекер %s: аренда не возвращена, истечёт сама",
                self._lease.host,
                extra=of_pbx(self._lease.host),
            )

    async def _write(
        self, changes: Sequence[Change] = (), view: Sequence[PbxCall] | None = None
    ) -> Following | None:
        """Write what was seen; a database that is away is asked until it answers.

        Raises:
            _TimeIsUp: it did not before the time was up.
        """
        reached_at, self._untold_reach = self._untold_reach, None
        while True:
            self._turn_at, self._written_code = time.monotonic(), self._error_code
            try:
                following = await self._lease.write(
                    changes,
                    view=view,
                    error_code=self._error_code,
                    reached_s=reached_at and time.monotonic() - reached_at,
                )
            except DatabaseUnavailable:
                if time.monotonic() >= self._ends_at:
                    raise _TimeIsUp from None
                await self._sleep(self._pace.unreachable_s)
            else:
                if following is not None:
                    _count(changes)
                    self._tell(following)
                    if changes:
                        self._on_written()
                return following

    def _tell(self, following: Following) -> None:
        """Tell of each end, and of each call that is unknown, or that cannot be read, once."""
        for end in following.ended:
            talk = "неизвестен" if end.talk_s is None else f"{end.talk_s} с"
            with of_call(end.call_id):
                LOG.info(
                    "🔚 %s на %s: %s -> %s, %s, разговор %s",
                    "Итог звонка уточнён" if end.corrected else "Звонок окончен",
                    *(self._lease.host, end.code, end.to, end.reason, talk),
                    extra=of_pbx(self._lease.host),
                )
        for bad in set(following.malformed) - self._malformed:
            self._malformed.add(bad)
            count("InternalErrors")
            with of_call(bad.call_id):
                LOG.error(
                    "❌ Трекер %s, звонок не читается: %s",
                    self._lease.host,
                    bad.why,
                    extra=of_pbx(self._lease.host),
                )
        for call in following.calls:
            if call.phase == "unknown" and call.call_id not in self._unknown and self._on_unknown:
                self._unknown.add(call.call_id)
                self._on_unknown(self._lease.host, call)

    async def _tell_elsewhere(self, following: Following) -> bool:
        """Tell who listens what this look has seen of other calls; False: another has the host."""
        seen, self._seen = self._seen, None
        if not following.watched:
            self._watching.forget()
            return True
        error_code = self._error_code
        if error_code == DatabaseUnavailable.code:
            self._watching.forget()
            return True
        try:
            is_ours = await self._watching.tell(seen, error_code)
        except DatabaseUnavailable:
            return True  # the write that follows waits until it answers
        self._on_written()
        return is_ours

    async def _look(self, following: Following) -> tuple[list[Change], tuple[PbxCall, ...] | None]:
        """Ask the PBX what is new of these calls, and of all calls where somebody wants them."""
        asked = [call for call in following.calls if is_asked_about(call)]
        if not asked and not following.sees_all:
            self.seen_at = time.monotonic()
            return self._aged(following.calls), None
        self._looked_at = time.monotonic()
        try:
            look = await self._ask(following, asked)
            unsettled = await self._unsettled.judge(following.calls, look.channels)
        except (PbxError, DatabaseUnavailable) as error:  # of a new connection something is noted
            self._unreachable(error)
            away_s = time.monotonic() - self._reached_at
            changes = self._aged(following.calls)
            for call in asked:
                changes += judge_unreachable(call, away_s, self._pace)
            return changes, None
        self._reached_at = self._untold_reach = look.at_s
        self.seen_at = time.monotonic()
        self._error_code = None
        changes = list(unsettled.values())
        for call in following.calls:
            if call.call_id not in unsettled and call.phase != "placing":
                told = list(judge(call, look, self._pace)) if is_asked_about(call) else []
                changes += told or self._aged([call])
        if following.watched:
            ours = (call.root for call in following.calls)
            roots = frozenset(root.uniqueid for root in ours if root is not None)
            self._seen = Seen(look.channels, look.linkedids, roots)
        return changes, view_of(look.channels, look.linkedids) if following.wanted else None

    def _aged(self, calls: Iterable[FollowedCall]) -> list[Change]:
        """Tell whose outcome was waited for long enough."""
        longest_s, hold_s = self._settings.request_timeout_s, self._settings.unknown_hold_s
        return [
            change
            for call in calls
            for change in judge_age(call, longest_request_s=longest_s, hold_s=hold_s)
        ]

    async def _cut(self, following: Following) -> Following | None:
        """End what lasts too long, of what this look has seen.

        That is written first: whoever has lost the lease meanwhile sends nothing.
        """
        due = () if self._error_code else self._cutting.due(following.calls, self._gone)
        if not due:
            return following
        changes = [Change(call_id=call.call_id, cut=True) for call in due]
        written = await self._write(changes)
        if written is None:
            return None
        sent = await asyncio.gather(*map(self._cutting.end, due))
        not_sent = [
            Change(call_id=call.call_id, cut=False)
            for call, is_sent in zip(due, sent, strict=True)
            if not is_sent
        ]
        return await self._write(not_sent) if not_sent else written

    async def _ask(self, following: Following, asked: Sequence[FollowedCall]) -> Look:
        """Take one look: the channels, and the records where an end is to be told of.

        Raises:
            PbxError: the host cannot be asked; since when a call is gone stays known.
        """
        channels: tuple[Channel, ...] = ()
        if following.sees_all or any(call.phase != "ended" for call in asked):
            channels = await self._channels(following)
        now_s = time.monotonic()
        look = Look.at(
            now_s, asked, channels, self._linkedids, gone=self._gone, clock_s=time.time()
        )
        self._gone = look.gone
        is_news = False
        if look.gone or any(call.phase == "ended" or is_rootless(call) for call in asked):
            is_news = await self._records.read_on()
        return look.with_records(
            time.monotonic(),
            self._records.seen,
            self._records.state,
            now=datetime.now(UTC),
            is_news=is_news,
        )

    async def _channels(self, following: Following) -> tuple[Channel, ...]:
        """List the channels, and find out once whose call each new one belongs to.

        One whose name no command can carry belongs to nobody: that is told once, and all others
        are followed. What none of our calls can have begun is asked as far as there is time: the
        rest is, at later looks.
        """
        host = self._lease.host
        until = Deadline.after(_ASK_TIMEOUT_S)
        channels = await self._pbx.ask(host, client.list_channels, until, turn="look")
        live = {channel.uniqueid for channel in channels}
        self._linkedids = {u: root for u, root in self._linkedids.items() if u in live}
        self._tell_of_unaskable(channels)
        oldest_s = max((call.age_s for call in following.calls), default=0.0) + _AGE_SLACK_S
        oldest_s += time.monotonic() - self._turn_at
        new = [
            channel
            for channel in channels
            if channel.uniqueid not in self._linkedids and channel.uniqueid not in self._unaskable
        ]
        await self._learn([channel for channel in new if channel.duration_s <= oldest_s])
        if following.sees_all:
            others = [channel for channel in new if channel.duration_s > oldest_s]
            enough = Deadline.after(_LEARN_S)
            while others and enough.remaining_s():
                await self._learn(others[:_LEARN_AT_ONCE])
                del others[:_LEARN_AT_ONCE]
        return channels

    async def _learn(self, channels: Sequence[Channel]) -> None:
        """Find out whose call each of these channels belongs to."""
        if channels:
            self._linkedids |= await self._pbx.ask(
                self._lease.host,
                partial(client.load_linkedids, channels=channels),
                Deadline.after(_ASK_TIMEOUT_S),
                turn="look",
            )

    def _tell_of_unaskable(self, channels: Iterable[Channel]) -> None:
        unaskable = {c.uniqueid: c.name for c in channels if not client.is_askable(c)}
        new = [name for uniqueid, name in unaskable.items() if uniqueid not in self._unaskable]
        self._unaskable = frozenset(unaskable)
        if new:
            count("ChannelsUnaskable", len(new))
            LOG.warning(
                "⚠️ Трекер %s: каналов, о которых Asterisk не спросить: %d, например %a",
                *(self._lease.host, len(new), new[0][:80]),
                extra=of_pbx(self._lease.host),
            )

    def _unreachable(self, error: PbxError | DatabaseUnavailable) -> None:
        if self._error_code != error.code:
            LOG.warning("⚠️ Трекер %s: %s", self._lease.host, error, extra=of_pbx(self._lease.host))
        self._error_code = error.code

    async def _pause(self, following: Following) -> None:
        """Wait before the next look, or for a new call."""
        is_unreachable = self._error_code is not None
        pause_s = self._pace.pause_s(
            following, self._gone, is_unreachable=is_unreachable, rings=self._watching.rings
        )
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes with the news,
            # and whoever ends the tracker would wait for ever.
            async with asyncio.timeout(pause_s):
                await self._news.wait()
        except TimeoutError:
            return
        await self._sleep(self._looked_at + self._pace.busy_s - time.monotonic())


def _count(changes: Iterable[Change]) -> None:
    """Count what is news to an operator."""
    for change in changes:
        if "phase" in change:
            observe("PhasesReached", phase=change["phase"])
        if change.get("phase") == "ended":
            count("CallsEnded", reason=change.get("reason", "unknown"))
        elif change.get("phase") == "unknown":
            count("UnknownOutcomes")

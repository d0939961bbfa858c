"""What goes on at a PBX after its caller was answered, and must be listened to.

Calls of unknown outcome come up late: they are found, told, hung up while nobody has answered. And
up to Asterisk 11 an originate blocks its console for as long as the extension rings.

A frozen Asterisk executes what it had received when it thaws, minutes later, long after the caller
was told `unknown`. Whoever sent the command goes on listening on its socket, since that answer
names the call, unless another one is known to have that channel; where the socket is lost, the PBX
is asked for a new root channel that no known call owns. Not on AWS: nothing may run there after the
answer went out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from shared.asterisk import client
from shared.asterisk.commands import Originate
from shared.asterisk.console import Exchange
from shared.asterisk.ending import EndingUnanswered
from shared.asterisk.models import Channel
from shared.asterisk.originating import is_answered, is_root, roots_of
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, PbxError, ServiceError
from shared.pbx.hosts import Pbx, the_pbx
from shared.process import closed_by
from shared.settings import Settings, the_settings
from shared.store import late as stored
from shared.store.database import Database, the_database
from shared.telemetry import LOG, of_call, of_pbx

T = TypeVar("T")

# The socket of a frozen Asterisk is kept this long; asking costs more, so it ends with the claim.
_LISTEN_S = 900.0
# Asterisk lets an extension ring for 30 s.
_BLOCKED_S = 60.0
_ASK_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_HANG_UP_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """A call that was sent and not acknowledged; `sent_at` is on the monotonic clock.

    `may_block`: its answer may come long after it began, as up to Asterisk 11.
    """

    call_id: UUID
    host: str
    command: Originate
    pending: Exchange | None
    sent_at: float = field(default_factory=time.monotonic)
    may_block: bool = False


class LateCalls:
    """The watch over every unknown call of this process."""

    def __init__(self, settings: Settings, database: Database, pbx: Pbx) -> None:
        self._settings = settings
        self._database = database
        self._pbx = pbx
        self._watches: set[asyncio.Task[None]] = set()

    def watch(self, call: UnknownCall) -> None:
        """Follow a call in a task of this process's own."""
        self._begin(self._watch(call), call.pending)

    def drain(self, blocked: Exchange) -> None:
        """Wait in a task until an originate blocks its console no more; then let go of it."""
        self._begin(_drain(blocked), blocked)

    def _begin(self, work: Coroutine[Any, Any, None], exchange: Exchange | None) -> None:
        watch = asyncio.get_running_loop().create_task(work)
        self._watches.add(watch)
        watch.add_done_callback(partial(self._ended, exchange))

    async def close(self) -> None:
        """End every watch; the calls stay unknown."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    def _ended(self, exchange: Exchange | None, watch: asyncio.Task[None]) -> None:
        # A callback, not a `finally`: a task cancelled before its first step never runs one.
        if exchange is not None:
            exchange.close()
        self._watches.discard(watch)

    async def _watch(self, call: UnknownCall) -> None:
        with of_call(call.call_id):
            await self._watch_named(call)

    async def _watch_named(self, call: UnknownCall) -> None:
        try:
            root = await self._find(call)
            if root is not None:
                await self._tell(call, root)
        except ServiceError as error:
            LOG.error("❌ Опоздавший звонок %s: %s", call.call_id, error)
        except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
            LOG.exception("❌ Опоздавший звонок %s", call.call_id)

    async def _find(self, call: UnknownCall) -> Channel | None:
        replies = await self._late_replies(call)
        if replies is None:
            return await self._from_channels(call)
        # Asterisk is done with the command: a root that appears after this is somebody else's.
        roots = roots_of(call.command, replies)
        if call.may_block:  # others may have begun meanwhile, and ours be over
            roots = tuple(root for root in roots if is_answered(root, call.command))
        if not roots:
            return None
        load = partial(
            stored.load_not_owned,
            *(self._database, call.call_id),
            host=call.host,
            uniqueids=[root.uniqueid for root in roots],
        )
        free = await self._ask(load)
        ours = [root for root in roots if root.uniqueid in free]
        return ours[0] if len(ours) == 1 else None

    async def _late_replies(self, call: UnknownCall) -> tuple[str, ...] | None:
        """Wait for the answer on the socket that carried the command."""
        if call.pending is None:
            return None
        try:
            return await call.pending.replies(Deadline.after(_LISTEN_S))
        except (TimeoutError, PbxError):
            return None
        finally:
            call.pending.close()

    async def _from_channels(self, call: UnknownCall) -> Channel | None:
        """Look for a root that is younger than the command and that no known call owns."""
        pause_s = _FIRST_PAUSE_S
        while (age_s := time.monotonic() - call.sent_at) < self._settings.unknown_hold_s:
            try:
                deadline = Deadline.after(_ASK_TIMEOUT_S)
                channels = await self._pbx.ask(
                    call.host, client.list_channels, deadline, turn="look"
                )
            except PbxError:
                channels = ()
            young = [c for c in channels if is_root(c, call.command) and c.duration_s <= age_s + 1]
            if young:
                load = partial(
                    stored.load_orphans,
                    *(self._database, call.call_id),
                    host=call.host,
                    code=call.command.order.extension.number,
                    uniqueids=[channel.uniqueid for channel in young],
                )
                orphans = await self._ask(load)
                ours = [channel for channel in young if channel.uniqueid in orphans]
                if len(ours) == 1:
                    return ours[0]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None

    async def _tell(self, call: UnknownCall, root: Channel) -> None:
        hung_up = False
        if self._settings.late_call == "hangup":
            hung_up = await self._hang_up(call.host, root)
        LOG.warning(
            "⏰ Звонок дошёл с опозданием: %s на %s, %s",
            call.call_id,
            call.host,
            "завершён" if hung_up else "оставлен",
            extra=of_pbx(call.host),
        )
        settle = partial(
            stored.settle_late,
            *(self._database, call.call_id),
            root_channel=root.name,
            root_uniqueid=root.uniqueid,
            hung_up=hung_up,
        )
        await self._ask(settle)

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the database; one that is away, for as long as any settling may take."""
        until = Deadline.after(self._settings.settled_within_s)
        while True:
            try:
                return await question()
            except DatabaseUnavailable:
                if not until.remaining_s():
                    raise
                await asyncio.sleep(min(_FIRST_PAUSE_S, until.remaining_s()))

    async def _hang_up(self, host: str, root: Channel) -> bool:
        """Hang it up unless it is answered; a PBX that just thawed may be slow to answer."""
        end = EndingUnanswered(root)
        pause_s = _FIRST_PAUSE_S
        for _ in range(_HANG_UP_ATTEMPTS - 1):
            try:
                return await self._hang_up_once(host, end)
            except PbxError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return await self._hang_up_once(host, end)

    async def _hang_up_once(self, host: str, end: EndingUnanswered) -> bool:
        return await self._pbx.ask(host, end, Deadline.after(self._settings.command_timeout_s))


async def _drain(blocked: Exchange) -> None:
    with suppress(TimeoutError, PbxError):
        await blocked.replies(Deadline.after(_BLOCKED_S))


@closed_by(LateCalls.close)
def the_late_calls() -> LateCalls:
    """The watch of this process."""
    return LateCalls(the_settings(), the_database(), the_pbx())

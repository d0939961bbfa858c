"""Calls of unknown outcome that come up late: found, told, hung up while nobody has answered.

A frozen Asterisk executes what it had received when it thaws, minutes later, long after the caller
was told `unknown`. Whoever sent the command goes on listening on its socket, since that answer
names the call for certain; where the socket is lost, the PBX is asked for a new root channel that
no known call owns. Not on AWS: nothing may run there after the answer went out.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from functools import cache, partial

from shared import admission
from shared.asterisk.client import find_roots, is_root
from shared.asterisk.commands import Originate
from shared.asterisk.console import Pending
from shared.asterisk.models import Channel
from shared.database import Database, load_database
from shared.deadline import Deadline
from shared.errors import PbxBusy, PbxError, ServiceError
from shared.pbx import Pbx, load_pbx
from shared.settings import Settings, load_settings
from shared.telemetry import LOG

# The socket of a frozen Asterisk is kept this long; asking costs more, so it ends with the claim.
_LISTEN_S = 900.0
_ASK_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_HANG_UP_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """A call that was sent and not acknowledged; `sent_at` is on the monotonic clock."""

    call_id: uuid.UUID
    host: str
    command: Originate
    pending: Pending | None
    sent_at: float = field(default_factory=time.monotonic)


class LateCalls:
    """The watch over every unknown call of this process."""

    def __init__(self, settings: Settings, database: Database, pbx: Pbx) -> None:
        self._settings = settings
        self._database = database
        self._pbx = pbx
        self._watches: set[asyncio.Task[None]] = set()

    def watch(self, call: UnknownCall) -> None:
        """Follow a call in a task of this process's own."""
        watch = asyncio.get_running_loop().create_task(self._watch(call))
        self._watches.add(watch)
        watch.add_done_callback(partial(self._ended, call))

    async def close(self) -> None:
        """End every watch; the calls stay unknown."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    def _ended(self, call: UnknownCall, watch: asyncio.Task[None]) -> None:
        # A callback, not a `finally`: a task cancelled before its first step never runs one.
        if call.pending is not None:
            call.pending.close()
        self._watches.discard(watch)

    async def _watch(self, call: UnknownCall) -> None:
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
        roots = find_roots(call.command, replies)
        return roots[0] if len(roots) == 1 else None

    async def _late_replies(self, call: UnknownCall) -> tuple[str, ...] | None:
        """Wait for the answer on the socket that carried the command."""
        if call.pending is None:
            return None
        try:
            return await call.pending.replies(Deadline.after(_LISTEN_S))
        except TimeoutError:
            return None
        finally:
            call.pending.close()

    async def _from_channels(self, call: UnknownCall) -> Channel | None:
        """Look for a root that is younger than the command and that no known call owns."""
        pause_s = _FIRST_PAUSE_S
        while (age_s := time.monotonic() - call.sent_at) < self._settings.unknown_hold_s:
            try:
                deadline = Deadline.after(_ASK_TIMEOUT_S)
                channels = await self._pbx.list_channels(call.host, deadline)
            except (PbxError, PbxBusy):
                channels = ()
            young = [c for c in channels if is_root(c, call.command) and c.duration_s <= age_s + 1]
            if young:
                orphans = await admission.find_orphans(
                    self._database,
                    call.call_id,
                    host=call.host,
                    code=call.command.extension.number,
                    uniqueids=[channel.uniqueid for channel in young],
                )
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
        )
        await admission.settle_late(
            self._database,
            call.call_id,
            root_channel=root.name,
            root_uniqueid=root.uniqueid,
            hung_up=hung_up,
        )

    async def _hang_up(self, host: str, root: Channel) -> bool:
        """Hang it up unless it is answered; a PBX that just thawed may be slow to answer."""
        pause_s = _FIRST_PAUSE_S
        for _ in range(_HANG_UP_ATTEMPTS - 1):
            try:
                return await self._hang_up_once(host, root)
            except (PbxError, PbxBusy):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return await self._hang_up_once(host, root)

    async def _hang_up_once(self, host: str, root: Channel) -> bool:
        deadline = Deadline.after(self._settings.command_timeout_s)
        return await self._pbx.hang_up_unanswered(host, root, deadline)


@cache
def load_late_calls() -> LateCalls:
    """The watch of this process; tests call `load_late_calls.cache_clear()`."""
    return LateCalls(load_settings(), load_database(), load_pbx())

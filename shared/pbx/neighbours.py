"""Which texts of `enterprises.ip` are one host: found out before anything depends on it.

PostgreSQL compares (`callapi.spellings`); here names are looked up, and hosts connected to, which
`Pbx` notes by itself. Nothing is ever sent to one host because it is treated as another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from shared.asterisk import client
from shared.deadline import Deadline
from shared.errors import ConnectFailed, HostUnverified
from shared.pbx.addresses import look_up
from shared.pbx.hosts import Pbx, the_pbx
from shared.process import once
from shared.store import hosts as stored
from shared.store.database import Database, the_database
from shared.store.hosts import Resolved
from shared.telemetry import LOG

_BATCH = 256
# How long one request waits for others' names; what is not known then is refused, and known soon.
_REQUEST_S = 5.0
_REFRESH_S = 20.0
_FRESH_S = 3600.0
_RETRY_S = 60.0
_REFRESH_EVERY_S = 30.0


class Neighbours:
    """Finds out what the sharing rules ask for."""

    def __init__(self, database: Database, pbx: Pbx) -> None:
        self._database = database
        self._pbx = pbx
        self._turn = asyncio.Lock()
        self._due_at = 0.0

    async def learn(self, host: str, deadline: Deadline) -> None:
        """Find out what must be known of a host before it can be told who shares it.

        It is connected to, which pins its key and tells its address and Asterisk; and the `ip` of
        every active enterprise is looked up, where nobody ever did.

        Raises:
            HostUnverified: there are too many to look up in time.
            PbxError: the host cannot be connected to.
        """
        until = deadline.sooner(_REQUEST_S)
        try:
            async with until.enforce():
                await self._turn.acquire()
        except TimeoutError:
            raise HostUnverified from None
        try:
            if not await self._look_up(until, due=False):
                raise HostUnverified
        finally:
            self._turn.release()
        await self._pbx.ask(host, client.ping, deadline)

    async def look_up_new(self, seconds: float) -> None:
        """Look up what nobody ever did, as far as the time suffices. Raises DatabaseUnavailable."""
        await self._look_up(Deadline.after(seconds), due=False)

    async def refresh_if_due(self) -> None:
        """Look names up again from time to time; a failure is logged only."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _REFRESH_EVERY_S
        try:
            await self._look_up(Deadline.after(_REFRESH_S), due=True)
            await stored.forget_removed(self._database)
        except Exception as error:  # noqa: BLE001 - what is known already holds until another time
            LOG.warning("⚠️ Адреса АТС не уточнены: %s", error)

    async def _look_up(self, deadline: Deadline, *, due: bool) -> bool:
        """Look texts up until none is left; False: the time is up before."""
        while hosts := await stored.load_unresolved(self._database, due=due, most=_BATCH):
            targets = {host: self._target(host) for host in hosts}
            found = await look_up(set(filter(None, targets.values())), deadline)
            resolved = list(_resolved(targets, found))
            await stored.note_resolved(self._database, resolved, fresh_s=_FRESH_S, retry_s=_RETRY_S)
            if len(resolved) < len(hosts):
                return False
        return True

    def _target(self, host: str) -> str | None:
        """Tell what is connected to; None where the text is no address and no name."""
        try:
            return self._pbx.target(host).host
        except ConnectFailed:
            return None


def _resolved(
    targets: dict[str, str | None], found: dict[str, tuple[str, ...]]
) -> Iterable[Resolved]:
    for host, target in targets.items():
        if target is None:
            yield Resolved(host, host, ())
        elif target in found:
            yield Resolved(host, target, found[target])


@once
def the_neighbours() -> Neighbours:
    """Those of this process."""
    return Neighbours(the_database(), the_pbx())

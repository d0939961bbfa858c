"""Looking up the names among `enterprises.ip`: which of them are one host; by no SSH."""

from __future__ import annotations

import time
from collections.abc import Iterable

from shared.deadline import Deadline
from shared.errors import ConnectFailed
from shared.pbx.addresses import checked_host, look_up
from shared.process import once
from shared.store import hosts as stored
from shared.store.database import Database, the_database
from shared.store.hosts import Resolved
from shared.telemetry import LOG

_BATCH = 256
_REFRESH_S = 20.0
_FRESH_S = 3600.0
_RETRY_S = 60.0
_REFRESH_EVERY_S = 30.0


class Names:
    """Looks up what every active enterprise's `ip` leads to, and notes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due_at = 0.0

    async def look_up_new(self, deadline: Deadline) -> bool:
        """Look up what nobody ever did; False: the time was up. Raises DatabaseUnavailable."""
        return await self._look_up(deadline, due=False)

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
            targets = {host: _target(host) for host in hosts}
            found = await look_up(set(filter(None, targets.values())), deadline)
            resolved = list(_resolved(targets, found))
            await stored.note_resolved(self._database, resolved, fresh_s=_FRESH_S, retry_s=_RETRY_S)
            if len(resolved) < len(hosts):
                return False
        return True


def _target(host: str) -> str | None:
    """Tell what is connected to; None where the text is no address and no name."""
    try:
        return checked_host(host)
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
def the_names() -> Names:
    """Those of this process."""
    return Names(the_database())

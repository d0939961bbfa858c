"""The trackers of one long-lived process: one task for each host that nobody else follows.

Not for AWS, where nothing may run after an answer: there functions/tracker follows one host.
"""

from __future__ import annotations

import asyncio
from functools import cache, partial

from shared.database import Database, load_database
from shared.errors import DatabaseUnavailable
from shared.following import Lease, untracked_hosts
from shared.pbx import Pbx, load_pbx
from shared.settings import Settings, load_settings
from shared.telemetry import LOG
from shared.tracker import Tracker
from shared.wake import load_wakers

# How soon a host is found that its tracker left behind; without the database, how soon again.
_SWEEP_S, _LONGEST_SWEEP_S = 2.0, 30.0


class Trackers:
    """Starts a tracker where one is wanted, in this process or left behind by another."""

    def __init__(self, settings: Settings, database: Database, pbx: Pbx) -> None:
        self._settings = settings
        self._database = database
        self._pbx = pbx
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._trackers: dict[str, Tracker] = {}
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow what there is, until `close`."""
        load_wakers().add(self.wake)
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    def wake(self, host: str) -> None:
        """Look at a host at once."""
        tracker = self._trackers.get(host)
        if tracker is not None:
            tracker.wake()
        elif host not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._follow(host))
            self._tasks[host] = task
            task.add_done_callback(partial(self._ended, host))

    async def close(self) -> None:
        """End every tracker; another process takes their hosts at once."""
        if self._sweeping is None:
            return
        load_wakers().remove(self.wake)
        tasks = [self._sweeping, *self._tasks.values()]
        self._sweeping = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, host: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[host]

    async def _sweep(self) -> None:
        pause_s = _SWEEP_S
        while True:
            try:
                for host in await untracked_hosts(self._database):
                    self.wake(host)
                pause_s = _SWEEP_S
            except DatabaseUnavailable:
                pause_s = min(2 * pause_s, _LONGEST_SWEEP_S)
            except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
                LOG.exception("❌ Поиск звонков без трекера")
            await asyncio.sleep(pause_s)

    async def _follow(self, host: str) -> None:
        try:
            lease = await Lease.take(self._database, host)
            if lease is None:
                return
            tracker = self._trackers[host] = Tracker(lease, self._pbx, self._settings)
            try:
                await tracker.run()
            except BaseException:
                await lease.give_back()
                raise
            finally:
                del self._trackers[host]
        except DatabaseUnavailable:
            return  # the sweep finds the host again
        except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
            LOG.exception("❌ Трекер %s", host)


@cache
def load_trackers() -> Trackers:
    """Those of this process; tests call `load_trackers.cache_clear()`."""
    return Trackers(load_settings(), load_database(), load_pbx())

"""The trackers of one long-lived process: one task for each host that nobody else follows.

Not for AWS, where nothing may run after an answer: there functions/tracker follows one host.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from datetime import datetime
from functools import partial

from shared.errors import DatabaseUnavailable
from shared.following.counting import Counting, the_counting
from shared.following.expiry import Expiry, the_expiry
from shared.following.pace import Pace, the_pace
from shared.following.tracker import Tracker
from shared.following.wake import Waker, the_waker
from shared.pbx.hosts import Pbx, the_pbx
from shared.pbx.names import Names, the_names
from shared.process import closed_by
from shared.settings import Settings, the_settings
from shared.store.database import Database, the_database
from shared.store.leases import Lease
from shared.store.news import look_for_news
from shared.telemetry import LOG, of_pbx


class Trackers:
    """Starts a tracker where one is wanted, and wakes it where something was begun.

    This process says so itself; what others do is looked for in the database.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        pbx: Pbx,
        *,
        waker: Waker,
        pace: Pace,
        expiry: Expiry,
        names: Names,
        counting: Counting,
    ) -> None:
        self._waker = waker
        self._pace = pace
        self._expiry = expiry
        self._names = names
        self._counting = counting
        self._settings = settings
        self._database = database
        self._pbx = pbx
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._trackers: dict[str, Tracker] = {}
        self._begun: dict[tuple[str, str], datetime] = {}  # as the search knows it
        self._own: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Follow what there is, until `close`."""
        self._waker.add(self.wake)
        loop = asyncio.get_running_loop()
        duties = (self._search(), self._tidy(), self._counting.go_on(self._trackers))
        self._own = tuple(map(loop.create_task, duties))

    def wake(self, host: str) -> None:
        """Look at a host at once."""
        tracker = self._trackers.get(host)
        if tracker is not None:
            tracker.wake()
        elif host not in self._tasks:
            # In a context of its own: its lines are not those of the request that woke it.
            task = asyncio.get_running_loop().create_task(self._follow(host), context=Context())
            self._tasks[host] = task
            task.add_done_callback(partial(self._ended, host))

    def seen_at(self) -> dict[str, float]:
        """Tell which hosts are followed here, and when each was last seen, by `time.monotonic`."""
        return {host: tracker.seen_at for host, tracker in self._trackers.items()}

    async def close(self) -> None:
        """End every tracker; another process takes their hosts at once."""
        if not self._own:
            return
        self._waker.remove(self.wake)
        tasks = [*self._own, *self._tasks.values()]
        self._own = ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, host: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[host]

    async def look_around(self) -> None:
        """Take each host that nobody follows, and wake where another process has begun something.

        What this process has begun wakes a second time, for a question more.
        """
        news = await look_for_news(self._database, self._trackers)
        known, self._begun = self._begun, news.begun
        later = {key[0] for key, at in news.begun.items() if key not in known or at > known[key]}
        for host in {*news.untracked, *later}:
            self.wake(host)

    async def _search(self) -> None:
        shortest_s = pause_s = self._pace.left_behind_s
        while True:
            try:
                await self.look_around()
            except Exception as error:  # noqa: BLE001 - a task's failure is seen by nobody else
                if not isinstance(error, DatabaseUnavailable):
                    LOG.exception("❌ Поиск звонков без трекера")
                pause_s = min(2 * pause_s, self._pace.longest_left_behind_s)
            else:
                pause_s = shortest_s
            await asyncio.sleep(pause_s)

    async def _tidy(self) -> None:
        """Do what is due now and then, beside the search: it may take many seconds."""
        while True:
            await self._expiry.remove_if_due()
            await self._names.refresh_if_due()
            await asyncio.sleep(self._pace.tidy_s)

    async def _follow(self, host: str) -> None:
        try:
            lease = await Lease.take(self._database, host)
            if lease is None:
                return
            self._counting.leased(host, lease.fence)
            tracker = Tracker(lease, self._pbx, self._settings, self._pace, is_told=True)
            self._trackers[host] = tracker
            try:
                await tracker.run()
            except BaseException:
                await lease.give_back()
                raise
            finally:
                del self._trackers[host]
        except DatabaseUnavailable:
            return  # the search finds the host again
        except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
            LOG.exception("❌ Трекер %s", host, extra=of_pbx(host))
            await asyncio.sleep(self._pace.unreachable_s)  # until then nobody here begins another


@closed_by(Trackers.close)
def the_trackers() -> Trackers:
    """Those of this process."""
    return Trackers(
        the_settings(),
        the_database(),
        the_pbx(),
        waker=the_waker(),
        pace=the_pace(),
        expiry=the_expiry(),
        names=the_names(),
        counting=the_counting(),
    )

"""What each PBX counts of itself, asked of it while somebody reads metrics.

Whoever follows a host's calls asks it, beside the looks and by the same connection, after all who
wait for a turn; while it has none, whoever followed it last, less often. Nothing depends on it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Container
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from shared.asterisk.console import Console
from shared.asterisk.counts import About, Counts, load_counts, load_endpoints
from shared.asterisk.endpoints import Endpoints
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, PbxError
from shared.following.pace import Pace, the_pace
from shared.measures import the_readers
from shared.pbx.hosts import Pbx, Question, the_pbx
from shared.process import once
from shared.store.database import Database, the_database
from shared.store.leases import still_newest
from shared.telemetry import LOG, of_pbx

T = TypeVar("T")

_ASK_TIMEOUT_S = 5.0
# Where the list of all devices does not come in time, or is longer than any that is read.
_UNLISTED_S = 600.0
_LOOKS_EACH_S = 1.0


@dataclass(frozen=True, slots=True)
class Counted:
    """What a PBX counted at a moment, by `time.monotonic`."""

    at: float
    about: About
    counts: Counts
    endpoints: Endpoints | None


class Counting:
    """Asks each host that this process follows, or was the last one to follow."""

    def __init__(self, database: Database, pbx: Pbx, pace: Pace) -> None:
        self._database = database
        self._pbx = pbx
        self._pace = pace
        self._fences: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._failed: set[str] = set()
        self._about: WeakKeyDictionary[Console, tuple[About, int]] = WeakKeyDictionary()
        self._endpoints: dict[str, Endpoints | None] = {}
        self._listed_until: dict[str, float] = {}
        self._counted: dict[str, Counted] = {}

    def leased(self, host: str, fence: int) -> None:
        """Take note that this process has begun to follow a host."""
        self._fences[host] = fence

    def counted(self, within_s: float) -> dict[str, Counted]:
        """Tell what each host has counted, of those that did so lately."""
        earliest = time.monotonic() - within_s
        self._counted = {host: one for host, one in self._counted.items() if one.at >= earliest}
        return dict(self._counted)

    async def go_on(self, followed: Container[str]) -> None:
        """Ask again and again; `followed` are the hosts whose calls are followed at the moment."""
        async with asyncio.TaskGroup() as group:
            while True:
                if the_readers()():
                    for host in await self._due(followed):
                        self._asked_at[host] = math.inf
                        group.create_task(self._ask(host))
                await asyncio.sleep(min(_LOOKS_EACH_S, self._pace.count_s))

    async def _due(self, followed: Container[str]) -> frozenset[str]:
        """Tell who is to be asked; who follows what this process did is asked of the database."""
        now = time.monotonic()
        due, idle = set(), {}
        for host, fence in self._fences.items():
            waited_s = now - self._asked_at.get(host, -math.inf)
            if host in followed:
                if waited_s >= (
                    self._pace.count_idle_s if host in self._failed else self._pace.count_s
                ):
                    due.add(host)
            elif waited_s >= self._pace.count_idle_s:
                idle[host] = fence
        if not idle:
            return frozenset(due)
        try:
            own = await still_newest(self._database, idle)
        except Exception as error:  # noqa: BLE001 - a task's failure is seen by nobody else
            if not isinstance(error, DatabaseUnavailable):
                LOG.exception("❌ Кто считает каналы АТС, неизвестно")
            return frozenset(due)  # as soon as it answers again
        for host in idle.keys() - own:
            if self._fences[host] == idle[host]:
                self._forget(host)
        return own | due

    async def _ask(self, host: str) -> None:
        try:
            await self._count(host)
        except (PbxError, DatabaseUnavailable):
            self._failed.add(host)  # the age of what is told says so
        except Exception:  # noqa: BLE001 - a task's failure would end all others
            self._failed.add(host)
            LOG.exception("❌ АТС %s: счётчики не прочитаны", host, extra=of_pbx(host))
        else:
            self._failed.discard(host)
        self._asked_at[host] = time.monotonic()

    async def _count(self, host: str) -> None:
        about, counts = await self._put(host, self._load)
        now = time.monotonic()
        self._counted[host] = Counted(now, about, counts, self._endpoints.get(host))
        if now < self._listed_until.get(host, -math.inf):
            return
        self._endpoints.pop(host, None)
        self._listed_until[host] = now + _UNLISTED_S
        found = await self._put(host, partial(load_endpoints, about=about))
        self._endpoints[host] = found
        self._counted[host] = Counted(now, about, counts, found)
        self._listed_until[host] = now + self._pace.count_idle_s

    async def _put(self, host: str, question: Question[T]) -> T:
        return await self._pbx.ask(host, question, Deadline.after(_ASK_TIMEOUT_S), turn="read")

    async def _load(self, console: Console, *, deadline: Deadline) -> tuple[About, Counts]:
        """Count; who it is is asked once a connection, and of an Asterisk that was restarted."""
        known, ran_s = self._about.get(console, (None, 0))
        about, counts = await load_counts(console, known, deadline)
        if known and (counts.uptime_s is None or counts.uptime_s < ran_s):
            about, counts = await load_counts(console, None, deadline)
        self._about[console] = about, counts.uptime_s or 0
        return about, counts

    def _forget(self, host: str) -> None:
        del self._fences[host]
        self._failed.discard(host)
        for known in (self._asked_at, self._endpoints, self._listed_until):
            known.pop(host, None)


@once
def the_counting() -> Counting:
    """That of this process."""
    return Counting(the_database(), the_pbx(), the_pace())

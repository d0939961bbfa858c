"""Whoever waits for news in this process: one question for all of them, as often as a look."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextvars import Context

from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, EventsGone
from shared.events.feed import Event, Told, Wanted, newest_numbers, read_feed
from shared.events.messages import message_of
from shared.process import at_the_end, once
from shared.store.database import Door, the_database
from shared.telemetry import LOG

# As often as a tracker may write.
_POLL_S = 0.2
# A database that is away is asked by every waiter in the end, too.
_AWAY_S = 1.0
# What an enterprise is told in some seconds. Whoever is further behind reads the table, where an
# operator may have had a number forgotten.
_RING = 64
_RING_S = 60.0
_ANY = Wanted(scope="all")  # the ring has whatever a listener may want


class _News:
    """An enterprise's newest events, while somebody listens to it.

    The ring has all that was told after `base`, up to `newest`; both are None until first asked.
    """

    def __init__(self) -> None:
        self.base: int | None = None
        self.newest: int | None = None
        self.ring: deque[tuple[float, Event]] = deque()  # since when it is here
        self.texts: dict[int, str] = {}
        # Who waits, and for what is beyond which number.
        self.waiting: dict[asyncio.Future[None], int] = {}
        self.listeners = 0
        self.reading = asyncio.Lock()

    def begin_at(self, newest: int) -> None:
        """Have none: whoever has not come so far reads the table."""
        self.base = self.newest = newest
        self.ring.clear()
        self.texts.clear()

    def add(self, told: Told) -> None:
        """Have these too, and of the oldest no more than there is room for."""
        now = time.monotonic()
        self.ring.extend((now, event) for event in told.events)
        self.newest = told.next
        while len(self.ring) > _RING:
            self._forget_oldest()

    def forget_old(self) -> None:
        """Have none any more that is not new."""
        earliest = time.monotonic() - _RING_S
        while self.ring and self.ring[0][0] < earliest:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self.base = self.ring.popleft()[1].seq
        self.texts.pop(self.base, None)

    def wake(self, beyond: int) -> None:
        """Wake whoever has not come so far."""
        for news, known in self.waiting.items():
            if known < beyond and not news.done():
                news.set_result(None)


class Hub:
    """Tells whoever listens what an enterprise's newest events are.

    The database is asked only while somebody listens, by a task that ends with the last of them: on
    AWS nothing may run after the answer. It is one question, whether ten listen or thousands; the
    few events that there are since then are read once for all of an enterprise. Of a listener
    nothing is kept but the number up to which it knows.
    """

    def __init__(self, database: Door, poll_s: float = _POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._news: dict[str, _News] = {}
        self._asking: asyncio.Task[None] | None = None
        self.is_over = False

    def stop(self) -> None:
        """Wake everybody: from now on nobody waits."""
        self.is_over = True
        for news in self._news.values():
            for waiting in news.waiting:
                if not waiting.done():
                    waiting.set_result(None)

    def join(self, enterprise: str) -> None:
        """Listen to an enterprise until `leave`."""
        self._news.setdefault(enterprise, _News()).listeners += 1
        if self._asking is None or self._asking.done():
            # In a context of its own: its lines are not those of the request that came first.
            self._asking = asyncio.get_running_loop().create_task(self._ask(), context=Context())

    async def leave(self, enterprise: str) -> None:
        """Listen no more."""
        news = self._news[enterprise]
        news.listeners -= 1
        if not news.listeners:
            del self._news[enterprise]
        if not self._news and self._asking is not None:
            asking, self._asking = self._asking, None
            asking.cancel()
            await asyncio.wait([asking])

    async def wait_beyond(self, enterprise: str, seq: int, deadline: Deadline) -> bool:
        """Wait until something with a higher number was told; False: nothing was, in time.

        A database that is away is no news: whoever waits asks it himself in the end.
        """
        if self.is_over:
            return False
        self.join(enterprise)
        waiting = self._news[enterprise].waiting
        news = asyncio.get_running_loop().create_future()
        waiting[news] = seq
        if (self._news[enterprise].newest or 0) > seq:
            news.set_result(None)
        try:
            async with deadline.enforce():
                await news
        except TimeoutError:
            return False
        finally:
            del waiting[news]
            await self.leave(enterprise)
        return not self.is_over

    def told_since(self, enterprise: str, seq: int, wanted: Wanted, most: int) -> Told | None:
        """Tell what the ring has after a number; None: it does not go back so far."""
        news = self._news.get(enterprise)
        if news is None or news.base is None or news.newest is None:
            return None
        if not news.base <= seq <= news.newest:
            return None
        events = tuple(event for _, event in news.ring if event.seq > seq and wanted.takes(event))
        if len(events) > most:
            return Told(events[:most], events[most - 1].seq, is_all=False)
        return Told(events, news.newest, is_all=True)

    async def read(self, enterprise: str, seq: int | None, wanted: Wanted, most: int) -> Told:
        """Read the table; of an enterprise's listeners one at a time, so that they take turns.

        Raises:
            EventsGone: what follows is not kept any more, or was never told.
            DatabaseUnavailable: not known.
        """
        news = self._news.get(enterprise)
        async with news.reading if news is not None else asyncio.Lock():
            return await read_feed(self._database, enterprise, seq, wanted, most=most)

    def text_of(self, enterprise: str, event: Event) -> str:
        """Write an event as JSON: once for all who are told it while it is new."""
        news = self._news.get(enterprise)
        text = None if news is None else news.texts.get(event.seq)
        if text is None:
            text = message_of(event).model_dump_json(by_alias=True)
            if news is not None and news.base is not None and event.seq > news.base:
                news.texts[event.seq] = text
        return text

    async def _ask(self) -> None:
        pause_s = self._poll_s
        while True:
            await asyncio.sleep(pause_s)
            for news in self._news.values():
                news.forget_old()
            try:
                enterprises = list(self._news)
                newest = await newest_numbers(self._database, enterprises)
                for enterprise in enterprises:
                    await self._hear(enterprise, newest.get(enterprise, 0))
            except Exception as error:  # noqa: BLE001 - a task's failure is seen by nobody else
                if not isinstance(error, DatabaseUnavailable):
                    LOG.exception("❌ Поиск новых событий")
                pause_s = _AWAY_S
            else:
                pause_s = self._poll_s

    async def _hear(self, enterprise: str, newest: int) -> None:
        """Have what an enterprise was told meanwhile, and wake who waits for it."""
        news = self._news.get(enterprise)
        if news is None or news.newest == newest:
            return
        # As in a backup that was restored: who knows more learns from the table that it is gone.
        went_back = news.newest is not None and newest < news.newest
        if news.newest is None or went_back or newest - news.newest > _RING:
            news.begin_at(newest)
        else:
            try:
                news.add(await read_feed(self._database, enterprise, news.newest, _ANY, most=_RING))
            except EventsGone:
                news.begin_at(newest)
        news.wake(2**63 if went_back else news.newest or newest)


@once
def the_hub() -> Hub:
    """That of this process."""
    hub = Hub(the_database().reads)
    at_the_end(hub.stop)
    return hub

"""Whoever sends in one long-lived process: a task for each webhook that has something due.

Not for AWS, where nothing may run after an answer.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import partial
from uuid import UUID, uuid4

from shared.errors import DatabaseUnavailable
from shared.events.watching import WATCH_S
from shared.process import closed_by
from shared.settings import Settings, the_settings
from shared.store import webhooks
from shared.store.database import Database, the_database
from shared.store.webhooks import ToSend
from shared.telemetry import LOG
from shared.webhooks.posting import Poster
from shared.webhooks.schedule import DAY_S
from shared.webhooks.sending import Turn

# Webhooks at once: those that took their last message readily, and all others, which may hold
# theirs for the whole time-out.
QUICK = 32
SLOW = 32
_LOOK_S = 0.2
_NOTHING_S = 2.0
_AWAY_S = 5.0
_KEEP_S = 10.0


class Senders:
    """Sends to webhooks, whichever of them no other process sends to."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._poster = Poster(settings.webhooks_allow_private)
        self._owner = uuid4().hex
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._slow: set[UUID] = set()
        self._own: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Send what there is, until `close`."""
        loop = asyncio.get_running_loop()
        self._own = (loop.create_task(self._search()), loop.create_task(self._keep()))

    async def close(self) -> None:
        """End every turn; another process goes on at once, with what was not noted once more."""
        tasks = [*self._own, *self._tasks.values()]
        self._own = ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._poster.close()

    async def look(self) -> bool:
        """Take what is due, as far as there is room; whether there is any webhook.

        Raises DatabaseUnavailable.
        """
        slow = len(self._slow)
        quick = len(self._tasks) - slow
        taken, is_any = await webhooks.take(
            self._database, self._owner, quick=max(0, QUICK - quick), slow=max(0, SLOW - slow)
        )
        for state in taken:
            # In a context of its own: its lines are nobody's request.
            task = asyncio.get_running_loop().create_task(self._turn(state), context=Context())
            self._tasks[state.id] = task
            if state.slow:
                self._slow.add(state.id)
            task.add_done_callback(partial(self._ended, state.id))
        return is_any

    def _ended(self, webhook: UUID, task: asyncio.Task[None]) -> None:
        if self._tasks.get(webhook) is task:
            del self._tasks[webhook]
            self._slow.discard(webhook)

    async def _turn(self, state: ToSend) -> None:
        try:
            await Turn(self._database, self._poster, self._owner, state).run()
        except DatabaseUnavailable:
            return  # its lease ends by itself
        except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
            LOG.exception("❌ Вебхук %s", state.id)

    async def _search(self) -> None:
        while True:
            pause_s = _AWAY_S
            try:
                pause_s = _LOOK_S if await self.look() else _NOTHING_S
            except DatabaseUnavailable:
                pass  # each request says so
            except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
                LOG.exception("❌ Поиск вебхуков")
            await asyncio.sleep(pause_s)

    async def _keep(self) -> None:
        while True:
            try:
                for off in await webhooks.keep(self._database, watch_s=WATCH_S, gone_s=DAY_S):
                    LOG.error(
                        "❌ Вебхук %s отключён: предприятия %s больше нет",
                        *(off["id"], off["enterprise"]),
                    )
            except DatabaseUnavailable:
                pass  # each request says so
            except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
                LOG.exception("❌ Обход вебхуков")
            await asyncio.sleep(_KEEP_S)


@closed_by(Senders.close)
def the_senders() -> Senders:
    """Those of this process."""
    return Senders(the_settings(), the_database())

"""Telling whoever follows calls that there is a new one.

Within one process a word is enough. On AWS nothing may run after the answer, so a tracker is a
function of its own; it is started, and not waited for, only where none is live.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import anyio.to_thread

from shared.aws.clients import Clients, the_clients
from shared.process import once
from shared.settings import Settings, on_lambda, the_settings
from shared.telemetry import LOG, of_pbx


class Waker:
    """Whoever follows calls, as those who place and end them know it."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._clients = clients
        self._function = settings.tracker_function
        self._listeners: list[Callable[[str], None]] = []

    def add(self, listener: Callable[[str], None]) -> None:
        """Tell this one of each host of which there is something new."""
        self._listeners.append(listener)

    def remove(self, listener: Callable[[str], None]) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    def tell(self, host: str) -> None:
        """Tell this process's trackers, if it has any; others look several times a second."""
        for listener in self._listeners:
            listener(host)

    async def see_followed(self, host: str, *, tracked: bool) -> None:
        """See to it that a host is followed; `tracked`: some tracker is live there already.

        It never fails: a call that is placed stays placed, and a watchdog looks after the rest.
        """
        if not on_lambda():
            self.tell(host)
        elif not tracked and self._function:
            await self.start_function(host)

    async def start_function(self, host: str) -> None:
        """Start the tracker's function for a host, without waiting for it."""
        try:
            await anyio.to_thread.run_sync(self._invoke, host)
        except Exception:  # noqa: BLE001 - whatever boto3 raises; the watchdog starts it in a minute
            LOG.exception("⚠️ Трекер для %s не запущен", host, extra=of_pbx(host))

    def _invoke(self, host: str) -> None:
        self._clients.of("lambda").invoke(
            FunctionName=self._function,
            InvocationType="Event",
            Payload=json.dumps({"host": host}).encode(),
        )


@once
def the_waker() -> Waker:
    """That of this process."""
    return Waker(the_settings(), the_clients())

"""GET /metrics, of the local service and of a follower; anybody else finds no such path."""

from __future__ import annotations

import asyncio
from typing import Any

from anyio import to_thread
from fastapi import HTTPException, Response

from shared.measures import the_observer, the_readers
from shared.metrics.counts import Counts
from shared.metrics.door import Door
from shared.metrics.folder import make_room, the_folder
from shared.metrics.states import look_at_counts, look_at_states
from shared.process import once
from shared.settings import Settings, set_library_folder, the_settings
from shared.telemetry import LOG

PATH = "/metrics"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
# How old another process's gauges may be.
_SHOWN_EACH_S = 1.0


class Metrics:
    """What this process measures, from now on, and who may read it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._door = Door(settings)
        self._folder = the_folder()
        if self._folder is not None:
            try:
                make_room(self._folder)
            except OSError as error:
                LOG.error("⚠️ Метрики этого процесса не будут общими: %s", error.strerror)
                self._folder = None
        set_library_folder(self._folder)
        from shared.metrics.meters import Meters  # noqa: PLC0415 - what was just set is read then

        self._meters = Meters(self._folder)
        self._counts = Counts(self._folder)
        the_observer.put(self._meters.observe)
        the_readers.put(self._counts.are_read)
        self._show()

    async def go_on(self) -> None:
        """Keep what others read of this process true."""
        while self._folder is not None:
            self._show()
            await asyncio.sleep(_SHOWN_EACH_S)

    def opens(self, scope: dict[str, Any]) -> bool:
        """Tell whether a request may read. Raises LimitExceeded."""
        server, client = tuple(scope.get("server") or ()), scope.get("client")
        if scope["method"] not in {"GET", "HEAD"}:
            return False
        if len(self._settings.ports) > 1 and server[1:] != (self._settings.port_of_metrics,):
            return False
        return self._door.opens(client[0] if client else None, scope["headers"])

    async def text(self) -> bytes:
        """Write all that is known now."""
        self._counts.note_reader()
        self._show()
        return await to_thread.run_sync(self._text)

    def _text(self) -> bytes:
        return self._meters.text() + self._counts.text()

    def _show(self) -> None:
        self._meters.show(look_at_states(self._settings))
        self._counts.show(look_at_counts())


@once
def the_metrics() -> Metrics:
    """Those of this process."""
    return Metrics(the_settings())


class Page:
    """The path's endpoint, whatever the method: to a stranger none of them is there."""

    path = PATH

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if not the_metrics().opens(scope):
            raise HTTPException(404)
        scope["route"] = self
        answer = Response(await the_metrics().text(), media_type=_TEXT)
        await answer(scope, receive, send)

"""Looking names up, each in a thread that nobody waits for longer than he likes.

getaddrinfo cannot be stopped, and a server of names may hold it for half a minute: so whoever has
names that hang waits for his own, and for nobody else's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Final
from weakref import WeakValueDictionary

from shared.process import once

WITHIN_S: Final = 10.0
# Of one enterprise at once, those that nobody waits for any more among them.
AT_ONCE: Final = 4


class Names:
    """Looks names up; `within_s` bounds one, with the wait for its place."""

    def __init__(self, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def look_up(self, whose: str, host: str, port: int) -> tuple[str, ...]:
        """List a host's addresses; `whose` is the enterprise that wants it.

        Raises:
            OSError, UnicodeError: there is no such host.
            TimeoutError: it was not found in time.
        """
        places = self._places.get(whose)
        if places is None:
            places = self._places[whose] = asyncio.Semaphore(AT_ONCE)
        async with asyncio.timeout(self._within_s):
            await places.acquire()
            return await asyncio.wrap_future(_begin(host, port, places))


def _begin(host: str, port: int, places: asyncio.Semaphore) -> Future[tuple[str, ...]]:
    """Begin one, which has a place until it ends, and keeps no process from ending."""
    loop = asyncio.get_running_loop()
    found: Future[tuple[str, ...]] = Future()

    def look() -> None:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.set_result(tuple(dict.fromkeys(str(entry[4][0]) for entry in entries)))

    def run() -> None:
        found.set_running_or_notify_cancel()  # from now on whoever leaves does not cancel it
        try:
            look()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            found.set_exception(error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(places.release)

    try:
        threading.Thread(target=run, name="name", daemon=True).start()
    except RuntimeError:  # no more threads
        places.release()
        raise
    return found


@once
def the_names() -> Names:
    """Those of this process."""
    return Names()

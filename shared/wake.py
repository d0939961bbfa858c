"""Telling whoever follows calls that there is a new one.

Within one process a word is enough. On AWS nothing may run after the answer, so a tracker is a
function of its own; it is invoked, and not waited for, only where none is live.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import anyio.to_thread

from shared.aws import load_client
from shared.settings import load_settings, on_lambda
from shared.telemetry import LOG


class Wakers:
    """The trackers of this process, if it has any."""

    def __init__(self) -> None:
        self._wakers: list[Callable[[str], None]] = []

    def add(self, waker: Callable[[str], None]) -> None:
        """Tell this one too, from now on."""
        self._wakers.append(waker)

    def remove(self, waker: Callable[[str], None]) -> None:
        """Tell it no more."""
        self._wakers.remove(waker)

    def wake(self, host: str) -> None:
        """Tell them that something of this host wants to be followed."""
        for waker in self._wakers:
            waker(host)


@cache
def load_wakers() -> Wakers:
    """Those of this process; tests call `load_wakers.cache_clear()`."""
    return Wakers()


async def wake_tracker(host: str, *, tracked: bool) -> None:
    """See to it that a host is followed; `tracked` tells that some tracker is live there already.

    It never fails: a call that is placed stays placed, and a watchdog looks after the rest.
    """
    if not on_lambda():
        load_wakers().wake(host)
    elif not tracked and load_settings().tracker_function:
        await invoke_tracker(host)


async def invoke_tracker(host: str) -> None:
    """Start the tracker's function for a host, without waiting for it."""
    try:
        await anyio.to_thread.run_sync(_invoke, host)
    except Exception:  # noqa: BLE001 - whatever boto3 raises; the watchdog starts it within a minute
        LOG.exception("⚠️ Трекер для %s не запущен", host)


def _invoke(host: str) -> None:
    load_client("lambda").invoke(
        FunctionName=load_settings().tracker_function,
        InvocationType="Event",
        Payload=json.dumps({"host": host}).encode(),
    )

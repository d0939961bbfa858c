"""What this process knows, told to all others by the database: any of them answers the panel.

A follower serves no panel, and tells too. Whoever shows it puts it together.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from shared.errors import ConnectFailed, DatabaseUnavailable
from shared.notices import the_notices
from shared.pbx.hosts import Pbx, the_pbx
from shared.pbx.state import HostState
from shared.process import once
from shared.store.database import Database, the_database
from shared.store.told import ToldHost, tell
from shared.telemetry import LOG

EACH_S = 5.0
_LONGEST_VERSION = 60


class Telling:
    """Tells what has changed; of a process that does nothing there is nothing to tell."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A process id comes again, on this machine and on others.
        self._process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._told: dict[str, ToldHost] = {}

    async def go_on(self) -> None:
        """Tell again and again."""
        while True:
            await asyncio.sleep(EACH_S)
            try:
                await self.tell()
            except DatabaseUnavailable:
                continue  # each request says so
            except Exception:  # noqa: BLE001 - a task's failure is seen by nobody else
                LOG.exception("❌ Состояние АТС не записано")

    async def tell(self) -> None:
        """Tell now. Raises DatabaseUnavailable: it is told later."""
        hosts = {one.host: one for one in _hosts()} if the_pbx.exists() else {}
        news = [one for one in hosts.values() if self._is_news(one)]
        notices = the_notices().take()
        if not news and not notices:
            return
        try:
            await tell(self._database, self._process, news, notices)
        except BaseException:
            the_notices().put_back(notices)
            raise
        self._told |= {one.host: one for one in news}

    def _is_news(self, now: ToldHost) -> bool:
        before = self._told.get(now.host)
        if before is None or _is_asked(now):
            return True
        return _lasting(before) != _lasting(now) or now.ago_s < EACH_S


def _is_asked(one: ToldHost) -> bool:
    gate = one.state["gate"]
    return bool(gate["leased"] or gate["waiting"])


def _lasting(one: ToldHost) -> dict[str, Any]:
    """What does not change by the clock alone."""
    breaker = one.state["breaker"]
    return one.state | {
        "retry_s": None,
        "live": one.state["live"] and one.state["live"]["channels"],
        "breaker": breaker and breaker["code"],
        "reach": one.is_up,
        "error": one.error,
    }


def _hosts() -> Iterator[ToldHost]:
    pbx: Pbx = the_pbx()
    for host in pbx.asked():
        try:
            state = pbx.state(host)
        except ConnectFailed:  # no address: that is told wherever it is shown
            continue
        yield _told(host, state)


def _told(host: str, state: HostState) -> ToldHost:
    told = asdict(state)
    for name in ("host_key", "last_error", "reach"):
        del told[name]
    if state.version is not None:  # the PBX's own words, of which a database may refuse some
        told["version"] = ascii(state.version)[1:-1][:_LONGEST_VERSION]
    reach, error = state.reach, state.last_error
    return ToldHost(
        host=host,
        state=told,
        is_up=reach.is_up if reach else None,
        lasts_s=reach.lasts_s if reach else 0.0,
        ago_s=reach.ago_s if reach else 0.0,
        error=error.code if error else None,
        error_ago_s=error.ago_s if error else None,
    )


@once
def the_telling() -> Telling:
    """That of this process."""
    return Telling(the_database())

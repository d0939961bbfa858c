"""Once a minute on AWS: have each host followed that was left behind, and tidy up.

Its executions are its own: trackers that take all of theirs keep nobody from telling so.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shared.aws.environment import begin_environment, run_pinned
from shared.errors import ServiceError
from shared.following.expiry import the_expiry
from shared.following.wake import the_waker
from shared.pbx.names import the_names
from shared.push.afterwards import put_due
from shared.settings import on_lambda, the_settings
from shared.store.database import the_database
from shared.store.leases import hosts_due, untracked_hosts
from shared.telemetry import LOG, configure_logging, count

# What is left of the invocation's time when the tidying is given up: the next one goes on.
_RESERVE_S = 5.0
_PUT_S = 15.0

if on_lambda():
    begin_environment()


def handler(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Start what is missing, then remove what has expired and look names up, if that is due.

    A database that is away is told, and is no crash: that would roll a deployment back.
    """
    configure_logging(the_settings())
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    try:
        return run_pinned(look_around(left_s))
    except ServiceError as error:
        LOG.error("❌ Сторож: %s", error)
        return {"end": error.code}


async def look_around(seconds: float) -> dict[str, Any]:
    """Do all that the handler says, within about that time."""
    try:
        async with asyncio.timeout(seconds):
            started = await start_missing()
            await put_due(_PUT_S, all_of_them=True)
            await the_expiry().remove_if_due()
            await the_names().refresh_if_due()
    except TimeoutError:
        LOG.warning("⚠️ Сторож не успел всего за %.0f с, продолжит следующий", seconds)
        return {"end": "time"}
    return {"started": started}


async def start_missing() -> list[str]:
    """Start a tracker for each host that nobody follows, as far as there are places for them."""
    database = the_database()
    count("HostsUntracked", len(await untracked_hosts(database)))
    due = list(await hosts_due(database, the_settings().trackers_at_once))
    for host in due:
        await the_waker().start_function(host)
    return due

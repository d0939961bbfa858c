"""Follow the calls of one host on AWS, where no process lives on by itself.

It is invoked asynchronously as `{"host": "192.0.2.10"}`, by whoever placed a call where no tracker
was live, or by the watchdog. Before its time runs out it hands over to another of its kind.

Fewer hosts are followed at once than there are executions (TRACKERS_AT_ONCE). Where more of them
have calls they take turns, so that busy hosts keep no other one from being followed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from shared.aws.environment import begin_environment, run_pinned
from shared.errors import DatabaseUnavailable, ServiceError
from shared.following.late import UnknownCall, the_late_calls
from shared.following.pace import the_pace
from shared.following.tracker import Tracker
from shared.following.unsettled import command_of
from shared.following.wake import the_waker
from shared.pbx.hosts import the_pbx
from shared.push.afterwards import put_due
from shared.settings import on_lambda, the_settings
from shared.store.database import the_database
from shared.store.followed import FollowedCall
from shared.store.leases import Lease, NoPlace, hosts_due
from shared.telemetry import LOG, configure_logging, of_pbx

# What is left of the invocation's time for the last turn, giving the lease back and the hand-over,
# each of which has a limit of its own: also while the database or the PBX answers nothing.
_RESERVE_S = 20.0
# How long a host has its place for, where another one waits.
_TURN_S = 30.0
# A process that follows calls (ROLE=follower) looks for such hosts five times a second: where there
# is one, it takes what a function gives back.
_OTHERS_S = 0.5
# How long putting what was written for WebSockets may take; no look waits for it.
_PUT_S = 3.0

if on_lambda():
    begin_environment()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Follow one host until nothing is left; how that ended is told.

    So is what kept it from that, such as a database that is away: Lambda is to count as an error
    only what this code does wrong, since that rolls a deployment back.
    """
    configure_logging(the_settings())
    host = str(event["host"])
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    try:
        return run_pinned(follow(host, left_s))
    except ServiceError as error:
        LOG.error("❌ Трекер %s: %s", host, error, extra=of_pbx(host))
        return {"host": host, "end": error.code}


async def follow(host: str, seconds: float) -> dict[str, Any]:
    """Follow a host; hand over when the time is up, or another one's turn has come."""
    try:
        lease = await Lease.take_place(the_database(), host, the_settings().trackers_at_once)
    except NoPlace:
        LOG.warning("⚠️ Трекер %s: все места заняты, хост ждёт очереди", host, extra=of_pbx(host))
        return {"host": host, "end": "no-place"}
    if lease is None:
        return {"host": host, "end": "replaced"}
    written = asyncio.Event()
    tracker = Tracker(
        lease, the_pbx(), the_settings(), the_pace(), on_unknown=_watch, on_written=written.set
    )
    beside = [
        asyncio.create_task(_give_way(tracker, lease)),
        asyncio.create_task(_put_what_is_written(written)),
    ]
    try:
        end = await tracker.run(seconds)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await the_late_calls().close()
        await put_due(_PUT_S)
    if end == "time":
        await asyncio.sleep(_OTHERS_S)
    if end != "replaced":
        await start_due()
    LOG.info("👁 Трекер %s: %s", host, end, extra=of_pbx(host))
    return {"host": host, "end": end}


async def start_due() -> None:
    """Start what can have a place now, this host too unless another is due, or has taken it.

    Without the database the watchdog does, once that is back.
    """
    with suppress(DatabaseUnavailable):
        for host in await hosts_due(the_database(), the_settings().trackers_at_once):
            await the_waker().start_function(host)


async def _give_way(tracker: Tracker, lease: Lease) -> None:
    while True:
        await asyncio.sleep(_TURN_S)
        with suppress(DatabaseUnavailable):
            if await lease.gives_way(the_settings().trackers_at_once, _TURN_S):
                tracker.end_soon()


async def _put_what_is_written(written: asyncio.Event) -> None:
    while True:
        await written.wait()
        written.clear()
        await put_due(_PUT_S)


def _watch(host: str, call: FollowedCall) -> None:
    """Look for a call of unknown outcome: whoever sent it may do nothing after its answer."""
    command = command_of(call, the_settings())
    sent_at = time.monotonic() - call.age_s
    the_late_calls().watch(UnknownCall(call.call_id, host, command, None, sent_at))

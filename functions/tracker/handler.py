"""Follow the calls of one host on AWS, where no process lives on by itself.

It is invoked asynchronously as `{"host": "192.0.2.10"}`, by whoever placed a call where no tracker
was live, or by the watchdog. Before its time runs out it hands over to another of its kind.
"""

from __future__ import annotations

import time
from typing import Any

from shared.asterisk.commands import OriginateCall
from shared.asterisk.models import CallOrder, Context, Extension, Phone
from shared.aws.environment import begin_environment, run_pinned
from shared.errors import ServiceError
from shared.following.late import UnknownCall, the_late_calls
from shared.following.pace import the_pace
from shared.following.tracker import Tracker
from shared.following.wake import the_waker
from shared.pbx.hosts import the_pbx
from shared.settings import on_lambda, the_settings
from shared.store.database import the_database
from shared.store.leases import FollowedCall, Lease
from shared.telemetry import LOG, configure_logging

# What is left of the invocation's time for the last turn, giving the lease back and the hand-over,
# each of which has a limit of its own: also while the database or the PBX answers nothing.
_RESERVE_S = 20.0

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
        LOG.error("❌ Трекер %s: %s", host, error)
        return {"host": host, "end": error.code}


async def follow(host: str, seconds: float) -> dict[str, Any]:
    """Follow a host; hand over when the time is up."""
    lease = await Lease.take(the_database(), host)
    if lease is None:
        return {"host": host, "end": "replaced"}
    tracker = Tracker(lease, the_pbx(), the_settings(), the_pace(), on_unknown=_watch)
    try:
        end = await tracker.run(seconds)
    finally:
        await the_late_calls().close()
    if end == "time":
        await the_waker().start_function(host)
    LOG.info("👁 Трекер %s: %s", host, end)
    return {"host": host, "end": end}


def _watch(host: str, call: FollowedCall) -> None:
    """Look for a call of unknown outcome: whoever sent it may do nothing after its answer."""
    order = CallOrder(Extension(call.code), Phone(call.to))
    command = OriginateCall(order, Context(the_settings().dialplan_context))
    sent_at = time.monotonic() - call.age_s
    the_late_calls().watch(UnknownCall(call.call_id, host, command, None, sent_at))

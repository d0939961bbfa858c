"""Follow the calls of one host on AWS, where no process lives on by itself.

It is invoked asynchronously, by whoever placed a call where no tracker was live, as
`{"host": "192.0.2.10"}`, and once a minute by a schedule, as `{}`: then it starts a tracker for
each host that was left behind. Before its time runs out it hands over to another of its kind.
"""

from __future__ import annotations

import time
from typing import Any

from shared.asterisk.commands import OriginateCall
from shared.asterisk.models import CallOrder, Context, Extension, Phone
from shared.aws.environment import begin_environment, run_pinned
from shared.errors import ServiceError
from shared.following.expiry import the_expiry
from shared.following.late import UnknownCall, the_late_calls
from shared.following.pace import the_pace
from shared.following.tracker import Tracker
from shared.following.wake import the_waker
from shared.pbx.hosts import the_pbx
from shared.pbx.neighbours import the_neighbours
from shared.settings import on_lambda, the_settings
from shared.store.database import the_database
from shared.store.leases import FollowedCall, Lease, untracked_hosts
from shared.telemetry import LOG, configure_logging, count

# What is left of the invocation's time for the last turn, giving the lease back and the hand-over,
# each of which has a limit of its own: also while the database or the PBX answers nothing.
_RESERVE_S = 20.0

if on_lambda():
    begin_environment()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Follow one host until nothing is left, or start what is missing; what was done is told.

    So is what kept it from that, such as a database that is away: Lambda is to count as an error
    only what this code does wrong, since that rolls a deployment back.
    """
    configure_logging(the_settings())
    host = event.get("host")
    try:
        if host is None:
            return run_pinned(start_missing())
        left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
        return run_pinned(follow(str(host), left_s))
    except ServiceError as error:
        LOG.error("❌ Трекер %s: %s", host or "-", error)
        return {"host": host, "end": error.code}


async def start_missing() -> dict[str, Any]:
    """Start a tracker for each host that has something to follow and nobody who does."""
    hosts = await untracked_hosts(the_database())
    count("HostsUntracked", len(hosts))
    for host in hosts:
        await the_waker().start_function(host)
    await the_expiry().remove_if_due()
    await the_neighbours().refresh_if_due()
    return {"started": list(hosts)}


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

"""Follow the calls of one host on AWS, where no process lives on by itself.

It is invoked asynchronously, by whoever placed a call where no tracker was live, as
`{"host": "192.0.2.10"}`, and once a minute by a schedule, as `{}`: then it starts a tracker for
each host that was left behind. Before its time runs out it hands over to another of its kind.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from shared.asterisk.commands import OriginateCall
from shared.asterisk.models import Context, Extension, Phone
from shared.database import load_database
from shared.following import FollowedCall, Lease, untracked_hosts
from shared.late import UnknownCall, load_late_calls
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.telemetry import LOG, configure_logging, count
from shared.tracker import Tracker
from shared.wake import invoke_tracker
from shared.web import begin_environment, run_pinned

# What is left of the invocation's time for giving the lease back and the hand-over.
_RESERVE_S = 20.0

begin_environment()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Follow one host until nothing is left, or start what is missing; what was done is told."""
    configure_logging(load_settings())
    host = event.get("host")
    if host is None:
        return run_pinned(start_missing())
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    return run_pinned(follow(str(host), left_s))


async def start_missing() -> dict[str, Any]:
    """Start a tracker for each host that has something to follow and nobody who does."""
    hosts = await untracked_hosts(load_database())
    count("HostsUntracked", len(hosts))
    for host in hosts:
        await invoke_tracker(host)
    return {"started": list(hosts)}


async def follow(host: str, seconds: float) -> dict[str, Any]:
    """Follow a host; hand over when the time is up."""
    lease = await Lease.take(load_database(), host)
    if lease is None:
        return {"host": host, "end": "replaced"}
    tracker = Tracker(lease, load_pbx(), load_settings(), on_unknown=_watch)
    try:
        end = await tracker.run(seconds)
    finally:
        await load_late_calls().close()
    if end == "time":
        await invoke_tracker(host)
    LOG.info("👁 Трекер %s: %s", host, end)
    return {"host": host, "end": end}


def _watch(host: str, call: FollowedCall) -> None:
    """Look for a call of unknown outcome: whoever sent it may do nothing after its answer."""
    command = OriginateCall(
        Extension(call.code), Phone(call.phone), Context(load_settings().dialplan_context)
    )
    sent_at = time.monotonic() - call.age_s
    load_late_calls().watch(UnknownCall(UUID(call.call_id), host, command, None, sent_at))

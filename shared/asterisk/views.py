"""All calls of a host as a supervisor sees them, whoever started them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from shared.asterisk.models import Channel
from shared.asterisk.phases import RINGING, UP, is_local


def view_of(channels: Iterable[Channel], linkedids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Group channels into calls, the oldest first.

    A call is `{"root_uniqueid", "phase", "duration_s", "channels": [{"channel", "state",
    "extension", "caller", "application"}]}`; Asterisk's own Local halves are left out.
    """

    def root_of(channel: Channel) -> str:
        return linkedids.get(channel.uniqueid, channel.uniqueid)

    calls = []
    for uniqueid, group in groupby(sorted(channels, key=root_of), key=root_of):
        legs = list(group)
        phones = [leg for leg in legs if not is_local(leg)]
        calls.append(
            {
                "root_uniqueid": uniqueid,
                "phase": _phase(phones or legs),
                "duration_s": max(leg.duration_s for leg in legs),
                "channels": [
                    {
                        "channel": leg.name,
                        "state": leg.state,
                        "extension": leg.extension,
                        "caller": leg.caller,
                        "application": leg.application,
                    }
                    for leg in sorted(phones, key=lambda leg: leg.name)
                ],
            }
        )
    return sorted(calls, key=lambda call: (-call["duration_s"], call["root_uniqueid"]))


def _phase(legs: list[Channel]) -> str:
    if any(leg.state == UP and leg.bridge for leg in legs):
        return "talking"
    return "ringing" if any(leg.state == RINGING for leg in legs) else "waiting"

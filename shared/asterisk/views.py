"""All calls of a host as a supervisor sees them, whoever started them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.asterisk.calling import beginning_of
from shared.asterisk.listing import Listing
from shared.asterisk.models import Channel, PbxCall, PbxChannel, PbxPhase
from shared.asterisk.parties import is_local
from shared.asterisk.phases import RINGING, UP


def view_of(channels: Iterable[Channel], linkedids: Mapping[str, str]) -> tuple[PbxCall, ...]:
    """Group channels into calls, the oldest first; Asterisk's own Local halves are left out."""
    calls = []
    for uniqueid, legs in Listing(channels, linkedids).by_root():
        phones = [leg for leg in legs if not is_local(leg)]
        calls.append(
            PbxCall(
                root_uniqueid=uniqueid,
                phase=_phase(phones or list(legs)),
                duration_s=max(leg.duration_s for leg in legs),
                channels=tuple(map(_seen, sorted(phones, key=lambda leg: leg.name))),
                beginning=beginning_of(uniqueid, legs),
            )
        )
    return tuple(sorted(calls, key=lambda call: (-call.duration_s, call.root_uniqueid)))


def _seen(leg: Channel) -> PbxChannel:
    return PbxChannel(leg.name, leg.state, leg.extension, leg.caller, leg.application)


def _phase(legs: list[Channel]) -> PbxPhase:
    if any(leg.state == UP and leg.bridge for leg in legs):
        return "talking"
    return "ringing" if any(leg.state == RINGING for leg in legs) else "waiting"

"""What a tracker knows of calls that began elsewhere where nobody could look for a while."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from shared.asterisk.models import CallElsewhere, Channel
from shared.asterisk.parsers import parse_channels
from shared.following.watching import Seen, Watching
from shared.settings import Settings
from shared.store.leases import ToldElsewhere

pytestmark = pytest.mark.anyio

CITY, PHONE = "1.1", "1.2"
TALKING = parse_channels(
    f"SIP/city-01!x!150!1!Up!Dial!SIP/150!+375291112233!!!3!5!b!{CITY}\n"
    f"SIP/150-02!x!150!1!Up!AppDial!(Outgoing Line)!150!!!3!5!b!{PHONE}\n"
)


class Lease:
    """Stands for the database: keeps what it was told of calls."""

    host = "192.0.2.1"

    def __init__(self) -> None:
        self.calls: dict[str, CallElsewhere] = {}
        self.ended: list[CallElsewhere] = []
        self.loads = 0

    async def tell_elsewhere(
        self, changes: Sequence[tuple[CallElsewhere, float]], *, load: bool, **_other: object
    ) -> ToldElsewhere:
        """Note each call as it is now."""
        self.calls |= {call.root_uniqueid: call for call, _age_s in changes}
        self.ended += [call for call, _age_s in changes if call.phase == "ended"]
        self.loads += load
        nobodys = frozenset[str]()
        known = tuple(self.calls.values()) if load else None
        return ToldElsewhere(watched=True, ours=nobodys, held=nobodys, known=known)


def look(channels: tuple[Channel, ...]) -> Seen:
    """All channels are of the caller's call."""
    return Seen(channels, {CITY: CITY, PHONE: CITY}, frozenset())


async def test_of_a_call_that_ends_while_its_pbx_is_away_the_seconds_are_not_known() -> None:
    """Nobody looked meanwhile: it did not talk as long as the PBX was away."""
    lease: Any = Lease()
    watching = Watching(lease, Settings.from_environment({}))
    assert await watching.tell(look(TALKING), None)
    assert await watching.tell(None, "connect-timeout")
    assert await watching.tell(look(()), None)
    assert [call.talk_s for call in lease.ended] == [None]


async def test_a_tracker_that_stood_goes_on_as_another_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was missed is told by whoever loads: so it does, where it has not looked for long."""
    lease: Any = Lease()
    watching = Watching(lease, Settings.from_environment({}))
    for _ in range(3):
        assert await watching.tell(look(TALKING), None)
    assert lease.loads == 1
    now_s = time.monotonic()
    monkeypatch.setattr("shared.following.watching.time.monotonic", lambda: now_s + 60.0)
    assert await watching.tell(look(()), None)
    assert (lease.loads, [call.talk_s for call in lease.ended]) == (2, [None])

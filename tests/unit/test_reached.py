"""How a PBX is reached, put together of what several processes have told."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import AuthenticationFailed, CommandRejected, NoAnswer, PbxBusy
from shared.panel.reached import Breaker, Latency, Live, merge
from shared.pbx.state import Observed
from shared.pbx.telling import EACH_S
from shared.store.told import ToldState


def told(ago_s: float, **state: Any) -> ToldState:
    """What a process has said, so many seconds ago."""
    known: dict[str, Any] = {
        "transport": None,
        "why": None,
        "retry_s": None,
        "version": None,
        "latencies_ms": [],
        "gate": {"size": 8, "leased": 0, "waiting": 0},
        "breaker": None,
        "live": None,
    }
    return ToldState("192.0.2.10", known | state, ago_s)


def test_what_nobody_has_told_is_not_known() -> None:
    """Neither a size nor a transport is made up."""
    reached = merge([], is_up=False)
    assert (reached.transport, reached.size, reached.latency, reached.live) == (None,) * 4
    assert (reached.processes, reached.used, reached.waiting) == (0, 0, 0)


def test_turns_are_those_of_all_processes_that_live() -> None:
    """One that has not said so for three times is gone, and uses nothing."""
    gates = [{"size": 8, "leased": n, "waiting": n * 10} for n in (1, 2, 4)]
    ages = (0.5, 2 * EACH_S, 4 * EACH_S)
    reached = merge([told(a, gate=g) for a, g in zip(ages, gates, strict=True)], is_up=True)
    assert (reached.processes, reached.used, reached.waiting, reached.size) == (2, 3, 30, 8)


def test_the_newest_tells_how_it_is_reached() -> None:
    """Of what it does not know the one before it does."""
    reached = merge(
        [
            told(1, latencies_ms=[3.0, 2.0], live={"channels": 9, "ago_s": 50.0}),
            told(
                2,
                transport="exec",
                why="socket-refused",
                retry_s=10.0,
                version="22.1.0",
                latencies_ms=[90.0],
                live={"channels": 4, "ago_s": 1.0},
            ),
            told(3, transport="socket", why="quickest", version="16.28.0"),
        ],
        is_up=True,
    )
    assert (reached.transport, reached.why, reached.retry_s) == ("exec", "socket-refused", 8.0)
    assert reached.version == "22.1.0"
    assert reached.latency == Latency(last=2.0, median=3.0, longest=90.0, exchanges=3)
    assert reached.live == Live(4, 3.0)


@pytest.mark.parametrize("is_up", [True, False])
def test_a_breaker_of_long_ago_is_told_while_the_host_is_away(is_up: bool) -> None:  # noqa: FBT001
    """Another process has reached it since, or none has."""
    old = told(600, breaker={"code": "ssh-connect-timeout", "ago_s": 2.0})
    reached = merge([told(1), old], is_up=is_up)
    assert reached.breaker == (None if is_up else Breaker("ssh-connect-timeout", 602.0))


def test_reach_lasts_until_something_else_is_seen() -> None:
    """What is refused by Asterisk, or waits for its turn, says nothing against the host."""
    observed = Observed()
    assert observed.reach is None
    observed.note(0.0)
    first = observed._since
    for error in (PbxBusy("full"), CommandRejected("no such command")):
        observed.note_away(error)
    observed.note(0.0)
    assert observed.reach
    assert (observed.reach.is_up, observed._since) == (True, first)
    observed.note_away(AuthenticationFailed("no"))
    assert not observed.reach.is_up
    away = observed._since
    observed.note_away(NoAnswer("hangs"))
    assert (observed.reach.is_up, observed._since) == (False, away)
    assert observed.last_error
    assert observed.last_error.code == "asterisk-no-answer"

"""clients/js in Node.js, against a real process of the service; tests/browser has it in a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.integration import node
from tests.integration.playing import AGENT, IS_BUSY, NO_ANSWER, TALKS, Play
from tests.integration.service import SECRET

pytestmark = pytest.mark.anyio

_DRIVER = Path(__file__).with_name("js_client.mjs")


async def does(play: Play, test: str) -> Any:
    """Have the client do one of the driver's tests; what it tells."""
    told = await to_thread.run_sync(lambda: node.run("node", _DRIVER, test, play.url, SECRET))
    return json.loads(told)


async def test_a_call_is_placed_watched_and_found(play: Play) -> None:
    """Of several pages each call once; the feed tells the phases that the call's own answers do."""
    told = await does(play, "call")
    assert (told["placed"]["success"], told["placed"]["from_ext"]) == (True, AGENT)
    for phases in (told["watched"], told["followed"]):
        assert phases[-3:] == ["customer_ringing", "talking", "ended"]
        assert len(set(phases)) == len(phases)
    assert told["listed"] == [NO_ANSWER, IS_BUSY, TALKS]
    rows = play.postgres.execute("SELECT actor FROM callapi.audit WHERE actor IS NOT NULL")
    assert rows == [{"actor": "Юля"}]


async def test_an_answer_that_was_lost_rings_once(play: Play) -> None:
    """So do a gateway's errors: all attempts of a click have one key."""
    told = await does(play, "lost")
    assert told["repeated"]
    assert (len(told["asked"]), len(set(told["asked"]))) == (4, 1)
    assert len(play.postgres.execute("SELECT FROM callapi.calls")) == 1


async def test_what_may_ring_is_never_asked_again(play: Play) -> None:
    """`dialled: unknown` of the service, and the lost answer to a transfer, which has no key."""
    told = await does(play, "unknown")
    ids = {"requestId": "r", "callId": "c"}
    assert told["placing"] == {
        "status": 500,
        "code": "outcome-unknown",
        "dialled": "unknown",
        **ids,
    }
    assert (told["transfer"]["dialled"], told["transfer"]["code"]) == ("unknown", None)
    assert told["asked"] == 2


async def test_a_gateways_own_errors_are_not_taken_for_the_apis(play: Play) -> None:
    """Whatever JSON they are; and no id leads to another path."""
    told = await does(play, "gateway")
    unknown = {"dialled": "unknown", "code": None, "requestId": None, "callId": None}
    assert told["failures"] == [{"status": 503, **unknown}, {"status": 502, **unknown}]
    assert told["asked"] == 2
    assert told["to"] == "/api/calls/..%2Fwebhooks%2F1"


async def test_a_redirect_is_no_answer(play: Play) -> None:
    """Followed, it would make a GET of a click, whose list of calls would pass for one placed."""
    told = await does(play, "redirect")
    assert (told["refused"]["status"], told["refused"]["dialled"]) == (302, "unknown")
    assert told["methods"] == ["POST"]


async def test_a_call_is_watched_to_its_end_while_things_break(play: Play) -> None:
    """For longer than one request is tried again: a button would else ring a second time."""
    told = await does(play, "watch")
    assert (told["phases"][-1], told["left"]) == ("ended", 0)


async def test_the_feed_misses_nothing_while_things_break(play: Play) -> None:
    """By long polls, since this Node.js may have no WebSocket; a gap is an event.

    The signal that may end it keeps nothing of requests that are over.
    """
    told = await does(play, "feed")
    assert told["numbers"] == list(range(1, len(told["numbers"]) + 1))
    assert (told["left"], told["listeners"]) == (0, 0)
    assert (told["ahead"]["type"], told["ahead"]["seq"]) == ("events.gone", told["numbers"][-1])


async def test_a_button_rings_once_for_three_clicks(play: Play) -> None:
    """While its call goes on it is disabled, and tells how far the call is."""
    told = await does(play, "button")
    assert told["phases"][-1] == "ended"
    assert told["dataset"] == {"phase": "ended", "reason": "busy"}
    assert len(play.postgres.execute("SELECT FROM callapi.calls")) == 1


def sockets(test: str) -> Any:
    """Have the client follow by WebSockets that do as that test has them do."""
    return json.loads(node.run("node", _DRIVER.with_name("js_sockets.mjs"), test))


async def test_a_websocket_that_breaks_is_opened_anew_where_it_was() -> None:
    """By another ticket each time, a gap is an event; where none opens the feed is polled.

    What comes twice by one of them is told once.
    """
    told = await to_thread.run_sync(sockets, "breaks")
    assert told["told"] == [["call.phase", 8], ["events.gone", 14], ["call.phase", 21]]
    assert [ticket["after"] for ticket in told["tickets"]] == [7, 10, 10, 14]
    assert {ticket["scope"] for ticket in told["tickets"]} == {"all"}
    assert told["opened"] == [
        f"ws://calls.example.test/api/events?ticket=t{turn}" for turn in (1, 2, 3, 4)
    ]
    (polled,) = told["polled"]
    assert "after=14" in polled
    assert (told["error"], told["left"]) == (None, 0)


async def test_a_websocket_without_heartbeats_is_opened_anew() -> None:
    """One that is half dead never closes by itself: from where it was, another one is asked."""
    told = await to_thread.run_sync(sockets, "silent")
    assert told["told"] == [["call.phase", 8], ["call.phase", 21]]
    assert [ticket["after"] for ticket in told["tickets"]] == [7, 10]
    assert (told["polled"], told["closed"], told["left"]) == ([], 2, 0)


async def test_a_websocket_ends_with_the_signal() -> None:
    """Also one that has not opened, which does not make the next one a poll."""
    told = await to_thread.run_sync(sockets, "aborted")
    assert told["told"] == [["call.phase", 21]]
    assert (told["polled"], told["closed"], told["left"]) == ([], 2, 0)


async def test_a_websocket_that_is_refused_is_not_opened_again() -> None:
    """Whoever has no right any more is told so."""
    told = await to_thread.run_sync(sockets, "refused")
    assert (told["told"], told["error"]) == ([], [401, "invalid-client-id"])

"""Which answer a client prefers, and what opens a WebSocket."""

from __future__ import annotations

import pytest

from shared.http.accepting import prefers_stream
from shared.http.sockets import is_handshake

HEADERS = [
    (b"upgrade", b"WebSocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"MDEyMzQ1Njc4OWFiY2RlZg=="),
]


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; charset=utf-8", True),
        ("text/event-stream, */*", True),
        ("application/json;q=0.5, text/event-stream;q=0.8", True),
        ("text/event-stream;q=0.5, application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0.000", False),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("text/event-streams", False),
        ("x" * 2000 + ",text/event-stream", False),
    ],
)
def test_a_stream_is_asked_for_by_name(accept: str, *, prefers: bool) -> None:
    """A wildcard is no wish for it; where JSON is wanted more, that comes."""
    assert prefers_stream(accept) is prefers


def test_a_handshake_is_whole() -> None:
    """Of its own path, method and version; whatever is missing or twice, it is a request."""
    assert is_handshake(b"GET", b"/api/events?after=1", HEADERS)
    assert not is_handshake(b"POST", b"/api/events", HEADERS)
    assert not is_handshake(b"GET", b"/api/events/", HEADERS)
    for place in range(len(HEADERS)):
        assert not is_handshake(b"GET", b"/api/events", HEADERS[:place] + HEADERS[place + 1 :])
        assert not is_handshake(b"GET", b"/api/events", [*HEADERS, HEADERS[place]])

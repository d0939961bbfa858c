"""What the demo prints of an event."""

from __future__ import annotations

from typing import Any

import pytest

from demo.telling import describe

PLACED = "2026-11-26T09:00:00.000000Z"
SIDE = {"answered_by": "phone", "ring_s": 2, "talk_s": 4}
CALL: dict[str, Any] = {
    "from": "154",
    "to": "+375290000001",
    "phase": "talking",
    "reason": None,
    "talk_s": None,
    "times": {"placed": PLACED},
    "agent": SIDE,
    "customer": SIDE | {"ring_s": None},
}
ENDED = CALL | {"phase": "ended", "reason": "answered", "talk_s": 4}
IN: dict[str, Any] = {
    "direction": "incoming",
    "from": "+375291234567",
    "to": "150",
    "phase": "ringing",
    "extensions": ["150", "151"],
    "answered_by": None,
    "talk_s": None,
    "times": {"began": PLACED},
}
WHO = "incoming call of +375291234567 to 150"


def event(kind: str, **about: object) -> dict[str, Any]:
    """Make one of 2.5 s after the call's begin."""
    return {"seq": 1, "type": kind, "at": "2026-11-26T09:00:02.500000+00:00", **about}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (event("call.phase", call=CALL), "talking           154 and +375290000001 talk"),
        (
            event("call.phase", call=ENDED),
            "ended             answered, 154 rang 2 s, they talked 4 s",
        ),
        (
            event("call.corrected", call=ENDED | {"reason": "busy", "talk_s": 0}),
            "corrected         busy, 154 rang 2 s",
        ),
        (event("pbx.call", pbx_call=IN), f"ringing           {WHO}: 150, 151 rings"),
        (
            event("pbx.call", pbx_call=IN | {"phase": "talking", "answered_by": "151"}),
            f"talking           {WHO}: 151 talks",
        ),
        (
            event("pbx.call", pbx_call=IN | {"phase": "ended", "talk_s": 7}),
            f"ended             {WHO}: talked 7 s",
        ),
    ],
)
def test_an_event_is_a_line(told: dict[str, Any], line: str) -> None:
    """When, since the call began, its phase, and who does what in it."""
    assert describe(told) == f"   2.5 s  {line}"


def test_a_type_that_is_not_known_is_left_out() -> None:
    """More will come."""
    assert describe(event("pbx.watched", pbx={"host_ip": "192.0.2.10"})) is None

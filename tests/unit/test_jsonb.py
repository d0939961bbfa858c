"""The parts of a row that are jsonb: what was written is read again, anything else is named."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from shared.asterisk.models import Leg, PbxCall, PbxChannel, Side
from shared.store.followed import Change
from shared.store.jsonb import (
    Candidate,
    Malformed,
    parse_candidates,
    parse_legs,
    parse_pbx_call,
    render,
)

LEG = Leg("SIP/154-1f", "1.12", "agent", None)
PBX_CALL = PbxCall(
    "1.1", "ringing", 7, (PbxChannel("SIP/1-1", "Up", "1", "+375290000001", "Dial"),)
)
CHANNEL = {
    "channel": "SIP/1-1",
    "state": "Up",
    "extension": "1",
    "caller": "+375290000001",
    "application": "Dial",
}
PBX_CALL = PbxCall("1.1", "ringing", 7, (PbxChannel(**CHANNEL),))


def test_what_was_rendered_is_parsed() -> None:
    """A view and a call's legs are read as they were written."""
    assert parse_legs(json.loads(render([LEG])), "legs") == (LEG,)
    assert [parse_pbx_call(item, "view") for item in json.loads(render([PBX_CALL]))] == [PBX_CALL]


def test_the_shape_in_the_database_has_that_of_the_releases_before() -> None:
    """So that one of them goes on beside this one, and leaves out what it does not know."""
    leg = {"channel": "SIP/154-1f", "uniqueid": "1.12", "party": "agent", "state": None}
    change = Change(call_id=UUID(int=1), phase="talking", legs=(LEG,), agent=Side("phone", 2))
    (written,) = json.loads(render([change]))
    assert {name: written["legs"][0][name] for name in leg} == leg
    assert (written["call_id"], written["phase"]) == (str(UUID(int=1)), "talking")
    assert written["agent"] == {"answered_by": "phone", "ring_s": 2, "talk_s": None}
    assert parse_legs([leg], "legs") == (LEG,)
    view = {"root_uniqueid": "1.1", "phase": "ringing", "duration_s": 7, "channels": [CHANNEL]}
    (seen,) = json.loads(render([PBX_CALL]))
    assert {name: seen[name] for name in view} == view
    assert parse_pbx_call(view, "calls") == PBX_CALL


def test_what_the_next_release_adds_is_left_out() -> None:
    """It may write while this one still reads."""
    items = [{"channel": "Local/1@x-1;1", "uniqueid": "1.1", "more": 1}]
    assert parse_candidates(items, "candidates") == (Candidate("Local/1@x-1;1", "1.1"),)


@pytest.mark.parametrize(
    ("legs", "where"),
    [
        ([{"channel": "SIP/1-1", "uniqueid": "1.1", "party": "agent"}], "legs 0.state: "),
        ([{"channel": "SIP/1-1", "uniqueid": 1, "party": "agent", "state": None}], "0.uniqueid: "),
        ([{"channel": "a", "uniqueid": "b", "party": "nobody", "state": None}], "legs 0.party: "),
        ("[]", "legs : "),
        (None, "legs : "),
        ([None], "legs 0: "),
    ],
)
def test_what_is_not_of_the_shape_is_named(legs: Any, where: str) -> None:
    """The row, the part of it and the place in that."""
    with pytest.raises(Malformed) as refused:
        parse_legs(legs, "callapi.calls 17 legs")
    assert str(refused.value).startswith("callapi.calls 17 legs")
    assert where in str(refused.value)


@pytest.mark.parametrize("channels", [[{**CHANNEL, "state": None}], None, [{}]])
def test_a_call_of_a_view_is_of_its_shape_or_named(channels: Any) -> None:
    """Its channels too."""
    call = {"root_uniqueid": "1.1", "phase": "ringing", "duration_s": 7, "channels": channels}
    with pytest.raises(Malformed, match=r"callapi.host_views 192.0.2.1 channels"):
        parse_pbx_call(call, "callapi.host_views 192.0.2.1")

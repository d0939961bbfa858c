"""Which of a PBX's calls an enterprise that owns some extensions is told of."""

from __future__ import annotations

import pytest

from shared.asterisk.models import PbxCall, PbxChannel
from shared.calls.reading import _takes_part

OWN = frozenset({"150", "1", "g1", "pseudo"})


def call(*channels: str) -> PbxCall:
    """Make one of these channels."""
    seen = tuple(PbxChannel(name, "Up", "", "", "") for name in channels)
    return PbxCall("17.7", "talking", 5, seen)


@pytest.mark.parametrize(
    ("channels", "is_own"),
    [
        (("SIP/150-0000002a",), True),
        (("PJSIP/150-0000002a", "PJSIP/trunk-0000002b"), True),
        (("IAX2/150-14393",), True),
        (("SCCP/150-00000001",), True),
        (("SIP/151-0000002a",), False),
        (("PJSIP/150-office-0000002a",), False),
        # Lines, spans and users of other drivers, which may be called anything
        (("DAHDI/150-1",), False),
        (("DAHDI/1-1", "SIP/151-0000002a"), False),
        (("Console/150-1",), False),
        (("Motif/150-2a",), False),
        (("DAHDI/1-1", "SIP/150-0000002a"), True),
        (("OutgoingSpoolFailed",), False),
        ((), False),
    ],
    ids=str,
)
def test_a_call_is_an_extensions_by_a_device_that_is_named_after_it(
    channels: tuple[str, ...], *, is_own: bool
) -> None:
    """A line's number is no extension's, though it may be the same digits."""
    assert _takes_part(call(*channels), OWN) is is_own
    assert _takes_part(call(*channels), None)

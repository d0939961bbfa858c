"""By which channel an extension can be heard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.asterisk.devices import pick_channel, spied_as
from shared.asterisk.models import Channel, Context, Extension
from shared.asterisk.parsers import parse_channels

EXTENSION, CONTEXT = Extension("150"), Context("inoffice")


def row(
    name: str,
    state: str = "Up",
    bridge: str = "",
    *,
    application: str = "Dial",
    caller: str = "",
    context: str = "inoffice",
) -> Channel:
    """One channel."""
    fields = (name, context, "1", "1", state, application, "x", caller, "", "", "3", "3", bridge)
    (channel,) = parse_channels("!".join((*fields, f"1.{abs(hash(name)) % 10**6}")))
    return channel


TALKS = row("SIP/150-0000002b", bridge="b")
HELD = row("SIP/150-0000002a")
RINGS = row("SIP/150-0000002c", "Ringing")
DIALS = row("SIP/150-0000002d", "Ring")


@pytest.mark.parametrize(
    ("own", "picked"),
    [
        ((HELD, TALKS, RINGS), TALKS),
        ((RINGS, HELD), HELD),
        ((DIALS, RINGS), RINGS),
        ((DIALS,), DIALS),
        ((), None),
    ],
)
def test_the_channel_that_talks_else_rings(
    own: tuple[Channel, ...], picked: Channel | None
) -> None:
    """Of several, the one with the most to hear."""
    assert pick_channel(own, EXTENSION, CONTEXT, own) == picked


def test_a_call_that_another_phone_took_is_heard_there() -> None:
    """It is bridged with the extension's own Local channel; while that rings it is not."""
    half = row("Local/150@inoffice-00000001;2", bridge="b")
    home = row("PJSIP/home-00000002", bridge="b", application="AppDial")
    other = row("PJSIP/other-00000003", bridge="c", application="AppDial")
    assert pick_channel((), EXTENSION, CONTEXT, (other, half, home)) == home
    assert pick_channel((), EXTENSION, CONTEXT, (row("Local/150@x-1;2", bridge="b"), home)) is None


def test_a_phone_that_was_called_by_the_extension_s_number_is_its_phone() -> None:
    """Once Asterisk has taken the Local channels out; in its own context alone."""
    home = row("PJSIP/home-00000002", bridge="c", application="AppDial", caller="150")
    assert pick_channel((), EXTENSION, CONTEXT, (home,)) == home
    for stranger in (
        row("PJSIP/x-1", bridge="c", application="AppDial", caller="150", context="other"),
        row("PJSIP/x-1", bridge="c", application="Dial", caller="150"),
        row("PJSIP/x-1", bridge="c", application="AppDial", caller="1501"),
    ):
        assert pick_channel((), EXTENSION, CONTEXT, (stranger,)) is None


def test_a_zombie_says_nothing() -> None:
    """What is left of a channel whose place another took."""
    own = row("SIP/150-0000002a<ZOMBIE>", bridge="b")
    assert pick_channel((own,), EXTENSION, CONTEXT, (own,)) is None


@pytest.mark.parametrize(
    ("name", "other", "spied", "spied_before_13"),
    [
        ("SIP/150-0000002a", "SIP/150-0000002b", "name", "name"),
        ("PJSIP/home.1@x-0000002a", "SIP/150-0000002a", "name", "name"),
        ("IAX2/171-14393", "IAX2/172-1", "name", "name"),
        # ChanSpy takes a name for the begin of one, in any letter case.
        ("IAX2/171-1439", "IAX2/171-14393", "name", None),
        ("SIP/150-0000002a", "SIP/150-0000002A-0000002b", "name", None),
        # A line's next call has the name again, while the supervisor's phone still rings.
        ("DAHDI/1-1", "SIP/150-0000002a", "uniqueid", None),
        # What it would take for an option, the argument's end, or what no command carries.
        ("PJSIP/a,b-0000002a", "SIP/150-0000002a", "uniqueid", None),
        ("PJSIP/my home-0000002a", "SIP/150-0000002a", "uniqueid", None),
        ('PJSIP/"a"-0000002a', "SIP/150-0000002a", "uniqueid", None),
        ("SIP/Офис-0000002a", "SIP/150-0000002a", "uniqueid", None),
        (f"SIP/{'1' * 400}-0000002a", "SIP/150-0000002a", "uniqueid", None),
    ],
)
def test_chanspy_is_told_the_channel_that_was_seen(
    name: str, other: str, spied: str | None, spied_before_13: str | None
) -> None:
    """And no other: from 13 on by a whole name or uniqueid, before by a name that is clear."""
    channel, channels = row(name), (row(name), row(other))
    words = {"name": name, "uniqueid": channel.uniqueid, None: None}
    assert spied_as(channel, channels, is_exact=True) == words[spied]
    assert spied_as(channel, channels, is_exact=False) == words[spied_before_13]


def test_a_uniqueid_that_is_no_plain_argument_is_not_told() -> None:
    """An application may choose its channels' ids."""
    odd = replace(row("DAHDI/1-1"), uniqueid="a,b")
    assert spied_as(odd, (odd,), is_exact=True) is None

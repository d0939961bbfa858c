"""Whose a channel is, and how each driver shows its phones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.commands import ShowDevice
from shared.asterisk.devices import channels_of, parse_reach
from shared.asterisk.drivers import DRIVERS, device_of
from shared.asterisk.models import Extension, Technology
from shared.asterisk.parsers import parse_channels

# As `iax2 show peer` of Asterisk 16 and 22 prints them, shortened.
IAX2 = """

  * Name       : {name}
  Secret       : <Not set>
  Addr->IP     : {address}
  Defaddr->IP  : (null) Port (null)
  Status       : {status}
  Qualify      : every 60000ms when OK, every 10000ms when UNREACHABLE (sample smoothing Off)

"""


@pytest.mark.parametrize(
    ("channel", "technology", "device", "extension"),
    [
        ("SIP/150-0000002a", "SIP", "150", "150"),
        ("SIP/150-0000002a<ZOMBIE>", "SIP", "150", "150"),
        ("PJSIP/50-Office-Trunk-0000001b", "PJSIP", "50-Office-Trunk", "50-Office-Trunk"),
        ("PJSIP/My Trunk-0000abcd", "PJSIP", "My Trunk", "My Trunk"),
        ("IAX2/171-14393", "IAX2", "171", "171"),
        ("SCCP/150-00000001", "SCCP", "150", "150"),
        ("DAHDI/1-1", "DAHDI", "1", ""),
        ("DAHDI/i1/5551234-a", "DAHDI", "i1/5551234", ""),
        ("Local/150@inoffice-0000002a;1", "Local", "150@inoffice", "150"),
        ("Local/FMPR-150@from-internal-0000002a;2", "Local", "FMPR-150@from-internal", "FMPR-150"),
    ],
)
def test_a_channel_tells_its_device(
    channel: str, technology: str, device: str, extension: str
) -> None:
    """The driver, the device up to the last dash, and the extension it is named after."""
    found = device_of(channel)
    assert found is not None
    assert (found.technology, found.name, found.extension) == (technology, device, extension)


@pytest.mark.parametrize(
    "channel",
    [
        *("", "OutgoingSpoolFailed", "SIP", "SIP/", "SIP/150", "SIP/-0000002a", "SIP/150-"),
        *(
            "SIP/150-Office",
            "SIP/150-0000002A",
            "/150-2a",
            "Local/150@inoffice-2a",
            "Local/150-2a;1",
        ),
        *("S P/150-2a", "SIP/150-2a ", "SIP/150-2a;1"),
    ],
)
def test_what_is_no_channel_of_a_device_has_none(channel: str) -> None:
    """A failed call file's, or any other name: nobody's."""
    assert device_of(channel) is None


@given(st.text(max_size=80))
def test_any_name_has_a_device_or_none(channel: str) -> None:
    """A PBX may call a channel what it likes; the parts of one that is told are its own."""
    found = device_of(channel)
    if found is not None:
        assert channel.startswith(f"{found.technology}/{found.name}-")


@pytest.mark.parametrize("technology", Technology)
def test_every_driver_shows_a_device(technology: Technology) -> None:
    """Each has a command of its own: what is not SIP is not therefore PJSIP."""
    shown = ShowDevice(technology, Extension("171")).render()
    assert shown == f"{DRIVERS[technology].show} 171"
    assert re.fullmatch(rf"{technology.value.lower()} show (peer|endpoint) 171", shown)


@pytest.mark.parametrize(
    ("address", "status", "reach"),
    [
        ("127.0.0.1 Port 24516", "Unmonitored", "reachable"),
        ("127.0.0.1 Port 24516", "OK (2 ms)", "reachable"),
        ("127.0.0.1 Port 24599", "UNREACHABLE", "unreachable"),
        ("(null) Port (null)", "Unmonitored", "unregistered"),
    ],
)
def test_an_iax2_phone_is_there_or_not(address: str, status: str, reach: str) -> None:
    """chan_iax2 prints what chan_sip prints."""
    text = IAX2.format(name="171", address=address, status=status)
    assert parse_reach(Technology.IAX2, text) == reach


def test_an_iax2_phone_that_is_not_there_has_no_reach() -> None:
    """As for SIP, so that another driver is asked."""
    assert parse_reach(Technology.IAX2, "Peer 199 not found.\n") is None


def test_a_devices_channels_are_no_others() -> None:
    """Neither of a longer number, nor of a trunk whose name begins so, nor of another driver."""
    names = ("IAX2/171-14393", "IAX2/1711-2", "IAX2/171-trunk-3", "SIP/171-4", "IAX2/171-5")
    rows = "".join(
        f"{name}!inoffice!171!1!Up!AppDial!!171!!!3!1!!1795689858.{number}\n"
        for number, name in enumerate(names)
    )
    own = channels_of(Technology.IAX2, Extension("171"), parse_channels(rows))
    assert [channel.name for channel in own] == ["IAX2/171-14393", "IAX2/171-5"]

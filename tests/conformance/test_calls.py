"""A call's channels, phase by phase, and what ends it: what following a call relies on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from shared.asterisk.models import Channel
from shared.asterisk.parsers import parse_linkedid
from tests.conformance.site import Host, named, pick, until

pytestmark = pytest.mark.anyio

TALKS = "+375290000001"
TALKS_ON = "+375290000005"
TALKS_RTP = "+375290000006"
TRUNKS = {
    TALKS: "trunktalk",
    "+375290000002": "trunkbusy",
    "+375290000003": "trunkna",
    "+375290000004": "trunk404",
    TALKS_ON: "trunkslow",
}
OUTGOING = "(Outgoing Line)"
LOCAL = re.compile(r"Local/[^@]+@[a-z]+-[0-9a-f]{8};[12]")
LEG = re.compile(r"(?:SIP|PJSIP)/[a-z0-9]+-[0-9a-f]{8}")


def told(channel: Channel) -> tuple[str, str, str]:
    """What tells a phase: state, application, data."""
    return channel.state, channel.application, channel.data


def as_told(prefix: str, *expected: str) -> Callable[[Channel], bool]:
    """A channel of this name that is told so.

    The parts of a change come one after another: a moment that has the first may lack the others.
    """
    return lambda channel: channel.name.startswith(prefix) and told(channel) == expected


def bridged(beginning: str, ending: str = "") -> Callable[[Channel], bool]:
    """A channel of this name that is connected with another one."""
    is_named = named(beginning, ending)
    return lambda channel: is_named(channel) and bool(channel.bridge)


async def assert_linked(host: Host, root: Channel, channels: tuple[Channel, ...]) -> None:
    """Each channel's LinkedID is the root's uniqueid; one that is gone by now says nothing."""
    for channel in channels:
        text = (await host.ask(f"core show channel {channel.name}")).decode()
        if text != f"{channel.name} is not a known channel\n":
            assert parse_linkedid(text) == root.uniqueid, text


async def test_a_row_has_fourteen_fields_and_known_names(host: Host) -> None:
    """Names, states and uniqueids of a ringing and of a connected call have their shapes."""
    await host.originate("154", TALKS_ON)
    for wanted in (f"{host.technology}/154-", f"{host.technology}/trunkslow-"):
        for state in ("Ringing", "Up"):
            channels = await host.seen(named(wanted, state=state))
            rows = await host.rows()
            assert {row.count("!") for row in rows} == {13}
            assert {channel.state for channel in channels} <= {"Down", "Ring", "Ringing", "Up"}
            for channel in channels:
                shape = LOCAL if channel.name.startswith("Local/") else LEG
                assert shape.fullmatch(channel.name), channel.name
                assert re.fullmatch(r"\d{10}\.\d+", channel.uniqueid)
                assert re.fullmatch(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?", channel.bridge)
                assert channel.context == "inoffice"
    assert len({channel.uniqueid for channel in channels}) == len(channels) == 6


async def test_the_phases_of_a_call(host: Host) -> None:
    """Agent rings, answers; customer rings, answers, talks, hangs up: each is told by channels."""
    technology = host.technology
    root = await host.originate("154", TALKS)
    assert root.name.startswith("Local/154@inoffice-")
    assert root.state in {"Down", "Ringing"}
    assert (root.application, root.data) == ("AppDial2", OUTGOING)

    channels = await host.seen(
        as_told(root.name, "Ringing", "AppDial2", OUTGOING),
        as_told("Local/154@", "Ring", "Dial", f"{technology}/154,30"),
        as_told(f"{technology}/154-", "Ringing", "AppDial", OUTGOING),
    )
    assert len(channels) == 3
    agent = pick(channels, f"{technology}/154-")
    assert (agent.extension, agent.bridge) == ("154", "")
    await assert_linked(host, root, channels)

    channels = await host.seen(
        as_told(root.name, "Up", "Dial", f"LOCAL/{TALKS}@inoffice"),
        bridged(f"{technology}/154-"),
        as_told(f"Local/{TALKS}@", "Ringing", "AppDial", OUTGOING),
        as_told(f"Local/{TALKS}@", "Ring", "Dial", f"{technology}/{TALKS}@trunktalk,60"),
        named(f"{technology}/trunktalk-", state="Ringing"),
    )
    assert len(channels) == 6
    agent, half = pick(channels, f"{technology}/154-"), pick(channels, "Local/154@", ";2")
    assert (agent.state, half.state) == ("Up", "Up")
    assert agent.bridge == half.bridge != ""
    assert pick(channels, f"Local/{TALKS}@", ";1").state == "Ringing"
    assert pick(channels, root.name).bridge == ""
    await assert_linked(host, root, channels)

    channels = await host.seen(
        *map(bridged, (root.name, f"{technology}/154-", f"{technology}/trunktalk-")),
        *(bridged(f"Local/{TALKS}@", half) for half in (";1", ";2")),
    )
    assert len(channels) == 6
    assert {channel.state for channel in channels} == {"Up"}
    near = {pick(channels, root.name).bridge, pick(channels, f"Local/{TALKS}@", ";1").bridge}
    far = {
        pick(channels, f"Local/{TALKS}@", ";2").bridge,
        pick(channels, f"{technology}/trunktalk-").bridge,
    }
    assert len(near) == len(far) == 1
    assert len(near | far | {pick(channels, f"{technology}/154-").bridge}) == 3
    await assert_linked(host, root, channels)

    await host.over()


@pytest.mark.parametrize("agent", ["152", "153", "155"])
async def test_an_agent_who_does_not_answer_ends_the_call(host: Host, agent: str) -> None:
    """Busy, silent, busy at once: the root was never up, and no customer is called."""
    rung = host.site.invites(agent), host.site.invites("trunktalk")
    root = await host.originate(agent, TALKS)
    while channels := await host.channels():
        assert {channel.name for channel in channels if channel.name.startswith("Local/")} <= {
            root.name,
            f"{root.name[:-1]}2",
        }
        assert "Up" not in {channel.state for channel in channels}
    await until(lambda: host.site.invites(agent) == rung[0] + 1)
    assert host.site.invites("trunktalk") == rung[1]


@pytest.mark.parametrize("customer", ["+375290000002", "+375290000003", "+375290000004"])
async def test_a_customer_who_does_not_answer_ends_everything(host: Host, customer: str) -> None:
    """Busy, silent, unknown: the agent, who was up, goes with the rest."""
    trunk = TRUNKS[customer]
    rung = host.site.invites(trunk)
    root = await host.originate("150", customer)
    await host.seen(lambda channel: channel.name == root.name and channel.application == "Dial")
    while channels := await host.channels():
        assert all(
            channel.state != "Up"
            for channel in channels
            if channel.name.startswith(f"{host.technology}/trunk")
        )
    await until(lambda: host.site.invites(trunk) == rung + 1)


async def test_the_root_vanishes_from_a_call_with_sound(host: Host) -> None:
    """With RTP the Local channels go while the call goes on: both legs share a bridge."""
    root = await host.originate("156", TALKS_RTP)
    agent, customer = (f"{host.technology}/{name}-" for name in ("156", "trunkrtp"))
    await host.seen(named(customer, state="Ringing"))
    await host.seen(named(customer, state="Up"))
    while any(channel.name.startswith("Local/") for channel in await host.channels()):
        pass
    channels = await host.channels()
    assert len(channels) == 2
    legs = pick(channels, agent), pick(channels, customer)
    assert {told(leg) for leg in legs} == {("Up", "AppDial", OUTGOING)}
    assert len({leg.bridge for leg in legs} - {""}) == 1
    await assert_linked(host, root, channels)
    await host.over()


@pytest.mark.parametrize("ringing", ["153", "trunkna"])
async def test_hanging_up_the_root_ends_every_leg(host: Host, ringing: str) -> None:
    """While the agent or the customer rings, the root's end is the end of the call."""
    agent, customer = ("153", TALKS) if ringing == "153" else ("150", "+375290000003")
    root = await host.originate(agent, customer)
    await host.seen(named(f"{host.technology}/{ringing}-", state="Ringing"))
    text = await host.ask(f"channel request hangup {root.name}")
    assert text.decode() == f"Requested Hangup on channel '{root.name}'\n"
    await host.over()


async def test_a_leg_without_the_root_can_be_hung_up(host: Host) -> None:
    """After the Local channels are gone, the agent's leg ends the call."""
    await host.originate("156", TALKS_RTP)
    await host.seen(named(f"{host.technology}/trunkrtp-", state="Up"))
    while any(channel.name.startswith("Local/") for channel in await host.channels()):
        pass
    leg = pick(await host.channels(), f"{host.technology}/156-")
    text = await host.ask(f"channel request hangup {leg.name}")
    assert text.decode() == f"Requested Hangup on channel '{leg.name}'\n"
    await host.over()


async def test_all_channels_are_hung_up_by_name(host: Host) -> None:
    """`all` says the same of each that is not gone with one before it, and of none nothing."""
    assert await host.ask("channel request hangup all") == b""
    await host.originate("153", TALKS)
    channels = await host.seen(named(f"{host.technology}/153-", state="Ringing"))
    text = (await host.ask("channel request hangup all")).decode()
    said = {f"Requested Hangup on channel '{channel.name}'" for channel in channels}
    assert set() < set(text.splitlines()) <= said
    await host.over()


@pytest.mark.parametrize(
    ("agent", "customer", "trunk"),
    [("154", "+375290000005", "trunkslow"), ("156", TALKS_RTP, "trunkrtp")],
)
async def test_a_customer_who_is_redirected(
    host: Host, agent: str, customer: str, trunk: str
) -> None:
    """The agent is gone at once, the customer's own leg goes on with its name and LinkedID."""
    root = await host.originate(agent, customer)
    leg = pick(
        await host.seen(named(f"{host.technology}/{trunk}-", state="Up")),
        f"{host.technology}/{trunk}-",
    )
    text = await host.ask(f"channel redirect {leg.name} inoffice,151,1")
    assert text.decode() == f"Channel '{leg.name}' successfully redirected to inoffice,151,1\n"
    left = await host.left(bridged(f"{host.technology}/151-"), bridged(leg.name))
    channels = tuple(sorted(left, key=lambda channel: channel.name))
    new, same = channels
    assert (same.name, same.uniqueid) == (leg.name, leg.uniqueid)
    assert told(same) == ("Up", "Dial", f"{host.technology}/151,30")
    assert told(new) == ("Up", "AppDial", OUTGOING)
    assert new.bridge == same.bridge != ""
    await assert_linked(host, root, channels)
    await host.ask(f"channel request hangup {new.name}")
    await host.over()


async def test_redirecting_a_channel_that_is_gone(host: Host) -> None:
    """It is said."""
    command = "channel redirect SIP/150-deadbeef inoffice,151,1"
    text = (await host.ask(command)).decode()
    assert text == f"Channel 'SIP/150-deadbeef' not found\nCommand '{command}' failed.\n"


@pytest.mark.parametrize("command", ["core show channel", "channel request hangup"])
async def test_an_unknown_channel_is_named(host: Host, command: str) -> None:
    """The text repeats the name."""
    text = await host.ask(f"{command} SIP/150-deadbeef")
    assert text == b"SIP/150-deadbeef is not a known channel\n"


async def bring_into_a_call(host: Host, extension: str) -> str:
    """Let an extension talk to the echo; its channel."""
    await host.ask(f"channel originate Local/{extension}@inoffice application Dial Local/902@park")
    device = f"{host.technology}/{extension}-"
    return pick(await host.seen(bridged(device)), device).name


SPY = "channel originate LOCAL/151@inoffice application ChanSpy"


async def spy(host: Host, argument: str) -> None:
    """Let 151 into a call."""
    await host.ask(f"{SPY} {host.technology}/{argument}")


async def test_a_spy_s_argument_is_a_prefix(host: Host) -> None:
    """`SIP/150` taps 1501: without the dash the wrong person is heard."""
    wrong = await bring_into_a_call(host, "1501")
    before = len(host.site.spied())
    await spy(host, "150,bq")
    await until(lambda: len(host.site.spied()) > before)
    assert host.site.spied()[before:] == [wrong]


async def test_with_u_a_spy_s_argument_is_a_whole_name_or_a_uniqueid(host: Host) -> None:
    """No begin of one: whoever has no such channel to hear leaves at once."""
    await bring_into_a_call(host, "1501")
    right = await bring_into_a_call(host, "150")
    uniqueid = pick(await host.channels(), right).uniqueid
    before = len(host.site.spied())
    for begin in (f"{host.technology}/150", f"{host.technology}/150-", right[:-1]):
        await host.ask(f"{SPY} {begin},bqu")
        while any("151@" in channel.name for channel in await host.channels()):
            pass
    assert host.site.spied()[before:] == []
    for spied in (right, uniqueid):
        told_before = len(host.site.spied())
        await host.ask(f"{SPY} {spied},bqESu")
        await until(lambda at=told_before: len(host.site.spied()) > at)  # type: ignore[misc]
    await host.ask(f"channel request hangup {right}")
    while any("151@" in channel.name for channel in await host.channels()):
        pass
    assert set(host.site.spied()[before:]) == {right}


@pytest.mark.parametrize("options", ["bqES", "bqwES", "BbqwES"])
async def test_a_dash_ends_the_name(host: Host, options: str) -> None:
    """`SIP/150-` never taps 1501, and with E and S leaves when there is nothing to hear."""
    await bring_into_a_call(host, "1501")
    before = len(host.site.spied())
    rung = host.site.invites("151")
    await spy(host, f"150-,{options}")
    await until(lambda: host.site.invites("151") == rung + 1)
    while any("151@" in channel.name for channel in await host.channels()):
        pass
    assert host.site.spied()[before:] == []

    right = await bring_into_a_call(host, "150")
    await spy(host, f"150-,{options}")
    await until(lambda: right in host.site.spied()[before:])
    channels = await host.channels()
    root = pick(channels, "Local/151@inoffice-", ";1")
    assert told(root) == ("Up", "ChanSpy", f"{host.technology}/150-,{options}")
    await host.ask(f"channel request hangup {right}")
    while any("151@" in channel.name for channel in await host.channels()):
        pass
    assert set(host.site.spied()[before:]) == {right}

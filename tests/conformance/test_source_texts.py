"""What 11 and 13 print, line by line; they were built from source, with a dialplan of their own."""

from __future__ import annotations

import asyncio
import re

import pytest

from demo.standin import StandIn
from shared.asterisk.commands import SHOW_CHANNELS
from shared.asterisk.parsers import parse_entity_id
from tests.conformance.replay import NUMBER, TRANSCRIPTS, JumpingLoop, Labels, looks

TEXTS = {
    "cdr-status": "cdr show status",
    "channel-unknown": "core show channel nosuch",
    "channels-count": "core show channels count",
    "channeltypes": "core show channeltypes",
    "device": "sip show peer 150",
    "device-unknown": "sip show peer 199",
    "dialplan-context": "dialplan show inoffice",
    "dialplan-exact": "dialplan show 1501@inoffice",
    "dialplan-no-context": "dialplan show 154@nosuch",
    "dialplan-no-extension": "dialplan show zz@inoffice",
    "dialplan-pattern": "dialplan show 154@inoffice",
    "fullybooted": "core waitfullybooted",
    "hangup-unknown": "channel request hangup nosuch",
    "hint": "core show hint 150",
    "originate-usage": "channel originate",
    "redirect-unknown": "channel redirect SIP/x-1 inoffice,151,1",
    "unknown-command": "chanel originate x",
    "uptime": "core show uptime seconds",
    "version": "core show version",
}
# A look into a call with sound or without, so many seconds after its beginning.
SOUND, NO_SOUND = ("156", "+375290000006"), ("154", "+375290000001")
LISTS = {
    "channels-agent-ringing": (SOUND, 1.0),
    "channels-customer-ringing": (SOUND, 3.0),
    "channels-connected-rtp": (SOUND, 5.0),
    "channels-connected": (NO_SOUND, 5.0),
}
CHANNELS = {
    "channel-root-connected": (NO_SOUND, "Local/154@inoffice-00000000;1"),
    "channel-agent-connected-rtp": (SOUND, "SIP/156-00000000"),
}
RUN = re.compile(
    r"\d{10}\.\d+|\dh\d+m\d+s|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\[C-[0-9a-f]{8}]"
    r"|(?<=Frames in: )\d+|(?<=Frames out: )\d+"
)
VARIABLE = re.compile(r"\d+(?= calls? processed)|(?<=: )\d+$", re.MULTILINE)


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["11", "13"])
async def test_who_it_is_stands_in_the_settings_as_recorded(version: str) -> None:
    """Of the settings the stand-in tells some: the same lines in the same order, values aside."""
    own, recorded = (
        [re.sub(r"(?<=: ).*", "", line) for line in text.splitlines() if line.startswith("  ")]
        for text in (
            await StandIn(version=version).run("core show settings"),
            read(version, "settings"),
        )
    )
    assert own == [line for line in recorded if line in own]
    entity_id = "02:fc:00:00:00:01"
    text = await StandIn(version=version, entity_id=entity_id).run("core show settings")
    assert parse_entity_id(text) == parse_entity_id(read(version, "settings")) == entity_id


@pytest.mark.anyio
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("version", ["11", "13"])
async def test_a_text_is_as_recorded(version: str, name: str) -> None:
    """Every line is what the real one printed, but for times and counts."""
    text = await StandIn(version=version).run(TEXTS[name])
    assert VARIABLE.sub("*", text) == VARIABLE.sub("*", read(version, name))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("version", ["11", "13"])
def test_the_channels_are_as_recorded(version: str, name: str) -> None:
    """Field by field, but for numbers and ages."""
    (agent, customer), at = LISTS[name]
    text = look(version, agent, customer, at, SHOW_CHANNELS)
    wanted = read(version, name)
    assert looks(text, {}, Labels()) == looks(wanted, {}, Labels())


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("version", ["11", "13"])
def test_a_channel_is_as_recorded(version: str, name: str) -> None:
    """Line by line up to its variables, of which the stand-in has none."""
    (agent, customer), channel = CHANNELS[name]
    text = look(version, agent, customer, 5.0, f"core show channel {channel}")
    assert plain(text) == plain(read(version, name))


def plain(text: str) -> list[str]:
    """The lines before the variables, without what differs from run to run."""
    lines = text.partition("      Variables:\n")[0].splitlines()
    return [RUN.sub("*", NUMBER.sub("", line)) for line in lines]


def look(version: str, agent: str, customer: str, at: float, command: str) -> str:
    """What a command prints so long after a call's beginning."""

    async def call() -> str:
        pbx = StandIn(version=version)
        parties = f"LOCAL/{agent}@inoffice application Dial LOCAL/{customer}@inoffice"
        console = asyncio.create_task(pbx.run(f"channel originate {parties}"))
        await asyncio.sleep(at)
        text = await pbx.run(command)
        await console
        return text

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(call())


def read(version: str, name: str) -> str:
    """A recorded text."""
    return (TRANSCRIPTS / version / f"{name}.txt").read_text("utf-8")

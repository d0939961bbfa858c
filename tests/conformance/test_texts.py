"""What Asterisk prints, byte by byte, and what the service reads from it."""

from __future__ import annotations

import re
from collections.abc import Callable

import anyio
import pytest

from shared.asterisk.commands import ShowChannel
from shared.asterisk.counts import parse_bridges, parse_uptime
from shared.asterisk.devices import parse_reach
from shared.asterisk.drivers import DRIVERS
from shared.asterisk.models import DialplanAnswer, Technology
from shared.asterisk.parsers import (
    find_rejection,
    has_switch,
    parse_cdr_mode,
    parse_channels,
    parse_dialplan,
    parse_includes,
    parse_technologies,
)
from tests.conformance.site import LIMIT_S, Host, Site
from tests.pbx.record_transcripts import DEVICE, DEVICE_LIST, PLAIN

pytestmark = pytest.mark.anyio

# Who built a package, and what time does to a text.
VARIABLE = re.compile(
    rb"built by \S+ @ \S+|\d+(?= calls? processed)|(?<=: )\d+$|(?<=uptime: ).*|(?<=reload: ).*",
    re.MULTILINE,
)
PHONE_ROW = re.compile(rb"^(?: Endpoint:  )?15\d.*$", re.MULTILINE)
# What differs between two bridges of two.
BRIDGE = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d\d:\d\d:\d\d$", re.MULTILINE)
# The manual of an application: the service never asks for it, and the stand-in has none.
REFUSED = {"application", "application-unknown"}

IMITATED = sorted(set(PLAIN) - REFUSED)
DIALPLAN = {
    "150@inoffice": (DialplanAnswer.KNOWN, False),
    "1501@inoffice": (DialplanAnswer.KNOWN, False),
    "157@inoffice": (DialplanAnswer.KNOWN, False),
    "+375331112233@inoffice": (DialplanAnswer.KNOWN, False),
    "7@inoffice": (DialplanAnswer.KNOWN, False),
    "170@inoffice": (DialplanAnswer.KNOWN, False),
    "abc9@inoffice": (DialplanAnswer.NO_EXTENSION, False),
    "9@inoffice": (DialplanAnswer.NO_EXTENSION, False),
    "199@switched": (DialplanAnswer.NO_EXTENSION, True),
    "199@withswitch": (DialplanAnswer.NO_EXTENSION, False),
    "150@nosuch": (DialplanAnswer.NO_CONTEXT, False),
}


@pytest.mark.parametrize("name", IMITATED)
async def test_a_text_is_as_recorded(
    host: Host, transcript: Callable[[str], bytes], name: str
) -> None:
    """Every byte is what that version of the real one printed, but for times and counts."""
    text = await host.ask(PLAIN[name])
    if name.startswith("unknown"):
        host.site.complaints().clear()  # the stand-in takes it for something it lacks
    assert VARIABLE.sub(b"*", text) == VARIABLE.sub(b"*", transcript(name))


@pytest.mark.parametrize(
    ("name", "number", "reach"), [("device", "150", "reachable"), ("device-unknown", "999", None)]
)
async def test_a_phone_is_as_recorded(
    host: Host, transcript: Callable[[str], bytes], name: str, number: str, reach: str | None
) -> None:
    """Byte by byte, and what the service reads from it."""
    text = await host.ask(f"{DEVICE[host.site.technology]} {number}")
    assert text == transcript(name)
    assert parse_reach(Technology(host.site.technology), text.decode()) == reach


async def test_the_bridges_are_as_recorded(host: Host, transcript: Callable[[str], bytes]) -> None:
    """Three of a call without sound, line by line but for their names and ages; all are counted."""
    await host.originate("154", "+375290000005")
    with anyio.fail_after(LIMIT_S):
        while sum(bool(channel.bridge) for channel in await host.channels()) < 6:  # noqa: ASYNC110
            await anyio.sleep(0.02)  # nobody tells
    rows = await host.ask("bridge show all")
    recorded = transcript("bridges-connected")
    assert BRIDGE.sub(b"*", rows) == BRIDGE.sub(b"*", recorded)
    assert parse_bridges(rows.decode()) == parse_bridges(recorded.decode()) == 3


async def test_the_phones_are_listed_as_recorded(
    host: Host, transcript: Callable[[str], bytes]
) -> None:
    """The line of each of the phones; all are counted, also of the whole list as recorded."""
    technology = Technology(host.site.technology)
    text = await host.ask(DEVICE_LIST[host.site.technology])
    recorded = transcript("device-list")
    count = DRIVERS[technology].count
    own, real = count(text.decode()), count(recorded.decode())
    assert own is not None
    assert own.total == own.online + own.offline
    assert real == ((145, 143, 2) if technology is Technology.SIP else (145, 142, 3))
    phones, recorded_phones = (set(PHONE_ROW.findall(each)) for each in (text, recorded))
    assert text.splitlines()[0] == recorded.splitlines()[0]
    assert len(phones) == 10
    assert phones <= recorded_phones


async def test_how_long_it_runs_is_understood(host: Host) -> None:
    """In words, which no sentinel is taken for, it is what it is in seconds."""
    before, words, after = [
        (await host.ask(command)).decode()
        for command in ("core show uptime seconds", "core show uptime", "core show uptime seconds")
    ]
    uptime_s, reload_s = parse_uptime(words)
    seconds = [int(re.findall(r"\d+", text)[0]) for text in (before, after)]
    assert uptime_s is not None
    assert reload_s is not None
    assert seconds[0] <= uptime_s <= seconds[1]


@pytest.mark.parametrize(
    "name", ["CBAnn/sales room-0;1", "Local/1'2@x-1;1", 'SIP/the "best"-1', "SIP/a\\b\\-1"]
)
async def test_a_quoted_name_is_one_word(host: Host, name: str) -> None:
    """Asterisk splits the command into the very name, whatever is in it."""
    text = await host.ask(ShowChannel(name).render())
    assert text.decode() == f"{name} is not a known channel\n"


async def test_how_records_are_written_is_understood(host: Host) -> None:
    """Each at its call's end, to a file of comma-separated values."""
    assert parse_cdr_mode((await host.ask("cdr show status")).decode()) == "simple"


@pytest.mark.parametrize("name", [name for name in IMITATED if name.startswith("usage-")])
async def test_usage_is_a_rejection(host: Host, name: str) -> None:
    """The parser knows a usage text from an answer: nothing was executed."""
    assert find_rejection((await host.ask(PLAIN[name])).decode())


@pytest.mark.parametrize("command", ["chanel originate x", "core show", "nosuch"])
async def test_an_unknown_command_is_a_rejection(host: Host, command: str) -> None:
    """`No such command`, which repeats it."""
    text = (await host.ask(command)).decode()
    assert text.startswith(f"No such command '{command}' (type 'core show help ")
    assert find_rejection(text)
    host.site.complaints().clear()  # the stand-in takes it for something it lacks


@pytest.mark.parametrize("asked", DIALPLAN)
async def test_the_dialplan_s_answer_is_understood(host: Host, asked: str) -> None:
    """Known by name, pattern or include, perhaps by a switch, unknown, or without a context."""
    text = (await host.ask(f"dialplan show {asked}")).decode()
    assert (parse_dialplan(text), has_switch(text)) == DIALPLAN[asked]


async def test_includes_and_switches_are_listed(host: Host) -> None:
    """A context's own listing names what it includes, and its switches."""
    listings = [
        (await host.ask(f"dialplan show {name}")).decode()
        for name in ("inoffice", "withswitch", "switched")
    ]
    assert [parse_includes(text) for text in listings] == [("included",), ("switched",), ()]
    assert [has_switch(text) for text in listings] == [False, False, True]


async def test_the_channel_types_tell_the_technology(host: Host, site: Site) -> None:
    """Each Asterisk of these has one of the two SIP drivers."""
    text = (await host.ask("core show channeltypes")).decode()
    assert parse_technologies(text) == {Technology(site.technology)}


async def test_an_idle_asterisk_has_no_channels(host: Host) -> None:
    """The list is empty, and nothing stands for that."""
    assert await host.rows() == []
    assert parse_channels("") == ()


async def test_calls_processed_count_runs_through_the_dialplan(host: Host) -> None:
    """A call to an extension without a phone is one, an unknown extension is none."""

    async def count() -> int:
        found = re.search(rb"(\d+) calls? processed", await host.ask("core show channels count"))
        assert found
        return int(found[1])

    before = await count()
    for extension in ("abc@inoffice", "900@park", "155@inoffice"):
        await host.ask(f"channel originate LOCAL/{extension} application NoOp")
        await host.over()
    assert await count() == before + 2

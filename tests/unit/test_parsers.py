"""Parsers on what real Asterisk 16 and 22 printed, and on what they might print."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.asterisk.devices import parse_reach
from shared.asterisk.models import Banner, Channel, DialplanAnswer, Technology
from shared.asterisk.parsers import (
    find_rejection,
    has_switch,
    is_hangup,
    parse_banner,
    parse_cdr_mode,
    parse_channels,
    parse_dialplan,
    parse_entity_id,
    parse_includes,
    parse_linkedid,
    parse_technologies,
    split_replies,
)

Read = Callable[[str], str]

DRIVERS = {"16": "SIP", "22": "PJSIP"}
VERSIONS = {"16": "16.28.0", "22": "22.10.1"}

ROW = "SIP/150-01!inoffice!150!1!Up!Dial!{data}!150!!!3!7!bridge-1!{uniqueid}"


def test_banner_of_asterisk(transcript: Read, version: str) -> None:
    """The control socket's first line names the host, Asterisk's pid and its version."""
    banner = parse_banner(transcript("ctl-banner"))
    assert banner is not None
    assert banner.host == "pbx"
    assert banner.pid > 1
    assert banner.version.startswith(VERSIONS[version])


@pytest.mark.parametrize(
    "line",
    [
        "No more connections allowed\n",
        "pbx/123/16.28.0",  # cut off before its end
        "pbx/123/16.28.0\nmore\n",
        "pbx/pid/16.28.0\n",
        f"pbx/{'1' * 5_000}/16.28.0\n",  # more digits than int() takes
        "pbx/123/\n",
        "/123/16.28.0\n",
        "pbx\n/123/16.28.0\n",
        "SSH-2.0-OpenSSH_8.4\n",
        "\n",
        "",
    ],
)
def test_anything_else_is_no_banner(line: str) -> None:
    """Only one whole line of the form HOST/PID/VERSION is a banner."""
    assert parse_banner(line) is None


def test_banner_keeps_a_slash_in_the_version() -> None:
    """A version may contain a slash, a host may not."""
    expected = Banner("pbx", 7, "GIT-master/abc")
    assert expected == parse_banner("pbx/7/GIT-master/abc\n")


def test_idle_asterisk_has_no_channels(transcript: Read) -> None:
    """An idle Asterisk prints nothing."""
    assert parse_channels(transcript("channels-idle")) == ()


def test_channels_while_the_extension_rings(transcript: Read, version: str) -> None:
    """Root, its other half and the extension's own channel are there, each in its state."""
    channels = parse_channels(transcript("channels-agent-ringing"))
    driver = DRIVERS[version]
    (root,) = (c for c in channels if c.name.startswith("Local/154@inoffice-") and ";1" in c.name)
    (half,) = (c for c in channels if c.name.startswith("Local/154@inoffice-") and ";2" in c.name)
    (phone,) = (c for c in channels if c.name.startswith(f"{driver}/154-"))
    assert len(channels) == 3
    assert (root.state, root.application) == ("Ringing", "AppDial2")
    assert (half.state, half.application, half.data) == ("Ring", "Dial", f"{driver}/154,30")
    assert (phone.state, phone.context, phone.extension) == ("Ringing", "inoffice", "154")
    assert len({channel.uniqueid for channel in channels}) == 3
    assert all(channel.bridge == "" for channel in channels)


def test_channels_of_a_connected_call(transcript: Read, version: str) -> None:
    """Two channels that talk share a bridge."""
    first, second = parse_channels(transcript("channels-connected-rtp"))
    assert first.name.startswith(f"{DRIVERS[version]}/trunkrtp-")
    assert second.name.startswith(f"{DRIVERS[version]}/156-")
    assert first.caller == "+375290000006"
    assert first.bridge == second.bridge != ""
    assert (first.state, second.state) == ("Up", "Up")


def test_channels_of_a_supervisor(transcript: Read, version: str) -> None:
    """The supervisor's root channel runs ChanSpy on the tapped device."""
    channels = parse_channels(transcript("channels-spied"))
    (spy,) = (channel for channel in channels if channel.application == "ChanSpy")
    assert spy.name.startswith("Local/151@inoffice-")
    assert spy.data == f"{DRIVERS[version]}/150-,bqE"


def test_every_field_of_a_channel() -> None:
    """Fourteen fields separated by `!` become a channel."""
    expected = Channel(
        name="SIP/150-01",
        context="inoffice",
        extension="150",
        state="Up",
        application="Dial",
        data="SIP/150,30",
        caller="150",
        duration_s=7,
        bridge="bridge-1",
        uniqueid="17.1",
    )
    assert parse_channels(ROW.format(data="SIP/150,30", uniqueid="17.1")) == (expected,)


@pytest.mark.parametrize("data", ["a!b", "!", "!!!", "a!b!c!d!e!f!g!h"])
def test_separator_in_the_data_belongs_to_the_data(data: str) -> None:
    """A `!` inside an application's data shifts no other field."""
    (channel,) = parse_channels(ROW.format(data=data, uniqueid="17.1"))
    assert data == channel.data
    assert (channel.application, channel.caller, channel.uniqueid) == ("Dial", "150", "17.1")


def test_of_a_channel_listed_twice_the_later_row_holds() -> None:
    """One reply of Asterisk 22 may list a channel in two states."""
    ringing = ROW.format(data="", uniqueid="17.1").replace("!Up!", "!Ringing!")
    (channel,) = parse_channels(f"{ringing}\n{ROW.format(data='', uniqueid='17.1')}\n")
    assert channel.state == "Up"


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_newline_ends_a_row(character: str) -> None:
    """A caller's number may have what other programs take for a line's end."""
    (channel,) = parse_channels(ROW.format(data=f"a{character}b", uniqueid="1.1"))
    assert channel.data == f"a{character}b"


def test_broken_rows_are_left_out() -> None:
    """A row that was cut off, or another line between the rows, is no channel."""
    whole = ROW.format(data="", uniqueid="17.1")
    text = f"SIP/151-02!inoffice!151!1!Up\n\nNotice: something\n{whole}\n{whole[:20]}"
    assert [channel.uniqueid for channel in parse_channels(text)] == ["17.1"]


def test_duration_that_is_no_number_counts_as_zero() -> None:
    """A row with an odd duration is still a channel."""
    for odd in ("?", "9" * 5_000, ""):
        row = ROW.format(data="", uniqueid="1.1").replace("!7!", f"!{odd}!")
        (channel,) = parse_channels(row)
        assert channel.duration_s == 0


def test_technology_of_asterisk(transcript: Read, version: str) -> None:
    """The list of channel types tells chan_sip from PJSIP."""
    expected = {Technology(DRIVERS[version])}
    assert expected == parse_technologies(transcript("channeltypes"))


def test_technology_is_a_type_and_not_a_word_of_a_description() -> None:
    """Several may be there; a description that names one does not count."""
    assert parse_technologies("SIP  driver\nPJSIP driver\nIAX2 x\n") == set(Technology)
    assert parse_technologies("Local Proxy for SIP and PJSIP\n") == set()
    assert parse_technologies("") == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dialplan-exact", DialplanAnswer.KNOWN),
        ("dialplan-pattern", DialplanAnswer.KNOWN),
        ("dialplan-plus-pattern", DialplanAnswer.KNOWN),
        ("dialplan-include", DialplanAnswer.KNOWN),
        ("dialplan-include-and-pattern", DialplanAnswer.KNOWN),
        ("dialplan-no-extension", DialplanAnswer.NO_EXTENSION),
        ("dialplan-switch", DialplanAnswer.NO_EXTENSION),
        ("dialplan-switch-no-extension", DialplanAnswer.NO_EXTENSION),
        ("dialplan-included-switch", DialplanAnswer.NO_EXTENSION),
        ("dialplan-no-context", DialplanAnswer.NO_CONTEXT),
    ],
)
def test_answer_of_the_dialplan(transcript: Read, name: str, expected: DialplanAnswer) -> None:
    """An extension, a pattern or an include that answers is known; a missing context is told."""
    assert expected is parse_dialplan(transcript(name))


def test_extension_with_a_hint_alone_is_not_known() -> None:
    """A hint shows a device's state and rings nobody."""
    text = (
        "[ Context 'inoffice' created by 'pbx_config' ]\n"
        "  '150' =>          hint: SIP/150                                 [extensions.conf:4]\n"
        "\n-= 1 extension (1 priority) in 1 context. =-\n"
    )
    assert parse_dialplan(text) is DialplanAnswer.NO_EXTENSION


def test_first_priority_with_a_label_is_known() -> None:
    """A label before the first priority does not hide it."""
    text = "  '150' =>  [start]  1. Answer()   [extensions.conf:4]\n"
    assert parse_dialplan(text) is DialplanAnswer.KNOWN


def test_includes_of_a_context(transcript: Read) -> None:
    """A context's includes are listed; a context without any has none."""
    assert parse_includes(transcript("dialplan-context")) == ("included",)
    assert parse_includes(transcript("dialplan-context-included-switch")) == ("switched",)
    assert parse_includes(transcript("dialplan-context-switch")) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dialplan-switch", True),
        ("dialplan-switch-no-extension", True),
        ("dialplan-context-switch", True),
        ("dialplan-context", False),
        ("dialplan-context-included-switch", False),  # the include's own listing tells
        ("dialplan-included-switch", False),
        ("dialplan-exact", False),
        ("dialplan-no-extension", False),
    ],
)
def test_switch_of_a_context(transcript: Read, name: str, *, expected: bool) -> None:
    """A switch is told wherever Asterisk prints it."""
    assert expected is has_switch(transcript(name))


@pytest.mark.parametrize("name", ["unknown-command", "originate-usage"])
def test_refused_command_is_told(transcript: Read, name: str) -> None:
    """An unknown command and a usage text both mean that nothing was executed."""
    assert find_rejection(transcript(name))


@pytest.mark.parametrize(
    "name",
    [
        *("channels-idle", "channels-connected", "channeltypes", "uptime", "fullybooted"),
        *("dialplan-exact", "dialplan-context", "dialplan-no-extension", "dialplan-no-context"),
    ],
)
def test_answer_is_no_refusal(transcript: Read, name: str) -> None:
    """What Asterisk prints when it did execute is never taken for a refusal."""
    assert not find_rejection(transcript(name))


def test_word_usage_inside_a_line_is_no_refusal() -> None:
    """Only a line that begins so is a refusal: a caller's data may contain the words."""
    assert not find_rejection(ROW.format(data="Usage: x, No such command 'y'", uniqueid="1.1"))


REFUSALS = (
    "No such command 'y' (type 'core show help y' for other possible commands)\n",
    "You don't have permissions to run 'y' command\n",
    "Usage: y\n",
)


@pytest.mark.parametrize("line", REFUSALS)
def test_a_number_that_is_a_refusal_refuses_nothing(line: str) -> None:
    """A caller's may have newlines, and is listed so: as real 16 and 22 show it, each way."""
    begin = "SIP/city-00000014!from-trunk!375170000002!2!Up!Queue!plans-215,,,,20!x"
    for rest in ("", ROW.format(data="", uniqueid="1.1")):
        assert not find_rejection(f"{begin}\n{line}!!!3!1!!1795851784.708244\n{rest}")
    head = " -- General --\n           Name: SIP/city-00000014\n       UniqueID: 17.4\n"
    assert not find_rejection(f"{head}      Caller ID: x\n{line} Caller ID Name: (N/A)\n")
    endpoint = " Endpoint:  150      In use    1 of inf\n    Channel: PJSIP/150-1   Up\n"
    assert not find_rejection(f'{endpoint}        Exten: s    CLCID: "" <x\n{line}>\n')
    assert find_rejection(line)


def test_a_row_with_newlines_in_it_is_one() -> None:
    """A caller's number has them; those before and after it are whole, and what is cut is none."""
    row = "SIP/city-14!in!37!2!Up!Queue!q!x\nSystem uptime: 5\n\ny!!!3!1!b!17.4"
    before, after = (ROW.format(data="", uniqueid=uniqueid) for uniqueid in ("1.1", "1.2"))
    listed = parse_channels(f"{before}\n{row}\n{after}\nSIP/cut-1!in!37\n{after}\nSIP/cut-2!in")
    assert [channel.uniqueid for channel in listed] == ["1.1", "17.4", "1.2"]
    stranger = listed[1]
    assert (stranger.name, stranger.bridge) == ("SIP/city-14", "b")
    assert stranger.caller == "x\ufffdSystem uptime: 5\ufffd\ufffdy"


def test_a_refusal_by_permissions_is_one() -> None:
    """cli_permissions.conf may forbid a command, which is not executed then; its line is told."""
    line = "You don't have permissions to run 'channel originate Local/1@x' command"
    assert find_rejection(f"sudo: unable to resolve host pbx\n{line}\n") == line


def test_a_hang_up_is_found_among_other_lines() -> None:
    """A warning of sudo before it changes nothing; a line that only quotes it is none."""
    assert is_hangup("sudo: a warning\nRequested Hangup on channel 'SIP/1-1'\n")
    assert not is_hangup("x Requested Hangup on channel 'SIP/1-1'\n")


def test_replies_are_split_at_the_sentinels(transcript: Read) -> None:
    """A recorded exchange holds an empty snapshot, and then the root of the originate."""
    before, after = split_replies(transcript("ctl-originate-between-snapshots"))
    assert before == ""
    roots = [channel.name for channel in parse_channels(after) if channel.name.endswith(";1")]
    assert len(roots) == 1
    assert roots[0].startswith("Local/153@inoffice-")


def test_sentinel_as_recorded_is_one_sentinel(transcript: Read) -> None:
    """What `core show uptime seconds` prints acknowledges exactly one command."""
    assert split_replies(transcript("uptime")) == ("",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("reply\n", ()),
        ("reply\nSystem upt", ()),
        ("reply\nSystem uptime: 12", ()),  # more digits may follow
        ("reply\nSystem uptime: 12\n", ("reply\n",)),
        ("reply\nSystem uptime: 12\nLast rel", ("reply\n",)),
        ("a\nSystem uptime: 1\nLast reload: 1\nb\nSystem uptime: 1\n", ("a\n", "b\n")),
        ("a\nSystem uptime: 1\nLast reload: 1\nb\n", ("a\n",)),
        ("System uptime: 1\nSystem uptime: 1\n", ("", "")),
    ],
)
def test_reply_without_its_sentinel_is_not_acknowledged(
    text: str, expected: tuple[str, ...]
) -> None:
    """Only a whole sentinel acknowledges the reply before it; the rest is left out."""
    assert expected == split_replies(text)


@pytest.mark.parametrize(
    "line",
    [
        "SIP/1!inoffice!1!1!Up!NoOp!System uptime: 12",
        "  System uptime: 12",
        "System uptime: soon",
        "System uptime: 12 seconds",
    ],
)
def test_sentinels_words_inside_a_line_are_no_sentinel(line: str) -> None:
    """Text within a line of a channel's cannot acknowledge a command."""
    assert split_replies(f"{line}\n") == ()
    assert split_replies(f"{line}\nSystem uptime: 1\n") == (f"{line}\n",)


def test_linkedid_is_the_roots_uniqueid(transcript: Read) -> None:
    """Each channel of a call names its root; the root names itself."""
    roots = {channel.uniqueid for channel in parse_channels(transcript("channels-connected"))}
    root = parse_linkedid(transcript("channel-root-connected"))
    assert root in roots
    assert root == parse_linkedid(transcript("channel-root-agent-ringing"))
    agent = parse_linkedid(transcript("channel-agent-connected-rtp"))
    customer = parse_linkedid(transcript("channel-customer-connected-rtp"))
    assert agent is not None
    assert agent == customer
    assert agent not in roots


def test_channel_that_is_gone_has_no_linkedid(transcript: Read) -> None:
    """A channel that hung up between two questions belongs to no call."""
    assert parse_linkedid(transcript("channel-unknown")) is None
    assert parse_linkedid("") is None


def test_a_uniqueid_longer_than_any_of_asterisks_is_none() -> None:
    """No index of the database takes it, and a tracker that wrote it would end at each look."""
    longest = "9" * 200
    for said, expected in ((longest, longest), (longest + "9", None)):
        assert parse_linkedid(f"  LinkedID: {said}\n") == expected
        row = f"SIP/150-01!x!150!1!Up!Dial!!150!!!3!5!!{said}"
        listed = [channel.uniqueid for channel in parse_channels(row)]
        assert listed == ([said] if expected else [])


def test_linkedid_is_asterisks_own_line(transcript: Read) -> None:
    """A caller's name or a variable further down cannot claim another call."""
    text = transcript("channel-agent-connected-rtp")
    own = parse_linkedid(text)
    assert own == parse_linkedid(f"{text}       LinkedID: 1.1\n")
    assert own == parse_linkedid(text.replace("Caller ID: 156", "Caller ID: LinkedID: 1.1"))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("cdr-status", "simple"),
        ("cdr-status-batch", "batch"),
        ("cdr-status-off", "off"),
        ("cdr-status-no-csv", "off"),
    ],
)
def test_how_call_records_are_written(transcript: Read, name: str, mode: str) -> None:
    """At each call's end, later, or to no file of comma-separated values."""
    assert parse_cdr_mode(transcript(name)) == mode


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("device", "reachable"),
        ("device-unknown", None),
        ("device-unregistered", "unregistered"),
        ("device-unreachable", "unreachable"),
    ],
)
def test_reach_of_a_phone(transcript: Read, version: str, name: str, reach: str | None) -> None:
    """A phone that never registered, one that does not answer, one that is there."""
    assert parse_reach(Technology(DRIVERS[version]), transcript(name)) == reach


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "  System name:                 \n  Entity ID:   52:54:00:12:ab:cd\n",
            "52:54:00:12:ab:cd",
        ),
        ("  Entity ID:                   00:00:00:00:00:00\n", None),
        ("No such command 'core show settings' (type 'core show help' ...)\n", None),
        ("You don't have permissions to run 'core show settings' command\n", None),
        ("x  Entity ID: 52:54:00:12:ab:cd\n  Entity ID: 52:54:00:12:ab:cd more\n", None),
        ("", None),
    ],
)
def test_who_an_asterisk_is(text: str, expected: str | None) -> None:
    """Its entity id stands on a line of its own; all zeros are nobody's."""
    assert parse_entity_id(text) == expected

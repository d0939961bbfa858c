"""The commands' exact texts, and that no caller's text can become another command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.asterisk.commands import (
    MAX_COMMAND_BYTES,
    SHOW_CHANNELS,
    SHOW_UPTIME,
    WAIT_FULLY_BOOTED,
    Originate,
    OriginateCall,
    OriginateMonitor,
    RequestHangup,
    ShowChannel,
    ShowContext,
    ShowExtension,
    checked,
)
from shared.asterisk.console import Completed, ExecConsole, SocketConsole
from shared.asterisk.models import Context, Extension, Phone, SpyMode, Technology
from shared.deadline import Deadline

INOFFICE = Context("inoffice")
PREFIX = b"cli quit after "

HOSTILE = [
    "",
    "150&1501",
    "150,bq",
    "150@other",
    "150!1",
    "150;1",
    "150|id",
    "150'",
    '150"',
    "150`id`",
    "$(id)",
    "${EXTEN}",
    "15 0",
    " 150",
    "150 ",
    "150\0core stop now",
    "150\n",
    "150\r\n",
    "\t150",
    "١٥٠",  # Arabic digits, which str.isdigit accepts
    "１５０",  # full-width digits
    "¹⁵⁰",
    "9" * 10_000,
    "+",
    "++1",
    "1+",
    "-1",
    "150/1",
    "../150",
]

fields = st.one_of(
    st.text(max_size=90),
    st.from_regex(r"[+]?[0-9]{1,21}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True),
    st.sampled_from(HOSTILE),
)


def attempt(make: Callable[[], Originate]) -> str | None:
    """Render a command, or None if its values were refused."""
    try:
        return make().render()
    except ValueError:
        return None


class Obliging:
    """A control socket that greets, records what is written, and replies."""

    def __init__(self, reply: bytes) -> None:
        self.written: list[bytes] = []
        self._replies = [b"pbx/1/16\n", reply]

    async def read(self) -> bytes:
        """Return the next reply."""
        return self._replies.pop(0)

    def write(self, data: bytes) -> None:
        """Record it."""
        self.written.append(data)

    def close(self) -> None:
        """Do nothing."""


def test_call_is_the_specifications_command() -> None:
    """A call is rendered letter by letter as in the specification."""
    command = OriginateCall(Extension("150"), Phone("+375296254070"), INOFFICE)
    expected = "channel originate LOCAL/150@inoffice application Dial LOCAL/+375296254070@inoffice"
    assert expected == command.render()


@pytest.mark.parametrize("technology", Technology)
@pytest.mark.parametrize(
    ("mode", "match", "argument"),
    [
        (SpyMode.LISTEN, "prefix", "150,bq"),
        (SpyMode.WHISPER, "prefix", "150,bqw"),
        (SpyMode.BARGE, "prefix", "150,Bbqw"),
        (SpyMode.LISTEN, "exact", "150-,bqES"),
        (SpyMode.WHISPER, "exact", "150-,bqwES"),
        (SpyMode.BARGE, "exact", "150-,BbqwES"),
    ],
)
def test_monitoring_is_rendered_for_each_mode(
    technology: Technology, mode: SpyMode, match: str, argument: str
) -> None:
    """`prefix` is the specification's text; `exact` ends the channel with a dash and adds ES."""
    command = OriginateMonitor(
        Extension("151"),
        Extension("150"),
        INOFFICE,
        mode,
        technology,
        "exact" if match == "exact" else "prefix",
    )
    prefix = "channel originate LOCAL/151@inoffice application ChanSpy"
    assert f"{prefix} {technology.value}/{argument}" == command.render()
    assert f"{technology.value}/150" == command.target_channel


def test_questions_to_the_dialplan() -> None:
    """Asking for an extension and for a context changes nothing on the PBX."""
    assert ShowExtension(Extension("150"), INOFFICE).render() == "dialplan show 150@inoffice"
    assert ShowContext(INOFFICE).render() == "dialplan show inoffice"


def test_questions_and_the_hangup_of_one_channel() -> None:
    """The name is Asterisk's own, letter by letter."""
    name = "Local/150@inoffice-0000002a;1"
    assert RequestHangup(name).render() == f"channel request hangup {name}"
    assert ShowChannel(name).render() == f"core show channel {name}"


@pytest.mark.parametrize("make", [RequestHangup, ShowChannel])
@pytest.mark.parametrize(
    "name",
    [
        *("all", "ALL", "", " ", "150", "SIP/150-1 all", "all SIP/150-1", ' "SIP/150-1"'),
        *("'SIP/150-1'", 'SIP/150-1"', "SIP\\/150-1", "SIP/150-1\0all", "SIP/150-1\nall"),
        *("SIP/150-1\tall", "SIP/150-ж", "SIP/" + "1" * 500),
    ],
)
def test_name_that_is_not_one_channels_is_refused(
    make: type[RequestHangup | ShowChannel], name: str
) -> None:
    """`all` would end every call; a space or a quote would make two names of one."""
    with pytest.raises(ValueError, match=r"not a channel's name|a command"):
        make(name).render()


@given(name=st.one_of(st.text(max_size=40), st.from_regex(r"[A-Z]{3,5}/[ -~]{1,30}")))
@example(name="all")
def test_any_hangup_names_exactly_one_channel(name: str) -> None:
    """Whatever a channel is called, the command has one argument, which is not `all`."""
    try:
        words = shlex.split(RequestHangup(name).render())
    except ValueError:
        return
    assert words == ["channel", "request", "hangup", name]
    assert "/" in name


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_extension_is_refused(text: str) -> None:
    """An extension is 1 to 10 ASCII digits and nothing else."""
    with pytest.raises(ValueError, match="must be an internal extension"):
        Extension(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_phone_is_refused(text: str) -> None:
    """A phone is 1 to 20 ASCII digits behind at most one leading plus, and nothing else."""
    with pytest.raises(ValueError, match="must be a phone number"):
        Phone(text)


@pytest.mark.parametrize("text", ["", "a b", "a@b", "a,b", "a\n", "a\0", "контекст", "a" * 80])
def test_hostile_context_is_refused(text: str) -> None:
    """A context is 1 to 79 ASCII letters, digits, underscores and dashes."""
    with pytest.raises(ValueError, match="must be 1 to 79"):
        Context(text)


def test_plus_that_became_a_space_is_explained() -> None:
    """A phone that begins with a space tells how to send a plus."""
    with pytest.raises(ValueError, match=r"encode \+ as %2B in a URL"):
        Phone(" 375291234567")


@pytest.mark.parametrize("text", ["", "a\0b", "a\nb", "a\tb", "\x7f", "é", "a" * 497])
def test_command_that_asterisk_would_lose_or_split_is_refused(text: str) -> None:
    """A command is 1 to 496 bytes of printable ASCII."""
    with pytest.raises(ValueError, match="a command"):
        checked(text)


def test_longest_command_is_allowed() -> None:
    """496 bytes are what Asterisk's one read takes beside its prefix and the NUL."""
    assert checked("a" * 496) == "a" * 496


@given(extension=fields, phone=fields, context=fields)
@example(extension="9" * 10, phone="+" + "9" * 20, context="a" * 79)
def test_any_call_is_refused_or_says_exactly_what_was_given(
    extension: str, phone: str, context: str
) -> None:
    """No text adds a word, a channel, an argument or a second command to a call."""
    text = attempt(lambda: OriginateCall(Extension(extension), Phone(phone), Context(context)))
    if text is None:
        return
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= MAX_COMMAND_BYTES
    expected = [
        *("channel", "originate", f"LOCAL/{extension}@{context}"),
        *("application", "Dial", f"LOCAL/{phone}@{context}"),
    ]
    assert expected == text.split(" ")
    for channel in (text.split(" ")[2], text.split(" ")[5]):
        assert re.fullmatch(r"LOCAL/[^@/&,!;|'\"]+@[^@/&,!;|'\"]+", channel)


@given(
    extension=fields,
    target=fields,
    context=fields,
    mode=st.sampled_from(SpyMode),
    technology=st.sampled_from(Technology),
)
@example("9" * 10, "8" * 10, "a" * 79, SpyMode.BARGE, Technology.PJSIP)
def test_any_monitoring_is_refused_or_taps_exactly_the_target(
    extension: str, target: str, context: str, mode: SpyMode, technology: Technology
) -> None:
    """No text makes ChanSpy tap another channel or take another option."""
    text = attempt(
        lambda: OriginateMonitor(
            Extension(extension), Extension(target), Context(context), mode, technology, "exact"
        )
    )
    if text is None:
        return
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= MAX_COMMAND_BYTES
    *words, argument = text.split(" ")
    local = f"LOCAL/{extension}@{context}"
    assert ["channel", "originate", local, "application", "ChanSpy"] == words
    assert [f"{technology.value}/{target}-", f"{mode.options}ES"] == argument.split(",")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "command",
    [
        OriginateCall(Extension("150"), Phone("+375296254070"), INOFFICE),
        OriginateCall(Extension("9" * 10), Phone("+" + "9" * 20), Context("a" * 79)),
    ],
)
async def test_write_to_the_socket_is_exactly_the_commands_and_sentinels(
    command: OriginateCall,
) -> None:
    """One write of at most 512 bytes, whose NULs end each command and each sentinel."""
    asked = (SHOW_CHANNELS, command.render(), SHOW_CHANNELS)
    sentinel = b"System uptime: 1\n"
    booting = Obliging(b"Asterisk has fully booted.\n" + sentinel)
    streams = [booting, Obliging(sentinel * len(asked))]
    opened = iter(streams)

    async def open_stream(_deadline: Deadline) -> Obliging:
        return next(opened)

    await SocketConsole(open_stream).ask(*asked, deadline=Deadline.after(5))
    booted, (text,) = (stream.written for stream in streams)
    assert booted == [PREFIX + f"{WAIT_FULLY_BOOTED}\0{SHOW_UPTIME}\0".encode()]
    assert len(text) <= 512
    assert text.startswith(PREFIX)
    *commands, after_last = text.removeprefix(PREFIX).split(b"\0")
    expected = [part for one in asked for part in (one, SHOW_UPTIME)]
    assert expected == [part.decode("ascii") for part in commands]
    assert after_last == b""


printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=80)


@given(commands=st.lists(printable, min_size=1, max_size=3), prefix=st.just("sudo asterisk"))
@example(commands=["a'b", 'a"b', "$(id) `id` ; | & > x && y \\"], prefix="asterisk")
def test_shell_gives_asterisk_exactly_the_command(commands: list[str], prefix: str) -> None:
    """Whatever printable text a command had, the shell hands it over as one argument."""

    async def run(_command: str, _deadline: Deadline) -> Completed:
        raise AssertionError("nothing is run")

    text = ExecConsole(run, asterisk_command=prefix).shell_text(commands, "mark-1")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    expected: list[str] = []
    for command in (WAIT_FULLY_BOOTED, *commands):
        expected += [*prefix.split(), "-rx", command, "&&", "echo", "mark-1", "&&"]
    assert expected[:-1] == list(lexer)

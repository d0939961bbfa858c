"""The commands' exact texts, and that no caller's text can become another command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.pbx.cli import split_words
from shared.asterisk.commands import (
    MAX_COMMAND_BYTES,
    SHOW_CHANNELS,
    SHOW_SETTINGS,
    SHOW_UPTIME,
    WAIT_FULLY_BOOTED,
    Originate,
    OriginateCall,
    OriginateMonitor,
    Redirect,
    RequestHangup,
    ShowChannel,
    ShowContext,
    ShowExtension,
    checked,
)
from shared.asterisk.exec_console import ExecConsole, Running
from shared.asterisk.models import (
    CallOrder,
    Context,
    Extension,
    MonitorOrder,
    Phone,
    SpyMode,
    Technology,
)
from shared.asterisk.socket_console import SocketConsole
from shared.deadline import Deadline
from shared.errors import ChannelUnaskable

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

    is_quiet = True

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
    command = OriginateCall(CallOrder(Extension("150"), Phone("+375296254070")), INOFFICE)
    expected = "channel originate LOCAL/150@inoffice application Dial LOCAL/+375296254070@inoffice"
    assert expected == command.render()


@pytest.mark.parametrize("technology", Technology)
@pytest.mark.parametrize(
    ("mode", "match", "tapped", "argument"),
    [
        (SpyMode.LISTEN, "prefix", None, "{}/150,bq"),
        (SpyMode.WHISPER, "prefix", None, "{}/150,bqw"),
        (SpyMode.BARGE, "prefix", "SIP/150-2a", "{}/150,Bbqw"),
        (SpyMode.LISTEN, "exact", "SIP/150-2a", "SIP/150-2a,bqES"),
        (SpyMode.WHISPER, "exact", "SIP/150-2a", "SIP/150-2a,bqwES"),
        (SpyMode.BARGE, "exact", "SIP/home-2a", "SIP/home-2a,BbqwES"),
    ],
)
def test_monitoring_is_rendered_for_each_mode(
    technology: Technology, mode: SpyMode, match: str, tapped: str | None, argument: str
) -> None:
    """`prefix` is the specification's text; `exact` names one channel, or waits for a call."""
    command = OriginateMonitor(
        MonitorOrder(Extension("151"), Extension("150"), mode),
        INOFFICE,
        technology,
        "exact" if match == "exact" else "prefix",
        tapped,
    )
    prefix = "channel originate LOCAL/151@inoffice application ChanSpy"
    assert f"{prefix} {argument.format(technology.value)}" == command.render()


def test_a_whole_name_is_told_to_be_one() -> None:
    """From 13 on ChanSpy does not take it for the begin of others."""
    order = MonitorOrder(Extension("151"), Extension("150"), SpyMode.BARGE)
    tapped = "IAX2/150-1439"
    command = OriginateMonitor(order, INOFFICE, Technology.IAX2, "exact", tapped, is_exact=True)
    assert command.render().endswith(" application ChanSpy IAX2/150-1439,BbqwESu")


@pytest.mark.parametrize(("mode", "options"), [(SpyMode.LISTEN, "bqE"), (SpyMode.WHISPER, "bqwE")])
@pytest.mark.parametrize("technology", [Technology.SIP, Technology.PJSIP])
def test_who_waits_is_let_into_no_trunk_of_that_name(
    technology: Technology, mode: SpyMode, options: str
) -> None:
    """A number of eight digits begins with 0, the name of a trunk `50-office` does not."""
    order = MonitorOrder(Extension("151"), Extension("50"), mode)
    text = OriginateMonitor(order, INOFFICE, technology, "exact").render()
    assert text.endswith(f" ChanSpy {technology.value}/50-0,{options}")


def test_an_iax2_phone_is_not_waited_for() -> None:
    """Nothing tells its channels' decimal numbers from a longer name."""
    order = MonitorOrder(Extension("151"), Extension("50"), SpyMode.LISTEN)
    with pytest.raises(ValueError, match="cannot be waited for"):
        OriginateMonitor(order, INOFFICE, Technology.IAX2, "exact").render()


def test_questions_to_the_dialplan() -> None:
    """Asking for an extension and for a context changes nothing on the PBX."""
    assert ShowExtension(Extension("150"), INOFFICE).render() == "dialplan show 150@inoffice"
    assert ShowContext(INOFFICE).render() == "dialplan show inoffice"


def test_questions_and_the_hangup_of_one_channel() -> None:
    """The name is Asterisk's own, letter by letter."""
    name = "Local/150@inoffice-0000002a;1"
    assert RequestHangup(name).render() == f"channel request hangup {name}"
    assert ShowChannel(name).render() == f"core show channel {name}"


def redirect_of(name: str) -> Redirect:
    """Make a transfer of a channel to 151."""
    return Redirect(name, Extension("151"), INOFFICE)


NAMING: list[Callable[[str], RequestHangup | ShowChannel | Redirect]] = [
    *(RequestHangup, ShowChannel, redirect_of)
]


@pytest.mark.parametrize("make", NAMING, ids=["hangup", "show", "redirect"])
@pytest.mark.parametrize(
    "name",
    [
        *("all", "ALL", "", " ", "150", "OutgoingSpoolFailed", "Surrogate", '"all"'),
        *("SIP/150-1\0all", "SIP/150-1\nall", "SIP/150-1\tall", "SIP/150-ж", "SIP/Офис-00000009"),
        *("/.*/", "/^SIP/", f"SIP/{'1' * 596}", f"SIP/{'a ' * 240}", "SIP/" + "\\" * 240),
    ],
)
def test_name_that_no_command_can_carry_is_refused(
    make: Callable[[str], RequestHangup | ShowChannel | Redirect], name: str
) -> None:
    """`all` and a pattern would end every call; the error says that nothing was executed."""
    with pytest.raises(ChannelUnaskable) as refused:
        make(name).render()
    assert refused.value.dialled == "no"
    assert refused.value.detail.isascii()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("CBAnn/sales room-00000000;1", '"CBAnn/sales room-00000000;1"'),
        ("PJSIP/My Trunk-0000abcd", '"PJSIP/My Trunk-0000abcd"'),
        ("Local/1'2@x-00000001;1", '"Local/1\'2@x-00000001;1"'),
        ("SIP/150-1 all", '"SIP/150-1 all"'),
        ('SIP/the "best"-1', r'"SIP/the \"best\"-1"'),
        ("SIP/a\\b-1", r'"SIP/a\\b-1"'),
        ("SIP/a-1\\", r'"SIP/a-1\\"'),
    ],
)
@pytest.mark.parametrize("make", NAMING, ids=["hangup", "show", "redirect"])
def test_name_that_asterisk_would_split_is_quoted(
    make: Callable[[str], RequestHangup | ShowChannel | Redirect], name: str, word: str
) -> None:
    """Asterisk's splitting makes the name of it again, letter by letter, as one argument."""
    text = make(name).render()
    assert f" {word}" in text
    assert name in split_words(text)


@given(name=st.one_of(st.text(max_size=40), st.from_regex(r"[A-Z]{3,5}/[ -~]{1,30}")))
@example(name="all")
@example(name='SIP/"')
@example(name="SIP/\\")
def test_any_hangup_names_exactly_one_channel(name: str) -> None:
    """Whatever a channel is called, the command has one argument: neither `all` nor a pattern."""
    try:
        words = split_words(RequestHangup(name).render())
    except ChannelUnaskable:
        return
    assert words == ["channel", "request", "hangup", name]
    assert name.find("/") > 0


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
    text = attempt(
        lambda: OriginateCall(CallOrder(Extension(extension), Phone(phone)), Context(context))
    )
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
    numbers=st.tuples(fields, fields),
    context=fields,
    mode=st.sampled_from(SpyMode),
    technology=st.sampled_from([Technology.SIP, Technology.PJSIP]),
    number=st.none() | st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
)
@example(("9" * 10, "8" * 10), "a" * 79, SpyMode.BARGE, Technology.PJSIP, None)
def test_any_monitoring_is_refused_or_taps_exactly_the_target(
    numbers: tuple[str, str],
    context: str,
    mode: SpyMode,
    technology: Technology,
    number: str | None,
) -> None:
    """No text makes ChanSpy tap another channel or take another option."""
    extension, target = numbers
    text = attempt(
        lambda: OriginateMonitor(
            MonitorOrder(Extension(extension), Extension(target), mode),
            Context(context),
            technology,
            "exact",
            None if number is None else f"{technology.value}/{target}-{number}",
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
    leave = "E" if number is None else "ES"
    assert argument == f"{technology.value}/{target}-{number or '0'},{mode.options}{leave}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "command",
    [
        OriginateCall(CallOrder(Extension("150"), Phone("+375296254070")), INOFFICE),
        OriginateCall(CallOrder(Extension("9" * 10), Phone("+" + "9" * 20)), Context("a" * 79)),
    ],
)
async def test_write_to_the_socket_is_exactly_the_commands_and_sentinels(
    command: OriginateCall,
) -> None:
    """One write of at most 512 bytes, whose NULs end each command and each sentinel."""
    asked = (SHOW_CHANNELS, command.render(), SHOW_CHANNELS)
    sentinel = b"System uptime: 1\n"
    booting = Obliging(b"Asterisk has fully booted.\n" + sentinel + sentinel)
    streams = [booting, Obliging(sentinel * len(asked))]
    opened = iter(streams)

    async def open_stream(_deadline: Deadline) -> Obliging:
        return next(opened)

    await SocketConsole(open_stream).ask(*asked, deadline=Deadline.after(5))
    booted, (text,) = (stream.written for stream in streams)
    assert booted == [
        PREFIX + f"{WAIT_FULLY_BOOTED}\0{SHOW_UPTIME}\0{SHOW_SETTINGS}\0{SHOW_UPTIME}\0".encode()
    ]
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

    async def run(_command: str, _deadline: Deadline) -> Running:
        raise AssertionError("nothing is run")

    text = ExecConsole(run, asterisk_command=prefix).shell_text(commands, "mark-1")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    expected: list[str] = []
    for command in (WAIT_FULLY_BOOTED, *commands):
        expected += [*prefix.split(), "-rx", command, "&&", "echo", "mark-1", "&&"]
    assert expected[:-1] == list(lexer)

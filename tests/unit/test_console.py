"""The acknowledged exchange: what each way of breaking off proves, on both transports."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import pytest

from shared.asterisk.commands import SHOW_CHANNELS
from shared.asterisk.console import Exchange, Unacknowledged
from shared.asterisk.exec_console import ExecConsole, Running
from shared.asterisk.socket_console import SocketConsole
from shared.deadline import Deadline
from shared.errors import (
    AsteriskUnavailable,
    ConnectionLost,
    NoAnswer,
    NotExecuted,
    SocketRefused,
)

pytestmark = pytest.mark.anyio

BANNER = b"pbx/100/16.28.0\n"
RESTARTED = b"pbx/200/16.28.0\n"
SENTINEL = b"System uptime: 5\nLast reload: 5\n"
BOOTED = b"Asterisk has fully booted.\n" + SENTINEL + SENTINEL
ORIGINATE = "channel originate LOCAL/150@inoffice application Dial LOCAL/151@inoffice"
ASKED = (SHOW_CHANNELS, ORIGINATE, SHOW_CHANNELS)
HANG = "hang"
END = b""
LOST = ConnectionLost("Connection lost")
SOON_S = 0.02
LATE_S = 30

Step = bytes | Exception | str


class Stream:
    """A control socket that reads by script; `events` tells what was done to it, in order."""

    is_quiet = True

    def __init__(self, *script: Step) -> None:
        self._script = list(script)
        self.written: list[bytes] = []
        self.events: list[str] = []

    async def read(self) -> bytes:
        """Return, raise or wait, as the script says."""
        step = self._script.pop(0)
        self.events.append("read")
        if isinstance(step, Exception):
            raise step
        if step == HANG:
            await asyncio.Event().wait()
        assert isinstance(step, bytes)
        return step

    def write(self, data: bytes) -> None:
        """Record what was sent."""
        self.events.append("write")
        self.written.append(data)

    def close(self) -> None:
        """Record it."""
        self.events.append("close")


class Opener:
    """Opens the streams one after the other."""

    def __init__(self, *streams: Stream) -> None:
        self.waiting = list(streams)
        self.opened: list[Stream] = []

    async def __call__(self, _deadline: Deadline) -> Stream:
        """Open the next."""
        self.opened.append(self.waiting.pop(0))
        return self.opened[-1]


async def booted_console(*streams: Stream) -> tuple[SocketConsole, Opener]:
    """Make a console that already knows its Asterisk, and has these streams to open."""
    opener = Opener(Stream(BANNER, BOOTED), Stream(BANNER, SENTINEL), *streams)
    console = SocketConsole(opener)
    await console.ask("core show version", deadline=Deadline.after(LATE_S))
    opener.opened.clear()
    return console, opener


async def test_a_banner_s_name_is_text() -> None:
    """Of a host name that is none, and of a NUL, U+FFFD is left: any database holds it."""
    banner = b"p\0b\xffx/100/16.\x00\xfe\n"
    settings = b"  Entity ID:                   02:fc:00:00:00:01\n"
    booted = b"Asterisk has fully booted.\n" + SENTINEL + settings + SENTINEL
    console = SocketConsole(Opener(Stream(banner, booted), Stream(banner, SENTINEL)))
    await console.ask("core show version", deadline=Deadline.after(LATE_S))
    assert console.identity == "02:fc:00:00:00:01 p\ufffdb\ufffdx"
    assert console.version == "16.\ufffd\ufffd"


async def test_replies_come_back_in_order() -> None:
    """Each command's reply is what came before its sentinel, however the bytes were cut."""
    text = b"before\n" + SENTINEL + SENTINEL + b"after\n" + SENTINEL
    stream = Stream(BANNER[:5], BANNER[5:], *(text[n : n + 1] for n in range(len(text))))
    console, _ = await booted_console(stream)
    replies = await console.ask(*ASKED, deadline=Deadline.after(LATE_S))
    assert replies == ("before\n", "", "after\n")


async def test_everything_is_sent_in_one_write_after_the_banner() -> None:
    """Nothing is written before the banner came; then one write carries all; then it closes."""
    stream = Stream(BANNER[:5], BANNER[5:], SENTINEL * 3)
    console, _ = await booted_console(stream)
    await console.ask(*ASKED, deadline=Deadline.after(LATE_S))
    assert stream.events == ["read", "read", "write", "read", "close"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ((END,), SocketRefused),
        ((BANNER[:4], END), SocketRefused),
        ((b"No more connections allowed\n", END), SocketRefused),
        ((b"\n",), SocketRefused),
        ((b"\xff\xfe\n",), SocketRefused),
        ((b"pbx/" + b"1" * 5_000 + b"/16\n",), SocketRefused),
        ((b"pbx/1/" + b"1" * 250 + b"\n",), SocketRefused),  # 257 bytes
        ((b"1" * 257,), SocketRefused),
        ((b"pbx/1/", *[b"1"] * 251), SocketRefused),
        ((LOST,), ConnectionLost),
        ((BANNER[:4], LOST), ConnectionLost),
        ((HANG,), NoAnswer),
        ((BANNER[:4], HANG), NoAnswer),
    ],
)
async def test_without_a_valid_banner_nothing_is_written(
    script: tuple[Step, ...], expected: type[NotExecuted]
) -> None:
    """End, loss, silence or another text before the banner: certainly nothing was executed."""
    stream = Stream(*script)
    deadline = Deadline.after(SOON_S if HANG in script else LATE_S)
    with pytest.raises(NotExecuted) as caught:
        await SocketConsole(Opener(stream)).ask(*ASKED, deadline=deadline)
    assert expected is type(caught.value)
    assert stream.written == []
    assert stream.events[-1] == "close"


async def test_unknown_asterisk_is_asked_for_its_boot_first() -> None:
    """A new pid is first asked to have booted, on its own stream; the command has another."""
    first, second = Stream(BANNER, BOOTED), Stream(BANNER, SENTINEL)
    opener = Opener(first, second)
    await SocketConsole(opener).ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert b"core waitfullybooted\0" in first.written[0]
    assert b"originate" not in first.written[0]
    assert ORIGINATE.encode() in second.written[0]
    assert first.events[-1] == second.events[-1] == "close"


async def test_known_asterisk_is_asked_at_once() -> None:
    """As long as the pid stays the same, one stream does."""
    stream = Stream(BANNER, SENTINEL)
    console, opener = await booted_console(stream)
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert opener.opened == [stream]


async def test_restarted_asterisk_is_asked_for_its_boot_again() -> None:
    """The first second of a new Asterisk accepts calls and loses them, so its boot is awaited."""
    boot, real = Stream(RESTARTED, BOOTED), Stream(RESTARTED, SENTINEL)
    console, _ = await booted_console(boot, real)
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert b"waitfullybooted" in boot.written[0]
    assert ORIGINATE.encode() in real.written[0]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ((RESTARTED, END), ConnectionLost),
        ((RESTARTED, LOST), ConnectionLost),
        ((RESTARTED, HANG), NoAnswer),
        ((RESTARTED, b"No such command 'core waitfullybooted'\n" + 2 * SENTINEL), SocketRefused),
    ],
)
async def test_asterisk_that_does_not_finish_booting_gets_no_command(
    script: tuple[Step, ...], expected: type[NotExecuted]
) -> None:
    """Whatever happens while it boots, the command was not sent."""
    stream = Stream(*script)
    console, opener = await booted_console(stream)
    deadline = Deadline.after(SOON_S if HANG in script else LATE_S)
    with pytest.raises(NotExecuted) as caught:
        await console.ask(ORIGINATE, deadline=deadline)
    assert expected is type(caught.value)
    assert opener.opened == [stream]
    assert not any(b"originate" in data for data in stream.written)


@pytest.mark.parametrize("broken_by", [END, LOST, HANG])
@pytest.mark.parametrize(
    ("received", "replies"),
    [
        (b"x", ()),
        (b"before\n", ()),
        (b"before\n" + SENTINEL, ("before\n",)),
        (b"before\n" + SENTINEL + SENTINEL, ("before\n", "")),
        (b"before\n" + SENTINEL + SENTINEL + b"after\nSystem upt", ("before\n", "")),
    ],
)
async def test_after_the_write_only_sentinels_prove_anything(
    broken_by: Step, received: bytes, replies: tuple[str, ...]
) -> None:
    """One write carried all commands, so without the last sentinel all may have been executed."""
    stream = Stream(BANNER, received, broken_by)
    console, _ = await booted_console(stream)
    deadline = Deadline.after(SOON_S if broken_by == HANG else LATE_S)
    with pytest.raises(Unacknowledged) as caught:
        await console.ask(*ASKED, deadline=deadline)
    assert replies == caught.value.replies
    assert caught.value.begun == len(ASKED)
    assert caught.value.dialled == "unknown"
    if broken_by == HANG:  # a frozen Asterisk may yet answer: whoever takes it closes it
        assert caught.value.pending is not None
        assert "close" not in stream.events
        caught.value.pending.close()
    assert stream.events[-1] == "close"


async def test_nothing_is_written_when_no_time_is_left() -> None:
    """A deadline that passed while the banner came leaves the command unsent."""
    stream = Stream(BANNER)
    console, _ = await booted_console(stream)

    class Expired(Deadline):
        """Expires exactly between the banner and the write."""

        __slots__ = ()

        def remaining_s(self) -> float:
            return 0.0

    with pytest.raises(NoAnswer):
        await console.ask(ORIGINATE, deadline=Expired(Deadline.after(LATE_S).at))
    assert stream.written == []
    assert stream.events[-1] == "close"


async def test_stream_that_died_before_the_write_executed_nothing() -> None:
    """A write that the connection refuses was never sent: safe to try again."""

    class Dead(Stream):
        """Greets, and is gone when somebody writes."""

        def write(self, data: bytes) -> None:
            """Refuse."""
            raise LOST

    stream = Dead(BANNER)
    console, _ = await booted_console(stream)
    with pytest.raises(ConnectionLost):
        await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert stream.events[-1] == "close"


async def test_exchange_that_asterisk_would_cut_is_refused() -> None:
    """Over 512 bytes Asterisk loses everything without a word, so nothing is written."""
    stream = Stream(BANNER, END)
    console, _ = await booted_console(stream)
    with pytest.raises(ValueError, match="at most 512 bytes"):
        await console.ask("a" * 400, "b" * 100, deadline=Deadline.after(LATE_S))
    assert stream.written == []


async def test_hostile_command_is_refused_before_it_is_written() -> None:
    """A NUL would start a second command; the console checks again what it is given."""
    stream = Stream(BANNER, END)
    console, _ = await booted_console(stream)
    with pytest.raises(ValueError, match="printable ASCII"):
        await console.ask("core show version\0core stop now", deadline=Deadline.after(LATE_S))
    assert stream.written == []


MARK = "<mark>"
BOOT_REPLY = f"Asterisk has fully booted.\n{MARK}\n"
UNABLE = "Unable to connect to remote asterisk (does /var/run/asterisk/asterisk.ctl exist?)\n"
READ_FAILED = "read() failed: Connection reset by peer\n"


@dataclass
class Ran:
    """A shell command that prints piece by piece, and has ended after the last one."""

    pieces: list[bytes]
    status: int | None
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    is_cut: bool = False
    closed: bool = False

    @property
    def exit_status(self) -> int | None:
        """Its status, once it has one."""
        return self.status if self.has_ended else None

    @property
    def has_ended(self) -> bool:
        """Whether everything was printed."""
        return not self.pieces

    async def progress(self, deadline: Deadline) -> None:
        """Print the next piece."""
        self.output += self.pieces.pop(0)

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Shell:
    """A host's shell that prints by script; MARK stands for what it was told to echo."""

    def __init__(self, exit_status: int | None, output: str, *, piece: int = 1000) -> None:
        self._exit_status = exit_status
        self._output = output
        self._piece = piece
        self.ran: list[str] = []

    async def __call__(self, command: str, _deadline: Deadline) -> Running:
        """Start it."""
        self.ran.append(command)
        marks = set(re.findall(r"&& echo (\S+)", command))
        assert len(marks) == 1
        text = self._output.replace(MARK, marks.pop()).encode()
        pieces = [text[n : n + self._piece] for n in range(0, len(text), self._piece)]
        return Ran(pieces or [b""], self._exit_status)


async def ask_shell(exit_status: int | None, output: str) -> tuple[str, ...]:
    """Ask the three commands of an originate in such a shell."""
    console = ExecConsole(Shell(exit_status, output), asterisk_command="asterisk")
    return await console.ask(*ASKED, deadline=Deadline.after(LATE_S))


async def test_exec_returns_the_replies() -> None:
    """The wait for the boot comes first and is left out of the replies."""
    output = f"{BOOT_REPLY}before\n{MARK}\n{MARK}\nafter\n{MARK}\n"
    assert await ask_shell(0, output) == ("before\n", "", "after\n")


@pytest.mark.parametrize("piece", [1, 7, 50])
async def test_exec_replies_may_come_in_pieces(piece: int) -> None:
    """However the output is cut, each reply is known once its mark is whole, before the end."""
    output = f"{BOOT_REPLY}before\n{MARK}\n{MARK}\nafter\n{MARK}\n"
    console = ExecConsole(Shell(0, output, piece=piece), asterisk_command="asterisk")
    exchange = await console.send(*ASKED, deadline=Deadline.after(LATE_S))
    assert await exchange.replies(Deadline.after(LATE_S), 1) == ("before\n",)
    assert await exchange.replies(Deadline.after(LATE_S)) == ("before\n", "", "after\n")


async def test_exec_marks_are_never_the_same() -> None:
    """Each exchange has a mark of its own, so no text on the PBX can acknowledge a command."""
    shell = Shell(0, f"{BOOT_REPLY}{MARK}\n")
    console = ExecConsole(shell, asterisk_command="asterisk")
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    first, second = (re.findall(r"echo (\S+)", command)[0] for command in shell.ran)
    assert first != second


@pytest.mark.parametrize(
    "output", ["", BOOT_REPLY, f"{BOOT_REPLY}before\n{MARK}\n", f"{BOOT_REPLY}{MARK}\n{MARK}\n"]
)
async def test_exec_without_exit_status_proves_nothing(output: str) -> None:
    """A lost link ends `run` without an exit status: everything may still be executed."""
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(None, output)
    assert caught.value.begun == len(ASKED)


@pytest.mark.parametrize(
    ("exit_status", "output", "text"),
    [
        (1, UNABLE, "Asterisk is stopped, or its socket is not ours to open"),
        (127, "bash: asterisk: command not found\n", "ASTERISK_COMMAND"),
        (126, "bash: /usr/sbin/asterisk: Permission denied\n", "ASTERISK_COMMAND"),
        (1, "sudo: a password is required\n", "exit status 1"),
    ],
)
async def test_exec_that_does_not_reach_asterisk_began_nothing(
    exit_status: int, output: str, text: str
) -> None:
    """Before the first mark nothing was begun, and the message tells what to look at."""
    with pytest.raises(AsteriskUnavailable, match=text) as caught:
        await ask_shell(exit_status, output)
    assert caught.value.dialled == "no"


@pytest.mark.parametrize(
    ("exit_status", "output", "replies", "begun"),
    [
        # The snapshot's, the originate's, the second snapshot's own rasterisk could not connect.
        (1, f"{BOOT_REPLY}{UNABLE}", (), 0),
        (1, f"{BOOT_REPLY}before\n{MARK}\n{UNABLE}", ("before\n",), 1),
        (1, f"{BOOT_REPLY}before\n{MARK}\n{MARK}\n{UNABLE}", ("before\n", ""), 2),
        # It failed in another way: it may have written the command.
        (1, f"{BOOT_REPLY}before\n{MARK}\n", ("before\n",), 2),
        (255, f"{BOOT_REPLY}before\n{MARK}\n{MARK}\n", ("before\n", ""), 3),
        # Someone removed the program in between: it could not start.
        (127, f"{BOOT_REPLY}before\n{MARK}\nnot found\n", ("before\n",), 1),
    ],
)
async def test_exec_that_broke_off_tells_what_it_had_begun(
    exit_status: int, output: str, replies: tuple[str, ...], begun: int
) -> None:
    """A command whose own `asterisk -rx` never connected was not begun; any other one was."""
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(exit_status, output)
    assert replies == caught.value.replies
    assert begun == caught.value.begun


async def test_exec_whose_asterisk_died_is_not_acknowledged_by_its_exit_status() -> None:
    """`asterisk -rx` exits 0 when Asterisk dies; the originate may have been executed."""
    output = f"{BOOT_REPLY}before\n{MARK}\n{READ_FAILED}{MARK}\n{UNABLE}"
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(1, output)
    assert caught.value.replies == ("before\n",)
    assert caught.value.begun == 2


async def test_exec_that_lost_the_last_snapshot_did_originate() -> None:
    """Asterisk died in the second snapshot: the originate's reply stands, all was begun."""
    output = f"{BOOT_REPLY}before\n{MARK}\n{MARK}\n{READ_FAILED}{MARK}\n"
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(0, output)
    assert caught.value.replies == ("before\n", "")
    assert caught.value.begun == 3


@pytest.mark.parametrize("after", [f"{MARK}\nafter\n{MARK}\n", f"{MARK}\n{UNABLE}"])
async def test_exec_whose_first_snapshot_failed_still_began_the_originate(after: str) -> None:
    """`&&` goes on after the exit status 0 of a broken read, so the originate was begun too."""
    output = f"{BOOT_REPLY}{READ_FAILED}{MARK}\n{after}"
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(0 if "after" in after else 1, output)
    assert caught.value.begun > 1


def test_exec_uses_the_operators_command() -> None:
    """ASTERISK_COMMAND stands before every `-rx`."""
    console = ExecConsole(Shell(0, ""), asterisk_command="sudo /usr/sbin/asterisk")
    text = console.shell_text(["core show version"], "mark-1")
    expected = (
        "sudo /usr/sbin/asterisk -rx 'core waitfullybooted' && echo mark-1"
        " && sudo /usr/sbin/asterisk -rx 'core show version' && echo mark-1"
    )
    assert expected == text


# A conversation whose time was up


async def pend(*script: Step) -> tuple[Exchange, Stream]:
    """Ask on a socket whose Asterisk is frozen after its banner, until the time is up."""
    stream = Stream(BANNER, HANG, *script)
    console, _ = await booted_console(stream)
    with pytest.raises(Unacknowledged) as caught:
        await console.ask(*ASKED, deadline=Deadline.after(SOON_S))
    assert caught.value.pending is not None
    return caught.value.pending, stream


async def test_late_replies_are_found() -> None:
    """A frozen Asterisk answers when it thaws, on the socket that was left open."""
    late = b"before\n" + SENTINEL + SENTINEL + b"after\n" + SENTINEL
    pending, stream = await pend(*(late[n : n + 7] for n in range(0, len(late), 7)))
    assert "close" not in stream.events
    replies = await pending.replies(Deadline.after(LATE_S))
    assert replies == ("before\n", "", "after\n")
    assert replies == await pending.replies(Deadline.after(LATE_S)), "without reading once more"
    assert "close" not in stream.events, "whoever took it closes it"


async def test_late_replies_continue_what_had_come_in_time() -> None:
    """The bytes before the time-out are part of the same replies."""
    stream = Stream(BANNER, b"before\n" + SENTINEL[:9], HANG, SENTINEL[9:] + SENTINEL * 2)
    console, _ = await booted_console(stream)
    with pytest.raises(Unacknowledged) as caught:
        await console.ask(*ASKED, deadline=Deadline.after(SOON_S))
    assert caught.value.pending is not None
    assert await caught.value.pending.replies(Deadline.after(LATE_S)) == ("before\n", "", "")


async def test_waiting_for_late_replies_ends_with_its_deadline_and_may_go_on() -> None:
    """Not yet is no answer: it may be asked again."""
    pending, stream = await pend(HANG, SENTINEL * 3)
    with pytest.raises(TimeoutError):
        await pending.replies(Deadline.after(SOON_S))
    assert "close" not in stream.events
    assert await pending.replies(Deadline.after(LATE_S)) == ("", "", "")


@pytest.mark.parametrize("end", [END, LOST])
@pytest.mark.parametrize("received", [(), (SENTINEL * 2,)])
async def test_connection_that_ended_brings_no_late_replies(
    end: Step, received: tuple[bytes, ...]
) -> None:
    """Without the last sentinel nothing is known, however much had come."""
    pending, _ = await pend(*received, end)
    with pytest.raises(Unacknowledged) as caught:
        await pending.replies(Deadline.after(LATE_S))
    assert len(caught.value.replies) == 2 * len(received)


async def test_closing_lets_go_once() -> None:
    """`on_close` is called at the first close alone."""
    pending, stream = await pend()
    closed: list[str] = []
    pending.on_close = lambda: closed.append("closed")
    pending.close()
    pending.close()
    assert closed == ["closed"]
    assert stream.events[-1] == "close"


async def test_asking_that_is_cancelled_leaves_no_socket_open() -> None:
    """Nobody would own it."""
    stream = Stream(BANNER, HANG)
    console, _ = await booted_console(stream)
    asking = asyncio.create_task(console.ask(*ASKED, deadline=Deadline.after(LATE_S)))
    while stream.events.count("read") < 2:  # noqa: ASYNC110 - the script tells nobody
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert stream.events[-1] == "close"


async def test_only_the_commands_own_time_out_leaves_a_socket_open() -> None:
    """A boot that takes too long, with nothing of the caller's sent, is closed at once."""
    stream = Stream(RESTARTED, HANG)
    console, _ = await booted_console(stream)
    with pytest.raises(NoAnswer):
        await console.ask(ORIGINATE, deadline=Deadline.after(SOON_S))
    assert stream.events[-1] == "close"


async def test_exec_leaves_nothing_pending() -> None:
    """A shell command has no socket of ours that could be listened on."""
    with pytest.raises(Unacknowledged) as caught:
        await ask_shell(None, "")
    assert caught.value.pending is None


async def test_an_asterisk_that_is_another_each_time_is_not_waited_for() -> None:
    """Whoever answers with a new pid for ever keeps nobody for ever."""
    streams = [Stream(f"pbx/{pid}/16.28.0\n".encode(), BOOTED) for pid in range(1, 10)]
    opener = Opener(*streams)
    with pytest.raises(SocketRefused, match="again and again"):
        await SocketConsole(opener).ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert len(opener.opened) == 3
    assert all(stream.events[-1] == "close" for stream in opener.opened)


# As a real 16 listed somebody who called from `sip:x%0ASystem%20uptime...@`, but for the words.
STRANGER = (
    b"SIP/city-00000014!from-trunk!375170000002!2!Up!Queue!plans-215,,,,20!x\n%s"
    b"!!!3!1!!1795851784.708244\n"
)
FORGED = b"System uptime: 86400\nLast reload: 5\n"
OTHERS = b"SIP/151-00000016!plans!!1!Down!(None)!!!!!3!0!!1795851784.708246\n"


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_caller_s_number_acknowledges_nothing(times: int) -> None:
    """However often Asterisk's own line is in it: it is a part of the list that it stands in."""
    listed = OTHERS + STRANGER % (FORGED * times) + OTHERS
    console, _ = await booted_console(
        Stream(BANNER, listed + SENTINEL + SENTINEL + listed + SENTINEL),
        Stream(BANNER, listed + SENTINEL),
        Stream(BANNER, listed, END),
    )
    deadline = Deadline.after(LATE_S)
    text = listed.decode()
    assert await console.ask(*ASKED, deadline=deadline) == (text, "", text)
    assert await console.read(SHOW_CHANNELS, deadline=deadline) == (text,)
    with pytest.raises(Unacknowledged) as caught:
        await console.ask(*ASKED, deadline=deadline)
    assert caught.value.replies == ()


async def test_a_clock_that_is_set_costs_no_exchange() -> None:
    """Its uptime leaps by a year: what a conversation ends with is its own, then as before."""
    leapt = SENTINEL.replace(b"5", b"31536000")
    listed = STRANGER % FORGED
    console, _ = await booted_console(
        Stream(BANNER, listed + leapt + leapt + listed + leapt, END),
        Stream(BANNER, listed + leapt),
    )
    deadline = Deadline.after(LATE_S)
    text = listed.decode()
    assert await console.ask(*ASKED, deadline=deadline) == (text, "", text)
    assert await console.read(SHOW_CHANNELS, deadline=deadline) == (text,)


async def test_a_restart_with_the_same_pid_is_known_by_the_uptime() -> None:
    """As in a container: once it turned out to be less, the next exchange awaits the boot."""
    old = SENTINEL.replace(b"5", b"86400")
    boot, real = Stream(BANNER, BOOTED), Stream(BANNER, SENTINEL)
    opener = Opener(
        Stream(BANNER, BOOTED.replace(SENTINEL, old)),
        *(Stream(BANNER, old), Stream(BANNER, SENTINEL, END)),
        *(boot, real, last := Stream(BANNER, SENTINEL)),
    )
    console = SocketConsole(opener)
    for _ in range(4):
        await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert b"waitfullybooted" in boot.written[0]
    assert [ORIGINATE.encode() in stream.written[0] for stream in (real, last)] == [True, True]


@pytest.mark.parametrize("banner", [b"other/100/16.28.0\n", b"pbx/100/18.0.0\n"])
async def test_another_container_s_asterisk_has_the_same_pid(banner: bytes) -> None:
    """Its host's name or its version tells that it is another, whose boot is awaited."""
    boot, real = Stream(banner, BOOTED), Stream(banner, SENTINEL)
    console, _ = await booted_console(boot, real)
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert b"waitfullybooted" in boot.written[0]
    assert ORIGINATE.encode() in real.written[0]


async def test_what_was_ready_and_ended_tells_of_a_restart() -> None:
    """Asterisk ends no console by itself: what comes after may be another one, not booted yet."""
    ready, boot, real = (Stream(BANNER, *said) for said in ((), (BOOTED,), (SENTINEL,)))
    opener = Opener(Stream(BANNER, BOOTED), Stream(BANNER, SENTINEL), ready, boot, real)
    console = SocketConsole(opener, ahead_s=LATE_S)
    await console.ask("core show version", deadline=Deadline.after(LATE_S))
    console.open_ahead()
    async with asyncio.timeout(LATE_S):
        while ready.events != ["read"]:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    ready.is_quiet = False
    await console.ask(ORIGINATE, deadline=Deadline.after(LATE_S))
    assert ready.events[-1] == "close"
    assert b"waitfullybooted" in boot.written[0]
    assert ORIGINATE.encode() in real.written[0]


async def test_a_look_that_comes_first_is_one_exchange_too() -> None:
    """It is asked with what tells whether Asterisk has booted; then it is one by itself."""
    opener = Opener(Stream(BANNER, BOOTED + SENTINEL), Stream(BANNER, SENTINEL))
    looking = SocketConsole(opener).for_looks()
    for opened in (1, 2):
        await looking.read(SHOW_CHANNELS, deadline=Deadline.after(LATE_S))
        assert len(opener.opened) == opened


async def test_another_asterisk_has_an_uptime_of_its_own() -> None:
    """It is learnt anew from what no caller has words in, though the list is asked with it."""
    young = SENTINEL.replace(b"5", b"86400")
    listed = STRANGER % SENTINEL
    console, _ = await booted_console(
        Stream(RESTARTED, BOOTED.replace(SENTINEL, young)),
        Stream(RESTARTED, listed + young),
    )
    replies = await console.ask(SHOW_CHANNELS, deadline=Deadline.after(LATE_S))
    assert replies == (listed.decode(),)


@pytest.mark.parametrize("number", [READ_FAILED, f"x\n{READ_FAILED}", READ_FAILED * 2])
async def test_by_exec_a_caller_s_number_breaks_nothing(number: str) -> None:
    """A reply that broke off ends with that line; a caller's row goes on behind it."""
    listed = (STRANGER % number.encode()).decode()
    shell = Shell(0, f"{BOOT_REPLY}{listed}{MARK}\n{MARK}\n{listed}{MARK}\n")
    console = ExecConsole(shell, asterisk_command="asterisk")
    assert await console.ask(*ASKED, deadline=Deadline.after(LATE_S)) == (listed, "", listed)

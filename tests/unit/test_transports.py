"""Which transport a connection uses, and when the quicker one is tried again."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import cast
from weakref import WeakKeyDictionary

import pytest

from shared.asterisk.exec_console import Running
from shared.asterisk.openings import Socket
from shared.deadline import Deadline
from shared.errors import AsteriskUnavailable, ConnectionLost, SocketRefused
from shared.pbx.transports import Line, Lines, replace_line
from shared.settings import Settings
from shared.ssh.connection import Connection

pytestmark = pytest.mark.anyio

LATE_S = 30
REFUSALS = 3  # what the callers of `choose` have met before it looks further
SENTINEL = b"System uptime: 5\nLast reload: 5\n"


class OpenSocket:
    """A control socket whose Asterisk answers whatever is asked, or stands still."""

    is_quiet = True

    def __init__(self, *, silent: bool) -> None:
        self._waiting = [b"pbx/100/16.28.0\n", b"Asterisk has fully booted.\n" + 3 * SENTINEL]
        self._silent = silent
        self.greeted = self.closed = False

    async def read(self) -> bytes:
        """Return the next bytes."""
        if self._silent:
            await asyncio.Event().wait()
        self.greeted = True
        return self._waiting.pop(0)

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """End."""
        self.closed = True


class Ended:
    """A shell command that has ended."""

    has_ended = True

    def __init__(self, exit_status: int, output: str) -> None:
        self.exit_status: int | None = exit_status
        self.output = bytearray(output.encode())
        self.errors = bytearray()
        self.is_cut = False

    async def progress(self, deadline: Deadline) -> None:
        """There is none."""
        raise AssertionError

    def close(self) -> None:
        """End."""


class Host:
    """A host's two ways to Asterisk, in place of a connection; each may be shut."""

    def __init__(self) -> None:
        self.socket: str | Exception = "answers"
        self.executes = True
        self.opens = self.runs = 0
        self.sockets: list[OpenSocket] = []

    async def open_socket(self, path: str, deadline: Deadline) -> Socket:
        """Open the socket, or refuse."""
        self.opens += 1
        if isinstance(self.socket, Exception):
            raise self.socket
        self.sockets.append(OpenSocket(silent=self.socket == "silent"))
        return self.sockets[-1]

    async def start(self, command: str, deadline: Deadline) -> Running:
        """Run a shell line; `echo` prints its mark."""
        self.runs += 1
        if not self.executes:
            return Ended(1, "Unable to connect to remote asterisk\n")
        marks = re.findall(r"echo (\S+)", command)
        return Ended(0, "".join(f"{mark}\n" for mark in marks))


class Chooser:
    """The rule under test, of one host, at a time that the test sets."""

    def __init__(self) -> None:
        self.host = Host()
        self.now_s = 1000.0
        self.lines = Lines(Settings(), clock=lambda: self.now_s)
        self.line: Line | None = None

    async def name(self, refusals: int = 0) -> str:
        """Choose as for one more question; the transport's name."""
        connection = cast("Connection", self.host)
        deadline = Deadline.after(0.2)
        self.line = await self.lines.choose(self.line, connection, refusals, deadline)
        return self.line.transport.name

    async def names(self, pauses_s: list[float]) -> list[str]:
        """Choose again and again, with pauses before."""
        chosen = []
        for pause_s in pauses_s:
            self.now_s += pause_s
            chosen.append(await self.name())
        return chosen


@pytest.fixture
def chooser() -> Chooser:
    """A host that answers by both ways, and was not asked yet."""
    return Chooser()


async def test_the_socket_is_the_first_choice(chooser: Chooser) -> None:
    """It is opened without a question to anybody, and kept through single refusals."""
    assert [await chooser.name(refusals) for refusals in (0, 1, 2)] == ["socket"] * 3
    assert (chooser.host.opens, chooser.host.runs) == (0, 0)


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_line_keeps_no_connection(transport: str) -> None:
    """Lines are known by theirs: each that was ever made would be kept, and all it has received."""
    host = cast("Connection", Host())
    deadline = Deadline.after(5)
    line = await Lines(Settings(asterisk_transport=transport)).choose(None, host, 0, deadline)
    lines = WeakKeyDictionary({host: line})
    del host
    gc.collect()
    assert not lines
    with pytest.raises(ConnectionLost):
        await line.console.ask("core show version", deadline=deadline)


async def test_what_a_line_has_ready_ends_with_it(chooser: Chooser) -> None:
    """Else each would hold a console, and renew it, for as long as its connection lives."""
    host = cast("Connection", chooser.host)
    lines: dict[Connection, Line] = {}
    for count in (1, 2):
        line = await chooser.lines.choose(None, host, 0, Deadline.after(LATE_S))
        replace_line(lines, host, line)
        line.console.open_ahead()
        async with asyncio.timeout(LATE_S):
            while sum(socket.greeted for socket in chooser.host.sockets) < count:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [socket.closed for socket in chooser.host.sockets] == [True, False]
    line.console.close()
    assert chooser.host.sockets[-1].closed


async def test_a_forbidden_socket_gives_way(chooser: Chooser) -> None:
    """Exec is taken once it has answered and the socket is refused after that still."""
    chooser.host.socket = SocketRefused("no")
    assert await chooser.name(REFUSALS) == "exec"
    assert (chooser.host.runs, chooser.host.opens) == (1, 1)


@pytest.mark.parametrize("socket", ["answers", "silent"])
async def test_a_socket_that_opens_again_is_kept(chooser: Chooser, socket: str) -> None:
    """A backlog that was full, or an Asterisk that stood still, is no policy."""
    chooser.host.socket = socket
    assert await chooser.name(REFUSALS) == "socket"
    assert chooser.host.runs == 1


async def test_a_host_that_answers_neither_way_is_named(chooser: Chooser) -> None:
    """No way is chosen for a stopped Asterisk, so the next question asks the socket first."""
    chooser.host.socket = SocketRefused("no")
    chooser.host.executes = False
    with pytest.raises(AsteriskUnavailable):
        await chooser.name(REFUSALS)
    assert chooser.line is None


async def test_the_socket_is_tried_again_ever_more_seldom(chooser: Chooser) -> None:
    """After 5 s, then after twice as long each time, up to 300 s; between, it is left alone."""
    chooser.host.socket = SocketRefused("no")
    await chooser.name(REFUSALS)
    opens = []
    for pause_s in (5, 10, 20, 40, 80, 160, 300, 300, 300):
        for moment_s in (pause_s - 0.5, 1.0):
            before = chooser.host.opens
            chooser.now_s += moment_s
            assert await chooser.name() == "exec"
            opens.append(chooser.host.opens - before)
    assert opens == [0, 1] * 9


async def test_a_socket_that_is_allowed_again_is_used_at_its_next_trial(chooser: Chooser) -> None:
    """Once it opens it is kept, and what is known of the drivers with it."""
    chooser.host.socket = SocketRefused("no")
    await chooser.name(REFUSALS)
    assert chooser.line is not None
    chooser.line.technologies = frozenset()
    chooser.host.socket = "answers"
    assert await chooser.names([4.9, 0.2, 1.0, 1000.0]) == ["exec", "socket", "socket", "socket"]
    assert chooser.line.technologies == frozenset()


async def test_those_who_come_during_a_trial_are_not_held_up(chooser: Chooser) -> None:
    """One question pays for a trial; the others go on by exec meanwhile."""
    chooser.host.socket = SocketRefused("no")
    await chooser.name(REFUSALS)
    chooser.host.socket = "silent"
    chooser.now_s += 6
    first = asyncio.create_task(chooser.name())
    await asyncio.sleep(0)
    assert await chooser.name() == "exec"
    assert await first == "socket"

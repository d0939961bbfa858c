"""The ways to a host's Asterisk, in the order in which they are tried, and which to use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from weakref import ref

from shared.asterisk import client
from shared.asterisk.console import Console
from shared.asterisk.exec_console import ExecConsole
from shared.asterisk.models import Technology
from shared.asterisk.socket_console import SocketConsole
from shared.deadline import Deadline
from shared.errors import AsteriskUnavailable, ConnectionLost, PbxError, SocketRefused
from shared.pbx.state import Why
from shared.settings import Settings, on_lambda
from shared.ssh.connection import Connection

ANSWERS_NEITHER = "Asterisk answers neither on its control socket nor to `asterisk -rx`"
_REFUSALS_BEFORE_NEXT = 3
_PROBE_TIMEOUT_S = 3.0
# A frozen or starting Asterisk refuses its socket too, so a slower way is not kept for long; where
# the host's policy forbids the quickest one, each trial costs a call a few milliseconds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Transport:
    """A way to Asterisk over a connection; `name` is that of ASTERISK_TRANSPORT.

    `most_blocked` originates may block it at once, each until its extension has answered: up to
    Asterisk 11 each holds one of its 128 consoles, which others use too, or one of sshd's sessions.
    """

    name: str
    open: Callable[[Connection, Settings], Console]
    most_blocked: int


def may_be_ahead(settings: Settings) -> bool:
    """Tell whether the way is made ready before it is needed: on Lambda nothing goes on then."""
    return settings.pbx_ahead_s > 0 and not on_lambda()


def _open_socket(connection: Connection, settings: Settings) -> Console:
    known, path = ref(connection), settings.asterisk_socket
    return SocketConsole(
        lambda deadline: _used(known).open_socket(path, deadline),
        at_once=settings.pbx_concurrency,
        ahead_s=settings.pbx_ahead_s if may_be_ahead(settings) else 0.0,
    )


def _open_exec(connection: Connection, settings: Settings) -> Console:
    known = ref(connection)
    return ExecConsole(
        lambda command, deadline: _used(known).start(command, deadline),
        asterisk_command=settings.asterisk_command,
    )


def _used(known: ref[Connection]) -> Connection:
    """Return the connection of a line, which must not keep what it is known by."""
    connection = known()
    if connection is None:
        raise ConnectionLost("Connection lost")
    return connection


# The quickest first.
TRANSPORTS = (Transport("socket", _open_socket, 64), Transport("exec", _open_exec, 4))


@dataclass(slots=True)
class Line:
    """What is known of one connection: its console, until when that is used, the drivers behind.

    `pause_s` is how long the quickest transport is left alone after it was refused.
    """

    transport: Transport
    console: Console
    until: float = math.inf
    pause_s: float = _FIRST_PAUSE_S
    technologies: frozenset[Technology] | None = field(default=None)


class Lines:
    """Opens the lines of every host, by the one rule which transport to use.

    `clock` counts seconds and only goes forward.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        wanted = settings.asterisk_transport
        self._transports = [t for t in TRANSPORTS if wanted in {"auto", t.name}]

    async def choose(
        self, line: Line | None, connection: Connection, refusals: int, deadline: Deadline
    ) -> Line:
        """Keep a connection's line, or open the one to use now; `refusals` were met just before.

        Policy, permission, a full backlog and a frozen or stopped Asterisk refuse all alike. So the
        next transport is taken only where the one before is refused once more right after the next
        one has answered; and not for good.

        Raises:
            AsteriskUnavailable: the next one does not answer either, or is not wanted.
        """
        if line is None:
            line = self._open(self._transports[0], connection)
        elif line.until < self._clock():
            return await self._tried_again(line, connection, deadline)
        if refusals < _REFUSALS_BEFORE_NEXT:
            return line
        following = self._transports[self._transports.index(line.transport) + 1 :]
        if not following:
            if line.transport is TRANSPORTS[-1]:
                return line
            raise AsteriskUnavailable(
                f"The host refuses {self._settings.asterisk_socket}: Asterisk is stopped,"
                " or sshd forbids stream-local forwarding"
            )
        slower = self._open(following[0], connection)
        try:
            await client.ping(slower.console, deadline.sooner(_PROBE_TIMEOUT_S))
        except (ConnectionLost, SocketRefused) as error:
            raise AsteriskUnavailable(ANSWERS_NEITHER) from error
        if not await _is_refused(line, deadline):
            return line
        slower.until = self._clock() + slower.pause_s
        return slower

    def why(self, line: Line) -> Why:
        """Tell why a line has its transport."""
        if self._settings.asterisk_transport != "auto":
            return "set"
        return "quickest" if line.transport is self._transports[0] else "socket-refused"

    def retry_s(self, line: Line) -> float | None:
        """Tell in how many seconds a quicker one is tried again; None: there is none to try."""
        return None if math.isinf(line.until) else max(0.0, line.until - self._clock())

    async def _tried_again(self, line: Line, connection: Connection, deadline: Deadline) -> Line:
        """Go back to the quickest transport; while it is refused, wait twice as long each time."""
        line.pause_s = min(2 * line.pause_s, _LONGEST_PAUSE_S)
        line.until = self._clock() + line.pause_s  # set first: whoever comes meanwhile stays
        quickest = self._open(self._transports[0], connection)
        if await _is_refused(quickest, deadline):
            return line
        quickest.technologies = line.technologies
        return quickest

    def _open(self, transport: Transport, connection: Connection) -> Line:
        return Line(transport, transport.open(connection, self._settings))


def replace_line(
    lines: MutableMapping[Connection, Line], connection: Connection, line: Line
) -> None:
    """Use another line; whatever the one before has ready, or comes to have, is let go of.

    Two requests may have chosen at once: of the line of the first nobody would think again.
    """
    before = lines.get(connection)
    lines[connection] = line
    if before is not None:
        before.console.close()


async def _is_refused(line: Line, deadline: Deadline) -> bool:
    """Tell whether a transport is refused; one that is open and silent is not, but Asterisk is."""
    try:
        await client.ping(line.console, deadline.sooner(_PROBE_TIMEOUT_S))
    except SocketRefused:
        return True
    except PbxError:
        pass
    return False

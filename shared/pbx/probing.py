"""A PBX host looked at step by step, as an operator asks where the way to it ends; rings nobody."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import socket
import time
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from shared.deadline import Deadline
from shared.errors import CdrUnreadable, ConnectFailed, ConnectionLost, ConnectTimeout, NoAnswer
from shared.pbx.hosts import Pbx
from shared.ssh.connection import Connection
from shared.ssh.files import FileUnreadable
from shared.ssh.login import load_host_key

# A login shell may greet whoever comes, and not end that line: what is last is the answer.
_EPOCH = re.compile(r"(?<![0-9])([0-9]{9,11})\n\Z")
_ASK_CLOCK = "date +%s"
# What goes on is told by a word for each step; none is told where no shell is permitted.
_ASK_SOCKET = (
    "echo asked-shell && test -d {folder} && echo folder && test -x {folder} && echo open"
    " && test -e {path} && echo socket && test -w {path} && echo ours"
)
_TOLD_SOCKET = re.compile(r"asked-(shell\n(?:[a-z]+\n){0,4})\Z")
SocketSeen: TypeAlias = Literal["missing", "denied", "ours"]
_SEEN: dict[str, SocketSeen] = {
    "shell": "missing",
    "shell folder": "denied",
    "shell folder open": "missing",
    "shell folder open socket": "denied",
    "shell folder open socket ours": "ours",
}


class Clock(NamedTuple):
    """How far a host's clock is ahead of ours, and by how much that may be wrong, in seconds."""

    ahead_s: float
    doubt_s: float


async def resolve(pbx: Pbx, host: str, deadline: Deadline) -> tuple[str, ...]:
    """Find a host's addresses. Raises ConnectFailed, ConnectTimeout."""
    target = pbx.target(host)
    loop = asyncio.get_running_loop()
    try:
        async with deadline.enforce():
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ConnectTimeout("The name is not resolved in time") from None
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"The name {target.host} does not resolve") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


async def reach_port(pbx: Pbx, host: str, deadline: Deadline) -> None:
    """Connect to a host's port and leave. Raises ConnectFailed, ConnectTimeout."""
    target = await pbx.place(host)
    try:
        async with deadline.enforce():
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        raise ConnectTimeout("Connection timeout") from None
    except ConnectionRefusedError as error:
        raise ConnectFailed("Connection refused") from error
    except OSError as error:
        raise ConnectFailed("Host unreachable") from error
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def show_key(pbx: Pbx, host: str, like: str | None, deadline: Deadline) -> str:
    """Fetch the host key that a host shows, of the kind of `like`; nothing secret is sent.

    Raises:
        HostKeyChanged: it has none of that kind.
        ConnectTimeout, ConnectFailed, ConnectionLost
    """
    return await load_host_key(await pbx.place(host), like, deadline=deadline)


async def log_in(pbx: Pbx, host: str, deadline: Deadline) -> None:
    """Log in, and do nothing. Raises NotExecuted."""

    async def use(_connection: Connection) -> None:
        pass

    await pbx.use(host, deadline, use)


def has_sftp(error: CdrUnreadable) -> bool:
    """Tell whether it was the file that could not be read, and not SFTP that is not there."""
    cause = error.__cause__
    return isinstance(cause, FileUnreadable) and cause.cause != "no-sftp"


async def load_clock(pbx: Pbx, host: str, deadline: Deadline) -> Clock | None:
    """Compare a host's clock with ours; None where no shell of it tells.

    Raises:
        NoAnswer: something was started, and has not ended.
        NotExecuted: it cannot be asked.
    """
    asked = await _run(pbx, host, _ASK_CLOCK, deadline)
    match = _EPOCH.search(asked.output)
    # It tells whole seconds, cut off.
    ahead_s = int(match[1]) + 0.5 - (asked.began + asked.ended) / 2 if match else None
    return None if ahead_s is None else Clock(ahead_s, (asked.ended - asked.began) / 2)


async def see_socket(pbx: Pbx, host: str, path: str, deadline: Deadline) -> SocketSeen | None:
    """Tell what of Asterisk's control socket is ours to open; None where no shell of it tells.

    Raises:
        NoAnswer: something was started, and has not ended.
        NotExecuted: it cannot be asked.
    """
    quoted = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    asked = await _run(pbx, host, _ASK_SOCKET.format(path=quoted[0], folder=quoted[1]), deadline)
    told = _TOLD_SOCKET.search(asked.output)
    return _SEEN.get(" ".join(told[1].split())) if told else None


class _Asked(NamedTuple):
    """What a shell has printed, and from when to when it was waited for."""

    output: str
    began: float
    ended: float


async def _run(pbx: Pbx, host: str, line: str, deadline: Deadline) -> _Asked:
    async def use(connection: Connection) -> _Asked:
        began = time.time()
        running = await connection.start(line, deadline)
        try:
            while not running.has_ended:
                await running.progress(deadline)
        except TimeoutError:
            raise NoAnswer("The PBX's shell does not answer") from None
        finally:
            running.close()
        if running.exit_status is None and not running.is_cut:
            raise ConnectionLost("Connection lost")
        return _Asked(running.output.decode("utf-8", "replace"), began, time.time())

    return await pbx.use(host, deadline, use)

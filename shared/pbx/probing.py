"""A PBX host looked at step by step, as an operator asks where the way to it ends; rings nobody."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time

from shared.deadline import Deadline
from shared.errors import CdrUnreadable, ConnectFailed, ConnectTimeout
from shared.pbx.hosts import Pbx
from shared.ssh.connection import Connection
from shared.ssh.files import FileUnreadable
from shared.ssh.login import load_host_key

_EPOCH = re.compile(r"([0-9]{9,11})\n")
_ASK_CLOCK = "date +%s"


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
    target = pbx.target(host)
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
    return await load_host_key(pbx.target(host), like, deadline=deadline)


async def log_in(pbx: Pbx, host: str, deadline: Deadline) -> None:
    """Log in, and do nothing. Raises NotExecuted."""

    async def use(_connection: Connection) -> None:
        pass

    await pbx.use(host, deadline, use)


def has_sftp(error: CdrUnreadable) -> bool:
    """Tell whether it was the file that could not be read, and not SFTP that is not there."""
    cause = error.__cause__
    return isinstance(cause, FileUnreadable) and cause.cause != "no-sftp"


async def clock_ahead_s(pbx: Pbx, host: str, deadline: Deadline) -> float | None:
    """Tell how far a host's clock is ahead of ours; None where no shell of it tells.

    Raises:
        NotExecuted: it cannot be asked.
    """

    async def use(connection: Connection) -> float | None:
        began = time.time()
        running = await connection.start(_ASK_CLOCK, deadline)
        try:
            while not running.has_ended:
                await running.progress(deadline)
        except TimeoutError:
            return None
        finally:
            running.close()
        match = _EPOCH.fullmatch(running.output.decode("utf-8", "replace"))
        # It tells whole seconds, cut off.
        return int(match[1]) + 0.5 - (began + time.time()) / 2 if match else None

    return await pbx.use(host, deadline, use)

"""`python asterisk.py`, which kills itself at a point of placing its first call: POINT in argv.

claimed    the call is admitted, nothing is sent
written    the command is sent, no answer was read
executed   Asterisk has acknowledged the command, nobody is told
answered   its caller is told, nothing is settled

TREE, if it is given, has the sources to run; then it is SIGUSR2 that arms the point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, [str(Path(__file__).parents[2]), *sys.argv[2:]][-1])

import asterisk
from shared.asterisk.socket_console import SocketExchange
from shared.calls.settling import Settler
from shared.pbx.hosts import Pbx
from shared.ssh.channels import Session
from shared.ssh.connection import Connection


def die(*_arguments: Any, **_values: Any) -> NoReturn:
    """End as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


async def die_once_it_runs(*_arguments: Any, **_values: Any) -> NoReturn:
    """End so in a task."""
    die()


def die_once_written() -> None:
    """End with the originate on its way; the questions before it are answered."""
    replies, start = SocketExchange.replies, Connection.start
    made = Session.connection_made

    async def replies_or_die(exchange: Any, *arguments: Any) -> Any:
        if any("originate" in command for command in exchange._commands):
            die()
        return await replies(exchange, *arguments)

    async def start_or_die(self: Any, command: str, deadline: Any) -> Any:
        if "originate" in command:
            setattr(Session, "connection_made", die_soon)  # noqa: B010 - mypy knows no other way
        return await start(self, command, deadline)

    def die_soon(session: Any, chan: Any) -> None:
        made(session, chan)
        asyncio.get_running_loop().call_later(0.02, die)  # asyncssh sends right after this

    setattr(SocketExchange, "replies", replies_or_die)  # noqa: B010
    setattr(Connection, "start", start_or_die)  # noqa: B010


def main() -> None:
    """Serve until the point is reached."""
    point = sys.argv[1]
    if len(sys.argv) > 2:
        signal.signal(signal.SIGUSR2, lambda *_: arm(point))
    else:
        arm(point)
    asterisk.main()


def arm(point: str) -> None:
    """Have the process die where it gets to the point."""
    match point:
        case "claimed":
            setattr(Pbx, "originate", die)  # noqa: B010
        case "written":
            die_once_written()
        case "executed":
            setattr(Settler, "settle_accepted", die)  # noqa: B010
        case "answered":
            setattr(Settler, "settle", die_once_it_runs)  # noqa: B010
        case _:
            raise SystemExit(f"no such point: {point}")


if __name__ == "__main__":
    main()

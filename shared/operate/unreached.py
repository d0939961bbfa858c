"""Which line tells why Asterisk's control socket, or Asterisk itself, is not reached."""

from __future__ import annotations

from pathlib import PurePosixPath

from shared.asterisk.exec_console import NOBODY_LISTENS
from shared.errors import AsteriskUnavailable
from shared.operate import hostlines
from shared.operate.findings import Line
from shared.pbx.probing import SocketSeen
from shared.pbx.transports import ANSWERS_NEITHER
from shared.settings import Settings

_SLOWER: dict[SocketSeen | None, Line] = {
    "missing": hostlines.SLOWER_ELSEWHERE,
    "denied": hostlines.SLOWER_DENIED,
}
_UNREACHED: dict[SocketSeen | None, Line] = {
    "missing": hostlines.NO_SOCKET,
    "denied": hostlines.SOCKET_DENIED,
    None: hostlines.NO_WAY_TOLD,
}


def why_slower(seen: SocketSeen | None) -> Line:
    """Pick the line where `asterisk -rx` works, and the socket is refused."""
    return _SLOWER.get(seen, hostlines.SLOWER_FORBIDDEN)


def why_unreached(error: AsteriskUnavailable, settings: Settings, seen: SocketSeen | None) -> Line:
    """Pick the line where nothing works; `seen` is what SSH_USER's shell tells of the socket."""
    if error.reason == ANSWERS_NEITHER:
        # A forced command that succeeds in the place of ours is no Asterisk that hangs.
        return hostlines.HANGS if seen else hostlines.NO_WAY_TOLD
    if error.reason != NOBODY_LISTENS:
        if settings.asterisk_transport == "exec":
            return hostlines.COMMAND_FAILED
        return _UNREACHED.get(seen, hostlines.NO_WAY)
    is_certain = _is_by_another(settings.asterisk_command)
    return hostlines.STOPPED if is_certain else _UNREACHED.get(seen, hostlines.STOPPED)


def _is_by_another(command: str) -> bool:
    """Tell whether Asterisk's console is opened by another user than ours, as by sudo."""
    return PurePosixPath(command.split(maxsplit=1)[0]).name != "asterisk"

"""One PBX host, looked at from its name to its clock; rings nobody, and asks nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from shared.asterisk import client
from shared.asterisk.cdr.rows import Form, describe
from shared.asterisk.cdr.zones import zone_of_writing
from shared.asterisk.drivers import DRIVERS
from shared.asterisk.models import Context, Technology
from shared.asterisk.releases import OLDEST, blocks_console, how_tried, parse_release
from shared.deadline import Deadline
from shared.errors import (
    AsteriskUnavailable,
    AuthenticationFailed,
    CdrUnreadable,
    ConnectFailed,
    ConnectTimeout,
    HostKeyChanged,
    NoAnswer,
    ServiceError,
    SocketRefused,
)
from shared.operate import hostlines
from shared.operate.findings import Finding, Line, Words, reason_of, split_remedy
from shared.operate.hostkeys import fingerprint
from shared.operate.unreached import why_slower, why_unreached
from shared.pbx import probing
from shared.pbx.hosts import Pbx, Question
from shared.pbx.transports import TRANSPORTS
from shared.settings import Settings
from shared.store.hostkeys import PinnedKeys

T = TypeVar("T")

_TAIL_BYTES = 64 * 1024
_CLOCK_TOLERANCE_S = 2.0
_MIB = 2**20
# A record is a line of some 300 bytes: what is less is full, or will be at any moment. Logs fill
# the rest sooner than records do.
_FULL_BYTES, _LITTLE_BYTES = _MIB, 100 * _MIB
_LONGEST_VERSION = 60


def remedy_of(code: str, host: str, settings: Settings) -> Words:
    """Say what helps a host whose exchanges fail by an error of this code; empty: not known."""
    texts = (text for kind, text in hostlines.REMEDIES.items() if kind.code == code)
    return Words.of(next(texts, ""), host=host, port=settings.ssh_port)


class Step(NamedTuple):
    """What is looked at, how, and the step without which it cannot be."""

    name: str
    needs: str
    look: Callable[[], Awaitable[Finding]]


class HostCheck:
    """One look at a host."""

    def __init__(self, pbx: Pbx, settings: Settings, keys: PinnedKeys, host: str) -> None:
        self._pbx = pbx
        self._settings = settings
        self._keys = keys
        self._host = host
        self._port_number = settings.ssh_port
        self._version: str | None = None
        self._unreadable: CdrUnreadable | None = None
        self._form = describe(b"")
        self._written_s: float | None = None
        self._has_shell = False
        self._is_in = False
        self._kept_out: ServiceError | None = None
        self._shown: str | ServiceError = ""
        self._steps = [
            Step("name", "", self._name),
            Step("port", "name", self._port),
            Step("host key", "port", self._host_key),
            Step("log-in", "host key", self._log_in),
            Step("console", "log-in", self._console),
            Step("version", "console", self._release),
            Step("originate", "console", self._originate),
            Step("channel drivers", "console", self._drivers),
            Step("dialplan context", "console", self._context),
            Step("call records", "console", self._records),
            Step("SFTP", "log-in", self._sftp),
            Step("records file", "SFTP", self._records_file),
            Step("disk", "SFTP", self._disk),
            Step("clock", "log-in", self._clock),
        ]

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what each step finds; what an earlier one makes impossible is skipped."""
        with suppress(ConnectFailed):  # which the first step tells
            self._port_number = (await self._pbx.place(self._host)).port
        failed: set[str] = set()
        for name, needs, look in self._steps:
            if needs in failed:
                found = hostlines.SKIPPED(needs=needs)
            else:
                found = await self._found(look)
            if found.state in {"bad", "skipped"}:
                failed.add(name)
            yield replace(found, name=name)

    async def _found(self, look: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            return await look()
        except ServiceError as error:
            helps = (text for kind, text in hostlines.REMEDIES.items() if isinstance(error, kind))
            return self._say(
                hostlines.FAILED, reason=reason_of(error), remedy=self._filled(next(helps, ""))
            )
        except Exception as error:  # noqa: BLE001 - the other steps are wanted all the same
            return self._say(hostlines.NOT_UNDERSTOOD, error=type(error).__name__)

    def _say(self, line: Line, **gaps: object) -> Finding:
        return line(host=self._host, port=self._port_number, **gaps)

    def _filled(self, remedy: str) -> Words:
        return Words.of(remedy, host=self._host, port=self._port_number)

    def _soon(self) -> Deadline:
        return Deadline.after(self._settings.ssh_connect_timeout_s)

    def _in_time(self) -> Deadline:
        # To connect anew, and to be answered.
        return Deadline.after(
            self._settings.ssh_connect_timeout_s + self._settings.command_timeout_s
        )

    async def _ask(self, question: Question[T]) -> T:
        # Nothing for another connection: of an Asterisk that does not answer the first one tells,
        # and which error a second one would end by, when no time is left, would be chance.
        within = Deadline.after(self._settings.command_timeout_s)
        return await self._pbx.ask(self._host, question, within)

    async def _name(self) -> Finding:
        try:
            addresses = await probing.resolve(self._pbx, self._host, self._soon())
        except (ConnectFailed, ConnectTimeout) as error:
            return hostlines.NAME_UNKNOWN(reason=reason_of(error))
        if addresses == (self._host,):
            return self._say(hostlines.NAME_ADDRESS)
        return self._say(hostlines.NAME_RESOLVED, addresses=", ".join(addresses))

    async def _port(self) -> Finding:
        await self._try_log_in()
        if not self._is_in:
            await self._fetch_key()
        return self._say(hostlines.PORT)

    async def _fetch_key(self) -> None:
        """Have the key shown, or why it is not; raises why the port cannot be reached."""
        pinned = await self._pinned()
        try:
            self._shown = await probing.show_key(self._pbx, self._host, pinned, self._soon())
        except ConnectFailed:
            raise
        except ServiceError as error:
            self._shown = error
            if isinstance(error, ConnectTimeout):  # before the port has answered, or after
                await probing.reach_port(self._pbx, self._host, self._soon())

    async def _try_log_in(self) -> None:
        """Log in, where the key is pinned: a log-in that succeeds tells of the way to it as well.

        Whoever connects and does not log in is penalised by OpenSSH 9.8 and newer, and after some
        of that kept out for a while, the service as well, whose address is the same.
        """
        pinned = self._settings.ssh_host_keys == "pin" and await self._pinned()
        if not pinned:
            return
        try:
            await probing.log_in(self._pbx, self._host, self._in_time())
        except ServiceError as error:
            self._kept_out = error
        else:
            self._is_in = True

    async def _pinned(self) -> str | None:
        target = await self._pbx.place(self._host)
        return await self._keys.find(target.host, target.port)

    async def _host_key(self) -> Finding:
        mode = self._settings.ssh_host_keys
        pinned = await self._pinned()
        if self._is_in and pinned is not None:
            return hostlines.KEY_PINNED(shown=fingerprint(pinned))
        key = self._shown
        if isinstance(key, HostKeyChanged):
            shown = key.reason
        elif isinstance(key, ServiceError):
            raise key
        else:
            shown = fingerprint(key)
            if pinned is not None and key.split()[:2] == pinned.split()[:2]:
                return hostlines.KEY_PINNED(shown=shown)
        if pinned is not None:
            line = hostlines.KEY_CHANGED if mode == "pin" else hostlines.KEY_CHANGED_UNHEEDED
            return self._say(line, shown=shown, pinned=fingerprint(pinned))
        new = {"known_hosts": hostlines.KEY_KNOWN_HOSTS, "off": hostlines.KEY_UNHEEDED}
        return new.get(mode, hostlines.KEY_NEW)(shown=shown)

    async def _log_in(self) -> Finding:
        if isinstance(self._kept_out, AuthenticationFailed):
            raise self._kept_out  # a second try is penalised as the first
        try:
            await probing.log_in(self._pbx, self._host, self._in_time())
        except (ConnectFailed, HostKeyChanged) as error:
            if self._settings.ssh_host_keys != "known_hosts":
                raise
            return self._say(hostlines.LOG_IN_UNKNOWN_KEY, reason=reason_of(error))
        if self._settings.ssh_private_key.get_secret_value():
            self._steps.append(Step("shell", "", self._shell))
        return hostlines.LOG_IN()

    async def _console(self) -> Finding:
        try:
            told = await self._ask(client.load_version)
        except NoAnswer as error:
            return self._say(hostlines.HANGS, reason=reason_of(error))
        except AsteriskUnavailable as error:
            line = why_unreached(error, self._settings, await self._seen_socket())
            return self._of_console(line, reason_of(error))
        state = self._pbx.state(self._host)
        self._version = state.version or told
        if state.transport == "socket":
            return hostlines.CONSOLE_SOCKET()
        if self._settings.asterisk_transport == "exec":
            return hostlines.CONSOLE_EXEC()
        return self._of_console(why_slower(await self._seen_socket()))

    async def _seen_socket(self) -> probing.SocketSeen | None:
        path = self._settings.asterisk_socket
        try:
            return await probing.see_socket(self._pbx, self._host, path, self._in_time())
        except ServiceError:
            return None  # what it is asked for has an error of its own

    def _of_console(self, line: Line, reason: str = "") -> Finding:
        socket, command = self._settings.asterisk_socket, self._settings.asterisk_command
        return self._say(line, socket=socket, command=command, reason=reason)

    async def _release(self) -> Finding:
        told = self._version or ""
        version = told[:_LONGEST_VERSION] or "not told"
        release = parse_release(told)
        if release is None:
            return hostlines.VERSION_UNKNOWN(version=version, oldest=OLDEST.branch)
        tried = how_tried(release)
        if release < OLDEST:
            return hostlines.VERSION_OLD(version=version, tried=tried, oldest=OLDEST.branch)
        if blocks_console(release):
            most = self._most_ringing()
            return hostlines.VERSION_BLOCKS(version=version, tried=tried, most=most)
        return hostlines.VERSION(version=version, tried=tried)

    def _most_ringing(self) -> int:
        used = self._pbx.state(self._host).transport
        return min(way.most_blocked for way in TRANSPORTS if used in {way.name, None})

    async def _originate(self) -> Finding:
        match await self._ask(client.load_permission):
            case "missing":
                return hostlines.ORIGINATE_MISSING()
            case "denied":
                return hostlines.ORIGINATE_DENIED()
        return hostlines.ORIGINATE()

    async def _drivers(self) -> Finding:
        found = await self._ask(client.load_technologies)
        known = ", ".join(technology.value for technology in DRIVERS if technology in found)
        wanted = self._settings.channel_technology
        if not known:
            return hostlines.NO_DRIVER()
        if wanted != "auto" and Technology(wanted) not in found:
            return hostlines.OTHER_DRIVER(known=known, wanted=wanted)
        return hostlines.DRIVERS(known=known)

    async def _context(self) -> Finding:
        context = Context(self._settings.dialplan_context)
        is_there = await self._ask(partial(client.has_context, context=context))
        return (hostlines.CONTEXT if is_there else hostlines.NO_CONTEXT)(context=context.name)

    async def _records(self) -> Finding:
        match await self._ask(client.load_cdr_mode):
            case "off":
                return hostlines.RECORDS_OFF()
            case "batch":
                return hostlines.RECORDS_BATCH()
        return hostlines.RECORDS()

    async def _sftp(self) -> Finding:
        try:
            piece = await self._pbx.read_file(
                self._host, self._settings.cdr_file, -_TAIL_BYTES, _TAIL_BYTES, self._in_time()
            )
        except CdrUnreadable as error:
            if not probing.has_sftp(error):
                return hostlines.NO_SFTP(reason=reason_of(error))
            self._unreadable = error
        else:
            self._form = describe(piece.data, piece.offset)
            self._written_s = piece.written_s
        return hostlines.SFTP()

    async def _records_file(self) -> Finding:
        if self._unreadable is not None:
            said, remedy = split_remedy(self._unreadable.reason, "Set CDR_FILE")
            reason = Words.named(self._unreadable.code, said, reason=said)
            return hostlines.FILE_UNREADABLE(reason=reason, remedy=remedy)
        form = self._form
        zone_s = _zone_s(form, self._written_s)
        if not form.records + form.skipped:
            line = hostlines.FILE_EMPTY
        elif form.skipped:
            line = hostlines.FILE_MIXED if form.records else hostlines.FILE_OTHER
        else:
            line = hostlines.FILE_WITHOUT_ZONE if zone_s is None else hostlines.FILE
        return line(
            path=self._settings.cdr_file,
            records=form.records,
            lines=form.records + form.skipped,
            columns=form.columns,
            zone=_zone(zone_s or 0),
        )

    async def _disk(self) -> Finding:
        # The folder's: before the first call there is no file.
        folder = str(PurePosixPath(self._settings.cdr_file).parent)
        try:
            space = await self._pbx.load_space(self._host, folder, self._in_time())
        except CdrUnreadable as error:
            if not probing.has_sftp(error):
                return hostlines.DISK_NO_SFTP(reason=reason_of(error))
            return hostlines.DISK_UNKNOWN(folder=folder)
        if not space.total:
            line = hostlines.DISK_UNKNOWN
        elif space.free < _FULL_BYTES:
            line = hostlines.DISK_FULL
        elif space.files == 0:
            line = hostlines.DISK_NO_FILES
        else:
            line = hostlines.DISK_LITTLE if space.free < _LITTLE_BYTES else hostlines.DISK
        return self._say(line, free=space.free // _MIB, total=space.total // _MIB, folder=folder)

    async def _clock(self) -> Finding:
        try:
            clock = await probing.load_clock(self._pbx, self._host, self._in_time())
        except NoAnswer:
            self._has_shell = True
            return self._say(hostlines.CLOCK_SILENT)
        except SocketRefused:  # not even a session is permitted
            clock = None
        self._has_shell = clock is not None
        if clock is None:
            return hostlines.CLOCK_UNKNOWN()
        if abs(clock.ahead_s) - clock.doubt_s <= _CLOCK_TOLERANCE_S:
            return hostlines.CLOCK()
        way = "ahead of" if clock.ahead_s > 0 else "behind"
        return hostlines.CLOCK_WRONG(off=f"{abs(clock.ahead_s):.0f}", way=way)

    async def _shell(self) -> Finding:
        # One without `date` is one, too.
        if not self._has_shell and await self._seen_socket() is None:
            return hostlines.SHELL_NONE()
        if self._pbx.state(self._host).transport == "exec":
            return hostlines.SHELL_NEEDED()
        return hostlines.SHELL_OPEN()


def _zone_s(form: Form, written_s: float | None) -> int | None:
    """Tell the zone of a file's times: as its records do, or the time of its last writing."""
    if form.zone_s is not None or form.last is None or written_s is None:
        return form.zone_s
    return zone_of_writing(form.last, written_s)


def _zone(seconds: int) -> str:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"UTC{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"

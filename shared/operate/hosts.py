"""One PBX host, looked at from its name to its clock; rings nobody, and asks nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

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
    CommandRejected,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    HostKeyChanged,
    NoAnswer,
    ServiceError,
    SocketRefused,
    SshSecretUnreadable,
)
from shared.operate.findings import Finding, State, split_remedy
from shared.operate.hostkeys import fingerprint
from shared.pbx import probing
from shared.pbx.hosts import Pbx
from shared.pbx.transports import TRANSPORTS
from shared.settings import Settings
from shared.store.hostkeys import PinnedKeys

_TAIL_BYTES = 64 * 1024
_CLOCK_TOLERANCE_S = 2.0
_MIB = 2**20
# A record is a line of some 300 bytes: what is less is full, or will be at any moment. Logs fill
# the rest sooner than records do.
_FULL_BYTES, _LITTLE_BYTES = _MIB, 100 * _MIB
_FORGET = (
    "If the PBX was really re-installed, ./asterisk.sh forget-host-key {host}; if not, find out"
    " who answers in its place"
)
_TIDY = "Delete old logs and recordings on {host}, and have logrotate do so"
_REMEDIES: dict[type[ServiceError], str] = {
    ConnectTimeout: "Let port {port} of {host} through each firewall between; does the host run?",
    ConnectFailed: "Correct enterprises.ip or SSH_PORT ({port}), or start sshd on {host}",
    ConnectionLost: "Make sure that port {port} of {host} is sshd's; if so, look into its log: sshd"
    " or a firewall cuts the connection",
    AuthenticationFailed: "Set SSH_USER, and SSH_PASSWORD or SSH_PRIVATE_KEY, as sshd on {host}"
    " accepts them",
    SshSecretUnreadable: "Correct the secret that SSH_SECRET_ARN names, or permit to read it",
    HostKeyChanged: _FORGET,
    SocketRefused: "Look whether Asterisk on {host} is starting, or its console overrun",
    NoAnswer: "Asterisk on {host} hangs or is starting: look at it",
    AsteriskUnavailable: "Start Asterisk on {host}, or correct SSH_USER, ASTERISK_SOCKET and"
    " ASTERISK_COMMAND",
    CommandRejected: "Load Asterisk's module for this command on {host}",
}


def remedy_of(code: str, host: str, settings: Settings) -> str:
    """Say what helps a host whose exchanges fail by an error of this code; empty: not known."""
    texts = (text for kind, text in _REMEDIES.items() if kind.code == code)
    return next(texts, "").format(host=host, port=settings.ssh_port)


class Verdict(NamedTuple):
    """What a step finds; its name makes it a finding."""

    state: State
    detail: str
    remedy: str = ""


class Step(NamedTuple):
    """What is looked at, how, and the step without which it cannot be."""

    name: str
    needs: str
    look: Callable[[], Awaitable[Verdict]]


class HostCheck:
    """One look at a host."""

    def __init__(self, pbx: Pbx, settings: Settings, keys: PinnedKeys, host: str) -> None:
        self._pbx = pbx
        self._settings = settings
        self._keys = keys
        self._host = host
        self._version: str | None = None
        self._unreadable: CdrUnreadable | None = None
        self._form = describe(b"")
        self._written_s: float | None = None
        self._has_shell = False
        self._steps = [
            Step("name", "", self._name),
            Step("port", "name", self._port),
            Step("host key", "port", self._host_key),
            Step("log-in", "host key", self._log_in),
            Step("console", "log-in", self._console),
            Step("version", "console", self._release),
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
        failed: set[str] = set()
        for name, needs, look in self._steps:
            if needs in failed:
                verdict = Verdict("skipped", f"cannot be looked at without {needs}")
            else:
                verdict = await self._verdict(look)
            if verdict.state in {"bad", "skipped"}:
                failed.add(name)
            yield Finding(name, *verdict)

    async def _verdict(self, look: Callable[[], Awaitable[Verdict]]) -> Verdict:
        try:
            return await look()
        except ServiceError as error:
            remedy = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), "")
            return Verdict("bad", error.reason, self._filled(remedy))
        except Exception as error:  # noqa: BLE001 - the other steps are wanted all the same
            return Verdict(
                "bad",
                f"the answer cannot be understood ({type(error).__name__})",
                self._filled("Look whether {host} has OpenSSH and Asterisk; if so, report this"),
            )

    def _filled(self, remedy: str) -> str:
        return remedy.format(host=self._host, port=self._settings.ssh_port)

    def _soon(self) -> Deadline:
        return Deadline.after(self._settings.ssh_connect_timeout_s)

    def _in_time(self) -> Deadline:
        # To connect anew, and to be answered.
        return Deadline.after(
            self._settings.ssh_connect_timeout_s + self._settings.command_timeout_s
        )

    async def _name(self) -> Verdict:
        try:
            addresses = await probing.resolve(self._pbx, self._host, self._soon())
        except (ConnectFailed, ConnectTimeout) as error:
            return Verdict("bad", error.reason, "Correct enterprises.ip, or the name in the DNS")
        if addresses == (self._host,):
            return Verdict("good", f"{self._host} is an address")
        return Verdict("good", f"{self._host} is {', '.join(addresses)}")

    async def _port(self) -> Verdict:
        await probing.reach_port(self._pbx, self._host, self._soon())
        return Verdict("good", f"TCP port {self._settings.ssh_port} answers")

    async def _host_key(self) -> Verdict:
        target = self._pbx.target(self._host)
        mode = self._settings.ssh_host_keys
        pinned = await self._keys.find(target.host, target.port)
        try:
            key = await probing.show_key(self._pbx, self._host, pinned, self._soon())
        except HostKeyChanged as error:
            shown = error.reason
        else:
            shown = fingerprint(key)
            if pinned is not None and key.split()[:2] == pinned.split()[:2]:
                return Verdict("good", f"{shown}, as pinned")
        if pinned is not None:
            state: State = "bad" if mode == "pin" else "warning"
            changed = f"changed: {shown}, and {fingerprint(pinned)} is pinned"
            return Verdict(state, changed, self._filled(_FORGET))
        new = f"new: {shown}"
        if mode == "known_hosts":
            return Verdict("good", f"{new}; SSH_KNOWN_HOSTS_FILE decides about it")
        if mode == "off":
            return Verdict("warning", f"{new}; nobody insists on it", "Set SSH_HOST_KEYS=pin")
        return Verdict(
            "warning",
            f"{new}; the first log-in, which comes now, pins it",
            "Compare it with `ssh-keygen -lf` of the key's file in /etc/ssh on the PBX",
        )

    async def _log_in(self) -> Verdict:
        try:
            await probing.log_in(self._pbx, self._host, self._in_time())
        except (ConnectFailed, HostKeyChanged) as error:
            if self._settings.ssh_host_keys != "known_hosts":
                raise
            remedy = "Let SSH_KNOWN_HOSTS_FILE be readable, and have the key of [{host}]:{port}"
            return Verdict("bad", error.reason, self._filled(remedy))
        if self._settings.ssh_private_key.get_secret_value():
            self._steps.append(Step("shell", "", self._shell))
        return Verdict("good", "the PBX lets us in")

    async def _console(self) -> Verdict:
        told = await self._pbx.ask(self._host, client.load_version, self._in_time())
        state = self._pbx.state(self._host)
        self._version = state.version or told
        if state.transport == "socket":
            return Verdict("good", "control socket: milliseconds a command")
        if self._settings.asterisk_transport == "exec":
            return Verdict("good", "`asterisk -rx`, as ASTERISK_TRANSPORT has it")
        return Verdict(
            "warning",
            f"`asterisk -rx`, slower by hundreds of milliseconds: {self._settings.asterisk_socket}"
            " is refused",
            "Permit sshd's AllowStreamLocalForwarding (no DisableForwarding, AllowTcpForwarding"
            " yes), let SSH_USER open the socket, or correct ASTERISK_SOCKET",
        )

    async def _release(self) -> Verdict:
        release = parse_release(self._version or "")
        if release is None:
            return Verdict(
                "warning",
                f"{(self._version or 'not told')[:60]}: no release that is known",
                f"Make sure that it is {OLDEST.branch} or newer",
            )
        said = f"{(self._version or '')[:60]}, {how_tried(release)}"
        if release < OLDEST:
            remedy = f"Use Asterisk {OLDEST.branch} or newer"
            return Verdict("bad", f"{said}; older than {OLDEST.branch}", remedy)
        if blocks_console(release):
            return Verdict(
                "warning",
                f"{said}; up to 11 `channel originate` holds its console until the extension"
                f" answers, so that {self._most_ringing()} calls may ring at once",
                "Let it be if that is enough; by the control socket more may ring than by"
                " `asterisk -rx`, with Asterisk 12 or newer as many as you like",
            )
        return Verdict("good", said)

    def _most_ringing(self) -> int:
        used = self._pbx.state(self._host).transport
        return min(way.most_blocked for way in TRANSPORTS if used in {way.name, None})

    async def _drivers(self) -> Verdict:
        found = await self._pbx.ask(self._host, client.load_technologies, self._in_time())
        known = ", ".join(technology.value for technology in DRIVERS if technology in found)
        wanted = self._settings.channel_technology
        if not known:
            return Verdict("bad", "no SIP, PJSIP or IAX2", "Load chan_sip, chan_pjsip or chan_iax2")
        if wanted != "auto" and Technology(wanted) not in found:
            remedy = "Set CHANNEL_TECHNOLOGY=auto"
            return Verdict("bad", f"{known}, and CHANNEL_TECHNOLOGY is {wanted}", remedy)
        return Verdict("good", known)

    async def _context(self) -> Verdict:
        context = Context(self._settings.dialplan_context)
        question = partial(client.has_context, context=context)
        if await self._pbx.ask(self._host, question, self._in_time()):
            return Verdict("good", f"{context.name} is in the dialplan")
        return Verdict(
            "bad",
            f"the dialplan has no context {context.name}",
            "Set DIALPLAN_CONTEXT to the one that the extensions' phones dial in",
        )

    async def _records(self) -> Verdict:
        match await self._pbx.ask(self._host, client.load_cdr_mode, self._in_time()):
            case "off":
                return Verdict(
                    "bad",
                    "Asterisk writes none to a file: no history, and no call's true end",
                    "Load cdr_csv, and set enable=yes in cdr.conf",
                )
            case "batch":
                return Verdict(
                    "warning",
                    "written in batches: a call's end is corrected late",
                    "Set batch=no in cdr.conf",
                )
        return Verdict("good", "written as each call ends")

    async def _sftp(self) -> Verdict:
        try:
            piece = await self._pbx.read_file(
                self._host, self._settings.cdr_file, -_TAIL_BYTES, _TAIL_BYTES, self._in_time()
            )
        except CdrUnreadable as error:
            if not probing.has_sftp(error):
                remedy = "Give sshd its `Subsystem sftp internal-sftp`, and the user MaxSessions"
                return Verdict("bad", error.reason, remedy)
            self._unreadable = error
        else:
            self._form = describe(piece.data, piece.offset)
            self._written_s = piece.written_s
        return Verdict("good", "files can be read")

    async def _records_file(self) -> Verdict:
        path = self._settings.cdr_file
        if self._unreadable is not None:
            return Verdict("bad", *split_remedy(self._unreadable.reason, "Set CDR_FILE"))
        form = self._form
        lines = form.records + form.skipped
        said = f"{path}: {form.records} of its last {lines} lines are records"
        if not lines:
            return Verdict("good", f"{path} has no line yet")
        if form.skipped:
            state: State = "warning" if form.records else "bad"
            remedy = "Set CDR_FILE to cdr_csv's own file, whose columns are Asterisk's defaults"
            return Verdict(state, said, remedy)
        said = f"{said}, of {form.columns} columns"
        zone_s = _zone_s(form, self._written_s)
        if zone_s is None:
            return Verdict(
                "bad",
                f"{said}; none tells its zone, so no history and no call's true end can be told",
                "Set loguniqueid=yes in the section [csv] of cdr.conf",
            )
        return Verdict("good", f"{said}, in the zone {_zone(zone_s)}")

    async def _disk(self) -> Verdict:
        # The folder's: before the first call there is no file.
        folder = str(PurePosixPath(self._settings.cdr_file).parent)
        try:
            space = await self._pbx.load_space(self._host, folder, self._in_time())
        except CdrUnreadable:
            return Verdict("skipped", f"sshd does not tell the room of {folder}")
        if not space.total:
            return Verdict("skipped", f"sshd does not tell the room of {folder}")
        said = f"{space.free // _MIB} of {space.total // _MIB} MiB are free in {folder}"
        remedy = self._filled(_TIDY)
        if space.free < _FULL_BYTES:
            return Verdict("bad", f"{said}: call records are lost", remedy)
        if space.files == 0:
            return Verdict("warning", f"no more files can be made in {folder}", remedy)
        if space.free < _LITTLE_BYTES:
            return Verdict("warning", f"{said}: call records end soon", remedy)
        return Verdict("good", said)

    async def _clock(self) -> Verdict:
        ahead_s = await probing.clock_ahead_s(self._pbx, self._host, self._in_time())
        self._has_shell = ahead_s is not None
        if ahead_s is None:
            return Verdict("skipped", "no shell is permitted that tells the time")
        if abs(ahead_s) <= _CLOCK_TOLERANCE_S:
            return Verdict("good", "as this machine's, within 2 s")
        way = "ahead of" if ahead_s > 0 else "behind"
        return Verdict(
            "warning",
            f"{abs(ahead_s):.0f} s {way} this machine's: times of calls and records disagree",
            "Let NTP set both clocks",
        )

    async def _shell(self) -> Verdict:
        if not self._has_shell:
            return Verdict(
                "good", "none for our key: Asterisk's console and files are all it opens"
            )
        if self._pbx.state(self._host).transport == "exec":
            return Verdict("good", "our key runs `asterisk -rx`, which needs one")
        return Verdict(
            "warning",
            "our key may run any command on the PBX, and needs none",
            'Put `restrict,port-forwarding,command="internal-sftp -R"` before it in authorized_keys'
            " on the PBX, restrict first",
        )


def _zone_s(form: Form, written_s: float | None) -> int | None:
    """Tell the zone of a file's times: as its records do, or the time of its last writing."""
    if form.zone_s is not None or form.last is None or written_s is None:
        return form.zone_s
    return zone_of_writing(form.last, written_s)


def _zone(seconds: int) -> str:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"UTC{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"

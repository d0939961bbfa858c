"""What `check` can say of a PBX, in the order of its steps, as docs/check.md has it.

Gaps are in braces; where the PBX chooses the words, the whole line is one.
"""

from __future__ import annotations

from shared.errors import (
    AsteriskUnavailable,
    AuthenticationFailed,
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
from shared.operate.findings import Line

NAME_MISSING = Line("name", "skipped", "cannot be looked at without ip")
NAME_ADDRESS = Line("name", "good", "{host} is an address")
NAME_RESOLVED = Line("name", "good", "{host} is {addresses}")
NAME_UNKNOWN = Line("name", "bad", "{reason}", "Correct enterprises.ip, or the name in the DNS")
PORT = Line("port", "good", "TCP port {port} answers")
_FORGET = (
    "If the PBX was really re-installed, ./asterisk.sh forget-host-key {host}; if not, find out"
    " who answers in its place"
)
KEY_PINNED = Line("host key", "good", "{shown}, as pinned")
KEY_CHANGED = Line("host key", "bad", "changed: {shown}, and {pinned} is pinned", _FORGET)
KEY_CHANGED_UNHEEDED = Line(
    "host key", "warning", "changed: {shown}, and {pinned} is pinned", _FORGET
)
KEY_KNOWN_HOSTS = Line("host key", "good", "new: {shown}; SSH_KNOWN_HOSTS_FILE decides about it")
KEY_UNHEEDED = Line(
    "host key",
    "warning",
    "new: {shown}; nobody insists on it",
    "Set SSH_HOST_KEYS=pin",
)
KEY_NEW = Line(
    "host key",
    "warning",
    "new: {shown}; the first log-in, which comes now, pins it",
    "Compare it with `ssh-keygen -lf` of the key's file in /etc/ssh on the PBX",
)
LOG_IN = Line("log-in", "good", "the PBX lets us in")
LOG_IN_UNKNOWN_KEY = Line(
    "log-in",
    "bad",
    "{reason}",
    "Let SSH_KNOWN_HOSTS_FILE be readable, and have the key of [{host}]:{port}",
)

_LET_OPEN = (
    "Let SSH_USER open it: in asterisk.conf [files] astctlpermissions=0660 and astctlgroup, a group"
    " of Asterisk's own user, and SSH_USER in it too; or have ASTERISK_COMMAND go by sudo"
)
_PERMIT = (
    "Permit sshd's AllowStreamLocalForwarding (no DisableForwarding, AllowTcpForwarding yes), and"
    " port-forwarding where authorized_keys restricts the key"
)
CONSOLE_SOCKET = Line("console", "good", "control socket: milliseconds a command")
CONSOLE_EXEC = Line("console", "good", "`asterisk -rx`, as ASTERISK_TRANSPORT has it")
_SLOWER = "`asterisk -rx`, slower by hundreds of milliseconds: "
SLOWER_FORBIDDEN = Line(
    "console", "warning", _SLOWER + "sshd does not forward to {socket}", _PERMIT
)
SLOWER_DENIED = Line("console", "warning", _SLOWER + "SSH_USER may not open {socket}", _LET_OPEN)
SLOWER_ELSEWHERE = Line(
    "console",
    "warning",
    _SLOWER + "the PBX has no {socket}",
    "Correct ASTERISK_SOCKET: asterisk.ctl, where `core show settings` has its socket directory",
)
STOPPED = Line(
    "console",
    "bad",
    "Asterisk is stopped: nobody listens on its control socket",
    "Start Asterisk on {host}",
)
NO_SOCKET = Line(
    "console",
    "bad",
    "Asterisk is stopped, or its control socket is elsewhere: the PBX has no {socket}",
    "Start Asterisk on {host}, or correct ASTERISK_SOCKET",
)
SOCKET_DENIED = Line(
    "console",
    "bad",
    "SSH_USER may not open {socket}, and `{command} -rx` does not work either",
    _LET_OPEN,
)
COMMAND_FAILED = Line(
    "console",
    "bad",
    "{reason}",
    "Correct ASTERISK_COMMAND, or what SSH_USER may run on {host}",
)
NO_WAY = Line(
    "console",
    "bad",
    "{reason}",
    "Start Asterisk on {host}, and permit sshd's AllowStreamLocalForwarding, or have"
    " ASTERISK_COMMAND work",
)
NO_WAY_TOLD = Line(
    "console",
    "bad",
    "the PBX refuses {socket}, and no shell is permitted that tells why",
    "Start Asterisk on {host}; else permit sshd's AllowStreamLocalForwarding, and the key's"
    " port-forwarding; else let SSH_USER open the socket",
)
HANGS = Line("console", "bad", "{reason}", "Asterisk on {host} hangs or is starting: look at it")

VERSION = Line("version", "good", "{version}, {tried}")
VERSION_UNKNOWN = Line(
    "version",
    "warning",
    "{version}: no release that is known",
    "Make sure that it is {oldest} or newer",
)
VERSION_OLD = Line(
    "version",
    "bad",
    "{version}, {tried}; older than {oldest}",
    "Use Asterisk {oldest} or newer",
)
VERSION_BLOCKS = Line(
    "version",
    "warning",
    "{version}, {tried}; up to 11 `channel originate` holds its console until the extension"
    " answers, so that {most} calls may ring at once",
    "Let it be if that is enough; by the control socket more may ring than by `asterisk -rx`, with"
    " Asterisk 12 or newer as many as you like",
)
ORIGINATE = Line("originate", "good", "`channel originate` is there, and ours to run")
ORIGINATE_MISSING = Line(
    "originate",
    "bad",
    "Asterisk has no `channel originate`: no call can be placed",
    "Load its module res_clioriginate, and have modules.conf load it",
)
ORIGINATE_DENIED = Line(
    "originate",
    "bad",
    "Asterisk does not permit SSH_USER `channel originate`: no call can be placed",
    "Permit it in cli_permissions.conf",
)
DRIVERS = Line("channel drivers", "good", "{known}")
NO_DRIVER = Line(
    "channel drivers",
    "bad",
    "no SIP, PJSIP or IAX2",
    "Load chan_sip, chan_pjsip or chan_iax2",
)
OTHER_DRIVER = Line(
    "channel drivers",
    "bad",
    "{known}, and CHANNEL_TECHNOLOGY is {wanted}",
    "Set CHANNEL_TECHNOLOGY=auto",
)
CONTEXT = Line("dialplan context", "good", "{context} is in the dialplan")
NO_CONTEXT = Line(
    "dialplan context",
    "bad",
    "the dialplan has no context {context}",
    "Set DIALPLAN_CONTEXT to the one that the extensions' phones dial in",
)
RECORDS = Line("call records", "good", "written as each call ends")
RECORDS_OFF = Line(
    "call records",
    "bad",
    "Asterisk writes none to a file: no history, and no call's true end",
    "Load cdr_csv, and set enable=yes in cdr.conf",
)
RECORDS_BATCH = Line(
    "call records",
    "warning",
    "written in batches: a call's end is corrected late",
    "Set batch=no in cdr.conf",
)
SFTP = Line("SFTP", "good", "files can be read")
_SFTP_REMEDY = "Give sshd its `Subsystem sftp internal-sftp`, and the user MaxSessions"
NO_SFTP = Line("SFTP", "bad", "{reason}", _SFTP_REMEDY)
FILE_UNREADABLE = Line("records file", "bad", "{reason}", "{remedy}")
FILE_EMPTY = Line("records file", "good", "{path} has no line yet")
FILE = Line(
    "records file",
    "good",
    "{path}: {records} of its last {lines} lines are records, of {columns} columns, in the zone"
    " {zone}",
)
_OWN_FILE = "Set CDR_FILE to cdr_csv's own file, whose columns are Asterisk's defaults"
FILE_MIXED = Line(
    "records file",
    "warning",
    "{path}: {records} of its last {lines} lines are records",
    _OWN_FILE,
)
FILE_OTHER = Line(
    "records file",
    "bad",
    "{path}: {records} of its last {lines} lines are records",
    _OWN_FILE,
)
FILE_WITHOUT_ZONE = Line(
    "records file",
    "bad",
    "{path}: {records} of its last {lines} lines are records, of {columns} columns; none tells its"
    " zone, so no history and no call's true end can be told",
    "Set loguniqueid=yes in the section [csv] of cdr.conf",
)
_TIDY = "Delete old logs and recordings on {host}, and have logrotate do so"
DISK = Line("disk", "good", "{free} of {total} MiB are free in {folder}")
DISK_FULL = Line(
    "disk",
    "bad",
    "{free} of {total} MiB are free in {folder}: call records are lost",
    _TIDY,
)
DISK_NO_FILES = Line("disk", "warning", "no more files can be made in {folder}", _TIDY)
DISK_LITTLE = Line(
    "disk",
    "warning",
    "{free} of {total} MiB are free in {folder}: call records end soon",
    _TIDY,
)
DISK_NO_SFTP = Line("disk", "bad", "{reason}", _SFTP_REMEDY)
DISK_UNKNOWN = Line("disk", "skipped", "sshd does not tell the room of {folder}")
CLOCK = Line("clock", "good", "as this machine's, within 2 s")
CLOCK_WRONG = Line(
    "clock",
    "warning",
    "{off} s {way} this machine's: times of calls and records disagree",
    "Let NTP set both clocks",
)
CLOCK_UNKNOWN = Line("clock", "skipped", "no shell is permitted that tells the time")
CLOCK_SILENT = Line(
    "clock",
    "warning",
    "the PBX's shell does not tell the time in time",
    "Look whether {host} is overloaded, or has a command that does not end in its shell's place",
)
SHELL_NONE = Line(
    "shell", "good", "none for our key: Asterisk's console and files are all it opens"
)
SHELL_NEEDED = Line("shell", "good", "our key runs `asterisk -rx`, which needs one")
SHELL_OPEN = Line(
    "shell",
    "warning",
    "our key may run any command on the PBX, and needs none",
    'Put `restrict,port-forwarding,command="internal-sftp -R"` before it in authorized_keys on the'
    " PBX, restrict first",
)
# Any step of a PBX

SKIPPED = Line("any step", "skipped", "cannot be looked at without {needs}")
FAILED = Line("any step", "bad", "{reason}", "{remedy}")
NOT_UNDERSTOOD = Line(
    "any step",
    "bad",
    "the answer cannot be understood ({error})",
    "Look whether {host} has OpenSSH and Asterisk; if so, report this",
)
# What helps where a step fails by an error of the service's own, whose reason is the detail.
REMEDIES: dict[type[ServiceError], str] = {
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
    CommandRejected: "Load Asterisk's module for this command on {host}, or permit the command in"
    " cli_permissions.conf",
}

"""What `check` can say of the settings, the database and the enterprises, as docs/check.md has it.

Gaps are in braces; where the database chooses the words, the whole line is one.
"""

from __future__ import annotations

from shared.operate.findings import Line

# The settings

DOUBT = Line("settings", "warning", "{doubt}")
READ_ON_THE_WAY = Line(
    "settings", "warning", "{said}", "Set POSTGRES_TLS=verify, and POSTGRES_CA_FILE"
)
TOLLS = Line(
    "tolls",
    "warning",
    "{off} off: whoever has an enterprise's secret may place {count} calls in {per_s} s{where}",
    "Set e.g. {set}",
)

# The database

DATABASE = Line("database", "good", "PostgreSQL answers, and schema callapi is complete")
DATABASE_AWAY = Line("database", "bad", "{said}", "Start it, or correct the settings POSTGRES_*")
SCHEMA = Line("schema", "bad", "{said}", "{remedy}")
ENTERPRISE_UNKNOWN = Line("enterprise", "skipped", "cannot be looked at without the database")

# All enterprises

ONE_PASSWORD = Line(
    "password",
    "warning",
    "SSH_PASSWORD logs in to {hosts} hosts: whoever breaks into one learns it",
    "Use SSH_PRIVATE_KEY, a key of this service's own, and unset SSH_PASSWORD",
)
NUMBERS_REFUSED = Line(
    "numbers",
    "bad",
    "{rows} active enterprises have the number {number} once it is trimmed: their requests are"
    " refused",
    "Give each a number of its own, without spaces around it",
)
NUMBERS_MIXED = Line(
    "numbers",
    "warning",
    "{rows} active enterprises have the number {number} once it is trimmed: their calls and rules"
    " are taken for one's",
    "Give each a number of its own, without spaces around it",
)

# One enterprise

NONE_ACTIVE = Line("enterprise", "bad", "none is active", "Set active to true for whoever may call")
NO_SUCH_NUMBER = Line("enterprise", "bad", "there is no number {number}", "{nearest}")
ENTERPRISE = Line("enterprise", "good", "{number} {name}, ip {ip}, active")
NO_IP = Line(
    "enterprise",
    "bad",
    "{number} {name}, ip missing",
    "Set its ip to the address of its PBX",
)
NOT_ACTIVE = Line(
    "enterprise",
    "bad",
    "{number} {name}, ip {ip}, not active: its requests are refused",
    "Set active to true if it may call",
)
SECRET_SHARED = Line(
    "secret",
    "bad",
    "{holders} active enterprises have it: all of them are refused",
    "Give each a secret of its own",
)
SECRET_ENDED = Line(
    "secret",
    "bad",
    "it has ended, and there is no other: every request is refused",
    "./asterisk.sh keys {number} add",
)
SECRET_REFUSED = Line(
    "secret",
    "bad",
    "{length}: it is refused (SECRET_MIN)",
    "Give it one of {good} random characters or more",
)
SECRET_UNUSED = Line(
    "secret",
    "warning",
    "{length}: it is refused (SECRET_MIN)",
    "Give it one of {good} random characters or more",
)
SECRET_WEAK = Line(
    "secret",
    "warning",
    "{length}: it can be guessed",
    "Give it one of {good} random characters or more",
)
SECRET_IN_URL = Line(
    "secret",
    "warning",
    "sent in the URL, where logs and proxies keep it; requests: {times}, last {at}",
    "Have it sent as the header `Authorization: Bearer`",
)
DIALLING_STOPPED = Line(
    "dialling",
    "warning",
    "stopped by an operator",
    "./asterisk.sh rules {number} --dialling on",
)
NEIGHBOURS = Line(
    "neighbours", "good", "treated as one PBX with {named}, by address, host key or Asterisk"
)
NEIGHBOURS_REFUSED = Line(
    "neighbours",
    "warning",
    "treated as one PBX with {named}, by address, host key or Asterisk: monitoring, transfers,"
    " history and extension states are refused",
    "Name its extensions (./asterisk.sh rules {number} --extensions ...); PBXs that are clones need"
    " host keys of their own",
)

"""Texts of Asterisk 11, 13, 16 and 22, word for word as their consoles print them."""

from demo.pbx.profiles import Profile

UNABLE = "Unable to connect to remote asterisk (does /var/run/asterisk/asterisk.ctl exist?)\n"
RESET = "read() failed: Connection reset by peer\n"

ORIGINATE_USAGE = """\
  There are two ways to use this command. A call can be originated between a
channel and a specific application, or between a channel and an extension in
the dialplan. This is similar to call files or the manager originate action.
Calls originated with this command are given a timeout of 30 seconds.

Usage1: channel originate <tech/data> application <appname> [appdata]
  This will originate a call between the specified channel tech/data and the
given application. Arguments to the application are optional. If the given
arguments to the application include spaces, all of the arguments to the
application need to be placed in quotation marks.

Usage2: channel originate <tech/data> extension [exten@][context]
  This will originate a call between the specified channel tech/data and the
given extension. If no context is specified, the 'default' context will be
used. If no extension is given, the 's' extension will be used.
"""
NO_CHANNEL_DATA = "*** No data provided after channel type! ***\n"
VERSION_USAGE = """\
Usage: core show version
       Shows Asterisk version information.
"""
UPTIME_USAGE = """\
Usage: core show uptime [seconds]
       Shows Asterisk uptime information.
       The seconds word returns the uptime in seconds only.
"""
CHANNELTYPES_USAGE = """\
Usage: core show channeltypes
       Lists available channel types registered in your
       Asterisk server.
"""
CHANNEL_USAGE = """\
Usage: core show channel <channel>
       Shows lots of information about the specified channel.
"""
CHANNELS_USAGE = """\
Usage: core show channels [concise|verbose|count]
       Lists currently defined channels and some information about them. If
       'concise' is specified, the format is abridged and in a more easily
       machine parsable format. If 'verbose' is specified, the output includes
       more and longer fields. If 'count' is specified only the channel and call
       count is output.
"""
CHANNELS_USAGE_16 = """\
\tThe 'concise' option is deprecated and will be removed from future versions
\tof Asterisk.
"""
CALLS_USAGE = """\
Usage: core show calls [uptime [seconds]]
       Lists number of currently active calls and total number of calls
       processed through PBX since last restart. If 'uptime' is specified
       the system uptime is also displayed. If 'seconds' is specified in
       addition to 'uptime', the system uptime is displayed in seconds.
"""
DIALPLAN_USAGE = """\
Usage: dialplan show [[exten@]context]
       Show dialplan
"""
HINT_USAGE = """\
Usage: core show hint <exten>
       List registered hint.
       Hint details are shown in five columns. In order from left to right, they are:
       1. Hint extension URI.
       2. List of mapped device or presence state identifiers.
       3. Current extension state. The aggregate of mapped device states.
       4. Current presence state for the mapped presence state provider.
       5. Watchers - number of subscriptions and other entities watching this hint.
"""
REDIRECT_USAGE = """\
Usage: channel redirect <channel> <[[context,]exten,]priority>
    Redirect an active channel to a specified extension.
"""

HANGUP_USAGE_16 = """\
Usage: channel request hangup <channel>|<all>
       Request that a channel be hung up. The hangup takes effect
       the next time the driver reads or writes from the channel.
       If 'all' is specified instead of a channel name, all channels
       will see the hangup request.
"""

HANGUP_USAGE_22 = """\
Usage: channel request hangup <all>|<channel> [<channel> ...]
       Request that one or more channels be hung up. The hangup takes
       effect the next time the driver reads or writes from the channel.

       If 'all' is specified instead of a channel name, all channels
       will see the hangup request.

       A POSIX Extended Regular Expression can be provided in the place
       of a fixed channel name by wrapping it in forward slashes
       (e.g. /^PJSIP.*/). Note that the expression will match any part
       of the channel name unless anchored explicitly by ^ and/or $.

       Finally, wildcards (*) and other glob-like characters can also
       be used to match more than one channel. Similar to how path globs
       behave, a forward slash cannot be matched with a wildcard or
       bracket expression. In other words, if you want to hangup all
       Local channels, you must specify Local/* and not Loc*.
"""

# Later versions have more settings; the blank behind `(suspended)` is Asterisk's own.
_SOURCE_CDR_STATUS = """
Call Detail Record (CDR) settings
----------------------------------
  Logging:                    Enabled
  Mode:                       Simple
  Log unanswered calls:       No
  Log congestion:             No

* Registered Backends
  -------------------
    csv
    cdr-custom

"""
CDR_STATUS = {
    "11": _SOURCE_CDR_STATUS,
    "13": _SOURCE_CDR_STATUS,
    "16": """
Call Detail Record (CDR) settings
----------------------------------
  Logging:                    Enabled
  Mode:                       Simple
  Log calls by default:       Yes
  Log unanswered calls:       No
  Log congestion:             No

* Registered Backends
  -------------------
    Adaptive ODBC
    cdr_manager (suspended)\x20
    csv
    cdr-custom

""",
    "22": """
Call Detail Record (CDR) settings
----------------------------------
  Logging:                    Enabled
  Mode:                       Simple
  Log calls by default:       Yes
  Log unanswered calls:       No
  Log congestion:             No

  Ignore bridging changes:    No

  Ignore dial state changes:  No

  Cancel disposition enabled: No

* Registered Backends
  -------------------
    Adaptive ODBC
    cdr_manager (suspended)\x20
    csv

""",
}

_UNITS = {
    "year": 31_536_000,
    "week": 604_800,
    "day": 86_400,
    "hour": 3600,
    "minute": 60,
    "second": 1,
}
_WIDE = "{:<15}  {:<40.40} {:<13} {:<13} {:<13} {:<13}\n"
_NARROW = "{:<15}  {:<40.40} {:<12} {:<12} {:<12}\n"
_RECORDER = ("Recorder", "Bridge Media Recording Channel Driver", "no", "no", "yes", "no")
_ANNOUNCER = ("Announcer", "Bridge Media Announcing Channel Driver", "no", "no", "yes", "no")
_CONFERENCE = (
    ("CBAnn", "Conference Bridge Announcing Channel", "no", "no", "yes", "no"),
    ("CBRec", "Conference Bridge Recording Channel", "no", "no", "no", "no"),
)
_NEW = (
    ("AudioSocket", "AudioSocket Channel Driver", "no", "no", "no", "no"),
    ("WebSocket", "Media over WebSocket Channel Driver", "no", "no", "no", "no"),
)
_UNICAST = ("UnicastRTP", "Unicast RTP Media Channel Driver", "no", "no", "no", "no")
_MULTICAST = ("MulticastRTP", "Multicast RTP Paging Channel Driver", "no", "no", "no", "no")
_LOCAL = ("Local", "Local Proxy Channel Driver", "yes", "no", "yes", "no")
_BRIDGE = ("Bridge", "Bridge Interaction Channel", "no", "no", "no", "no")
_AGENT = ("Agent", "Call Agent Proxy Channel", "yes", "no", "yes", "no")
_SURROGATE = ("Surrogate", "Surrogate channel used to pull channel frame", "no", "no", "no", "no")
_SIP = ("SIP", "Session Initiation Protocol (SIP)", "yes", "no", "yes", "yes")
_PJSIP = ("PJSIP", "PJSIP Channel Driver", "yes", "no", "yes", "yes")
_BASE = (_RECORDER, _ANNOUNCER, *_CONFERENCE)
_CHANNEL_TYPES = {
    "11": (_MULTICAST, _LOCAL, _BRIDGE, _SIP, _AGENT),
    "13": (_RECORDER, _ANNOUNCER, _UNICAST, _MULTICAST, _SIP, _LOCAL, _SURROGATE),
    "16": (*_BASE, _UNICAST, _MULTICAST, _SIP, _LOCAL, _SURROGATE),
    "22": (*_BASE, *_NEW, _UNICAST, _MULTICAST, _PJSIP, _LOCAL, _SURROGATE),
}


def settings(profile: Profile, entity_id: str, uuid: str) -> str:
    """What `core show settings` tells of who it is; `uuid` is another one after each start."""
    lines = {
        "Version": profile.version,
        "System name": "",
        "Entity ID": entity_id,
        **({} if profile.old else {"PBX UUID": uuid}),
    }
    told = "".join(f"  {f'{name}:':<28} {value}\n" for name, value in lines.items())
    return f"\nPBX Core settings\n-----------------\n{told}\n"


def in_words(seconds: int) -> str:
    """A span of time as Asterisk tells it; an exact minute is 60 seconds to it."""
    parts = []
    for unit, size in _UNITS.items():
        count = seconds // size if seconds > size or size == 1 else 0
        seconds -= count * size
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return ", ".join(parts)


def channel_types(profile: Profile) -> str:
    """What `core show channeltypes` prints; up to 13 without presence."""
    rows = _CHANNEL_TYPES[profile.name]
    head = ("Type", "Description", "Devicestate", "Presencestate", "Indications", "Transfer")
    if profile.source:
        lines = (head, ["-" * 11] * 6, *rows)
        body = "".join(_NARROW.format(*line[:3], *line[4:]) for line in lines)
    else:
        body = "".join(_WIDE.format(*line) for line in (head, ["-" * 13] * 6, *rows))
    return f"{body}----------\n{len(rows)} channel drivers registered.\n"

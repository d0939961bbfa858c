"""How many devices a channel driver has, and how many of them can be reached; pure.

A count is there where the driver's whole list is in the form that is known, or it is missing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Asterisk counts by a C int; ten digits are more, and none of its lists is a tenth as long.
_SIP = re.compile(
    r"^([0-9]{1,7}) sip peers \[Monitored: ([0-9]{1,7}) online, ([0-9]{1,7}) offline"
    r" Unmonitored: ([0-9]{1,7}) online, ([0-9]{1,7}) offline\]$",
    re.MULTILINE,
)
_IAX2 = re.compile(
    r"^([0-9]{1,7}) iax2 peers \[([0-9]{1,7}) online, ([0-9]{1,7}) offline,"
    r" ([0-9]{1,7}) unmonitored\]$",
    re.MULTILINE,
)
_PJSIP = re.compile(r"^Objects found: ([0-9]{1,7})$", re.MULTILINE)
# The legend above the rows has the same words, in angle brackets.
_PJSIP_ROW = re.compile(
    r"^ Endpoint:  [^\s<]\S{0,200} +(Not in use|In use|Busy|Ringing|Ring\+Inuse|On Hold"
    r"|Unavailable|Unknown|Invalid) +[0-9]{1,6} of (?:inf|[0-9]{1,6})$",
    re.MULTILINE,
)
_NO_STATE = frozenset({"Unknown", "Invalid"})


class Endpoints(NamedTuple):
    """All of them; those that were heard of where they are, and those that were not.

    Of what nobody asks whether it is there, IAX2 tells neither.
    """

    total: int
    online: int
    offline: int


def count_sip(text: str) -> Endpoints | None:
    """Parse what `sip show peers` ends with; one that is registered and not asked is online."""
    found = _SIP.findall(text)
    if len(found) != 1:
        return None
    total, *states = map(int, found[0])
    return _whole(total, states[0] + states[2], states[1] + states[3])


def count_iax2(text: str) -> Endpoints | None:
    """Parse what `iax2 show peers` ends with."""
    found = _IAX2.findall(text)
    if len(found) != 1:
        return None
    total, online, offline, unmonitored = map(int, found[0])
    return _whole(total, online, offline, unmonitored)


def count_pjsip(text: str) -> Endpoints | None:
    """Parse `pjsip list endpoints`: every row, and how many there were to be."""
    found = _PJSIP.findall(text)
    if not found and "\nNo objects found.\n" in f"\n{text}":
        return Endpoints(0, 0, 0)
    if len(found) != 1:
        return None
    states = _PJSIP_ROW.findall(text)
    unknown = sum(state in _NO_STATE for state in states)
    offline = states.count("Unavailable")
    return _whole(int(found[0]), len(states) - unknown - offline, offline, unknown)


def _whole(total: int, online: int, offline: int, others: int = 0) -> Endpoints | None:
    """Make one, unless its parts are not the whole."""
    return Endpoints(total, online, offline) if online + offline + others == total else None

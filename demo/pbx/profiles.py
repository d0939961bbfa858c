"""The versions of Asterisk that the stand-in imitates, and what tells them apart.

Each was recorded: 16 and 22 as Debian ships them, 11 and 13 built from source. What they printed
and how calls went is in tests/transcripts, and the conformance tests hold the stand-in to it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """Where a host has its agents and customers, its control socket, its call detail records."""

    context: str = "inoffice"
    socket: str = "/var/run/asterisk/asterisk.ctl"
    cdr_file: str = "/var/log/asterisk/cdr-csv/Master.csv"


@dataclass(frozen=True, slots=True)
class Profile:
    """One version.

    Attributes:
        name: What callers pick it by.
        version: What its banner tells.
        built: The rest of `core show version`.
        technology: SIP for chan_sip, PJSIP for chan_pjsip.
        old: Up to 11: an originate blocks its console, channels have peers and no bridges, a
            phone takes its Local channel's place, and each calling channel has one record.
        source: Built from source, with the smaller dialplan and phones that it was recorded with.
        places: Where its host has what.
    """

    name: str
    version: str
    built: str
    technology: str = "SIP"
    old: bool = False
    source: bool = False
    places: Places = Places()


_SOURCE = "root @ vm on a x86_64 running Linux on"
_DEBIAN = "nobody @ buildd.debian.org on a unknown running Linux on"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("11", "11.25.3", f"{_SOURCE} 2026-11-26 01:11:02 UTC", old=True, source=True),
        Profile("13", "13.38.3", f"{_SOURCE} 2026-11-26 01:03:03 UTC", source=True),
        Profile(
            "16",
            "16.28.0~dfsg-0+deb11u4",
            f"{_DEBIAN} 2024-01-04 17:58:50 UTC",
        ),
        Profile(
            "22",
            "22.10.1+dfsg+~cs6.17.60671434-1",
            f"{_DEBIAN} 2026-07-20 21:35:32 UTC",
            technology="PJSIP",
        ),
    )
}

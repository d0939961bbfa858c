"""What Asterisk prints, as values. Pure; tested on transcripts of Asterisk 16 and 22."""

from __future__ import annotations

import re

from shared.asterisk.models import Banner, CdrMode, Channel, DialplanAnswer, Technology

_CONCISE_FIELDS = 14
_SENTINEL = re.compile(r"^System uptime: \d+\n(?:Last reload: \d+\n)?", re.MULTILINE)
# Any line with a priority 1 counts, whatever its label: a doubtful extension is dialled, only
# one that is certainly absent is refused. A hint alone has no priority and rings nobody.
_PRIORITY_ONE = re.compile(r"\s1\. ")


def parse_banner(line: str) -> Banner | None:
    """Parse the line `HOST/PID/VERSION`; None for `No more connections allowed` and the like."""
    match = re.fullmatch(r"([^/\n]+)/(\d+)/([^\n]+)\n", line)
    return Banner(match[1], int(match[2]), match[3]) if match else None


def split_replies(text: str) -> tuple[str, ...]:
    """Split a conversation at its sentinels; what follows the last one is not acknowledged."""
    return tuple(_SENTINEL.split(text)[:-1])


def parse_channels(text: str) -> tuple[Channel, ...]:
    """Parse `core show channels concise`.

    Fields are separated by `!` and never escaped, so a `!` in an application's data is told from
    a separator by counting from both ends. One reply may list a channel twice (seen on 22): the
    later row holds.
    """
    channels: dict[str, Channel] = {}
    for line in text.splitlines():
        fields = line.split("!")
        if len(fields) < _CONCISE_FIELDS:
            continue
        name, context, extension, _priority, state, application = fields[:6]
        caller, _account, _peer, _flags, duration, bridge, uniqueid = fields[-7:]
        channels[uniqueid] = Channel(
            name=name,
            context=context,
            extension=extension,
            state=state,
            application=application,
            data="!".join(fields[6:-7]),
            caller=caller,
            duration_s=int(duration) if duration.isdecimal() else 0,
            bridge=bridge,
            uniqueid=uniqueid,
        )
    return tuple(channels.values())


def parse_technologies(text: str) -> frozenset[Technology]:
    """Parse `core show channeltypes`: which of SIP and PJSIP this Asterisk has."""
    types = {line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()}
    return frozenset(technology for technology in Technology if technology.value in types)


def parse_dialplan(text: str) -> DialplanAnswer:
    """Parse `dialplan show EXTENSION@CONTEXT`."""
    if re.search(r"^There is no existence of '[^']*' context$", text, re.MULTILINE):
        return DialplanAnswer.NO_CONTEXT
    return DialplanAnswer.KNOWN if _PRIORITY_ONE.search(text) else DialplanAnswer.NO_EXTENSION


def parse_includes(text: str) -> tuple[str, ...]:
    """Parse the included contexts that `dialplan show CONTEXT` lists."""
    return tuple(re.findall(r"^\s*Include =>\s+'([^']+)'", text, re.MULTILINE))


def has_switch(text: str) -> bool:
    """Tell whether `dialplan show ...` lists a switch: another place that may know extensions."""
    return re.search(r"^\s*Alt\. Switch =>", text, re.MULTILINE) is not None


def parse_linkedid(text: str) -> str | None:
    """Parse the LinkedID of `core show channel NAME`: the uniqueid of its call's root channel."""
    match = re.search(r"^\s*LinkedID: (\S+)$", text, re.MULTILINE)
    return match[1] if match else None


def parse_cdr_mode(text: str) -> CdrMode:
    """Parse `cdr show status`: how call records are written to files of comma-separated values."""
    lines = {line.strip() for line in text.splitlines()}
    settings = dict(line.split(":", 1) for line in lines if ":" in line)
    if settings.get("Logging", "").strip() != "Enabled" or "csv" not in lines:
        return "off"
    return "simple" if settings.get("Mode", "").strip() == "Simple" else "batch"


def is_rejection(text: str) -> bool:
    """Tell whether Asterisk refused a command: unknown (it may still be booting), or its usage."""
    return re.search(r"^(?:No such command '|Usage\d?: )", text, re.MULTILINE) is not None

"""What Asterisk prints, as values. Pure; tested on what 11, 13, 16 and 22 have printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from shared.asterisk.models import (
    Banner,
    CdrMode,
    Channel,
    DialplanAnswer,
    Permission,
    Technology,
)

_CONCISE_FIELDS = 14
_FIELDS_BEHIND_CALLER = 6
_SENTINEL = re.compile(r"^System uptime: ([0-9]{1,10})\n(?:Last reload: [0-9]+\n)?", re.MULTILINE)
_SENTINEL_BYTES = re.compile(rb"^System uptime: ([0-9]{1,10})\n", re.MULTILINE)
_SENTINEL_AT_END = re.compile(
    rb"^System uptime: ([0-9]{1,10})\n(?:Last reload: [0-9]{1,10}\n)?\Z", re.MULTILINE
)
_LONGEST_SENTINEL = 60
# Any line with a priority 1 counts, whatever its label: a doubtful extension is dialled, only
# one that is certainly absent is refused. A hint alone has no priority and rings nobody.
_PRIORITY_ONE = re.compile(r"\s1\. ")
# The spaces at a line's begin; \s* would go over from line to line, and do so for each anew.
_INDENT = r"^[^\S\n]*"
_REJECTION = re.compile(
    r"^(?:No such command '|Usage\d?: |You don't have permissions to run ').*$", re.MULTILINE
)
# A row has one long text, what an application was told; names have some eighty characters.
_LONGEST_ROW = 16_384
_LONGEST_NAME = 1_000
# Asterisk's have at most 149 characters; calls are found by theirs, and no index takes long ones.
_LONGEST_UNIQUEID = 200
# No whole number of Asterisk's has more digits; int() refuses those that have thousands.
_MOST_DIGITS = 9


def text_of(data: bytes | bytearray) -> str:
    """Decode what a PBX says; U+FFFD stands for what is no text, and for a NUL.

    A NUL no database holds, and no caller's name has it.
    """
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def parse_banner(line: str) -> Banner | None:
    """Parse the line `HOST/PID/VERSION`; None for `No more connections allowed` and the like."""
    match = re.fullmatch(r"([^/\n]+)/([0-9]{1,10})/([^\n]+)\n", line)
    return Banner(match[1], int(match[2]), match[3]) if match else None


def parse_entity_id(text: str) -> str | None:
    """Parse who an Asterisk is from `core show settings`, made of the host's MAC by default.

    None where it says nothing, as before 1.8, or all zeros, as without a network.
    """
    match = re.search(r"^  Entity ID: {1,40}([0-9a-f]{2}(?::[0-9a-f]{2}){5})$", text, re.MULTILINE)
    return match[1] if match and match[1].strip("0:") else None


def split_replies(
    text: str, is_true: Callable[[int], bool] = lambda _seconds: True
) -> tuple[str, ...]:
    """Split a conversation at its sentinels; what follows the last one is not acknowledged.

    One of which `is_true` denies the seconds is a caller's, and a part of the reply.
    """
    replies: list[str] = []
    begin = 0
    for match in _SENTINEL.finditer(text):
        if is_true(int(match[1])):
            replies.append(text[begin : match.start()])
            begin = match.end()
    return tuple(replies)


def uptimes_in(data: bytearray, begin: int) -> list[int]:
    """List what sentinels say from the begin of a line on, as `split_replies` would find them."""
    return [int(seconds) for seconds in _SENTINEL_BYTES.findall(data, begin)]


def uptime_at_end(data: bytearray) -> int | None:
    """Read the sentinel with which a conversation ends; None: it ends with something else."""
    match = _SENTINEL_AT_END.search(data[-_LONGEST_SENTINEL:])
    return int(match[1]) if match else None


def parse_channels(text: str) -> tuple[Channel, ...]:
    """Parse `core show channels concise`.

    Fields are separated by `!` and never escaped, so a `!` in an application's data is told from
    a separator by counting from both ends. One reply may list a channel twice (seen on 22): the
    later row holds. Up to Asterisk 11 a missing text is `(None)`, and there are no bridges: a row
    names the peer instead. Two channels that name each other share one bridge here, too.
    """
    channels: dict[str, Channel] = {}
    for row in _rows(text):
        if len(row) > _LONGEST_ROW:
            continue
        fields = row.split("!")
        name, context, extension, _priority, state, application = fields[:6]
        caller, _account, _peer, _flags, duration, bridge, uniqueid = fields[-7:]
        if len(name) > _LONGEST_NAME or len(uniqueid) > _LONGEST_UNIQUEID:
            continue
        channels[uniqueid] = Channel(
            name=name,
            context=context,
            extension=extension,
            state=state,
            application=_named(application),
            data="!".join(fields[6:-7]),
            caller=caller,
            duration_s=_seconds(duration),
            bridge=_named(bridge),
            uniqueid=uniqueid,
        )
    peers = {c.name: c for c in channels.values() if "/" in c.bridge}
    return tuple(_bridged(c, peers) for c in channels.values())


def _rows(text: str) -> Iterator[str]:
    """Yield each row; one in which a caller's number has newlines is put together."""
    begun: list[str] = []
    marks = size = 0
    for line in text.split("\n"):  # not splitlines, which takes a caller's form feed for an end
        count = line.count("!")
        if count >= _CONCISE_FIELDS - 1:
            begun = []
            yield line
            continue
        if not begun:
            if not count or "/" not in line.partition("!")[0]:
                continue
            marks = size = 0
        begun.append(line)
        marks, size = marks + count, size + len(line) + 1
        if marks >= _CONCISE_FIELDS - 1:
            yield "\ufffd".join(begun)
            begun = []
        elif size > _LONGEST_ROW:
            begun = []


def _named(text: str) -> str:
    return "" if text == "(None)" else text


def _bridged(channel: Channel, peers: Mapping[str, Channel]) -> Channel:
    """Give a channel that names its peer their common bridge, if the peer names it too."""
    if "/" not in channel.bridge:
        return channel
    peer = peers.get(channel.bridge)
    is_mutual = peer is not None and peer.bridge == channel.name
    names = sorted((channel.name, channel.bridge)) if is_mutual else ()
    return replace(channel, bridge="+".join(names))


def _seconds(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def parse_technologies(text: str) -> frozenset[Technology]:
    """Parse `core show channeltypes`: which of our channel drivers this Asterisk has."""
    types = {line.split(maxsplit=1)[0] for line in text.split("\n") if line.strip()}
    return frozenset(technology for technology in Technology if technology.value in types)


def parse_dialplan(text: str) -> DialplanAnswer:
    """Parse `dialplan show EXTENSION@CONTEXT`."""
    if re.search(r"^There is no existence of '[^']*' context$", text, re.MULTILINE):
        return DialplanAnswer.NO_CONTEXT
    return DialplanAnswer.KNOWN if _PRIORITY_ONE.search(text) else DialplanAnswer.NO_EXTENSION


def parse_includes(text: str) -> tuple[str, ...]:
    """Parse the included contexts that `dialplan show CONTEXT` lists."""
    pattern = rf"{_INDENT}Include =>[^\S\n]+'([^'\n]+)'"
    return tuple(re.findall(pattern, text, re.MULTILINE))


def has_switch(text: str) -> bool:
    """Tell whether `dialplan show ...` lists a switch: another place that may know extensions."""
    return re.search(rf"{_INDENT}Alt\. Switch =>", text, re.MULTILINE) is not None


def parse_linkedid(text: str) -> str | None:
    """Parse the LinkedID of `core show channel NAME`: the uniqueid of its call's root channel."""
    # As long as _LONGEST_UNIQUEID.
    match = re.search(rf"{_INDENT}LinkedID: (\S{{1,200}})$", text, re.MULTILINE)
    return match[1] if match else None


def parse_cdr_mode(text: str) -> CdrMode:
    """Parse `cdr show status`: how call records are written to files of comma-separated values."""
    lines = {line.strip() for line in text.split("\n")}
    settings = dict(line.split(":", 1) for line in lines if ":" in line)
    if settings.get("Logging", "").strip() != "Enabled" or "csv" not in lines:
        return "off"
    return "simple" if settings.get("Mode", "").strip() == "Simple" else "batch"


def find_rejection(text: str) -> str | None:
    """Find the line by which Asterisk refused a command, which it did not execute then.

    The command is unknown (it may still be booting), its usage was told, or cli_permissions.conf
    does not let us run it.
    """
    match = _REJECTION.search(text)
    return match[0] if match and not _has_words_of_callers(text) else None


def _has_words_of_callers(text: str) -> bool:
    """Tell a list of channels, one channel, or an endpoint with its calls: those are answers.

    The number of somebody who calls may be any line, a refusal's too.
    """
    if " -- General --" in text or re.search(r"^ Endpoint:  ", text, re.MULTILINE):
        return True
    return any(line.count("!") >= _FIELDS_BEHIND_CALLER for line in text.split("\n"))


def parse_permission(text: str) -> Permission:
    """Parse what a command says that lacks its arguments: its usage, if it may be given at all."""
    refusal = find_rejection(text) or ""
    if refusal.startswith("Usage"):
        return "may"
    return "denied" if refusal.startswith("You don't") else "missing"


def is_hangup(text: str) -> bool:
    """Tell whether Asterisk ended a channel; other lines, e.g. sudo's, may stand around it."""
    return re.search(r"^Requested Hangup on channel ", text, re.MULTILINE) is not None


def parse_version(text: str) -> str | None:
    """Parse `core show version`: what the banner calls the version."""
    match = re.search(r"^Asterisk ([^\s]{1,100}) built by ", text, re.MULTILINE)
    return match[1] if match else None

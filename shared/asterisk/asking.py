"""Asking what changes nothing, and what every reply may be instead of an answer: a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from shared.asterisk.console import Console, Unacknowledged
from shared.asterisk.models import Channel
from shared.asterisk.parsers import find_rejection, parse_channels
from shared.deadline import Deadline
from shared.errors import CommandRejected, TooMuchSent

T = TypeVar("T")

# What is longer is parsed in a thread: two hundred channels take some milliseconds.
_LONG_CHARACTERS = 16_384
# A PBX of a thousand calls has fewer; each of ours is compared with all of them at each look.
MOST_CHANNELS = 5_000


async def read(console: Console, command: str, deadline: Deadline) -> str:
    """Ask a command that changes nothing; a broken exchange leaves nothing unknown."""
    (reply,) = await read_all(console, (command,), deadline)
    return reply


async def read_all(
    console: Console, commands: tuple[str, ...], deadline: Deadline
) -> tuple[str, ...]:
    """Ask several of them in one exchange."""
    replies = await read_unchecked(console, commands, deadline)
    for reply in replies:
        check(reply)
    return replies


async def read_unchecked(
    console: Console, commands: tuple[str, ...], deadline: Deadline
) -> tuple[str, ...]:
    """Ask them where a refusal is an answer, too."""
    try:
        return await console.read(*commands, deadline=deadline)
    except Unacknowledged as error:
        if error.pending is not None:
            error.pending.close()
        raise error.not_executed() from error


def check(reply: str) -> None:
    """Raise CommandRejected where Asterisk refused the command."""
    rejection = find_rejection(reply)
    if rejection:
        raise rejected(rejection)


def rejected(line: str) -> CommandRejected:
    """Make the error of the line by which it was refused."""
    return CommandRejected(f"Asterisk refused the command: {line.strip()[:120]}")


async def parse_apart(parse: Callable[[str], T], text: str) -> T:
    """Parse a text, in a thread if it is long."""
    if len(text) > _LONG_CHARACTERS:
        return await asyncio.to_thread(parse, text)
    return parse(text)


async def channels_in(listed: str) -> tuple[Channel, ...]:
    """Parse a list of the live channels. Raises TooMuchSent."""
    channels = await parse_apart(parse_channels, listed)
    if len(channels) > MOST_CHANNELS:
        raise TooMuchSent(f"The PBX lists {len(channels)} channels, more than can be followed")
    return channels

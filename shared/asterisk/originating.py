"""Starting a call: an originate is sent once, and acknowledged by its replies or by its root."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared.asterisk.asking import check, read, rejected
from shared.asterisk.commands import SHOW_CHANNELS, Originate
from shared.asterisk.console import Console, Exchange, Unacknowledged
from shared.asterisk.models import Channel
from shared.asterisk.parsers import find_rejection, parse_channels
from shared.asterisk.phases import UP
from shared.asterisk.releases import does_block, may_block
from shared.deadline import Deadline
from shared.errors import NoChannel, OutcomeUnknown, PbxError

# An originate that takes longer is looked at from beside, whatever the version is said to be.
_PATIENCE_S = 0.2
# No extension has as many calls at once; a list that has is not read.
_MOST_ROOTS = 500
_LOOK_PAUSE_S, _LONGEST_LOOK_PAUSE_S = 0.02, 0.5
_LOOKING: set[asyncio.Future[None]] = set()  # or a task that nobody waits for may be collected


@dataclass(frozen=True, slots=True)
class Originated:
    """An originate that Asterisk acknowledged.

    `roots` are the first legs that appeared with it: one, unless another program originated to
    the same extension within the same millisecond; then all of them, since nothing tells which
    is ours until the extension answers. None where the call may have been over before it was looked
    for, e.g. an extension that is busy at once.

    `blocked` is the exchange that sent it, if that goes on until the extension has answered, as up
    to Asterisk 11; whoever has it closes it.
    """

    roots: tuple[Channel, ...]
    blocked: Exchange | None = None


class OriginateUnknown(OutcomeUnknown):
    """An originate that was written and not acknowledged.

    `pending`, if the socket is still open, brings Asterisk's late answer; who catches this owns it.
    `may_block`: that answer may come long after the call began.
    """

    def __init__(self, reason: str, pending: Exchange | None, *, may_block: bool = False) -> None:
        super().__init__(reason)
        self.pending = pending
        self.may_block = may_block


async def originate(console: Console, command: Originate, deadline: Deadline) -> Originated:
    """Send an originate once and find its root channel in the same exchange.

    `channel originate` prints nothing, whatever becomes of the call, so the channels before and
    after it are compared. Where it blocks, a second exchange beside it looks for the root: exactly
    one that is new acknowledges it. The caller holds a lock per extension meanwhile.

    Raises:
        OutcomeUnknown: it may have been dialled; never to be sent again.
        Exception: any other; certainly nothing was dialled.
    """
    commands = (SHOW_CHANNELS, command.render(), SHOW_CHANNELS)
    exchange = await console.send(*commands, deadline=deadline)
    try:
        originated = await _acknowledged(console, exchange, command, deadline)
    except Unacknowledged as error:
        refusal = find_rejection(error.replies[1]) if len(error.replies) > 1 else None
        if refusal or error.begun <= 1 or error.pending is None:
            exchange.close()
        if refusal:
            raise rejected(refusal) from error
        if error.begun <= 1:
            raise error.not_executed() from error
        if error.is_too_long and len(error.replies) > 1:
            return Originated(())  # it was acknowledged, and only its root cannot be found
        blocks = may_block(console.version)
        raise OriginateUnknown(error.reason, error.pending, may_block=blocks) from error
    except PbxError:
        exchange.close()
        raise
    except BaseException as error:
        exchange.close()
        if isinstance(error, Exception):  # a defect; yet the command was written
            raise OriginateUnknown("The reply could not be read", None) from error
        raise
    if originated.blocked is None:
        exchange.close()
    return originated


async def _acknowledged(
    console: Console, exchange: Exchange, command: Originate, deadline: Deadline
) -> Originated:
    """Wait for the replies, or for the root to be seen beside them.

    Whatever was seen stays a candidate: another program's root that is the only one left proves
    nothing, since ours may be over.
    """
    seen: dict[str, Channel] = {}
    try:
        (before,) = await exchange.replies(deadline, 1)
        patience_s = 0.0 if does_block(console.version) else _PATIENCE_S
        try:
            replies = await exchange.replies(deadline.sooner(patience_s))
        except TimeoutError:
            enough = asyncio.Event()
            look = _look(console, before, command, deadline, seen=seen, enough=enough)
            told = await _replies_unless_seen(exchange, look, enough, deadline)
            if told is None:
                return Originated(tuple(seen.values()), blocked=exchange)
            replies = told
    except TimeoutError:
        raise exchange.timed_out() from None
    check(replies[1])
    seen |= {root.uniqueid: root for root in roots_of(command, replies)}
    if not seen and console.is_gapless and not may_block(console.version):
        raise NoChannel("Asterisk accepted the call but opened no channel for it")
    return Originated(tuple(seen.values()))


async def _replies_unless_seen(
    exchange: Exchange,
    look: Coroutine[Any, Any, None],
    enough: asyncio.Event,
    deadline: Deadline,
) -> tuple[str, ...] | None:
    """Return the replies, or None if the root was seen before. Raises what waiting for them does.

    The look is told that it is `enough`, and never cancelled: asyncssh would open its channel all
    the same, and nobody would close it.
    """
    looking = asyncio.ensure_future(look)
    _LOOKING.add(looking)
    looking.add_done_callback(_LOOKING.discard)
    waiting = asyncio.ensure_future(exchange.replies(deadline))
    try:
        await asyncio.wait({looking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        is_seen = not waiting.done() and looking.exception() is None
        return None if is_seen else await waiting
    finally:
        enough.set()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def _look(
    console: Console,
    before: str,
    command: Originate,
    deadline: Deadline,
    *,
    seen: dict[str, Channel],
    enough: asyncio.Event,
) -> None:
    """Look until a new root of the extension was seen; several leave it to the replies."""
    pause_s = _LOOK_PAUSE_S
    while not enough.is_set():
        with suppress(PbxError):
            after = await read(console, SHOW_CHANNELS, deadline)
            seen |= {root.uniqueid: root for root in _new_roots(command, before, after)}
        if len(seen) == 1:
            return
        if seen:
            await enough.wait()
        else:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_PAUSE_S)


def roots_of(command: Originate, replies: tuple[str, ...]) -> tuple[Channel, ...]:
    """Find the root channels that appeared with an originate, in the replies of its exchange."""
    before, _, after = replies
    return _new_roots(command, before, after)


def _new_roots(command: Originate, before: str, after: str) -> tuple[Channel, ...]:
    known = {root.uniqueid for root in _roots_among(command, before)}
    return tuple(root for root in _roots_among(command, after) if root.uniqueid not in known)


def _roots_among(command: Originate, listed: str) -> tuple[Channel, ...]:
    """Parse only the rows that may be roots: this happens on the event loop, for each call."""
    rows = [row for row in listed.split("\n") if row.startswith(_prefix(command))]
    if len(rows) > _MOST_ROOTS:
        return ()
    return tuple(root for root in parse_channels("\n".join(rows)) if is_root(root, command))


def _prefix(command: Originate) -> str:
    return f"Local/{command.order.extension.number}@{command.context.name}-"


def is_root(channel: Channel, command: Originate) -> bool:
    """Tell whether a channel is the first leg of an originate to this extension.

    The same half of a Local channel that a dialplan dials is an AppDial's.
    """
    is_first = channel.name.startswith(_prefix(command)) and channel.name.endswith(";1")
    return is_first and channel.application != "AppDial"


def is_answered(root: Channel, command: Originate) -> bool:
    """Tell whether a root's extension has answered, and does now what this very command says."""
    return root.state == UP and root.data.casefold() == command.render().split()[-1].casefold()

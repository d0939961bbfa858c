"""What this service asks of one Asterisk, and how the answers are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.commands import (
    SHOW_CDR_STATUS,
    SHOW_CHANNEL_TYPES,
    SHOW_CHANNELS,
    SHOW_VERSION,
    Originate,
    Redirect,
    RequestHangup,
    ShowChannel,
    ShowContext,
    ShowDevice,
    ShowExtension,
)
from shared.asterisk.console import Console, Pending, Unacknowledged, in_writes
from shared.asterisk.devices import Device, channels_of, parse_reach
from shared.asterisk.models import (
    CdrMode,
    Channel,
    Context,
    DialplanAnswer,
    Extension,
    Technology,
)
from shared.asterisk.parsers import (
    has_switch,
    is_rejection,
    parse_cdr_mode,
    parse_channels,
    parse_dialplan,
    parse_includes,
    parse_linkedid,
    parse_technologies,
)
from shared.asterisk.phases import RINGING, UP, Root, is_local
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ConnectionLost,
    ContextMissing,
    NoChannel,
    OutcomeUnknown,
)

AgentPhase: TypeAlias = Literal["accepted", "agent_ringing", "agent_answered", "ended"]
_AGENT_PHASES: dict[str, AgentPhase] = {RINGING: "agent_ringing", UP: "agent_answered"}

# An operator's dialplan includes a few contexts; a bound keeps a ring of includes harmless.
_MAX_CONTEXTS = 64


@dataclass(frozen=True, slots=True)
class Originated:
    """An originate that Asterisk acknowledged.

    `roots` are the first legs that appeared with it: one, unless another program originated to
    the same extension within the same millisecond; then all of them, since nothing tells which
    is ours until the extension answers. None where the console has gaps and the call was over
    before it was looked for, e.g. an extension that is busy at once.
    """

    roots: tuple[Channel, ...]


class OriginateUnknown(OutcomeUnknown):
    """An originate that was written and not acknowledged.

    `pending`, if the socket is still open, brings Asterisk's late answer; who catches this owns it.
    """

    def __init__(self, reason: str, pending: Pending | None) -> None:
        super().__init__(reason)
        self.pending = pending


async def originate(console: Console, command: Originate, deadline: Deadline) -> Originated:
    """Send an originate once and find its root channel in the same exchange.

    `channel originate` prints nothing, whatever becomes of the call, so the channels before and
    after it are compared. The caller holds a lock per extension meanwhile.

    Raises:
        NotExecuted: certainly nothing was dialled.
        OutcomeUnknown: it may have been; never to be sent again.
    """
    try:
        replies = await console.ask(
            SHOW_CHANNELS, command.render(), SHOW_CHANNELS, deadline=deadline
        )
    except Unacknowledged as error:
        rejected = len(error.replies) > 1 and is_rejection(error.replies[1])
        if (rejected or error.begun <= 1) and error.pending is not None:
            error.pending.close()
        if rejected:
            raise _rejected(error.replies[1]) from error
        if error.begun <= 1:
            raise ConnectionLost(error.reason) from error
        raise OriginateUnknown(error.reason, error.pending) from error
    if is_rejection(replies[1]):
        raise _rejected(replies[1])
    roots = find_roots(command, replies)
    if not roots and console.is_gapless:
        raise NoChannel("Asterisk accepted the call but opened no channel for it")
    return Originated(roots)


def find_roots(command: Originate, replies: tuple[str, ...]) -> tuple[Channel, ...]:
    """Find the root channels that appeared with an originate, in the replies of its exchange."""
    before, _, after = replies
    known = {channel.uniqueid for channel in parse_channels(before)}
    return tuple(
        channel
        for channel in parse_channels(after)
        if channel.uniqueid not in known and is_root(channel, command)
    )


def is_root(channel: Channel, command: Originate) -> bool:
    """Tell whether a channel is the first leg of an originate to this extension."""
    prefix = f"Local/{command.extension.number}@{command.context.name}-"
    return channel.name.startswith(prefix) and channel.name.endswith(";1")


def _rejected(reply: str) -> CommandRejected:
    first_line = reply.strip().splitlines()[0]
    return CommandRejected(f"Asterisk refused the command: {first_line[:120]}")


async def is_known(
    console: Console, extension: Extension, context: Context, deadline: Deadline
) -> bool:
    """Tell whether the dialplan may know an extension: False only when it certainly does not.

    Asterisk itself follows patterns and includes. A `switch` asks somewhere else at dial time, so
    a context that has one, in itself or in an include, is taken to know every extension.

    Raises:
        ContextMissing: the context does not exist on this host.
        NotExecuted: Asterisk could not be asked.
    """
    text = await _read(console, ShowExtension(extension, context).render(), deadline)
    match parse_dialplan(text):
        case DialplanAnswer.KNOWN:
            return True
        case DialplanAnswer.NO_CONTEXT:
            raise ContextMissing(
                f"The dialplan has no context {context.name}: set DIALPLAN_CONTEXT"
            )
    return has_switch(text) or await _may_know_more(console, context, deadline)


async def _may_know_more(console: Console, context: Context, deadline: Deadline) -> bool:
    """Look for a switch in a context and all that it includes."""
    seen: set[str] = set()
    waiting = [context.name]
    while waiting and len(seen) < _MAX_CONTEXTS:
        name = waiting.pop()
        seen.add(name)
        text = await _read(console, ShowContext(Context(name)).render(), deadline)
        if has_switch(text):
            return True
        for include in parse_includes(text):
            plain = include.split("|")[0].split(",")[0]  # it may carry times of the day
            if not _is_context(plain):
                return True  # a name that we cannot ask about: nothing is certain
            if plain not in seen:
                waiting.append(plain)
    return bool(waiting)


def _is_context(name: str) -> bool:
    try:
        Context(name)
    except ValueError:
        return False
    return True


async def find_technologies(console: Console, deadline: Deadline) -> frozenset[Technology]:
    """Tell which of SIP and PJSIP this Asterisk speaks. Raises NotExecuted."""
    return parse_technologies(await _read(console, SHOW_CHANNEL_TYPES, deadline))


async def find_device(
    console: Console, technologies: Iterable[Technology], extension: Extension, deadline: Deadline
) -> Device | None:
    """Find an extension's phone and what it does, by the first driver that has it.

    Raises NotExecuted.
    """
    for technology in technologies:
        text, listed = await _read_all(
            console, (ShowDevice(technology, extension).render(), SHOW_CHANNELS), deadline
        )
        reach = parse_reach(technology, text)
        if reach is not None:
            own = channels_of(technology, extension, parse_channels(listed))
            return Device(technology, extension, reach, own)
    return None


async def find_cdr_mode(console: Console, deadline: Deadline) -> CdrMode:
    """Tell how this Asterisk writes its call records. Raises NotExecuted."""
    return parse_cdr_mode(await _read(console, SHOW_CDR_STATUS, deadline))


async def list_channels(console: Console, deadline: Deadline) -> tuple[Channel, ...]:
    """List the live channels. Raises NotExecuted."""
    return parse_channels(await _read(console, SHOW_CHANNELS, deadline))


async def find_linkedids(
    console: Console, channels: Iterable[Channel], deadline: Deadline
) -> dict[str, str]:
    """Find the uniqueid of the root of each channel's call, by the channel's own uniqueid.

    A channel that has left meanwhile is missing. Raises NotExecuted.
    """
    asked = {ShowChannel(channel.name).render(): channel.uniqueid for channel in channels}
    found = {}
    for commands in in_writes(asked):
        for command, reply in zip(
            commands, await _read_all(console, commands, deadline), strict=True
        ):
            linkedid = parse_linkedid(reply)
            if linkedid is not None:
                found[asked[command]] = linkedid
    return found


async def find_legs(
    console: Console, root_uniqueid: str, deadline: Deadline
) -> tuple[Channel, ...]:
    """Find every live channel of a call, by asking each channel whose it is. Raises NotExecuted."""
    return await _legs_among(
        console, root_uniqueid, await list_channels(console, deadline), deadline
    )


async def _legs_among(
    console: Console, root_uniqueid: str, channels: tuple[Channel, ...], deadline: Deadline
) -> tuple[Channel, ...]:
    linkedids = await find_linkedids(console, channels, deadline)
    return tuple(c for c in channels if linkedids.get(c.uniqueid) == root_uniqueid)


async def hang_up(console: Console, root: Root, known: frozenset[str], deadline: Deadline) -> bool:
    """End a call, whatever is left of it; False if nothing is. Raises NotExecuted.

    One channel is enough: Asterisk takes the others along. The root, while it is there; after
    Asterisk has taken the Local channels out of the call, either phone's.
    """
    channels = await list_channels(console, deadline)
    legs = tuple(c for c in channels if c.uniqueid == root.uniqueid or c.uniqueid in known)
    legs = legs or await _legs_among(console, root.uniqueid, channels, deadline)
    if not legs:
        return False
    last = _find(root.uniqueid, legs) or next((c for c in legs if not is_local(c)), legs[0])
    reply = await _read(console, RequestHangup(last.name).render(), deadline)
    return reply.startswith("Requested Hangup")


async def redirect(
    console: Console, leg: Channel, extension: Extension, context: Context, deadline: Deadline
) -> bool:
    """Send a channel to an extension, once; False if it has left. The extension is checked before.

    Raises:
        NotExecuted: nothing was sent.
        OutcomeUnknown: the extension may ring.
    """
    command = Redirect(leg.name, extension, context).render()
    try:
        (reply,) = await console.ask(command, deadline=deadline)
    except Unacknowledged as error:
        if error.pending is not None:
            error.pending.close()
        raise OutcomeUnknown(error.reason) from error
    if is_rejection(reply):
        raise _rejected(reply)
    return "successfully redirected" in reply


async def hang_up_unanswered(console: Console, root: Channel, deadline: Deadline) -> bool:
    """Hang a call up unless its extension has answered; tell whether it was. Raises NotExecuted."""
    channels = await list_channels(console, deadline)
    now = _find(root.uniqueid, channels)
    if now is None or now.state == UP:
        return False
    await _read(console, RequestHangup(now.name).render(), deadline)
    return True


async def find_agent_phase(console: Console, root: Channel, deadline: Deadline) -> AgentPhase:
    """Tell how far the extension that rings first is. Raises NotExecuted.

    A root that is gone does not prove that the call is over: with audio flowing Asterisk takes the
    Local channels out of the call. Then the extension's own channel still names the root.
    """
    channels = await list_channels(console, deadline)
    now = _find(root.uniqueid, channels)
    if now is not None:
        return _AGENT_PHASES.get(now.state, "accepted")
    extension = root.name.removeprefix("Local/").partition("@")[0]
    prefixes = tuple(f"{technology.value}/{extension}-" for technology in Technology)
    for channel in channels:
        if channel.name.startswith(prefixes):
            text = await _read(console, ShowChannel(channel.name).render(), deadline)
            if parse_linkedid(text) == root.uniqueid:
                return "agent_answered"
    return "ended"


def _find(uniqueid: str, channels: tuple[Channel, ...]) -> Channel | None:
    return next((channel for channel in channels if channel.uniqueid == uniqueid), None)


async def ping(console: Console, deadline: Deadline) -> None:
    """Make sure that this console reaches Asterisk. Raises NotExecuted."""
    await _read(console, SHOW_VERSION, deadline)  # not the uptime, whose text is the sentinel's


async def _read(console: Console, command: str, deadline: Deadline) -> str:
    """Ask a command that changes nothing; a broken exchange leaves nothing unknown."""
    (reply,) = await _read_all(console, (command,), deadline)
    return reply


async def _read_all(
    console: Console, commands: tuple[str, ...], deadline: Deadline
) -> tuple[str, ...]:
    """Ask several of them in one exchange."""
    try:
        replies = await console.ask(*commands, deadline=deadline)
    except Unacknowledged as error:
        if error.pending is not None:
            error.pending.close()
        raise ConnectionLost(error.reason) from error
    for reply in replies:
        if is_rejection(reply):
            raise _rejected(reply)
    return replies

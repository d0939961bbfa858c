"""What this service asks of one Asterisk, and how the answers are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.asterisk.asking import channels_in, check, read, read_all, read_unchecked
from shared.asterisk.commands import (
    ORIGINATE,
    SHOW_CDR_STATUS,
    SHOW_CHANNEL_TYPES,
    SHOW_CHANNELS,
    SHOW_VERSION,
    Redirect,
    RequestHangup,
    ShowChannel,
    ShowContext,
    ShowDevice,
    ShowExtension,
)
from shared.asterisk.console import Console, Unacknowledged
from shared.asterisk.devices import (
    Device,
    Tap,
    begins_any,
    channels_of,
    parse_reach,
    pick_channel,
    spied_as,
)
from shared.asterisk.drivers import DRIVERS, LOCAL, begin_of_next, device_of
from shared.asterisk.listing import find_channel
from shared.asterisk.models import (
    CdrMode,
    Channel,
    Context,
    DialplanAnswer,
    Extension,
    Permission,
    Technology,
)
from shared.asterisk.parsers import (
    has_switch,
    is_hangup,
    parse_cdr_mode,
    parse_dialplan,
    parse_includes,
    parse_linkedid,
    parse_permission,
    parse_technologies,
    parse_version,
)
from shared.asterisk.phases import RINGING, UP
from shared.asterisk.releases import spies_exactly
from shared.asterisk.socket_console import in_writes
from shared.deadline import Deadline
from shared.errors import (
    ChannelUnaskable,
    ConnectionLost,
    ContextMissing,
    OutcomeUnknown,
)

AgentPhase: TypeAlias = Literal["accepted", "agent_ringing", "agent_answered", "ended"]
_AGENT_PHASES: dict[str, AgentPhase] = {RINGING: "agent_ringing", UP: "agent_answered"}
# Twice what a request has by default: a channel that is older is of no call that one waits for.
_MOST_WAITED_S = 60
# An operator's dialplan includes a few contexts; a bound keeps a ring of includes harmless.
_MAX_CONTEXTS = 64


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
    text = await read(console, ShowExtension(extension, context).render(), deadline)
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
    asked = 0
    known = {context.name}
    waiting = [context.name]
    while waiting and asked < _MAX_CONTEXTS:
        name = waiting.pop()
        asked += 1
        text = await read(console, ShowContext(Context(name)).render(), deadline)
        if has_switch(text):
            return True
        for include in parse_includes(text):
            plain = include.split("|")[0].split(",")[0]  # it may carry times of the day
            if not _is_context(plain):
                return True  # a name that we cannot ask about: nothing is certain
            if plain not in known:
                known.add(plain)
                waiting.append(plain)
    return bool(waiting)


def _is_context(name: str) -> bool:
    try:
        Context(name)
    except ValueError:
        return False
    return True


async def load_technologies(console: Console, deadline: Deadline) -> frozenset[Technology]:
    """Tell which of our channel drivers this Asterisk has. Raises NotExecuted."""
    return parse_technologies(await read(console, SHOW_CHANNEL_TYPES, deadline))


@dataclass(frozen=True, slots=True)
class Phones:
    """What each driver has of an extension, in the order of `technologies`; all live channels."""

    technologies: tuple[Technology, ...]
    found: tuple[Device, ...]
    channels: tuple[Channel, ...]


async def load_phones(
    console: Console,
    technologies: Iterable[Technology] | None,
    extension: Extension,
    deadline: Deadline,
) -> Phones:
    """Ask the drivers for their phone of an extension, in one exchange.

    None: which drivers there are is asked beside, and every one for its phone. Raises NotExecuted.
    """
    types = () if technologies is not None else (SHOW_CHANNEL_TYPES,)
    asked = DRIVERS if technologies is None else technologies
    shows = {technology: ShowDevice(technology, extension).render() for technology in asked}
    replies = await read_unchecked(console, (*types, SHOW_CHANNELS, *shows.values()), deadline)
    *told, listed = replies[: len(types) + 1]
    for reply in (*told, listed):
        check(reply)
    there = parse_technologies(told[0]) if told else frozenset(shows)
    texts = zip(shows, replies[len(types) + 1 :], strict=True)
    known = {technology: text for technology, text in texts if technology in there}
    for text in known.values():  # what another driver would have said is no answer
        check(text)
    channels = await channels_in(listed)
    found = tuple(
        Device(technology, extension, reach, channels_of(technology, extension, channels))
        for technology, text in known.items()
        if (reach := parse_reach(technology, text)) is not None
    )
    return Phones(tuple(known), found, channels)


async def find_tap(
    console: Console, phones: Phones, extension: Extension, context: Context, deadline: Deadline
) -> Tap:
    """Find the channel by which an extension can be heard. Raises NotExecuted."""
    own = [channel for phone in phones.found for channel in phone.channels]
    channel = pick_channel(own, extension, context, phones.channels)
    busy = [phone.technology for phone in phones.found if channel in phone.channels]
    every = (*busy, *(phone.technology for phone in phones.found), *phones.technologies)
    technology = every[0]
    does = phones.found[0].state if phones.found else "no phone of this PBX"
    if channel is None:
        strangers = (c for c in phones.channels if c not in own)
        spied = begin_of_next(technology, extension)
        is_clear = spied is not None and not begins_any(spied, strangers)
        return Tap(technology, None, does, spied if is_clear else None)
    version = console.version or await load_version(console, deadline)
    is_exact = spies_exactly(version)
    spied = spied_as(channel, phones.channels, is_exact=is_exact)
    return Tap(technology, channel, does, spied, is_exact)


async def load_cdr_mode(console: Console, deadline: Deadline) -> CdrMode:
    """Tell how this Asterisk writes its call records. Raises NotExecuted."""
    return parse_cdr_mode(await read(console, SHOW_CDR_STATUS, deadline))


async def load_permission(console: Console, deadline: Deadline) -> Permission:
    """Tell whether this Asterisk takes `channel originate` from us; rings nobody.

    Without what it needs the command does nothing but print its usage. Raises NotExecuted.
    """
    (reply,) = await read_unchecked(console, (ORIGINATE,), deadline)
    return parse_permission(reply)


async def list_channels(console: Console, deadline: Deadline) -> tuple[Channel, ...]:
    """List the live channels. Raises NotExecuted."""
    return await channels_in(await read(console, SHOW_CHANNELS, deadline))


def is_askable(channel: Channel) -> bool:
    """Tell whether a command can name this channel."""
    try:
        ShowChannel(channel.name).render()
    except ChannelUnaskable:
        return False
    return True


async def load_linkedids(
    console: Console, channels: Iterable[Channel], deadline: Deadline
) -> dict[str, str]:
    """Find the uniqueid of the root of each channel's call, by the channel's own uniqueid.

    A channel that has left meanwhile is missing, and one that is not `is_askable`: what one trunk
    is called must not hide all other calls. Raises NotExecuted.
    """
    asked = {
        ShowChannel(channel.name).render(): channel.uniqueid
        for channel in channels
        if is_askable(channel)
    }
    found = {}
    for commands in in_writes(asked):
        for command, reply in zip(
            commands, await read_all(console, commands, deadline), strict=True
        ):
            linkedid = parse_linkedid(reply)
            if linkedid is not None:
                found[asked[command]] = linkedid
    return found


async def legs_among(
    console: Console, root_uniqueid: str, channels: tuple[Channel, ...], deadline: Deadline
) -> tuple[Channel, ...]:
    """Find those of a call among all live channels, by asking each channel whose it is.

    One that cannot be asked is of the call that it is bridged with. Raises NotExecuted.
    """
    linkedids = await load_linkedids(console, channels, deadline)
    legs = {c.uniqueid: c.bridge for c in channels if linkedids.get(c.uniqueid) == root_uniqueid}
    bridges = set(legs.values()) - {""}
    return tuple(
        c
        for c in channels
        if c.uniqueid in legs or (c.bridge in bridges and c.uniqueid not in linkedids)
    )


class HangupUnacknowledged(ConnectionLost):
    """The command to hang up was written, and may have ended the call; once more is harmless."""


async def request_hangup(console: Console, channel: Channel, deadline: Deadline) -> bool:
    """Have a channel hang up; False if it has left.

    Raises:
        HangupUnacknowledged: it may hang up.
        NotExecuted: any other; nothing was sent that ends it.
    """
    try:
        (reply,) = await console.ask(RequestHangup(channel.name).render(), deadline=deadline)
    except Unacknowledged as error:
        if error.pending is not None:
            error.pending.close()
        raise HangupUnacknowledged(error.reason) from error
    check(reply)
    return is_hangup(reply)


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
    check(reply)
    return "successfully redirected" in reply


async def load_agent_phase(console: Console, root: Channel, deadline: Deadline) -> AgentPhase:
    """Tell how far the extension that rings first is. Raises NotExecuted.

    A root that is gone does not prove that the call is over: with audio flowing Asterisk takes the
    Local channels out of the call. Then the extension's own channel still names the root, or that
    of a phone that has answered for it, as by follow-me, which talks with the customer's.
    """
    channels = await list_channels(console, deadline)
    now = find_channel(root.uniqueid, channels)
    if now is not None:
        return _AGENT_PHASES.get(now.state, "accepted")
    extension = root.name.removeprefix("Local/").partition("@")[0]
    others: dict[str, Channel] = {}  # one of each bridge: the other's root is the same
    asked = set[str]()
    for channel in channels:
        device = device_of(channel.name)
        if device is not None and device.technology == LOCAL:
            continue
        if device is not None and device.extension == extension:
            text = await read(console, ShowChannel(channel.name).render(), deadline)
            if parse_linkedid(text) == root.uniqueid:
                return "agent_answered"
            asked.add(channel.bridge)
        elif channel.state == UP and channel.bridge and channel.duration_s <= _MOST_WAITED_S:
            others.setdefault(channel.bridge, channel)
    left = [channel for bridge, channel in others.items() if bridge not in asked]
    linkedids = await load_linkedids(console, left, deadline) if left else {}
    return "agent_answered" if root.uniqueid in linkedids.values() else "ended"


async def has_context(console: Console, context: Context, deadline: Deadline) -> bool:
    """Tell whether the dialplan has a context. Raises NotExecuted."""
    text = await read(console, ShowContext(context).render(), deadline)
    return parse_dialplan(text) is not DialplanAnswer.NO_CONTEXT


async def load_version(console: Console, deadline: Deadline) -> str | None:
    """Tell Asterisk's version, None where it says something else. Raises NotExecuted."""
    return parse_version(await read(console, SHOW_VERSION, deadline))


async def ping(console: Console, deadline: Deadline) -> None:
    """Make sure that this console reaches Asterisk. Raises NotExecuted."""
    await read(console, SHOW_VERSION, deadline)  # not the uptime, whose text is the sentinel's

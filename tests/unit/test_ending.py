"""By which channel a call is ended, and what is told of a hang-up whose fate is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from itertools import permutations
from typing import Any

import pytest

from shared.asterisk.client import HangupUnacknowledged
from shared.asterisk.console import Unacknowledged
from shared.asterisk.ending import Ending, EndingUnanswered
from shared.asterisk.models import Channel, Leg, Party, Root
from shared.asterisk.parsers import parse_channels, parse_linkedid
from shared.asterisk.parties import customers_among, is_local
from shared.deadline import Deadline
from shared.errors import (
    CallNotReady,
    ChannelUnaskable,
    CommandRejected,
    ConnectionLost,
    SocketRefused,
)
from tests.unit.exchanges import Scripted, Told
from tests.unit.recorded import RECORDED, Recording

pytestmark = pytest.mark.anyio

Read = Callable[[str], str]
HANGUP = "channel request hangup "
ODD = "SIP/Офис-00000009"
ROOT = Root("Local/150@inoffice-1;1", "1.0", "call", "150", "+375290000005")
AGENT, CUSTOMER, THIRD, GUEST = (
    *("SIP/150-00000001", "SIP/trunk-00000002"),
    *("SIP/153-00000003", "SIP/160-00000004"),
)


class Asterisk(Scripted):
    """Lists these channels, tells their roots, and ends one, or fails at that."""

    def __init__(self, channels: str, linkedids: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._channels = channels
        self._linkedids = linkedids or {}
        self.replies: list[str | BaseException] = []

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Answer each."""
        return Told(*map(self._reply, commands))

    def _reply(self, command: str) -> str:
        if command.startswith("core show channels"):
            return self._channels
        if not command.startswith(HANGUP):
            root = self._linkedids.get(command.removeprefix("core show channel "))
            return f"       LinkedID: {root}\n" if root else "x is not a known channel\n"
        reply = self.replies.pop(0) if self.replies else DONE
        if isinstance(reply, BaseException):
            raise reply
        return reply

    @property
    def ended(self) -> list[str]:
        """Which channels were told to hang up."""
        return [
            command.removeprefix(HANGUP)
            for commands in self.asked
            for command in commands
            if command.startswith(HANGUP)
        ]


def row(name: str, uniqueid: str, *, caller: str = "", bridge: str = "b", app: str = "Dial") -> str:
    """One live channel as Asterisk lists it."""
    return f"{name}!inoffice!1!1!Up!{app}!!{caller}!!!3!3!{bridge}!{uniqueid}\n"


def leg(name: str, uniqueid: str, party: Party) -> Leg:
    """One that was seen."""
    return Leg(name, uniqueid, party, "Up")


async def end(asterisk: Asterisk, *legs: Leg, root: Root = ROOT) -> bool:
    """End a call once."""
    return await Ending(root, legs)(asterisk, deadline=Deadline.after(5))


async def end_handed_over(asterisk: Asterisk, *legs: Leg) -> bool:
    """End one whose customer was sent to another extension just now."""
    ending = Ending(ROOT, legs)
    ending.is_handed_over = True
    return await ending(asterisk, deadline=Deadline.after(5))


SEEN = (leg(AGENT, "1.1", "agent"), leg(CUSTOMER, "1.2", "customer"))


async def test_the_customers_leg_is_preferred_and_the_agents_is_next() -> None:
    """In whatever order they are listed; the other goes along."""
    listed = row(AGENT, "1.1") + row(CUSTOMER, "1.2")
    for channels in (listed, "".join(reversed(listed.splitlines(keepends=True)))):
        asterisk = Asterisk(channels)
        assert await end(asterisk, *SEEN)
        assert asterisk.ended == [CUSTOMER]
    asterisk = Asterisk(row(AGENT, "1.1"))
    assert await end(asterisk, *SEEN)
    assert asterisk.ended == [AGENT]


async def test_a_customer_who_was_handed_on_by_a_phone_is_ended_and_no_third() -> None:
    """He talks with somebody else, whose channel is listed first and was taken for a customer's."""
    asterisk = Asterisk(row(THIRD, "3.1", caller="153") + row(CUSTOMER, "1.2"))
    assert await end(asterisk, *SEEN, leg(THIRD, "3.1", "customer"))
    assert asterisk.ended == [CUSTOMER]


@pytest.mark.parametrize("legs", [SEEN, ()])
async def test_of_a_call_that_was_handed_over_the_customer_goes_first(
    legs: tuple[Leg, ...],
) -> None:
    """The root is there for a moment, and goes without him, also if nobody had seen him before."""
    root, agent = row(ROOT.channel, "1.0"), row(AGENT, "1.1")
    customer = row(CUSTOMER, "1.2", caller="375290000005", bridge="")
    linkedids = dict.fromkeys((ROOT.channel, AGENT, CUSTOMER), "1.0")
    for listed in permutations((root, agent, customer)):
        asterisk = Asterisk("".join(listed), linkedids)
        assert await end_handed_over(asterisk, *legs)
        assert asterisk.ended == [CUSTOMER, ROOT.channel]
    alone = Asterisk(customer, linkedids)
    assert await end_handed_over(alone, *legs)
    assert alone.ended == [CUSTOMER]
    left = Asterisk(root + agent, linkedids)
    assert await end_handed_over(left, *legs)
    assert left.ended == [ROOT.channel]


async def test_a_customer_who_was_hung_up_is_ended_whatever_became_of_the_rest() -> None:
    """The old root may leave meanwhile, or its command be lost: he is not there any more."""
    customer = row(CUSTOMER, "1.2", caller="375290000005", bridge="")
    for reply in (GONE, LOST):
        asterisk = Asterisk(row(ROOT.channel, "1.0") + customer)
        asterisk.replies = [DONE, reply]
        ending = Ending(ROOT, SEEN)
        ending.is_handed_over = True
        with suppress(HangupUnacknowledged):
            await ending(asterisk, deadline=Deadline.after(5))
        assert (ending.is_done, ending.may_be_sent) == (True, True)


async def test_who_came_later_is_nobody_to_end_a_call_by() -> None:
    """A conference's guest bears the call's id for having met it: the agent's is its own."""
    legs = (*SEEN, leg(GUEST, "4.1", "customer"), leg(THIRD, "3.1", "customer"))
    guests = row(GUEST, "4.1", caller="160", app="ConfBridge") + row(THIRD, "3.1", caller="153")
    asterisk = Asterisk(guests + row(AGENT, "1.1"))
    assert await end(asterisk, *legs)
    assert asterisk.ended == [AGENT]
    for known in (legs, SEEN):  # also if he was never seen before
        alone = Asterisk(guests, {GUEST: "1.0", THIRD: "1.0"})
        with pytest.raises(CallNotReady, match="cannot be told"):
            await end(alone, *known)
        assert alone.ended == []


async def test_of_several_phones_of_the_customer_the_one_that_is_left_is_ended() -> None:
    """A group's phones ring at once, each called by the group's number; the first has left."""
    root = Root("Local/150@inoffice-1;1", "1.0", "call", "150", "600")
    legs = (*SEEN, leg(THIRD, "1.3", "customer"))
    asterisk = Asterisk(row(THIRD, "1.3", caller="600"))
    assert await end(asterisk, *legs, root=root)
    assert asterisk.ended == [THIRD]


async def test_a_call_that_nobody_looked_at_is_ended_by_the_channels_of_its_parties() -> None:
    """By the number that was called, with its + or without, by the device, not by the order."""
    guest, agent = row(GUEST, "4.1", bridge="c"), row(AGENT, "1.1")
    customer = row(CUSTOMER, "1.2", caller="375290000005")
    linkedids = dict.fromkeys((AGENT, CUSTOMER, GUEST), "1.0")
    for channels, expected in ((guest + agent + customer, CUSTOMER), (guest + agent, AGENT)):
        asterisk = Asterisk(channels, linkedids)
        assert await end(asterisk)
        assert asterisk.ended == [expected]


async def test_two_who_talk_are_a_call_that_nobody_looked_at() -> None:
    """Whatever the dialplan made of numbers and names; more, or apart, they may be anybody."""
    names = ("SIP/a-00000001", "SIP/b-00000002", "SIP/c-00000003")
    linkedids = dict.fromkeys(names, "1.0")
    pair = row(names[0], "1.1") + row(names[1], "1.2")
    asterisk = Asterisk(pair, linkedids)
    assert await end(asterisk)
    assert asterisk.ended == [names[0]]
    for channels in (pair + row(names[2], "1.3"), pair.replace("!b!1.2", "!c!1.2")):
        asterisk = Asterisk(channels, linkedids)
        with pytest.raises(CallNotReady):
            await end(asterisk)
        assert asterisk.ended == []


async def test_whom_a_supervisor_hears_is_never_ended_with_him() -> None:
    """The tapped extension's phone is another call's."""
    root = Root("Local/150@inoffice-1;1", "1.0", "monitor", "150", "151")
    channels = row("SIP/151-00000007", "7.1", caller="151") + row("SIP/trunk-00000008", "1.1")
    asterisk = Asterisk(channels, {"SIP/151-00000007": "7.0", "SIP/trunk-00000008": "1.0"})
    assert await end(asterisk, root=root)
    assert asterisk.ended == ["SIP/trunk-00000008"]


async def test_a_call_of_which_nothing_is_left_is_over() -> None:
    """Other calls' channels are not touched."""
    asterisk = Asterisk(row(GUEST, "4.1"), {GUEST: "4.1"})
    assert not await end(asterisk, *SEEN)
    assert asterisk.ended == []


async def test_a_call_is_ended_by_the_leg_that_can_be_named() -> None:
    """Its customer's trunk has a name that no command can carry; the agent's phone will do."""
    asterisk = Asterisk(row(ODD, "1.2") + row(AGENT, "1.1"))
    assert await end(asterisk, SEEN[0], leg(ODD, "1.2", "customer"))
    assert asterisk.ended == [AGENT]


async def test_a_call_whose_only_leg_cannot_be_named_is_not_ended() -> None:
    """The error says so; nothing was sent."""
    asterisk = Asterisk(row(ODD, "1.2"))
    ending = Ending(ROOT, (leg(ODD, "1.2", "customer"),))
    with pytest.raises(ChannelUnaskable):
        await ending(asterisk, deadline=Deadline.after(5))
    assert (asterisk.ended, ending.may_be_sent) == ([], False)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize(("version", "name"), RECORDED)
async def test_a_recorded_call_can_be_ended_at_every_moment(
    version: str, name: str, *, seen: bool
) -> None:
    """One of its own live channels is named: its root's, else its customer's, else its agent's."""
    recording = Recording.load(version, name)
    linkedids, root = recording.linkedids(), recording.root
    for count, snapshot in enumerate(recording.snapshots, start=1):
        listed = parse_channels(snapshot["channels"])
        own = [c for c in listed if linkedids.get(c.uniqueid, c.uniqueid) == root.uniqueid]
        _, progress = recording.follow(iter([True] * count + [False] * len(recording.snapshots)))
        asterisk = Asterisk(
            snapshot["channels"], {c.name: linkedids.get(c.uniqueid, "") for c in listed}
        )
        legs = progress.legs if seen else ()
        assert await Ending(root, legs)(asterisk, deadline=Deadline.after(5)) == bool(own)
        phones = {c.name for c in own if not is_local(c)}
        roots = {c.name for c in own if c.uniqueid == root.uniqueid}
        parties = {leg.channel: leg.party for leg in progress.legs}
        customers = {phone for phone in phones if parties[phone] == "customer"}
        expected = roots or customers or phones or {c.name for c in own}
        assert len(asterisk.ended) == bool(own)
        assert set(asterisk.ended) <= expected, (snapshot["at"], listed)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_guest_is_no_customer(order: tuple[int, ...]) -> None:
    """Whom the call has called is found first, wherever a guest of a conference is listed."""
    rows = [row(GUEST, "4.1"), row(AGENT, "1.1"), row(CUSTOMER, "1.2")]
    listed = parse_channels("".join(rows[index] for index in order))
    legs = (*SEEN, leg(GUEST, "4.1", "customer"))
    found = [channel.name for channel in customers_among(ROOT, legs, listed)]
    assert found == [CUSTOMER]


# What is told of an attempt


LOST = Unacknowledged("gone", replies=(), begun=1)
DONE = "Requested Hangup on channel 'x'\n"
GONE = "x is not a known channel\n"
REFUSED = "No such command 'channel request hangup x'\n"


@pytest.mark.parametrize(
    ("replies", "may_be_sent", "is_done"),
    [
        ([DONE], True, True),
        ([GONE], False, False),
        ([LOST, GONE], True, False),
        ([LOST, SocketRefused("refused")], True, False),
        ([SocketRefused("refused"), REFUSED], False, False),
        ([ZeroDivisionError()], False, False),  # before the write: see Console.ask
        ([asyncio.CancelledError()], True, False),
        ([SocketRefused("refused"), DONE], True, True),
    ],
)
async def test_what_was_sent_is_told_whatever_fails_later(
    replies: list[str | BaseException], *, may_be_sent: bool, is_done: bool
) -> None:
    """Of several attempts, for as long as anybody asks."""
    asterisk = Asterisk(row(AGENT, "1.1"))
    asterisk.replies = list(replies)
    ending = Ending(ROOT, SEEN)
    for reply in replies:
        expected: Any = HangupUnacknowledged if reply is LOST else type(reply)
        expected = CommandRejected if reply is REFUSED else expected
        with nullcontext() if reply in {DONE, GONE} else pytest.raises(expected):
            assert await ending(asterisk, deadline=Deadline.after(5)) is (reply is DONE)
    assert (ending.may_be_sent, ending.is_done) == (may_be_sent, is_done)


async def test_who_is_given_up_before_a_channel_is_chosen_has_sent_nothing() -> None:
    """Also if the connection is lost then: certainly nobody was hung up."""
    for error in (asyncio.CancelledError(), Unacknowledged("gone", replies=(), begun=1)):
        asterisk = Asterisk("")
        asterisk.answer = lambda _commands, error=error: Told(error=error)  # type: ignore[method-assign,misc]
        ending = Ending(ROOT, SEEN)
        with pytest.raises((asyncio.CancelledError, ConnectionLost)) as raised:
            await ending(asterisk, deadline=Deadline.after(5))
        assert not isinstance(raised.value, HangupUnacknowledged)
        assert not ending.may_be_sent


# Ending what nobody has answered


def root_of(uniqueid: str, extension: str = "150") -> Channel:
    """Make a root channel as its originate found it."""
    name = f"Local/{extension}@inoffice-0000002a;1"
    (root,) = parse_channels(f"{name}!inoffice!{extension}!1!Down!AppDial2!!!!!3!0!!{uniqueid}")
    return root


async def end_unanswered(asterisk: Asterisk, root: Channel) -> bool:
    """End it unless it is answered."""
    return await EndingUnanswered(root)(asterisk, deadline=Deadline.after(5))


@pytest.mark.parametrize("name", ["channels-customer-ringing", "channels-connected"])
async def test_answered_call_is_never_hung_up(transcript: Read, name: str) -> None:
    """Somebody speaks, or waits for the customer: nothing is sent but the question."""
    root = parse_linkedid(transcript("channel-root-connected"))
    assert root is not None
    asterisk = Asterisk(transcript(name))
    assert not await end_unanswered(asterisk, root_of(root, "154"))
    assert asterisk.ended == []


@pytest.mark.parametrize("name", ["channels-idle", "channels-connected-rtp", "channels-spied"])
async def test_root_that_is_gone_hangs_up_nobody(transcript: Read, name: str) -> None:
    """It ended by itself, or is answered and optimised away: other calls are not touched."""
    asterisk = Asterisk(transcript(name))
    assert not await end_unanswered(asterisk, root_of("17.7"))
    assert asterisk.ended == []


async def test_ringing_call_is_hung_up_by_its_own_root(transcript: Read) -> None:
    """Exactly one channel is named: the root that the list has under this uniqueid now."""
    uniqueid = parse_linkedid(transcript("channel-root-agent-ringing"))
    assert uniqueid is not None
    asterisk = Asterisk(transcript("channels-agent-ringing"))
    assert await end_unanswered(asterisk, root_of(uniqueid, "154"))
    assert asterisk.ended == ["Local/154@inoffice-00000016;1"]


async def test_channel_with_the_roots_name_and_another_id_is_not_it() -> None:
    """Names begin anew when Asterisk restarts; a uniqueid does not."""
    asterisk = Asterisk(row("Local/150@inoffice-0000002a;1", "17.7").replace("!Up!", "!Down!"))
    assert not await end_unanswered(asterisk, root_of("16.7"))
    assert asterisk.ended == []


async def test_a_ring_that_is_gone_after_a_lost_hang_up_was_ended_by_it() -> None:
    """Not told as a call that goes on: nothing else had ended it a second before."""
    asterisk = Asterisk(row("Local/150@inoffice-0000002a;1", "17.7").replace("!Up!", "!Ringing!"))
    asterisk.replies = [LOST]
    ending = EndingUnanswered(root_of("17.7"))
    with pytest.raises(HangupUnacknowledged):
        await ending(asterisk, deadline=Deadline.after(5))
    assert await ending(Asterisk(""), deadline=Deadline.after(5))
    answered = Asterisk(row("Local/150@inoffice-0000002a;1", "17.7"))
    assert not await ending(answered, deadline=Deadline.after(5))

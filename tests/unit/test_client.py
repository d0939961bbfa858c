"""What is made of Asterisk's answers: whose root channel it is, and who is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.asterisk import client
from shared.asterisk.commands import OriginateCall
from shared.asterisk.console import Pending, Unacknowledged
from shared.asterisk.models import Channel, Context, Extension, Phone, Technology
from shared.asterisk.parsers import parse_channels, parse_linkedid, split_replies
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ConnectionLost,
    ContextMissing,
    NoChannel,
    NotExecuted,
    OutcomeUnknown,
    ServiceError,
    SocketRefused,
)

pytestmark = pytest.mark.anyio

Read = Callable[[str], str]

CALL = OriginateCall(Extension("150"), Phone("+375296254070"), Context("inoffice"))
OLD = "Local/150@inoffice-00000001;1!inoffice!150!1!Up!Dial!LOCAL/1@inoffice!!!!3!9!!17.1\n"
ROOT = "Local/150@inoffice-0000002a;1!inoffice!150!1!Down!AppDial2!(None)!!!!3!0!!17.7\n"
HALF = "Local/150@inoffice-0000002a;2!inoffice!150!1!Ring!(None)!!!!!3!0!!17.8\n"
LONGER = "Local/1501@inoffice-0000002b;1!inoffice!1501!1!Down!AppDial2!(None)!!!!3!0!!17.9\n"
ELSEWHERE = "Local/150@inoffice2-0000002c;1!inoffice2!150!1!Down!AppDial2!(None)!!!!3!0!!17.10\n"
RIVAL = "Local/150@inoffice-0000002d;1!inoffice!150!1!Down!AppDial2!(None)!!!!3!0!!17.11\n"

NO_EXTENSION = "There is no existence of 150@{0} extension\nCommand 'dialplan show' failed.\n"
NO_CONTEXT = "There is no existence of '{0}' context\nCommand 'dialplan show' failed.\n"
INCLUDE = "  Include =>        '{0}'                                    [pbx_config]\n"
SWITCH = "  Alt. Switch =>    'Loopback/@other'                        [pbx_config]\n"


class Console:
    """Answers one exchange and records it."""

    is_gapless = True

    def __init__(self, *replies: str, error: ServiceError | None = None) -> None:
        self._replies = replies
        self._error = error
        self.asked: list[tuple[str, ...]] = []

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Record the commands and give the replies."""
        self.asked.append(commands)
        if self._error:
            raise self._error
        return self._replies


class Dialplan:
    """Answers `dialplan show` from a table; whatever is missing there does not exist."""

    is_gapless = True

    def __init__(self, answer: str, **contexts: str) -> None:
        self._answer = answer
        self._contexts = contexts
        self.asked: list[str] = []

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Look it up."""
        (command,) = commands
        name = command.removeprefix("dialplan show ")
        self.asked.append(name)
        if "@" in name:
            return (self._answer,)
        return (self._contexts.get(name, NO_CONTEXT.format(name)),)

    async def knows(self) -> bool:
        """Ask it for 150@inoffice."""
        deadline = Deadline.after(5)
        return await client.is_known(self, Extension("150"), Context("inoffice"), deadline)


async def originate(console: Console) -> list[str]:
    """Place the call; the roots' names."""
    originated = await client.originate(console, CALL, Deadline.after(5))
    return [root.name for root in originated.roots]


async def test_call_is_sent_once_between_two_snapshots() -> None:
    """One exchange: the channels, the originate, the channels."""
    console = Console("", "", ROOT)
    await originate(console)
    snapshot = "core show channels concise"
    assert console.asked == [(snapshot, CALL.render(), snapshot)]


async def test_root_is_the_new_first_leg_of_this_extension() -> None:
    """Never an older root, the second leg, another extension's or another context's."""
    console = Console(OLD, "", OLD + HALF + ELSEWHERE + ROOT + LONGER)
    assert await originate(console) == ["Local/150@inoffice-0000002a;1"]


async def test_acknowledged_call_without_a_root_is_accepted_where_commands_have_gaps() -> None:
    """By `asterisk -rx` a call that is over at once is gone before it is looked for."""
    console = Console(OLD, "", OLD)
    console.is_gapless = False
    assert await originate(console) == []


async def test_root_that_real_asterisk_listed(transcript: Read) -> None:
    """The recorded exchange of an originate to 153 has exactly one root."""
    before, after = split_replies(transcript("ctl-originate-between-snapshots"))
    command = OriginateCall(Extension("153"), Phone("1"), Context("inoffice"))
    console = Console(before, "", after)
    originated = await client.originate(console, command, Deadline.after(5))
    (root,) = originated.roots
    assert root.name.startswith("Local/153@inoffice-")


async def test_two_new_roots_stay_two() -> None:
    """Another program's originate in the same millisecond: nothing tells yet which is ours."""
    roots = await originate(Console("", "", ROOT + RIVAL))
    assert roots == ["Local/150@inoffice-0000002a;1", "Local/150@inoffice-0000002d;1"]


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), (OLD, OLD), (ROOT, ROOT), ("", LONGER), ("", HALF)]
)
async def test_acknowledged_call_without_a_channel_is_unknown(before: str, after: str) -> None:
    """Asterisk accepted it, so nobody may try again, though no channel was seen."""
    with pytest.raises(NoChannel) as caught:
        await originate(Console(before, "", after))
    assert caught.value.dialled == "unknown"


@pytest.mark.parametrize("name", ["unknown-command", "originate-usage"])
async def test_refused_call_was_not_dialled(transcript: Read, name: str) -> None:
    """An Asterisk that does not know the command, or its syntax, executed nothing."""
    with pytest.raises(CommandRejected) as caught:
        await originate(Console("", transcript(name), ""))
    assert caught.value.dialled == "no"


async def test_refused_call_in_a_broken_exchange_was_not_dialled(transcript: Read) -> None:
    """The refusal counts even if the connection broke right behind it."""
    refusal = transcript("unknown-command")
    error = Unacknowledged("Connection lost", replies=("", refusal), begun=3)
    with pytest.raises(CommandRejected):
        await originate(Console(error=error))


@pytest.mark.parametrize("begun", [0, 1])
async def test_exchange_that_broke_before_the_originate_dialled_nothing(begun: int) -> None:
    """Only the snapshot had begun: safe to try again."""
    error = Unacknowledged("Connection lost", replies=(), begun=begun)
    with pytest.raises(ConnectionLost) as caught:
        await originate(Console(error=error))
    assert caught.value.dialled == "no"
    assert caught.value.again


@pytest.mark.parametrize(("begun", "replies"), [(2, ()), (2, ("",)), (3, ()), (3, ("", ""))])
async def test_exchange_that_broke_after_the_originate_had_begun_is_unknown(
    begun: int, replies: tuple[str, ...]
) -> None:
    """The phone may ring: never to be tried again."""
    error = Unacknowledged("Connection lost", replies=replies, begun=begun)
    with pytest.raises(OutcomeUnknown) as caught:
        await originate(Console(error=error))
    assert caught.value.dialled == "unknown"


async def test_console_that_executed_nothing_says_why() -> None:
    """What proves that nothing was executed passes through as it is."""
    error = SocketRefused("Asterisk closed its control socket")
    with pytest.raises(SocketRefused) as caught:
        await originate(Console(error=error))
    assert caught.value is error


@pytest.mark.parametrize(
    "name",
    [
        *("dialplan-exact", "dialplan-pattern", "dialplan-include"),
        *("dialplan-include-and-pattern", "dialplan-switch", "dialplan-switch-no-extension"),
    ],
)
async def test_extension_that_may_answer_is_known(transcript: Read, name: str) -> None:
    """An extension, a pattern, an include, or a switch that is asked at dial time: one question."""
    dialplan = Dialplan(transcript(name))
    assert await dialplan.knows()
    assert dialplan.asked == ["150@inoffice"]


async def test_extension_that_nothing_answers_is_unknown(transcript: Read) -> None:
    """Neither the context nor what it includes has it or a switch."""
    dialplan = Dialplan(
        transcript("dialplan-no-extension"),
        inoffice=transcript("dialplan-context"),
        included="[ Context 'included' created by 'pbx_config' ]\n",
    )
    assert not await dialplan.knows()
    assert dialplan.asked == ["150@inoffice", "inoffice", "included"]


async def test_switch_of_an_include_may_know_every_extension(transcript: Read) -> None:
    """Asterisk prints an include's switch only in the include's own listing."""
    dialplan = Dialplan(
        transcript("dialplan-included-switch"),
        inoffice=transcript("dialplan-context-included-switch"),
        switched=transcript("dialplan-context-switch"),
    )
    assert await dialplan.knows()


async def test_switch_far_down_the_includes_is_found() -> None:
    """An include's include counts as well."""
    dialplan = Dialplan(
        NO_EXTENSION,
        inoffice=INCLUDE.format("a") + INCLUDE.format("b"),
        a="",
        b=INCLUDE.format("c"),
        c=INCLUDE.format("d"),
        d=SWITCH,
    )
    assert await dialplan.knows()


async def test_ring_of_includes_ends() -> None:
    """Contexts that include each other are each asked once."""
    dialplan = Dialplan(
        NO_EXTENSION,
        inoffice=INCLUDE.format("a") + INCLUDE.format("inoffice"),
        a=INCLUDE.format("b"),
        b=INCLUDE.format("inoffice") + INCLUDE.format("a"),
    )
    assert not await dialplan.knows()
    assert sorted(dialplan.asked) == ["150@inoffice", "a", "b", "inoffice"]


async def test_dialplan_too_large_to_be_searched_is_given_the_benefit_of_the_doubt() -> None:
    """After 64 contexts nothing is certain, so the extension is dialled."""
    chain = {f"c{n}": INCLUDE.format(f"c{n + 1}") for n in range(200)}
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format("c0"), **chain)
    assert await dialplan.knows()
    assert len(dialplan.asked) <= 65


@pytest.mark.parametrize("name", ["office hours", "a;b", "внутри", "a" * 80])
async def test_include_that_cannot_be_asked_for_may_know_every_extension(name: str) -> None:
    """A name that no command of ours may carry is not asked for, and leaves doubt."""
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format(name))
    assert await dialplan.knows()
    assert dialplan.asked == ["150@inoffice", "inoffice"]


@pytest.mark.parametrize("times", ["|9:00-18:00|mon-fri|*|*", ",9:00-18:00,mon-fri,*,*"])
async def test_times_of_an_include_are_not_part_of_its_name(times: str) -> None:
    """An include for office hours is searched at any hour."""
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format(f"day{times}"), day=SWITCH)
    assert await dialplan.knows()
    assert dialplan.asked[-1] == "day"


async def test_include_that_does_not_exist_knows_nobody() -> None:
    """An include of a missing context adds nothing, and is no fault of the caller's."""
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format("gone"))
    assert not await dialplan.knows()


async def test_missing_context_is_told_as_a_wrong_setting(transcript: Read) -> None:
    """Without the context no extension is to blame: DIALPLAN_CONTEXT is."""
    with pytest.raises(ContextMissing, match="DIALPLAN_CONTEXT"):
        await Dialplan(transcript("dialplan-no-context")).knows()


async def test_question_that_broke_off_leaves_nothing_unknown() -> None:
    """A command that changes nothing may always be asked again."""
    error = Unacknowledged("Connection lost", replies=(), begun=1)
    console = Console(error=error)
    with pytest.raises(ConnectionLost):
        await client.is_known(console, Extension("150"), Context("inoffice"), Deadline.after(5))
    with pytest.raises(ConnectionLost):
        await client.ping(console, Deadline.after(5))


async def test_question_that_asterisk_refuses_is_not_an_answer(transcript: Read) -> None:
    """An Asterisk without the command must not look like one without the extension."""
    console = Console(transcript("unknown-command"))
    with pytest.raises(CommandRejected):
        await client.is_known(console, Extension("150"), Context("inoffice"), Deadline.after(5))


async def test_technologies_and_channels_are_asked_for(transcript: Read, version: str) -> None:
    """The list of types names the driver; the list of channels names the live ones."""
    console = Console(transcript("channeltypes"))
    expected = {Technology.SIP if version == "16" else Technology.PJSIP}
    assert expected == await client.find_technologies(console, Deadline.after(5))
    console = Console(transcript("channels-connected-rtp"))
    assert len(await client.list_channels(console, Deadline.after(5))) == 2


# How far the extension is


class Asterisk:
    """Answers with these channels, and of each channel what was recorded or scripted."""

    is_gapless = True

    def __init__(self, channels: str, **shown: str) -> None:
        self._channels = channels
        self._shown = shown
        self.asked: list[str] = []

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Look it up; a channel that nobody described is gone by now."""
        (command,) = commands
        self.asked.append(command)
        if command.startswith("core show channels"):
            return (self._channels,)
        name = command.split()[-1]
        return (self._shown.get(name.partition("/")[2], f"{name} is not a known channel\n"),)

    def changed(self) -> list[str]:
        """What was asked that is no question."""
        return [command for command in self.asked if not command.startswith("core show ")]


def root_of(uniqueid: str, extension: str = "150") -> Channel:
    """Make a root channel as its originate found it."""
    name = f"Local/{extension}@inoffice-0000002a;1"
    (root,) = parse_channels(f"{name}!inoffice!{extension}!1!Down!AppDial2!!!!!3!0!!{uniqueid}")
    return root


async def phase(asterisk: Asterisk, root: Channel) -> str:
    """Ask how far it is."""
    return await client.find_agent_phase(asterisk, root, Deadline.after(5))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("channels-agent-ringing", "agent_ringing"),
        ("channels-customer-ringing", "agent_answered"),
        ("channels-connected", "agent_answered"),
    ],
)
async def test_state_of_the_root_is_the_extensions(
    transcript: Read, name: str, expected: str
) -> None:
    """While the root lives, one question tells; the customer's ringing is an answered agent."""
    uniqueid = parse_linkedid(transcript("channel-root-connected"))
    assert uniqueid is not None
    asterisk = Asterisk(transcript(name))
    assert await phase(asterisk, root_of(uniqueid, "154")) == expected
    assert len(asterisk.asked) == 1


@pytest.mark.parametrize("state", ["Down", "Ring", "Dialing", "Pre-ring", "Unknown"])
async def test_root_that_neither_rings_nor_is_up_is_accepted(state: str) -> None:
    """Nothing is claimed that Asterisk does not say."""
    assert await phase(Asterisk(ROOT.replace("Down", state)), root_of("17.7")) == "accepted"


async def test_root_that_was_optimised_away_is_an_answered_extension(transcript: Read) -> None:
    """With audio flowing only the phones' own channels are left; the extension's names its root."""
    shown = transcript("channel-agent-connected-rtp")
    root = parse_linkedid(shown)
    assert root is not None
    asterisk = Asterisk(transcript("channels-connected-rtp"), **{"156-00000018": shown})
    assert await phase(asterisk, root_of(root, "156")) == "agent_answered"


async def test_extension_that_talks_in_another_call_has_not_answered_this_one(
    transcript: Read,
) -> None:
    """Its channel names another root: ours is over."""
    shown = transcript("channel-agent-connected-rtp")
    asterisk = Asterisk(transcript("channels-connected-rtp"), **{"156-00000018": shown})
    assert await phase(asterisk, root_of("17.7", "156")) == "ended"
    assert len(asterisk.asked) == 2


async def test_only_the_extensions_own_channels_are_asked(transcript: Read) -> None:
    """1501 is not 150, nor is a trunk whose call has the same root."""
    rows = "".join(
        f"{name}!inoffice!!1!Up!AppDial!(Outgoing Line)!150!!!3!3!!17.{number}\n"
        for number, name in enumerate(("SIP/1501-01", "SIP/trunk-02", "IAX2/150-03", "SIP/15-04"))
    )
    asterisk = Asterisk(rows)
    assert await phase(asterisk, root_of("16.1")) == "ended"
    assert len(asterisk.asked) == 1


async def test_call_without_any_channel_has_ended(transcript: Read) -> None:
    """No root, no channel of the extension: nobody rings."""
    assert await phase(Asterisk(transcript("channels-idle")), root_of("17.7")) == "ended"


async def test_channel_that_hangs_up_between_two_questions_has_ended(transcript: Read) -> None:
    """`not a known channel` is no proof of an answer."""
    asterisk = Asterisk(transcript("channels-connected-rtp"))
    assert await phase(asterisk, root_of("17.7", "156")) == "ended"


# Hanging up what nobody has answered


async def hang_up(asterisk: Asterisk, root: Channel) -> bool:
    """Hang it up unless it is answered."""
    return await client.hang_up_unanswered(asterisk, root, Deadline.after(5))


@pytest.mark.parametrize("name", ["channels-customer-ringing", "channels-connected"])
async def test_answered_call_is_never_hung_up(transcript: Read, name: str) -> None:
    """Somebody speaks, or waits for the customer: nothing is sent but the question."""
    root = parse_linkedid(transcript("channel-root-connected"))
    assert root is not None
    asterisk = Asterisk(transcript(name))
    assert not await hang_up(asterisk, root_of(root, "154"))
    assert asterisk.changed() == []


@pytest.mark.parametrize("name", ["channels-idle", "channels-connected-rtp", "channels-spied"])
async def test_root_that_is_gone_hangs_up_nobody(transcript: Read, name: str) -> None:
    """It ended by itself, or is answered and optimised away: other calls are not touched."""
    asterisk = Asterisk(transcript(name))
    assert not await hang_up(asterisk, root_of("17.7"))
    assert asterisk.changed() == []


async def test_ringing_call_is_hung_up_by_its_own_root(transcript: Read) -> None:
    """Exactly one channel is named: the root that the list has under this uniqueid now."""
    uniqueid = parse_linkedid(transcript("channel-root-agent-ringing"))
    assert uniqueid is not None
    asterisk = Asterisk(transcript("channels-agent-ringing"))
    assert await hang_up(asterisk, root_of(uniqueid, "154"))
    assert asterisk.changed() == ["channel request hangup Local/154@inoffice-00000016;1"]


async def test_channel_with_the_roots_name_and_another_id_is_not_it() -> None:
    """Names begin anew when Asterisk restarts; a uniqueid does not."""
    asterisk = Asterisk(ROOT)
    assert not await hang_up(asterisk, root_of("16.7"))
    assert asterisk.changed() == []


# Who owns a socket that is still open


class OpenSocket:
    """A stream on which nothing ever comes."""

    closed = False

    async def read(self) -> bytes:
        """Never return."""
        await asyncio.Event().wait()
        raise AssertionError

    def write(self, data: bytes) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Note it."""
        self.closed = True


def broken_off(*replies: str, begun: int = 3) -> tuple[Unacknowledged, OpenSocket]:
    """Make an exchange whose time was up, with its socket still open."""
    stream = OpenSocket()
    pending = Pending(stream, ("", "", ""))
    return Unacknowledged("in time", replies=replies, begun=begun, pending=pending), stream


async def test_unknown_originate_hands_its_socket_on() -> None:
    """Whoever catches it may listen on."""
    error, stream = broken_off("")
    with pytest.raises(client.OriginateUnknown) as caught:
        await originate(Console(error=error))
    assert caught.value.pending is error.pending
    assert not stream.closed


async def test_originate_whose_end_is_known_leaves_no_socket_open(transcript: Read) -> None:
    """Refused, or not begun: there is nothing to listen for."""
    for error, stream in (broken_off("", transcript("unknown-command")), broken_off(begun=1)):
        with pytest.raises(NotExecuted):
            await originate(Console(error=error))
        assert stream.closed


async def test_question_whose_time_was_up_leaves_no_socket_open() -> None:
    """Its late answer would interest nobody."""
    error, stream = broken_off()
    with pytest.raises(ConnectionLost):
        await client.list_channels(Console(error=error), Deadline.after(5))
    assert stream.closed

"""What is made of Asterisk's answers: whose root channel it is, and who is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.asterisk import client
from shared.asterisk.commands import OriginateCall
from shared.asterisk.console import Unacknowledged
from shared.asterisk.models import Context, Extension, Phone, Technology
from shared.asterisk.parsers import split_replies
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ConnectionLost,
    ContextMissing,
    NoChannel,
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

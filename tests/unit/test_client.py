"""What is asked of Asterisk, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.asterisk import client
from shared.asterisk.console import Unacknowledged
from shared.asterisk.models import (
    Channel,
    Context,
    Extension,
    Technology,
)
from shared.asterisk.parsers import parse_channels, parse_linkedid
from shared.deadline import Deadline
from shared.errors import (
    ChannelUnaskable,
    CommandRejected,
    ConnectionLost,
    ContextMissing,
)
from tests.unit.exchanges import Console, Scripted, Told, broken_off

pytestmark = pytest.mark.anyio

Read = Callable[[str], str]

ROOT = "Local/150@inoffice-0000002a;1!inoffice!150!1!Down!AppDial2!(None)!!!!3!0!!17.7\n"

NO_EXTENSION = "There is no existence of 150@{0} extension\nCommand 'dialplan show' failed.\n"
NO_CONTEXT = "There is no existence of '{0}' context\nCommand 'dialplan show' failed.\n"
INCLUDE = "  Include =>        '{0}'                                    [pbx_config]\n"
SWITCH = "  Alt. Switch =>    'Loopback/@other'                        [pbx_config]\n"


class Dialplan(Scripted):
    """Answers `dialplan show` from a table; whatever is missing there does not exist."""

    def __init__(self, answer: str, **contexts: str) -> None:
        super().__init__()
        self._answer = answer
        self._contexts = contexts

    @property
    def names(self) -> list[str]:
        """What was looked up."""
        return [command.removeprefix("dialplan show ") for (command,) in self.asked]

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Look it up."""
        name = commands[0].removeprefix("dialplan show ")
        return Told(
            self._answer if "@" in name else self._contexts.get(name, NO_CONTEXT.format(name))
        )

    async def knows(self) -> bool:
        """Ask it for 150@inoffice."""
        deadline = Deadline.after(5)
        return await client.is_known(self, Extension("150"), Context("inoffice"), deadline)


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
    assert dialplan.names == ["150@inoffice"]


async def test_extension_that_nothing_answers_is_unknown(transcript: Read) -> None:
    """Neither the context nor what it includes has it or a switch."""
    dialplan = Dialplan(
        transcript("dialplan-no-extension"),
        inoffice=transcript("dialplan-context"),
        included="[ Context 'included' created by 'pbx_config' ]\n",
    )
    assert not await dialplan.knows()
    assert dialplan.names == ["150@inoffice", "inoffice", "included"]


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


async def test_include_that_is_listed_often_is_asked_about_once() -> None:
    """However many lines of one context name the other, and the other names it back."""
    dialplan = Dialplan(
        NO_EXTENSION.format("150"),
        inoffice=INCLUDE.format("other") * 1_000,
        other=INCLUDE.format("inoffice") * 1_000,
    )
    assert not await dialplan.knows()
    assert dialplan.names == ["150@inoffice", "inoffice", "other"]


async def test_ring_of_includes_ends() -> None:
    """Contexts that include each other are each asked once."""
    dialplan = Dialplan(
        NO_EXTENSION,
        inoffice=INCLUDE.format("a") + INCLUDE.format("inoffice"),
        a=INCLUDE.format("b"),
        b=INCLUDE.format("inoffice") + INCLUDE.format("a"),
    )
    assert not await dialplan.knows()
    assert sorted(dialplan.names) == ["150@inoffice", "a", "b", "inoffice"]


async def test_dialplan_too_large_to_be_searched_is_given_the_benefit_of_the_doubt() -> None:
    """After 64 contexts nothing is certain, so the extension is dialled."""
    chain = {f"c{n}": INCLUDE.format(f"c{n + 1}") for n in range(200)}
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format("c0"), **chain)
    assert await dialplan.knows()
    assert len(dialplan.names) <= 65


@pytest.mark.parametrize("name", ["office hours", "a;b", "внутри", "a" * 80])
async def test_include_that_cannot_be_asked_for_may_know_every_extension(name: str) -> None:
    """A name that no command of ours may carry is not asked for, and leaves doubt."""
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format(name))
    assert await dialplan.knows()
    assert dialplan.names == ["150@inoffice", "inoffice"]


@pytest.mark.parametrize("times", ["|9:00-18:00|mon-fri|*|*", ",9:00-18:00,mon-fri,*,*"])
async def test_times_of_an_include_are_not_part_of_its_name(times: str) -> None:
    """An include for office hours is searched at any hour."""
    dialplan = Dialplan(NO_EXTENSION, inoffice=INCLUDE.format(f"day{times}"), day=SWITCH)
    assert await dialplan.knows()
    assert dialplan.names[-1] == "day"


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
    assert expected == await client.load_technologies(console, Deadline.after(5))
    console = Console(transcript("channels-connected-rtp"))
    assert len(await client.list_channels(console, Deadline.after(5))) == 2


# How far the extension is


class Asterisk(Scripted):
    """Answers with these channels, and of each channel what was recorded or scripted."""

    def __init__(self, channels: str, **shown: str) -> None:
        super().__init__()
        self._channels = channels
        self._shown = shown

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Look it up; a channel that nobody described is gone by now."""
        if commands[0].startswith("core show channels"):
            return Told(self._channels)
        names = [command.split()[-1] for command in commands]
        unknown = "{} is not a known channel\n"
        return Told(*(self._shown.get(n.partition("/")[2], unknown.format(n)) for n in names))

    def changed(self) -> list[str]:
        """What was asked that is no question."""
        return [c for asked in self.asked for c in asked if not c.startswith("core show ")]


def root_of(uniqueid: str, extension: str = "150") -> Channel:
    """Make a root channel as its originate found it."""
    name = f"Local/{extension}@inoffice-0000002a;1"
    (root,) = parse_channels(f"{name}!inoffice!{extension}!1!Down!AppDial2!!!!!3!0!!{uniqueid}")
    return root


async def phase(asterisk: Asterisk, root: Channel) -> str:
    """Ask how far it is."""
    return await client.load_agent_phase(asterisk, root, Deadline.after(5))


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


async def test_a_phone_of_another_name_may_have_answered(transcript: Read) -> None:
    """By follow-me or a group: two who talk, and whose root is this, have not ended."""
    shown = transcript("channel-agent-connected-rtp")
    root = parse_linkedid(shown)
    assert root is not None
    others = "SIP/151-03!inoffice!!1!Up!AppDial!(Outgoing Line)!151!!!3!{}!other-bridge!17.1\n"
    for age_s in (5, 5_000):
        asterisk = Asterisk(
            transcript("channels-connected-rtp") + others.format(age_s),
            **dict.fromkeys(("trunkrtp-00000019", "156-00000018"), shown),
            **{"151-03": "LinkedID: 17.1\n"},
        )
        assert await phase(asterisk, root_of(root, "210")) == "agent_answered"
        named = [command.split("/")[-1] for commands in asterisk.asked[1:] for command in commands]
        assert ("151-03" in named, len(named)) == ((True, 2) if age_s == 5 else (False, 1))
        assert await phase(asterisk, root_of("17.7", "210")) == "ended"


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
        for number, name in enumerate(
            ("SIP/1501-01", "SIP/trunk-02", "SIP/150-office-03", "SIP/15-04")
        )
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


# Names that no command can carry


ODD = "SIP/Офис-00000009"


class Switchboard(Asterisk):
    """An Asterisk whose channels tell their root in `shown`, asked several at once."""

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Answer each."""
        return Told(*map(self._reply, commands))

    def _reply(self, command: str) -> str:
        if command.startswith("channel "):
            return "Requested Hangup on channel 'x'\n"
        if command.startswith("core show channels"):
            return self._channels
        return self._shown.get(
            command.rsplit(maxsplit=1)[-1].partition("/")[2], "not a known channel\n"
        )


def rows(*named: tuple[str, str, str]) -> str:
    """List channels by name, bridge and uniqueid."""
    return "".join(f"{n}!x!1!1!Up!Dial!!1!!!3!3!{b}!{u}\n" for n, b, u in named)


def linked(root: str) -> str:
    """What Asterisk says of a channel of a call."""
    return f" -- General --\n       LinkedID: {root}\n"


@pytest.mark.parametrize(
    "odd", [ODD, "OutgoingSpoolFailed", "Surrogate", f"SIP/{'1' * 596}", "SIP/\x7f-1"]
)
async def test_one_odd_name_hides_no_other_channel(odd: str) -> None:
    """It is left out, the others' roots are found."""
    listed = parse_channels(rows((odd, "", "1.1"), ("SIP/150-01", "", "1.2")))
    asterisk = Switchboard("", **{"150-01": linked("1.0")})
    found = await client.load_linkedids(asterisk, listed, Deadline.after(5))
    assert found == {"1.2": "1.0"}
    assert asterisk.asked == [("core show channel SIP/150-01",)]


async def test_a_channel_that_cannot_be_named_is_not_sent_anywhere() -> None:
    """Nobody loses a customer to a command that means another channel."""
    (leg,) = parse_channels(rows((ODD, "", "1.3")))
    asterisk = Switchboard("")
    with pytest.raises(ChannelUnaskable):
        await client.redirect(
            asterisk, leg, Extension("151"), Context("inoffice"), Deadline.after(5)
        )
    assert asterisk.asked == []


async def test_a_channel_that_cannot_be_named_is_of_the_call_that_it_is_bridged_with() -> None:
    """A customer by such a trunk is found; another call's is not taken for ours."""
    text = rows((ODD, "b", "1.3"), ("SIP/Офис-1", "c", "1.4"), ("SIP/150-01", "b", "1.2"))
    asterisk = Switchboard(text, **{"150-01": linked("1.0")})
    deadline = Deadline.after(5)
    channels = await client.list_channels(asterisk, deadline)
    legs = await client.legs_among(asterisk, "1.0", channels, deadline)
    assert [leg.uniqueid for leg in legs] == ["1.3", "1.2"]


async def test_an_extension_that_cannot_be_asked_about_is_an_error_of_the_pbx() -> None:
    """Whether it answered is not known; whoever asks goes by what was known last."""
    with pytest.raises(ChannelUnaskable):
        await phase(Asterisk(rows(("SIP/150-0000002a<ж>", "", "1.2"))), root_of("1.0"))


async def test_question_whose_time_was_up_leaves_no_socket_open() -> None:
    """Its late answer would interest nobody."""
    error, stream = broken_off()
    with pytest.raises(ConnectionLost):
        await client.list_channels(Console(error=error), Deadline.after(5))
    assert stream.closed

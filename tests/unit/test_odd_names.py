"""Channels of any names among ours: ours are told rightly, and nobody else's as ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from demo.pbx.cli import split_words
from shared.asterisk import client
from shared.asterisk.devices import Tap
from shared.asterisk.models import Channel, Context, Extension, Progress, Root, Technology
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import observe
from shared.asterisk.views import view_of
from shared.deadline import Deadline
from tests.unit.exchanges import Scripted, Told

ROOT = Root("Local/50@inoffice-0000002a;1", "7.1", "call", "50", "+375290000001")
OURS = (
    ("Local/50@inoffice-0000002a;1", "Up", "Dial", "c1", "7.1"),
    ("Local/50@inoffice-0000002a;2", "Up", "Dial", "c2", "7.2"),
    ("SIP/50-0000002b", "Up", "AppDial", "c2", "7.3"),
    ("Local/+375290000001@inoffice-0000002b;1", "Up", "AppDial", "c1", "7.4"),
    ("Local/+375290000001@inoffice-0000002b;2", "Up", "Dial", "c3", "7.5"),
    ("SIP/trunk-0000002c", "Up", "AppDial", "c3", "7.6"),
)
ODD = (
    *("PJSIP/50-Office-Trunk-0000001b", "SIP/50-Office-Trunk-0000001b", "SIP/50-1-0000002a"),
    *("SIP/501-0000002d", "PJSIP/50_web-0000002e", "IAX2/50-1234", "IAX2/50-123", "DAHDI/50-1"),
    *("SCCP/50-00000001", "Local/FMPR-50@from-internal-00000003;1", "Local/50@other-0000002a;2"),
    *("SIP/trunk-0000002f<ZOMBIE>", "AsyncGoto/SIP/50-0000002b", "Surrogate/SIP/50-0000002b"),
    *("OutgoingSpoolFailed", "Surrogate", "", "/", "SIP/", "SIP/-", "all", "/.*/"),
    *("PJSIP/My Trunk-0000abcd", 'SIP/the "best"-00000001', "SIP/a\\b-00000001", "SIP/'-1"),
    *("SIP/Офис-00000009", "ＳＩＰ/50-0000002b", "SIP/50-٣", f"SIP/{'1' * 900}-00000001"),
)
names = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="!\n"), max_size=60),
    st.from_regex(r"(SIP|PJSIP|IAX2|Local|DAHDI)/50[-@_ ][ -~]{0,20}", fullmatch=True),
)


class Asterisk(Scripted):
    """One with these rows; a channel that is asked by its very name tells its root."""

    def __init__(self, rows: Sequence[str], linked: dict[str, str]) -> None:
        super().__init__()
        self._rows = "".join(f"{row}\n" for row in rows)
        self._linked = linked

    def answer(self, commands: tuple[str, ...]) -> Told:
        """Answer each."""
        return Told(*map(self._reply, commands))

    def _reply(self, command: str) -> str:
        words = split_words(command)
        match words:
            case ["core", "show", "channels", "concise"]:
                return self._rows
            case ["core", "show", "channel", name] if name in self._linked:
                return f"       LinkedID: {self._linked[name]}\n"
            case ["sip", "show", "peer", "50"]:
                return "  Addr->IP     : 127.0.0.1 Port 5060\n"
        return f"{words[-1]} is not a known channel\n"


Told50 = tuple[Progress, tuple[Channel, ...], Tap, list[str]]


async def told(*odd: tuple[str, int]) -> Told50:
    """Tell of 50's call, beside odd channels listed at those places.

    How far it is, 50's own channels, whom to tap, the call's phones.
    """
    rows = [f"{n}!inoffice!1!1!{s}!{a}!!!!!3!3!{b}!{u}" for n, s, a, b, u in OURS]
    linked = {name: ROOT.uniqueid for name, *_ in OURS}
    for number, (name, place) in enumerate(odd):
        rows.insert(
            place, f"{name}!elsewhere!s!1!Up!Dial!x!+375290000002!!!3!9!d{number}!8.{number}"
        )
        linked.setdefault(name, f"8.{number}")
    asterisk, deadline = Asterisk(rows, linked), Deadline.after(60)
    channels = await client.list_channels(asterisk, deadline)
    linkedids = await client.load_linkedids(asterisk, channels, deadline)
    fifty, drivers = Extension("50"), (Technology.SIP,)
    phones = await client.load_phones(asterisk, drivers, fifty, deadline)
    tap = await client.find_tap(asterisk, phones, fifty, Context("inoffice"), deadline)
    views = {call.root_uniqueid: call.channels for call in view_of(channels, linkedids)}
    return (
        observe(ROOT, Progress(), channels, linkedids, at_s=1.0),
        phones.found[0].channels,
        tap,
        [channel.channel for channel in views[ROOT.uniqueid]],
    )


# By its form a channel of this name is 50's own.
OWN = re.compile(
    "(?:sip/50-[0-9a-f]+(?:<.*)?)|" + "|".join(re.escape(n.casefold()) for n, *_ in OURS)
)
strangers = st.tuples(
    names.filter(lambda name: not OWN.fullmatch(name.casefold())), st.integers(0, len(OURS))
)


@given(st.lists(strangers, max_size=12, unique_by=lambda odd: odd[0].casefold()))
@example([(name, place % 7) for place, name in enumerate(ODD)])
def test_our_call_is_told_as_if_no_other_were_there(odd: list[tuple[str, int]]) -> None:
    """Whatever other channels are called: its phase and legs, its extension's phone, its tap."""
    alone = asyncio.run(told())
    assert asyncio.run(told(*odd)) == alone
    progress, own, tap, phones = alone
    assert progress.phase == "talking"
    assert [(leg.channel, leg.party) for leg in progress.legs] == [
        ("SIP/50-0000002b", "agent"),
        ("SIP/trunk-0000002c", "customer"),
    ]
    assert [channel.name for channel in own] == ["SIP/50-0000002b"]
    assert (tap.spied, tap.is_exact) == ("SIP/50-0000002b", True)
    assert phones == ["SIP/50-0000002b", "SIP/trunk-0000002c"]


def test_channels_are_read_whatever_they_are_called() -> None:
    """Each row is a channel of its own."""
    rows = "".join(f"{name}!x!s!1!Up!Dial!!!!!3!9!!8.{n}\n" for n, name in enumerate(ODD))
    assert [channel.name for channel in parse_channels(rows)] == list(ODD)

"""What an Asterisk counts of itself, as its console tells it: right, or missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.asterisk.console import Exchange
from shared.asterisk.counts import (
    About,
    Counts,
    load_counts,
    load_endpoints,
    parse_bridges,
    parse_running_version,
    parse_totals,
    parse_uptime,
)
from shared.asterisk.endpoints import Endpoints, count_iax2, count_pjsip, count_sip
from shared.asterisk.models import Technology
from shared.asterisk.socket_console import in_writes
from shared.deadline import Deadline
from tests.unit.conftest import TRANSCRIPTS, Transcripts
from tests.unit.exchanges import Scripted, Told

IAX2 = """\
Name/Username    Host               Mask                 Port           Status      Description
172              (null)        (D)  (null)               (null)         Unmonitored
171/171          127.0.0.1     (S)  255.255.255.255      24516          OK (1 ms)
2 iax2 peers [1 online, 0 offline, 1 unmonitored]
"""
# As 13 tells it: no duration.
BRIDGES_13 = """\
Bridge-ID                            Chans Type            Technology
e21bbd93-cc93-4260-8959-f3981ec88b8a     2 basic           simple_bridge
fffd0bee-81a1-45fc-95aa-5dd9c20409cd     3 base            softmix
"""
DENIED = "You don't have permissions to run 'bridge show all' command\n"
UNKNOWN = "No such command 'bridge show all' (type 'core show help bridge show' for ...)\n"


@pytest.mark.parametrize(
    ("text", "totals"),
    [
        ("0 active channels\n0 active calls\n69 calls processed\n", (0, 0, 69)),
        ("1 active channel\n1 active call\n1 call processed\n", (1, 1, 1)),
        ("2147483647 calls processed\n", (None, None, 2_147_483_647)),
        (
            "4 active channels\n2 of 9 max active calls (22.22% of capacity)\n7 calls processed\n",
            (4, 2, 7),
        ),
        ("4 active channels\n2 of 10 max active calls ( 2.00% of capacity)\n", (4, 2, None)),
        ("sudo: unable to resolve host pbx\n3 active channels\n", (3, None, None)),
        # Absurd, doubtful, in another language, or an answer to something else.
        ("99999999999 active channels\n-1 active calls\n-5 calls processed\n", (None, None, None)),
        ("1 active channels\n2 active channels\n", (None, None, None)),
        ("\u0661 active channel\n0x1 active calls\n 7 calls processed\n", (None, None, None)),
        ("6 aktive Kan\u00e4le\n2 aktive Gespr\u00e4che\n", (None, None, None)),
        ("", (None, None, None)),
        (UNKNOWN, (None, None, None)),
    ],
)
def test_totals(text: str, totals: tuple[int | None, ...]) -> None:
    """Each for itself."""
    assert parse_totals(text) == totals


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("37 seconds", 37),
        ("1 second", 1),
        ("", 0),
        ("60 seconds", 60),
        ("4 minutes, 37 seconds", 277),
        ("4 minutes, ", 240),
        ("1 year, 2 weeks, 1 day, 3 hours, 1 minute, 5 seconds", 32_842_865),
        ("1 year 2 weeks 5 seconds ", 32_745_605),
        ("5 seconds, 4 minutes", None),
        ("4 minutes, 37 Sekunden", None),
        ("9999999999 years", None),
        ("277", None),
        ("-5 seconds", None),
    ],
)
def test_how_long_it_runs(span: str, seconds: int | None) -> None:
    """In words, the greatest unit first; anything else is no time, nor is one of two."""
    assert parse_uptime(f"System uptime: {span}\nLast reload: 1 second\n") == (seconds, 1)
    assert parse_uptime(f"System uptime: {span}\nSystem uptime: {span}\n") == (None, None)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (BRIDGES_13, 2),
        (BRIDGES_13.split("\n", maxsplit=1)[0] + "\n", 0),
        (BRIDGES_13 + "\nab c 2 basic simple_bridge 100:00:01\n", 3),
        (BRIDGES_13 + "no row of a bridge\n", None),
        (BRIDGES_13 + "a -2 basic simple_bridge\n", None),
        (BRIDGES_13 + "a" * 2000 + " 2 basic simple_bridge\n", None),
        (BRIDGES_13.partition("\n")[2], None),
        ("", None),
        (DENIED, None),
        (UNKNOWN, None),
    ],
)
def test_bridges(text: str, count: int | None) -> None:
    """Rows under a head that is known; a row that is none leaves the whole unknown."""
    assert parse_bridges(text) == count


def test_recorded_bridges(transcript: Transcripts) -> None:
    """As real ones list them."""
    assert parse_bridges(transcript("bridges-connected")) == 3
    assert parse_bridges(transcript("bridges-idle")) == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "9 sip peers [Monitored: 3 online, 1 offline Unmonitored: 4 online, 1 offline]\n",
            Endpoints(9, 7, 2),
        ),
        ("9 sip peers [Monitored: 3 online, 1 offline Unmonitored: 4 online, 2 offline]\n", None),
        ("9 sip peers [3 online, 6 offline]\n", None),
        ("99999999 sip peers [Monitored: 0 online, 0 offline Unmonitored: 0 online, 0 offl", None),
        ("", None),
    ],
)
def test_sip_peers(text: str, found: Endpoints | None) -> None:
    """By the line at the end, where its parts are the whole."""
    assert count_sip(f"Name/username  Host\n150  127.0.0.1\n{text}") == found


def test_iax2_peers() -> None:
    """What nobody asks is neither online nor offline."""
    assert count_iax2(IAX2) == Endpoints(2, 1, 0)
    assert count_iax2(IAX2.replace("1 online", "7 online")) is None
    assert count_iax2("") is None


def _row(name: str, state: str) -> str:
    return f" Endpoint:  {name:<51}  {state:<12}  0 of inf\n"


@pytest.mark.parametrize(
    ("rows", "total", "found"),
    [
        (("150", "Not in use"), 1, Endpoints(1, 1, 0)),
        (("150/150", "In use", "city", "Unavailable", "x", "Unknown"), 3, Endpoints(3, 1, 1)),
        (("a" * 80, "Ring+Inuse", "b", "On Hold"), 2, Endpoints(2, 2, 0)),
        (("150", "Not in use"), 2, None),
        (("150", "Belegt"), 1, None),
        (("150", "Not in use"), 99_999_999, None),
    ],
)
def test_pjsip_endpoints(rows: tuple[str, ...], total: int, found: Endpoints | None) -> None:
    """All rows, and as many as are said to be; a state of other words is none."""
    legend = " Endpoint:  <Endpoint/CID...>  <State.....>  <Channels.>\n"
    listed = "".join(map(_row, rows[::2], rows[1::2]))
    assert count_pjsip(f"\n{legend}====\n\n{listed}\nObjects found: {total}\n\n") == found


def test_no_pjsip_endpoint() -> None:
    """That is told in words; nothing is not."""
    assert count_pjsip("No objects found.\n\n") == Endpoints(0, 0, 0)
    assert count_pjsip("") is None


@pytest.mark.parametrize(
    ("version", "count", "found"),
    [("16", count_sip, Endpoints(145, 143, 2)), ("22", count_pjsip, Endpoints(145, 142, 3))],
)
def test_recorded_devices(
    version: str, count: Callable[[str], Endpoints | None], found: Endpoints
) -> None:
    """As real ones list them."""
    assert count(Transcripts(TRANSCRIPTS / version)("device-list")) == found


@pytest.mark.parametrize("version", ["11", "13"])
def test_the_version_stands_in_the_settings(version: str) -> None:
    """As real ones print them; what no label should have is no version."""
    text = Transcripts(TRANSCRIPTS / version)("settings")
    running = parse_running_version(text)
    assert running is not None
    assert running.startswith(f"{version}.")
    for odd in ('16"', "16 17", "1" * 200, ""):
        assert parse_running_version(text.replace(running, odd)) is None


# Asking


class Answering(Scripted):
    """Answers each command by its text, as nothing else."""

    def __init__(self, **said: str) -> None:
        super().__init__()
        self.said = {
            "core show channels count": "6 active channels\n2 active calls\n7 calls processed\n",
            "core show uptime": "System uptime: 2 minutes, 5 seconds\nLast reload: 5 seconds\n",
            "bridge show all": BRIDGES_13,
            "core show settings": "  Version:         13.38.3\n  Entity ID:   02:fc:00:00:00:01\n",
            "core show channeltypes": "SIP  Session\nIAX2  Inter\nLocal  Local\n",
            "sip show peers": "3 sip peers [Monitored: 1 online, 1 offline Unmonitored: 1 online,"
            " 0 offline]\n",
            "iax2 show peers": IAX2,
        } | {name.replace("_", " "): text for name, text in said.items()}

    def answer(self, commands: tuple[str, ...]) -> Exchange:
        """Say it."""
        return Told(*(self.said[command] for command in commands))


ABOUT = About(
    "02:fc:00:00:00:01", "13.38.3", frozenset({Technology.SIP, Technology.IAX2}), has_bridges=True
)
COUNTS = Counts(channels=6, calls=2, processed=7, bridges=2, uptime_s=125, reload_s=5)


def ask(console: Answering, about: About | None = None) -> tuple[About, Counts]:
    """Load them."""

    async def load() -> tuple[About, Counts]:
        return await load_counts(console, about, Deadline.after(5))

    return asyncio.run(load())


def ask_devices(console: Answering, about: About) -> Endpoints | None:
    """Load the number of devices."""

    async def load() -> Endpoints | None:
        return await load_endpoints(console, about, Deadline.after(5))

    return asyncio.run(load())


def test_all_is_one_exchange_and_who_it_is_is_asked_once() -> None:
    """One write to the socket is enough for all of it."""
    console = Answering()
    assert ask(console) == (ABOUT, COUNTS)
    assert ask(console, ABOUT) == (ABOUT, COUNTS)
    first, second = console.asked
    assert len(list(in_writes(first))) == 1
    assert second == ("core show channels count", "core show uptime", "bridge show all")


@pytest.mark.parametrize("refused", [UNKNOWN, DENIED])
def test_what_is_refused_is_not_asked_again(refused: str) -> None:
    """Up to Asterisk 11 there are no bridges; all others are told."""
    console = Answering(bridge_show_all=refused)
    about, counts = ask(console)
    assert counts.bridges is None
    assert counts.channels == 6
    assert "bridge show all" not in (ask(console, about), console.asked[-1])[1]


def test_a_pbx_that_says_nothing_known_has_no_counts() -> None:
    """Whatever it says instead: nothing is wrong, all is missing."""
    silent = dict.fromkeys(Answering().said, "\u65e5\u672c\n" * 3)
    console = Answering(**{name.replace(" ", "_"): text for name, text in silent.items()})
    about, counts = ask(console)
    assert about == About("", "", frozenset(), has_bridges=True)
    assert counts == Counts(None, None, None, None, None, None)
    assert ask_devices(console, about) is None
    assert ask_devices(console, ABOUT) is None


def test_the_devices_of_all_drivers_are_one_number() -> None:
    """In one exchange; where one list is not understood, none is told."""
    console = Answering()
    assert ask_devices(console, ABOUT) == Endpoints(5, 3, 1)
    assert console.asked == [("sip show peers", "iax2 show peers")]
    broken = Answering(iax2_show_peers="?\n")
    assert ask_devices(broken, ABOUT) is None

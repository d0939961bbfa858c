"""No bytes of a PBX raise outside of the error tree, nor end the following of other calls."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from shared.asterisk import client, counts, devices, endpoints, parsers, releases
from shared.asterisk.cdr import outcome, pastcalls, rows, whose
from shared.asterisk.commands import OriginateCall
from shared.asterisk.console import Exchange
from shared.asterisk.drivers import DRIVERS, device_of
from shared.asterisk.elsewhere import observe_elsewhere
from shared.asterisk.exec_console import ExecConsole, Running
from shared.asterisk.listing import Listing
from shared.asterisk.models import Context, Extension, Root
from shared.asterisk.originating import originate
from shared.asterisk.phases import observe, resolve_root
from shared.asterisk.socket_console import SocketConsole
from shared.asterisk.views import view_of
from shared.deadline import Deadline
from shared.errors import PbxError
from shared.following.pace import Pace
from shared.following.tracker import Tracker
from shared.settings import Settings
from shared.ssh.files import FileSlice
from shared.store.followed import Change, FollowedCall, Following
from shared.store.jsonb import render
from shared.turns import Turn
from tests.orders import call_order
from tests.unit.cdr_rows import line, parse_lines, parse_records
from tests.unit.exchanges import Scripted, Told
from tests.unit.odd import ANY_BYTES, NOISE, RECORDS, ROWS, check_storable

often = settings(max_examples=100, deadline=None, database=None, derandomize=True)
seldom = settings(max_examples=40, deadline=None, database=None, derandomize=True)

ON_TEXT: dict[str, Callable[[str], object]] = {
    name: function
    for module in (parsers, releases, counts, endpoints)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and not name.startswith(("_", "uptime", "text_of", "blocks_", "how_", "load_"))
} | {
    "device_of": device_of,
    "number_of": whose.number_of,
    "epoch_of": rows.epoch_of,
    "parse_records": parse_records,
    **{f"reach of {technology.value}": driver.parse for technology, driver in DRIVERS.items()},
}


@pytest.mark.parametrize("name", ON_TEXT)
@often
@given(data=ANY_BYTES)
def test_any_text_has_a_value(name: str, data: bytes) -> None:
    """A parser returns, whatever it is given."""
    ON_TEXT[name](parsers.text_of(data))


@often
@given(parts=NOISE)
def test_any_channels_can_be_judged(parts: bytes) -> None:
    """Whatever is listed: a call's progress, a view, a tap, a candidate; all can be kept."""
    channels = parsers.parse_channels(parsers.text_of(parts))
    linkedids = {channel.uniqueid: "17.1" for channel in channels[::2]}
    root = Root("Local/150@inoffice-00000001;1", "17.1", "call", "150", "+375290000001")
    progress = observe(root, client_progress(), channels, linkedids, at_s=1.0)
    check_storable(progress)
    check_storable(view_of(channels, linkedids))
    elsewhere = observe_elsewhere({}, Listing(channels, linkedids), 1.0)
    check_storable(elsewhere.changes)
    check_storable(observe_elsewhere(elsewhere.calls, Listing((), {}), 2.0).changes)
    check_storable(observe(root, progress, channels, linkedids, at_s=2.0))
    resolve_root(
        [root, *(Root(c.name, c.uniqueid, "monitor", "1", "2") for c in channels)], channels
    )
    devices.pick_channel(channels, Extension("150"), Context("inoffice"), channels)
    for channel in channels:
        client.is_askable(channel)


def client_progress() -> Any:
    """Begin anew."""
    return FollowedCall(**CALL).progress


@often
@given(parts=NOISE)
def test_any_records_can_be_judged(parts: bytes) -> None:
    """Whatever a file holds: what is a record is one, and an end or a history is made of it."""
    lines = parse_lines(parts + line("SIP/150-1").encode())
    assert lines[-1].record.channel == "SIP/150-1"
    records = [each.record for each in lines]
    check_storable(records)
    for complete in (False, True):
        for kind in ("call", "monitor"):
            for each in records:
                end = outcome.confirm(
                    records, each.channel, each.uniqueid, kind=kind, complete=complete
                )
                check_storable(end)
                outcome.agent_gave_up(records, each.channel, each.uniqueid, complete=complete)
    for group in pastcalls.group_rows(records):
        check_storable_but_frozen(pastcalls.describe([records[index] for index in group]))


def check_storable_but_frozen(call: pastcalls.PastCall) -> None:
    """Check what a history tells."""
    check_storable([call.from_, call.to, call.channel, call.uniqueid, call.duration_s, call.talk_s])


class Pieces:
    """A control socket that says these bytes, then ends."""

    is_quiet = True

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        """Say the next."""
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """Be gone."""


class Printed:
    """A command that has printed these bytes."""

    has_ended = True
    exit_status = 0
    is_cut = False

    def __init__(self, output: bytes) -> None:
        self.output = bytearray(output)
        self.errors = bytearray(output[:40])

    async def progress(self, deadline: Deadline) -> None:
        """There is none."""

    def close(self) -> None:
        """Be gone."""


@often
@given(first=ANY_BYTES, then=NOISE)
def test_any_exchange_is_an_answer_or_an_error(first: bytes, then: bytes) -> None:
    """By socket and by exec, of a question and of an originate."""

    async def ask() -> None:
        async def open_(_deadline: Deadline) -> Pieces:
            return Pieces(
                b"pbx/1/16.28.0\n", b"Asterisk has fully booted.\nSystem uptime: 1\n", then
            )

        async def open_anything(_deadline: Deadline) -> Pieces:
            return Pieces(first, then)

        async def start(_command: str, _deadline: Deadline) -> Running:
            return Printed(then)

        command = OriginateCall(call_order("150", "+375290000001"), Context("inoffice"))
        for console in (
            *(SocketConsole(open_), SocketConsole(open_anything)),
            ExecConsole(start, asterisk_command="asterisk"),
        ):
            for question in (client.list_channels, client.load_cdr_mode, client.load_version):
                with suppress(PbxError):
                    await question(console, Deadline.after(5))
            with suppress(PbxError):
                await originate(console, command, Deadline.after(5))

    asyncio.run(ask())


CALL_ID = UUID(int=1)
CALL: dict[str, Any] = {
    "call_id": CALL_ID,
    "kind": "call",
    "code": "150",
    "to": "+375290000001",
    "phase": "accepted",
    "root": Root("Local/150@inoffice-00000001;1", "17.1", "call", "150", "+375290000001"),
    "candidates": (),
    "legs": (),
    "transferred": False,
    "cdr": None,
    "age_s": 1.0,
    "ended_s": None,
}
GOOD = (
    b"Local/150@inoffice-00000001;1!inoffice!150!1!Ringing!AppDial2!!150!!!3!1!!17.1\n"
    b"SIP/150-0000002a!inoffice!150!1!Ringing!AppDial!!150!!!3!1!!17.3\n"
)


class OddSwitchboard(Scripted):
    """A PBX that says much beside what is so."""

    def __init__(self, noise: bytes) -> None:
        super().__init__()
        self._noise = noise

    def answer(self, commands: tuple[str, ...]) -> Exchange:
        """Say it."""
        return Told(*(parsers.text_of(self._said(command)) for command in commands))

    def _said(self, command: str) -> bytes:
        if command == "core show channels concise":
            return self._noise + GOOD + self._noise
        if command.endswith((" SIP/150-0000002a", " Local/150@inoffice-00000001;1")):
            return b"\nLinkedID: 17.1\n" + self._noise
        if command == "cdr show status":
            return b"Logging: Enabled\nMode: Simple\ncsv\n"
        return self._noise

    async def ask_it(self, _host: str, question: Any, deadline: Deadline, *, turn: Turn) -> object:
        """Put a question to it, as the hosts do."""
        assert turn == "look"
        return await question(self, deadline=deadline)

    async def read_file(
        self,
        _host: str,
        _path: str,
        _offset: int,
        _length: int,
        _deadline: Deadline,
        *,
        turn: Turn,
    ) -> FileSlice:
        """Give a file of its records."""
        assert turn == "look"
        return FileSlice(len(self._noise), 0, self._noise)


class Written:
    """A lease that keeps what would be written."""

    host = "192.0.2.1"

    def __init__(self, *answers: Following | None) -> None:
        self.answers = list(answers)
        self.changes: list[Change] = []
        self.views: list[object] = []
        self.error_codes: set[str] = set()

    async def write(
        self,
        changes: Iterable[Change] = (),
        *,
        view: Any = None,
        error_code: str | None = None,
        reached_s: float | None = None,
    ) -> Following | None:
        """Keep it."""
        self.error_codes |= set() if error_code is None else {error_code}
        self.changes += changes
        self.views += [] if view is None else [view]
        check_storable(self.changes)
        check_storable(self.views)
        render(self.changes)
        return self.answers.pop(0)


def follow(noise: bytes) -> Written:
    """Look twice at a PBX that has this beside a call that rings."""
    ended = CALL | {"call_id": UUID(int=2), "phase": "ended", "cdr": "pending", "ended_s": 1.0}
    following = Following((FollowedCall(**CALL), FollowedCall(**ended)), wanted=True)
    lease: Any = Written(following, following, None)
    switchboard = OddSwitchboard(noise)
    pbx: Any = type("Pbx", (), {})()
    pbx.ask, pbx.read_file = switchboard.ask_it, switchboard.read_file
    settings_ = Settings.from_environment({})
    tracker = Tracker(lease, pbx, settings_, Pace(busy_s=0.0, talk_s=0.0, idle_s=0.0))
    assert asyncio.run(tracker.run()) == "replaced"
    written: Written = lease
    return written


@seldom
@given(noise=NOISE.filter(lambda noise: not {b"17.1", b"17.3"} & set(re.split(rb"[!\s]", noise))))
def test_a_call_is_followed_whatever_else_is_said(noise: bytes) -> None:
    """Its own rows are good, so its phase is told; all that is written can be kept."""
    written = follow(noise)
    assert "agent_ringing" in {
        change.get("phase") for change in written.changes if change["call_id"] == CALL_ID
    }
    assert len(written.views) == 2
    assert not written.error_codes


def test_the_odd_texts_are_odd_enough() -> None:
    """What is checked can fail: a NUL, half of a pair, a number that no column holds."""
    for bad in ("\0", "\ud800", 2**31, float("inf"), {"a": ("b", "\0")}):
        with pytest.raises((AssertionError, UnicodeEncodeError)):
            check_storable(bad)


@often
@given(row=ROWS, record=RECORDS)
def test_odd_rows_are_skipped_alone(row: bytes, record: bytes) -> None:
    """Those before and after them are read."""
    channels = parsers.parse_channels(parsers.text_of(GOOD + row + b"\n" + GOOD))
    assert {"17.1", "17.3"} <= {channel.uniqueid for channel in channels}
    good = line("SIP/150-1").encode()
    told = [each.record.channel for each in parse_lines(good + record + b"\n" + good)]
    assert (told[0], told[-1]) == ("SIP/150-1", "SIP/150-1")

"""No text that others choose costs more than in proportion to its length.

The patterns of the settings' and parameters' own schemas are pydantic's, whose engine is linear.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from fastapi import Request
from starlette.datastructures import Headers

from shared.asterisk import counts, devices, endpoints, parsers
from shared.asterisk.cdr import outcome, pastcalls, whose
from shared.asterisk.cdr import rows as cdr
from shared.asterisk.cdr.files import Row, read_part
from shared.asterisk.cdr.rows import Line, Record
from shared.asterisk.cdr.zones import Clock
from shared.asterisk.console import Unacknowledged
from shared.asterisk.elsewhere import observe_elsewhere
from shared.asterisk.exec_console import ExecConsole, Running
from shared.asterisk.listing import Listing
from shared.asterisk.models import Channel, Extension, Leg, Progress, Root, Technology
from shared.asterisk.openings import _read_banner
from shared.asterisk.phases import observe, resolve_root
from shared.asterisk.socket_console import SocketExchange
from shared.asterisk.views import view_of
from shared.auth import credentials as auth
from shared.auth.cursors import Seal
from shared.deadline import Deadline
from shared.errors import InvalidClientId, InvalidParameter, SocketRefused
from shared.following.judge import Look
from shared.history import page as history
from shared.history.ours import with_ours
from shared.history.page import Wanted
from shared.http import fields, origins
from shared.http import request as request_edge
from shared.http.accepting import prefers_stream
from shared.http.addresses import client_address, limited_as
from shared.http.ahead import is_prefetch, is_preview
from shared.http.origins import Origins
from shared.http.sheet import render_sheet
from shared.store.followed import FollowedCall
from shared.store.jsonb import render
from shared.telemetry import cut_secret, hide_secrets
from tests.unit.cdr_rows import (
    BEGINNING,
    EPOCH,
    group_calls,
    line,
    parse_lines,
    parse_records,
    records,
)
from tests.unit.growth import grows_no_faster
from tests.unit.patterns import ROOT, SHIPPED, Pattern, hostile_texts, patterns_of

# Calls of `re` whose pattern is not to be seen, and why they need not be.
UNSEEN: dict[str, str] = {}


def _collected() -> tuple[list[Pattern], list[str]]:
    found: list[Pattern] = []
    unseen: list[str] = []
    for path in SHIPPED:
        place = path.relative_to(ROOT).as_posix()
        patterns, others = patterns_of(path.read_text("utf-8"), place)
        found += patterns
        unseen += others
    return found, unseen


PATTERNS, UNKNOWN = _collected()


def _repeated(parts: tuple[str, str, str], size: int) -> str:
    begin, piece, end = parts
    return begin + piece * (size // len(piece)) + end


def slow_text(pattern: Pattern) -> tuple[str, str, str] | None:
    """Find a hostile text that costs a pattern more than in proportion."""
    compiled = re.compile(pattern.text, pattern.flags)
    for parts in hostile_texts(pattern):
        for function in pattern.functions:
            if not grows_no_faster(_maker(pattern, parts), _asker(compiled, function)):
                return parts
    return None


def _maker(pattern: Pattern, parts: tuple[str, str, str]) -> Callable[[int], Any]:
    is_text = isinstance(pattern.text, str)
    return lambda size: _repeated(parts, size) if is_text else _repeated(parts, size).encode()


def _asker(compiled: re.Pattern[Any], function: str) -> Callable[[Any], object]:
    if function in {"sub", "subn"}:
        replace = getattr(compiled, function)
        return lambda text: replace(text[:0], text)
    if function == "finditer":
        return lambda text: list(compiled.finditer(text))
    method: Callable[[Any], object] = getattr(compiled, function)
    return method


def test_every_pattern_is_seen() -> None:
    """No call of `re` escapes: its pattern is written where it is used, or listed above."""
    assert list(UNSEEN) == UNKNOWN
    assert len(PATTERNS) > 20


@pytest.mark.parametrize(
    "pattern", PATTERNS, ids=[f"{pattern.place}-{pattern.text!r}" for pattern in PATTERNS]
)
def test_pattern_is_linear(pattern: Pattern) -> None:
    """No text that is made of a pattern's own parts takes it longer than in proportion."""
    assert slow_text(pattern) is None


# What texts are made of: characters that part things, and the words and rows of Asterisk.
PIECES = (
    *("a", "1", " ", "\n", "\n ", "\r", "\t", "!", ":", ": ", ";", "/", "-", "=", "'", '"', ","),
    *("?", "&", "&a=", "?a", "#", "%", "%25", "%3B", "+", ".", "[", "\0", "\u0661", "\xe9", "|"),
    *("clientId", "/clientId", "clientId=", "client_id/", "code=1&", ";code=1", "wait=", " wait= "),
    *("1 active channel\n", "1 active call (", "System uptime: 1 year, 1 week, 1 day, 1 hour, "),
    *("Bridge-ID Chans Type Technology\n", "a 2 basic x", " Endpoint:  1 In use 0 of inf\n"),
    *("Objects found: 1\n", "1 sip peers [Monitored: 1 online, ", "1 iax2 peers [1 online, "),
    *("System uptime: 1\n", "System uptime: 1", "Last reload: 1\n", "Include => 'a'\n"),
    *("Include => '", "Include =>\n", "\n Alt. Switch =", "LinkedID: ", "LinkedID: 1\n x\n"),
    *("Addr->IP : ", " * a : ", "a: b\n", "Addr->IP\n", " Endpoint:  x\n", " Contact:  a"),
    *(" Contact:  a Avail \n", "There is no existence of '", " 1. ", "pbx/1/", "/1/", "Mode: \n"),
    *(
        "SIP/1!a!1!1!Up!Dial!x!1!!!3!7!b!1.1\n",
        "Local/150@x-1;1!",
        "SIP  driver\n",
        "read() failed: ",
    ),
    *(
        line("SIP/1-1"),
        line("SIP/1-1", uniqueid="-"),
        '"a""',
        '""',
        "150&",
        "Bearer ",
        "[1,",
        "AAAA",
    ),
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A socket whose text comes in pieces of one size."""

    data: bytes
    size: int
    begins: Iterator[int]

    async def read(self) -> bytes:
        """Return the next."""
        begin = next(self.begins, len(self.data))
        return self.data[begin : begin + self.size]

    def write(self, data: bytes) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Close nothing."""


def cut(text: str, size: int) -> Cut:
    """Make a socket of a text."""
    data = text.encode()
    return Cut(data, size, iter(range(0, len(data), size)))


def replies(size: int) -> Callable[[str], object]:
    """Read what is cut so, for ever more commands than are acknowledged, and for a few."""

    async def read(text: str) -> None:
        for commands in (("a",) * 70_000, ("a",) * 3):
            with suppress(Unacknowledged):
                await SocketExchange(cut(text, size), commands).replies(Deadline.after(60))

    return lambda text: asyncio.run(read(text))


def banner(size: int) -> Callable[[str], object]:
    """Read a banner that is cut so."""

    async def read(text: str) -> None:
        with suppress(SocketRefused):
            await _read_banner(cut(text, size), Deadline.after(60))

    return lambda text: asyncio.run(read(text))


@dataclass
class Ran:
    """A shell command that prints so many bytes at a time."""

    data: bytes
    size: int
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    is_cut: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether everything was printed."""
        return len(self.output) >= len(self.data)

    @property
    def exit_status(self) -> int | None:
        """0 at its end."""
        return 0 if self.has_ended else None

    async def progress(self, deadline: Deadline) -> None:
        """Print more."""
        self.output += self.data[len(self.output) : len(self.output) + self.size]

    def close(self) -> None:
        """End."""


def asked(size: int) -> Callable[[str], object]:
    """Ask by exec, and get this, cut so."""

    async def ask(text: str) -> None:
        async def start(_command: str, _deadline: Deadline) -> Running:
            return Ran(text.encode() or b" ", size)

        with suppress(Unacknowledged):
            await ExecConsole(start, asterisk_command="asterisk").ask(
                "a", deadline=Deadline.after(60)
            )

    return lambda text: asyncio.run(ask(text))


def refusing(work: Callable[[str], object], *errors: type[Exception]) -> Callable[[str], object]:
    """Do what may refuse the text."""

    def refused(text: str) -> None:
        with suppress(*errors):
            work(text)

    return refused


def secret_of(text: str) -> object:
    """Find a secret in each of its three places."""
    query = urlencode({"clientId": text}).encode()
    for headers, asked in (
        ([(b"authorization", f"Bearer {text}".encode())], b""),
        ([(b"x-client-id", text.encode())], b""),
        ([], query),
    ):
        request = Request({"type": "http", "headers": headers, "query_string": asked})
        with suppress(InvalidClientId):
            asyncio.run(auth._SECRET(request))
    return None


def request_id(text: str) -> object:
    """Take a header for a request's id."""
    headers = [(b"x-request-id", text.encode())]
    return request_edge._request_id({"type": "http", "headers": headers})


def measured(text: str) -> object:
    """Measure a target, as uvicorn and as Mangum tell it."""
    scope = {"path": text, "query_string": text.encode()}
    return [
        request_edge._target_bytes(scope),
        request_edge._target_bytes(scope | {"raw_path": text.encode()}),
    ]


def given(name: str, text: str) -> Headers:
    """A header, beside which stands another of the same text."""
    return Headers(raw=[(name.encode(), text.encode()), (b"host", text.encode())])


TRUSTED = (ip_network("127.0.0.1"),)
ON_TEXT: dict[str, Callable[[str], object]] = {
    "hide_secrets": hide_secrets,
    "hide_secrets in a query": lambda text: hide_secrets(f"/x?{text}"),
    "cut_secret": cut_secret,
    "request_id": request_id,
    "target_bytes": measured,
    "secret_of": secret_of,
    "wait_s": auth._wait_s,
    "accept": prefers_stream,
    "client_address": lambda text: client_address("127.0.0.1", text, TRUSTED),
    "limited_as": limited_as,
    "user_agent": lambda text: is_preview(given("user-agent", text)),
    "purpose": lambda text: is_prefetch(given("purpose", text)),
    "origin": lambda text: Origins(["https://a"]).refuses(given("origin", text)),
    "readable origin": lambda text: bool(origins._ORIGIN.fullmatch(text)),
    "moment": refusing(fields._moment, ValueError),
    "extension": refusing(fields._extension, ValueError),
    "phone": refusing(fields._phone, ValueError),
    "phone in a url": refusing(fields._phone_in_url, ValueError),
    "spy_mode": refusing(fields._spy_mode, ValueError),
    "key": refusing(fields._key, ValueError),
    "cursor": refusing(Seal("key", "0367", "192.0.2.10", "calls").open, InvalidParameter),
    "channels_of": lambda text: devices.channels_of(
        Technology.SIP, Extension("1"), parsers.parse_channels(text)
    ),
    "parse_reach of chan_sip": lambda text: devices.parse_reach(Technology.SIP, text),
    "parse_reach of PJSIP": lambda text: devices.parse_reach(Technology.PJSIP, text),
    "parse_lines": lambda text: parse_lines(text.encode()),
    "read_part": lambda text: [read_part(text.encode(), 9, most=most) for most in (0, 3)],
    "text_of": lambda text: parsers.text_of(text.encode()),
    "epoch_of": cdr.epoch_of,
    "group_calls": lambda text: group_calls(parse_records(text)),
    "number_of": whose.number_of,
    "whole": whose.whole,
    "dialled_by": lambda text: [*whose.dialled_by(text)],
    "render_sheet": lambda text: render_sheet(["a"], [[text]]),
} | {
    name: function
    for module in (parsers, counts, endpoints)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    # The one is counted with the replies, the next takes bytes, the last ask.
    and not name.startswith(("_", "uptime", "text_of", "load_"))
}


@pytest.mark.parametrize("name", ON_TEXT)
def test_text_is_read_in_proportion(name: str) -> None:
    """Whatever it repeats."""
    work = ON_TEXT[name]
    for piece in PIECES:
        assert grows_no_faster(partial(_repeated, ("", piece, "\n")), work), piece


@pytest.mark.parametrize(
    "read", [banner, replies, asked], ids=["banner", "replies", "replies by exec"]
)
@pytest.mark.parametrize("size", [1, 16, 2**20])
@pytest.mark.parametrize("piece", ["a", "\n", "System uptime: 1\n", "System uptime: 1", "1\nSys"])
def test_socket_is_read_in_proportion(
    read: Callable[[int], Callable[[str], object]], size: int, piece: str
) -> None:
    """However the host cuts what it sends, byte by byte or all at once."""
    assert grows_no_faster(lambda length: _repeated(("", piece, ""), length), read(size))


(ROW,) = records(line("SIP/1-1"))
(CHANNEL,) = parsers.parse_channels("SIP/1-1!a!1!1!Up!Dial!x!1!!!3!7!b!1.1")


def _record(number: int, **fields: Any) -> Record:
    return replace(ROW, uniqueid=f"{EPOCH}.{number}", **fields)


ROOT_CHANNEL, ROOT_ID = "Local/150@x-1;1", f"{EPOCH}.0"
CUSTOMER = "Local/1@x-2;1"
# One call whose customer was handed on and on.
CALL = (
    _record(0, channel="Local/150@x-1;2", dst_channel="SIP/150-1", disposition="ANSWERED"),
    _record(0, channel=ROOT_CHANNEL, dst_channel=CUSTOMER, disposition="ANSWERED"),
    _record(1, channel="Local/1@x-2;2", dst_channel="SIP/t-1", disposition="ANSWERED"),
)
ROWS: dict[str, Callable[[int], Record]] = {
    "alike": lambda _: CALL[1],
    "of one uniqueid": lambda n: _record(0, channel=f"SIP/1-{n:x}", dst_channel=f"SIP/2-{n:x}"),
    "of one channel": lambda n: _record(n, channel=ROOT_CHANNEL, dst_channel=f"SIP/2-{n:x}"),
    "each by itself": lambda n: _record(n, channel=f"SIP/1-{n:x}", dst_channel=""),
    "a chain": lambda n: _record(n, channel=f"SIP/1-{n:x}", dst_channel=f"SIP/1-{n + 1:x}"),
    "a chain backwards": lambda n: _record(
        9_000 - n, channel=f"SIP/1-{n + 1:x}", dst_channel=f"SIP/1-{n:x}"
    ),
    "pairs": lambda n: _record(n, channel=f"SIP/1-{n % 64:x}", dst_channel=f"SIP/2-{n % 63:x}"),
    "transfers": lambda n: _record(n, channel="SIP/t-1", dst_channel=f"SIP/2-{n:x}"),
    "transfers that failed": lambda n: _record(
        n, channel="SIP/t-1", dst_channel=f"SIP/2-{n:x}", disposition="BUSY"
    ),
    "outcomes": lambda n: _record(0, channel=ROOT_CHANNEL, dst_channel=f"Local/{n}@x-2;1"),
    # Each of them leads on through one Local channel to all the others.
    "by one Local channel": lambda n: _record(
        n,
        **(
            {"channel": "Local/1@x-2;2", "dst_channel": f"SIP/2-{n:x}"},
            {"channel": f"SIP/2-{n - 1:x}", "dst_channel": "Local/9@x-3;1"},
            {"channel": "Local/9@x-3;2", "dst_channel": f"SIP/3-{n:x}"},
        )[n % 3],
    ),
    "unanswered": lambda n: replace(
        CALL[n % 3], disposition="NO ANSWER" if n % 3 else "ANSWERED", dst=str(n)
    ),
}
ON_ROWS: dict[str, Callable[[Sequence[Record]], object]] = {
    "group_rows": pastcalls.group_rows,
    "describe": pastcalls.describe,
    "group_calls": group_calls,
    "confirm": lambda rows: [
        outcome.confirm(rows, ROOT_CHANNEL, ROOT_ID, complete=complete, is_transferred=True)
        for complete in (False, True)
    ],
    "confirm a monitoring": lambda rows: outcome.confirm(
        rows, ROOT_CHANNEL, ROOT_ID, kind="monitor", complete=True
    ),
    "agent_gave_up": lambda rows: outcome.agent_gave_up(rows, ROOT_CHANNEL, ROOT_ID),
}


def _page(rows: Sequence[Record]) -> object:
    tail: Any = SimpleNamespace(
        lines=[Line(n, n + 1, row) for n, row in enumerate(rows)],
        horizon=lambda: None,
        cursor=lambda *_: None,
    )
    live = {f"SIP/2-{n:x}": BEGINNING for n in range(len(rows))}
    return history._turn(tail, None, Wanted(), live, last=True)


ON_ROWS["a page of the history"] = _page


def _ours(rows: Sequence[Record]) -> object:
    """Find which of the calls, each of one row and one life of Asterisk, are ours; all are."""
    call = pastcalls.describe(rows[:1])
    calls = [
        replace(call, channel=row.channel, uniqueid=f"{EPOCH + 9 * n}.1")
        for n, row in enumerate(rows)
    ]

    async def run(_sql: str, **_parameters: Any) -> object:
        return [
            {"root_channel": c.channel, "root_uniqueid": c.uniqueid, "phone": "1", "call_id": None}
            for c in reversed(calls)
        ]

    database, enterprise = SimpleNamespace(run=run), SimpleNamespace(number="1", host="h")
    return asyncio.run(with_ours(database, enterprise, calls))  # type: ignore[arg-type]


ON_ROWS["calls of ours in the history"] = _ours


@pytest.mark.parametrize("name", ON_ROWS)
@pytest.mark.parametrize("kind", ROWS)
def test_rows_are_judged_in_proportion(name: str, kind: str) -> None:
    """A PBX may write as many rows as it likes, of one call or of many."""
    assert grows_no_faster(lambda size: [*CALL, *map(ROWS[kind], range(size // 32))], ON_ROWS[name])


WITNESSES: dict[str, Callable[[int], str]] = {
    "of another zone each": lambda n: line("SIP/1-1", at=9 * n, zone_h=n % 5),
    "of two zones in pairs": lambda n: line("SIP/1-1", at=9 * n, zone_h=n // 2 % 2),
    "that waited": lambda n: line("SIP/1-1", at=9 * n, uniqueid=f"{EPOCH + n % 7}.{n}"),
    "one": lambda n: line("SIP/1-1", at=9 * n, uniqueid=f"{EPOCH}.1"),
    "none": lambda n: line("SIP/1-1", at=9 * n, uniqueid="-"),
}


@pytest.mark.parametrize("kind", WITNESSES)
def test_zones_are_told_in_proportion(kind: str) -> None:
    """Whatever the clocks of a file's rows contradict."""

    def rows(size: int) -> list[Row]:
        text = "".join(WITNESSES[kind](n) for n in range(size // 32))
        return read_part(text.encode()).rows

    assert grows_no_faster(rows, lambda found: cdr.lines_of(found, Clock(found)))


def _channel(n: int, **fields: Any) -> Channel:
    return replace(CHANNEL, uniqueid=f"1.{n}", **fields)


CHANNELS: dict[str, Callable[[int], Channel]] = {
    "alike": lambda n: _channel(0, name=ROOT_CHANNEL),
    "phones": lambda n: _channel(n, name=f"SIP/{n}-1", bridge=str(n)),
    "the agent's": lambda n: _channel(n, name=f"SIP/150-{n}", state="Ringing"),
    "halves": lambda n: _channel(n, name=f"Local/150@x-1;{n % 2 + 1}", bridge=str(n)),
}


def _looked_at(channels: Sequence[Channel]) -> object:
    """Look at as many calls of ours as there are channels, one of each."""
    calls = [
        FollowedCall(
            call_id=UUID(int=n),
            kind="call",
            code="150",
            to="1",
            phase="accepted",
            root=Root(f"Local/150@x-{n};1", f"1.{n}", "call", "150", "1"),
            candidates=(),
            legs=(),
            transferred=False,
            cdr=None,
            age_s=1.0,
            ended_s=None,
        )
        for n in range(len(channels))
    ]
    return Look.at(1.0, calls, tuple(channels), {}, gone={})


def _elsewhere(channels: Sequence[Channel]) -> object:
    """Look twice, whoever's they are; then none is left."""
    linkedids = {c.uniqueid: f"1.{n // 3}" for n, c in enumerate(channels)}
    seen = observe_elsewhere({}, Listing(channels, linkedids), 1.0)
    seen = observe_elsewhere(seen.calls, Listing(channels, linkedids), 2.0)
    return observe_elsewhere(seen.calls, Listing((), {}), 3.0)


def _observed(channels: Sequence[Channel]) -> object:
    """Observe one call that has them all, twice; then one that has none."""
    root = Root(ROOT_CHANNEL, "1.0", "call", "150", "1")
    linkedids = dict.fromkeys((channel.uniqueid for channel in channels), "1.0")
    seen = observe(root, Progress(), channels, linkedids, at_s=1.0)
    return observe(root, observe(root, seen, channels, linkedids, at_s=2.0), (), {}, at_s=3.0)


ON_CHANNELS: dict[str, Callable[[Sequence[Channel]], object]] = {
    "observe": _observed,
    "look at many": _looked_at,
    "calls elsewhere": _elsewhere,
    "a call elsewhere": lambda channels: observe_elsewhere(
        {}, Listing(channels, dict.fromkeys((c.uniqueid for c in channels), "1.0")), 1.0
    ),
    "view_of one call": lambda channels: view_of(
        channels, dict.fromkeys((channel.uniqueid for channel in channels), "1.0")
    ),
    "view_of many": lambda channels: view_of(channels, {}),
    "resolve_root": lambda channels: resolve_root(
        [Root(c.name, c.uniqueid, "call", "150", "1") for c in channels], channels
    ),
    "render": lambda channels: render(
        [Leg(c.name, c.uniqueid, "agent", c.state) for c in channels]
    ),
}


@pytest.mark.parametrize("name", ON_CHANNELS)
@pytest.mark.parametrize("kind", CHANNELS)
def test_channels_are_taken_in_in_proportion(name: str, kind: str) -> None:
    """A PBX may list as many channels as it likes, of one call or of many."""
    assert grows_no_faster(
        lambda size: list(map(CHANNELS[kind], range(size // 32))), ON_CHANNELS[name]
    )


@pytest.mark.parametrize(
    ("text", "flags", "function"),
    [
        (r"([?&])([^=&\s]+)=[^&\s]*", 0, "sub"),
        (r"^\s*x", re.MULTILINE, "search"),
        (r"^ *(?:\* )?(\S[^:\n]*?) *: (.*?) *$", re.MULTILINE, "findall"),
        (r"(?:.*-)?[0-9]+", re.DOTALL, "search"),
        (r"<[^>]*>", 0, "sub"),
        (r"\s+$", 0, "search"),
        (r"(a+)+b", 0, "fullmatch"),
    ],
)
def test_a_slow_pattern_is_found(text: str, flags: int, function: str) -> None:
    """Quadratic, cubic, exponential: the texts that are made of it show it, and soon."""
    assert slow_text(Pattern("here", text, flags, frozenset({function}))) is not None


def test_slow_work_is_found() -> None:
    """Reading all of it again at each of its characters is no proportion."""
    assert not grows_no_faster(
        lambda size: "a" * size, lambda text: [text.count("b") for _ in text]
    )
    assert grows_no_faster(
        lambda size: "a" * size, lambda text: [text[:9].count("b") for _ in text]
    )


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.search(given, text)",
        "import re\nre.search(pattern=given, string=text)",
        "import re\nX = re.compile('a')\nprint(X)",
        "import re\nfor x in y:\n    re.sub('a' + x, '', z)",
        "import re as other",
        "import regex",
        "from re import search",
    ],
)
def test_a_pattern_that_is_not_seen_is_told(source: str) -> None:
    """Rather than to pass unmeasured."""
    found, unseen = patterns_of(source, "here")
    assert not found
    assert unseen

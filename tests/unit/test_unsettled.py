"""A call that nobody settled: what is its root beyond doubt settles it, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from shared.asterisk.models import Channel, Root
from shared.asterisk.parsers import parse_channels
from shared.following import unsettled
from shared.following.judge import is_asked_about, is_rootless, is_unsettled
from shared.following.unsettled import Unsettled
from shared.settings import Settings
from shared.store.followed import Change, FollowedCall
from shared.store.jsonb import Candidate
from shared.store.leases import Lease
from tests.unit.test_judge import CALL

pytestmark = pytest.mark.anyio

SETTINGS = Settings.from_environment({})
LATE_S = SETTINGS.settled_within_s + 1
ROOT = Candidate("Local/154@inoffice-2a;1", "17.7")
RIVAL = Candidate("Local/154@inoffice-2b;1", "17.9")
PLACING = replace(CALL, phase="placing", root=None, settled=False, age_s=3.0)


def row(root: Candidate = ROOT, *, name: str = "", age_s: float = 1, app: str = "AppDial2") -> str:
    """Write a channel as Asterisk lists it."""
    return f"{name or root.channel}!inoffice!154!1!Down!{app}!!!!!3!{age_s:.0f}!!{root.uniqueid}\n"


@dataclass
class Book:
    """Knows which roots are some other call's."""

    others: frozenset[str] = frozenset()

    async def load_orphans(
        self, _database: object, call_id: UUID, *, host: str, code: str, uniqueids: Sequence[str]
    ) -> frozenset[str]:
        """Tell which are no known call's."""
        assert (call_id, host, code) == (CALL.call_id, "192.0.2.1", "154")
        return frozenset(uniqueids) - self.others


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    """Make one that knows no other call."""
    book = Book()
    monkeypatch.setattr(unsettled, "load_orphans", book.load_orphans)
    return book


async def judged(call: FollowedCall, *rows: str, others: Sequence[FollowedCall] = ()) -> Any:
    """Look at a call among these channels; what is told of it, or None."""
    channels: tuple[Channel, ...] = parse_channels("".join(rows))
    lease: Any = Lease(None, "192.0.2.1", "me", 1)  # type: ignore[arg-type] # it is not asked
    changes = await Unsettled(lease, SETTINGS).judge([call, *others], channels)
    assert set(changes) <= {call.call_id}
    return changes.get(call.call_id)


@pytest.mark.parametrize(
    ("call", "is_one"),
    [
        (PLACING, True),
        (replace(PLACING, age_s=0.5), False),  # it is settled at any moment
        (replace(PLACING, phase="unknown"), True),
        (replace(PLACING, phase="unknown", settled=True), False),  # its caller was told so
        (CALL, False),
    ],
)
def test_whose_settling_is_missed(call: FollowedCall, *, is_one: bool) -> None:
    """One that should be settled by now, or was given up, though nobody was told."""
    assert is_unsettled(call) == is_one
    assert is_asked_about(call) == (is_one or call is CALL)
    assert is_rootless(call) == (is_one and call.phase == "unknown")


async def test_roots_are_noted_while_it_may_yet_be_settled(book: Book) -> None:
    """Each that may be its own, once: what comes later is another click's."""
    noted = Change(call_id=CALL.call_id, candidates=(ROOT, RIVAL))
    assert await judged(PLACING, row(), row(RIVAL)) == noted
    known = Root(ROOT.channel, ROOT.uniqueid, "call", "154", CALL.to)
    assert await judged(replace(PLACING, candidates=(known,)), row(), row(RIVAL)) is None
    assert await judged(PLACING) is None


@pytest.mark.parametrize(
    "channel",
    [
        row(name="Local/1541@inoffice-2a;1"),
        row(name="Local/154@elsewhere-2a;1"),
        row(name="Local/154@inoffice-2a;2"),
        row(name="SIP/154-2a"),
        row(app="AppDial"),  # a dialplan dials it
        row(age_s=30),  # it was there before the click
    ],
)
async def test_what_cannot_be_its_root_is_not_taken(book: Book, channel: str) -> None:
    """Another extension's, a dialplan's, one that is older: not noted, not taken later."""
    assert await judged(PLACING, channel) is None
    old = replace(PLACING, age_s=LATE_S)
    if "!30!" not in channel:
        channel = channel.replace("!1!!17", f"!{LATE_S - 1:.0f}!!17")
    else:
        channel = channel.replace("!30!!", f"!{LATE_S + 30:.0f}!!")
    assert await judged(old, channel) == Change(call_id=CALL.call_id, phase="unknown")


async def test_another_call_s_root_is_not_taken(book: Book) -> None:
    """Of those that are followed here, or that the database alone knows."""
    own = Root(ROOT.channel, ROOT.uniqueid, "call", "154", CALL.to)
    other = replace(CALL, call_id=UUID(int=2), root=own)
    assert await judged(PLACING, row(), others=[other]) is None
    book.others = frozenset({ROOT.uniqueid})
    old = replace(PLACING, age_s=LATE_S)
    gone = await judged(old, row(age_s=LATE_S - 1))
    assert gone == Change(call_id=CALL.call_id, phase="unknown")


@pytest.mark.parametrize("phase", ["placing", "unknown"])
@pytest.mark.parametrize("is_noted", [False, True])
async def test_the_only_root_is_its_own_once_nobody_will_settle_it(
    book: Book, phase: Any, *, is_noted: bool
) -> None:
    """Whether it is there still, or was seen before and is gone; it is accepted, never hung up."""
    noted = Root(ROOT.channel, ROOT.uniqueid, "call", "154", CALL.to)
    call = replace(PLACING, phase=phase, age_s=LATE_S, candidates=(noted,) if is_noted else ())
    rows = () if is_noted else (row(age_s=LATE_S - 1),)
    assert await judged(call, *rows) == Change(
        call_id=CALL.call_id,
        phase="accepted",
        root_channel=ROOT.channel,
        root_uniqueid=ROOT.uniqueid,
    )


async def test_several_roots_stay_candidates(book: Book) -> None:
    """Whose is whose is known once an agent has answered."""
    rows = (row(age_s=LATE_S - 1), row(RIVAL, age_s=LATE_S - 1))
    told = await judged(replace(PLACING, age_s=LATE_S), *rows)
    assert told == Change(call_id=CALL.call_id, phase="accepted", candidates=(ROOT, RIVAL))


async def test_a_root_that_came_later_is_a_late_call(book: Book) -> None:
    """Its placer was gone by then, and told nobody that it is placed."""
    call = replace(PLACING, phase="unknown", age_s=LATE_S + 60)
    assert await judged(call, row(age_s=5)) is None

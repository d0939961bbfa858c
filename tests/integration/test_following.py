"""What a tracker keeps in the database: leases with fences, phases that go forward, one end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID, uuid4

import anyio
import pytest

from shared.asterisk.models import Channel
from shared.auth.admission import Admitted, Settlement, admit, settle
from shared.settings import Settings
from shared.store.connection import Rows
from shared.store.database import Database
from shared.store.followed import Change, FollowedCall
from shared.store.jsonb import Candidate
from shared.store.late import settle_late
from shared.store.leases import Lease, untracked_hosts
from tests.integration.service import until
from tests.orders import call_order, caller_of
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HOST = "192.0.2.1"
SECRET = "june-8d1f04c7a96b4e52"
ROOT = Channel("Local/150@inoffice-1;1", "inoffice", "", "Down", "", "", "", 0, "", "1.1")


class Book:
    """The tables, as a placing service and as a tracker use them."""

    def __init__(self, database: Database, settings: Settings, postgres: Postgres) -> None:
        self.database = database
        self.settings = settings
        self.postgres = postgres

    async def place(self, phone: str = "+375296254070", secret: str = SECRET) -> Admitted:
        """Admit a call; nothing is known of it yet."""
        order = call_order("150", phone)
        return await admit(
            *(self.database, self.settings, caller_of(secret), order),
            call_id=uuid4(),
            idempotency_key=None,
        )

    async def accepted(self, phone: str = "+375296254070", secret: str = SECRET) -> UUID:
        """Place a call that Asterisk accepts."""
        admitted = await self.place(phone, secret)
        await settle(
            self.database, self.settings, admitted.call_id, Settlement("executed", (ROOT,))
        )
        return admitted.call_id

    async def lease(self) -> Lease:
        """Take the lease of the host, which must be free."""
        lease = await Lease.take(self.database, HOST)
        assert lease is not None
        return lease

    def expire(self) -> None:
        """Let every lease run out."""
        self.postgres.execute(
            "UPDATE callapi.trackers SET lease_until = clock_timestamp() - interval '1 s'"
        )

    def row(self, call_id: UUID) -> dict[str, Any]:
        """One call as it is recorded."""
        sql = "SELECT * FROM callapi.calls WHERE call_id = :id"
        return self.postgres.execute(sql, id=call_id)[0]

    def events(self) -> Rows:
        """Every event in the order of its number."""
        return self.postgres.execute("SELECT * FROM callapi.call_events ORDER BY enterprise, seq")

    def phases(self) -> list[tuple[int, str, str | None]]:
        """The events of the one enterprise, in short."""
        return [(event["seq"], event["phase"], event["reason"]) for event in self.events()]


@pytest.fixture
def book(postgres: Postgres) -> Iterator[Book]:
    """Two enterprises on one PBX, and empty tables."""
    postgres.clear()
    postgres.seed_enterprise("0367", "june", HOST, SECRET)
    postgres.seed_enterprise("0368", "july", HOST, "july-secret")
    settings = postgres.settings(rate_limit_extension="1000/1", rate_limit_enterprise="1000/1")
    database = Database(settings)
    yield Book(database, settings, postgres)
    database.close()


def change(call_id: UUID, **seen: Any) -> Change:
    """What a tracker saw."""
    return cast("Change", {"call_id": call_id, **seen})


async def write(lease: Lease, *changes: Change) -> tuple[FollowedCall, ...]:
    """Write as the holder of the host; what there is to follow after it."""
    following = await lease.write(changes)
    assert following is not None
    return following.calls


# Leases


async def test_of_many_trackers_one_has_the_host(book: Book) -> None:
    """While a lease lives nobody else gets one; when it has run out, one does."""
    leases: list[Lease | None] = []

    async def take() -> None:
        leases.append(await Lease.take(book.database, HOST))

    for fence in (1, 2):
        leases.clear()
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(take)
        assert [lease.fence for lease in leases if lease] == [fence]
        book.expire()


async def test_nothing_is_written_behind_the_fence(book: Book) -> None:
    """A tracker that was frozen, and replaced, is told so, and changes no call and no event."""
    call_id = await book.accepted()
    frozen = await book.lease()
    book.expire()
    await write(await book.lease(), change(call_id, phase="agent_ringing"))

    assert await frozen.write([change(call_id, phase="talking")]) is None

    assert book.row(call_id)["phase"] == "agent_ringing"
    assert [phase for _, phase, _ in book.phases()] == ["accepted", "agent_ringing"]
    await frozen.give_back()
    assert await Lease.take(book.database, HOST) is None, "it gave another's lease back"


async def test_a_lease_that_ran_out_still_writes_while_nobody_took_it(book: Book) -> None:
    """A database that was away for longer than a lease costs nothing."""
    call_id = await book.accepted()
    lease = await book.lease()
    book.expire()
    await write(lease, change(call_id, phase="agent_ringing"))
    assert await Lease.take(book.database, HOST) is None


async def test_a_turn_that_writes_nothing_renews_no_young_lease(book: Book) -> None:
    """No row is written at each look; an older lease is renewed, and so is one that writes."""

    def until() -> Any:
        return book.postgres.execute("SELECT lease_until FROM callapi.trackers")[0]["lease_until"]

    call_id = await book.accepted()
    lease = await book.lease()
    taken = until()
    await write(lease)
    assert until() == taken
    await write(lease, change(call_id, phase="agent_ringing"))
    written = until()
    assert written > taken
    book.postgres.execute(
        "UPDATE callapi.trackers SET lease_until = lease_until - interval '2 seconds'"
    )
    await write(lease)
    assert until() > written


async def test_a_tracker_without_calls_gives_its_host_back(book: Book) -> None:
    """Nothing to follow: the next call finds the host free."""
    lease = await book.lease()
    following = await lease.write()
    assert following is not None
    assert following.is_over
    assert await Lease.take(book.database, HOST) is not None


async def test_a_call_that_is_being_placed_keeps_the_tracker(book: Book) -> None:
    """It may be accepted the next moment: the host is not given back before."""
    admitted = await book.place()
    (call,) = await write(await book.lease())
    assert (call.call_id, call.phase, call.root) == (admitted.call_id, "placing", None)
    assert await Lease.take(book.database, HOST) is None


async def test_settling_tells_whether_a_tracker_is_live(book: Book) -> None:
    """So that only an idle host's first call starts one."""
    tracked: list[bool] = []
    lease = None
    for _ in range(3):
        admitted = await book.place(f"+37529{len(tracked)}")
        settlement = Settlement("executed", (ROOT,))
        tracked.append(await settle(book.database, book.settings, admitted.call_id, settlement))
        if lease is None:
            lease = await book.lease()
        else:
            book.expire()
    assert tracked == [False, True, False]


async def test_settling_holds_nothing_that_a_tracker_wants(book: Book) -> None:
    """It waits for the tracker's turn first: neither is ever the victim of a deadlock."""
    admitted = await book.place()
    await book.lease()

    async def settle_it() -> None:
        settlement = Settlement("executed", (ROOT,))
        await settle(book.database, book.settings, admitted.call_id, settlement)

    def waiting() -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(book.postgres.execute(sql))

    async with anyio.create_task_group() as tasks:
        with book.database.transaction() as execute:
            execute("SELECT 1 FROM callapi.trackers WHERE host = :host FOR UPDATE", host=HOST)
            tasks.start_soon(settle_it)
            await until(waiting)
            execute("SET LOCAL lock_timeout = '100ms'")
            row = "SELECT 1 FROM callapi.calls WHERE call_id = :id FOR UPDATE"
            execute(row, id=admitted.call_id)
            execute("SELECT callapi.tell('0367', :id, 'talking', NULL, now())", id=uuid4())
    assert book.row(admitted.call_id)["state"] == "executed"


async def test_hosts_without_a_tracker_are_found(book: Book) -> None:
    """Only those with something to follow, until somebody does."""
    assert await untracked_hosts(book.database) == ()
    call_id = await book.accepted()
    assert await untracked_hosts(book.database) == (HOST,)
    lease = await book.lease()
    assert await untracked_hosts(book.database) == ()
    await write(lease, change(call_id, phase="ended", reason="answered", cdr="confirmed"))
    assert await untracked_hosts(book.database) == ()


async def test_a_call_that_cannot_be_read_ends_nobody_elses_following(book: Book) -> None:
    """It is left out and named, and the host is kept, since it has not ended."""
    broken, whole = await book.accepted(), await book.accepted("+375290000001")
    book.postgres.execute(
        """UPDATE callapi.calls SET legs = '[{"channel": "SIP/1-1"}]' WHERE call_id = :id""",
        id=broken,
    )
    lease = await book.lease()
    following = await lease.write()
    assert following is not None
    assert [call.call_id for call in following.calls] == [whole]
    assert [bad.call_id for bad in following.malformed] == [str(broken)]
    following = await lease.write([change(whole, phase="ended", reason="busy", cdr="confirmed")])
    assert following is not None
    assert (following.calls, following.is_over) == ((), False)
    assert await Lease.take(book.database, HOST) is None


# Phases and events


async def test_a_phase_is_told_once_and_goes_forward(book: Book) -> None:
    """A repeated write changes nothing, and what is told late is not told."""
    call_id = await book.accepted()
    lease = await book.lease()
    for phase in ("agent_ringing", "agent_ringing", "talking", "customer_ringing", "accepted"):
        await write(lease, change(call_id, phase=phase))
    row = book.row(call_id)
    assert (row["phase"], row["customer_ringing_at"]) == ("talking", None)
    assert row["created_at"] < row["agent_ringing_at"] < row["talking_at"]
    assert book.phases() == [
        (1, "accepted", None),
        (2, "agent_ringing", None),
        (3, "talking", None),
    ]


async def test_a_call_ends_once(book: Book) -> None:
    """A second end is nothing; what a late record corrects is told as a correction."""
    call_id = await book.accepted()
    lease = await book.lease()
    await write(lease, change(call_id, phase="ended", reason="unknown", cdr="pending", ago_s=1.0))
    ended_at = book.row(call_id)["ended_at"]
    await write(
        lease,
        change(call_id, phase="ended", reason="busy", cdr="confirmed", disposition="BUSY"),
    )
    row = book.row(call_id)
    assert (row["reason"], row["disposition"], row["cdr"]) == ("busy", "BUSY", "confirmed")
    assert row["ended_at"] == ended_at
    assert book.phases() == [
        (1, "accepted", None),
        (2, "ended", "unknown"),
        (3, "ended", "busy"),
    ]
    types = [event["type"] for event in book.events()]
    assert types == ["call.phase", "call.phase", "call.corrected"]


async def test_events_are_numbered_without_a_gap_whoever_writes(book: Book) -> None:
    """16 writers at once: each enterprise's numbers are 1 to n, without a gap."""
    secrets = [SECRET, "july-secret"]

    async def one(number: int) -> None:
        await book.accepted(f"+37529{number}", secrets[number % 2])

    async with anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(one, number)
    for enterprise in ("0367", "0368"):
        own = [event for event in book.events() if event["enterprise"] == enterprise]
        assert [event["seq"] for event in own] == list(range(1, 9))


async def test_a_refused_call_ends_at_once(book: Book) -> None:
    """Nothing was executed: that is its end, and nobody has to follow it."""
    admitted = await book.place()
    settlement = Settlement("not_executed", error_code="unknown-extension", reason="rejected")
    await settle(book.database, book.settings, admitted.call_id, settlement)
    row = book.row(admitted.call_id)
    assert (row["phase"], row["reason"]) == ("ended", "rejected")
    assert row["ended_at"] is not None
    assert book.phases() == [(1, "ended", "rejected")]
    assert await untracked_hosts(book.database) == ()


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        *[(reason, "cancelled") for reason in ("no_answer", "agent_no_answer", "unknown")],
        *[(reason, reason) for reason in ("answered", "busy", "agent_busy")],
    ],
)
async def test_whoever_asked_for_the_end_is_told_it_was_theirs(
    book: Book, reason: str, told: str
) -> None:
    """Asked for after the tracker had read the call; not where the parties had talked."""
    call_id = await book.accepted()
    lease = await book.lease()
    await write(lease)
    book.postgres.execute("UPDATE callapi.calls SET cancelled_at = clock_timestamp()")
    await write(lease, change(call_id, phase="ended", reason=reason))
    assert book.row(call_id)["reason"] == told
    assert book.phases()[-1] == (2, "ended", told)


async def test_an_unknown_call_that_comes_up_late_is_followed(book: Book) -> None:
    """It is told as unknown first, as accepted then, and is there to be followed."""
    admitted = await book.place()
    settlement = Settlement("unknown", error_code="outcome-unknown")
    await settle(book.database, book.settings, admitted.call_id, settlement)
    await settle_late(
        *(book.database, admitted.call_id),
        root_channel=ROOT.name,
        root_uniqueid=ROOT.uniqueid,
        hung_up=False,
    )
    (call,) = await write(await book.lease())
    assert (call.phase, call.root and call.root.uniqueid) == ("accepted", "1.1")
    assert [phase for _, phase, _ in book.phases()] == ["unknown", "accepted"]


async def test_how_long_a_call_was_placed_is_told_who_follows_it(book: Book) -> None:
    """By that its rows are found where nobody saw its root; of one that nobody settled it is 0."""
    settled, unsettled = await book.place(), await book.place("+375290000002")
    book.postgres.execute("UPDATE callapi.calls SET created_at = created_at - interval '9 seconds'")
    await settle(book.database, book.settings, settled.call_id, Settlement("executed"))
    calls = {call.call_id: call.placing_s for call in await write(await book.lease())}
    assert calls[settled.call_id] >= 9
    assert calls[unsettled.call_id] == 0


async def test_a_late_call_after_its_end_is_corrected(book: Book) -> None:
    """The final event stands; the PBX's record may still say what became of it."""
    admitted = await book.place()
    settlement = Settlement("unknown", error_code="outcome-unknown")
    await settle(book.database, book.settings, admitted.call_id, settlement)
    lease = await book.lease()
    await write(lease, change(admitted.call_id, phase="ended", reason="unknown"))
    for _ in range(2):
        await settle_late(
            *(book.database, admitted.call_id),
            root_channel=ROOT.name,
            root_uniqueid=ROOT.uniqueid,
            hung_up=True,
        )
    lease = await book.lease()
    (call,) = await write(lease)
    assert (call.phase, call.cdr) == ("ended", "pending")
    await write(lease, change(admitted.call_id, reason="answered", cdr="confirmed"))
    assert book.row(admitted.call_id)["reason"] == "answered"
    types = [event["type"] for event in book.events()]
    # What was hung up late, then what its record says: corrections of the one end.
    assert types == ["call.phase", "call.phase", "call.corrected", "call.corrected"]
    assert [phase for _, phase, _ in book.phases()] == ["unknown", "ended", "ended", "ended"]


async def test_a_repeat_is_one_for_its_whole_time_after_the_phone_may_ring(book: Book) -> None:
    """However long the placing took, e.g. on a host that had to be connected first."""
    admitted = await book.place()
    book.postgres.execute(
        "UPDATE callapi.calls SET created_at = created_at - interval '20 s' WHERE call_id = :id",
        id=admitted.call_id,
    )
    settlement = Settlement("executed", (ROOT,))
    await settle(book.database, book.settings, admitted.call_id, settlement)
    again = await book.place()
    assert (again.repeated, again.call_id) == (True, admitted.call_id)


async def test_who_has_placed_a_call_knows_better_than_a_tracker(book: Book) -> None:
    """One that was given up as unsettled is settled by whoever could not reach the database."""
    admitted = await book.place()
    lease = await book.lease()
    await write(lease, change(admitted.call_id, phase="unknown"))
    settlement = Settlement("executed", (ROOT,))
    await settle(book.database, book.settings, admitted.call_id, settlement)
    (call,) = await write(lease)
    assert (call.phase, call.root and call.root.uniqueid) == ("accepted", ROOT.uniqueid)
    assert [phase for _, phase, _ in book.phases()] == ["unknown", "accepted"]


async def test_what_its_caller_was_told_stays(book: Book) -> None:
    """Unknown is an outcome: nothing settles the call once more."""
    admitted = await book.place()
    unknown = Settlement("unknown", error_code="outcome-unknown")
    await settle(book.database, book.settings, admitted.call_id, unknown)
    settlement = Settlement("executed", (ROOT,))
    await settle(book.database, book.settings, admitted.call_id, settlement)
    assert book.row(admitted.call_id)["state"] == "unknown"


async def test_a_tracker_settles_what_nobody_did(book: Book) -> None:
    """Roots that it notes are candidates; one that it takes is the call's, which is accepted."""
    admitted = await book.place()
    lease = await book.lease()
    candidates = (Candidate(ROOT.name, ROOT.uniqueid), Candidate("Local/150@inoffice-9;1", "1.9"))
    (call,) = await write(lease, change(admitted.call_id, candidates=candidates))
    assert (call.phase, call.settled, call.root) == ("placing", False, None)
    assert [root.uniqueid for root in call.candidates] == [ROOT.uniqueid, "1.9"]
    found = change(
        admitted.call_id, phase="accepted", root_channel=ROOT.name, root_uniqueid=ROOT.uniqueid
    )
    (call,) = await write(lease, found)
    assert (call.phase, call.settled, call.root and call.root.uniqueid) == ("accepted", True, "1.1")
    row = book.row(admitted.call_id)
    assert (row["state"], row["settled_at"] is None) == ("executed", False)
    (call,) = await write(lease, change(admitted.call_id, candidates=()))
    assert len(call.candidates) == 2, "what is settled has none to come"
    await settle(book.database, book.settings, admitted.call_id, Settlement("executed", ()))
    assert book.row(admitted.call_id)["root_uniqueid"] == ROOT.uniqueid

"""Events for WebSockets on AWS, from PostgreSQL to the connections: DynamoDB is moto's.

API Gateway's management API is a server that answers 410 and whatever else a test wants of it.
"""

from __future__ import annotations

import asyncio
import threading
from hashlib import sha256
from typing import Any

import pytest

from shared.aws.clients import Clients
from shared.aws.sockets import ManagedSockets
from shared.events.feed import Wanted, read_feed
from shared.push.outbox import Batch, Connection
from shared.push.pushing import Pusher
from shared.push.relaying import Relay, letter_of
from shared.push.tables import Tables
from shared.settings import Rate, Settings
from shared.store.database import Database
from shared.store.push import (
    MOST_DUE,
    close_connection,
    keep_connection,
    load_due,
    note_done,
    open_connection,
)
from tests.emulator.sockets import Sockets
from tests.integration.dynamodb import CONNECTIONS, OUTBOX, Dynamo
from tests.integration.test_feed import tell
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

SECRET, OTHER = "july-4c1d7e90b2a35f68", "june-9a7be4d21c803f56"
MINE, THEIRS = "0367", "0368"
LIMIT = Rate(count=60, per_s=60)
# Later than any of this may come.
LATE_S = 60.0


@pytest.fixture
def tables(dynamo: Dynamo) -> Tables:
    """As the service asks for them."""
    return Tables(Settings(outbox_table=OUTBOX, connections_table=CONNECTIONS), Clients())


@pytest.fixture
def relay(database: Database, tables: Tables, postgres: Postgres) -> Relay:
    """What whoever writes events has; two enterprises are there."""
    for number, secret in ((MINE, SECRET), (THEIRS, OTHER)):
        postgres.seed_enterprise(number, "july", "192.0.2.10", secret)
    return Relay(database.reads, tables)


async def come(database: Database, name: str, number: str = MINE, **more: Any) -> bool:
    """Open a connection by an enterprise's secret."""
    secret = more.pop("secret", SECRET if number == MINE else OTHER)
    digest = sha256(secret.encode()).hexdigest()
    asked: dict[str, Any] = {"wanted": "{}", "most": 10} | more
    return await open_connection(database.reads, name, enterprise=number, digest=digest, **asked)


def numbers(batch: Batch) -> list[int]:
    """Numbers of a batch's events."""
    return [letter.seq for letter in batch.letters]


# ---- Into the outbox


async def test_where_nobody_listens_nothing_is_put(
    relay: Relay, postgres: Postgres, dynamo: Dynamo
) -> None:
    """However much is told: an enterprise without a connection costs nothing."""
    tell(postgres, MINE, 3)
    await relay.put_due(LATE_S, all_of_them=True)
    assert dynamo.outbox() == {}


async def test_what_is_told_is_put(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """From the connection's opening on, without a gap, as every door tells it; no other's."""
    tell(postgres, MINE, 3)
    await come(database, "one")
    tell(postgres, MINE, 2)
    tell(postgres, THEIRS, 1)
    await relay.put_due(LATE_S)
    (batch,) = dynamo.outbox().values()
    assert (batch.enterprise, batch.after, batch.seq, numbers(batch)) == (MINE, 3, 5, [4, 5])
    told = await read_feed(database.reads, MINE, 3, Wanted(), most=10)
    assert batch.letters == tuple(map(letter_of, told.events))
    await relay.put_due(LATE_S)
    assert dynamo.outbox()[MINE] == batch
    tell(postgres, MINE, 1)
    await relay.put_due(LATE_S)
    assert numbers(dynamo.outbox()[MINE]) == [6]


async def test_a_lost_put_is_made_up_for_by_the_next_one(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """Whoever died between its commit and its put: the next writer, of anything, puts both."""
    await come(database, "one")
    await come(database, "two", THEIRS)
    tell(postgres, MINE, 1)  # and is killed
    tell(postgres, THEIRS, 1)
    await relay.put_due(LATE_S)
    assert {number: numbers(batch) for number, batch in dynamo.outbox().items()} == {
        MINE: [1],
        THEIRS: [1],
    }


async def test_a_put_that_nobody_noted_is_no_second_one(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """Whoever died after its put has told it: the next one goes on after what stands there."""
    await come(database, "one")
    tell(postgres, MINE, 2)
    await relay.put_due(LATE_S)
    postgres.execute("UPDATE callapi.push_places SET seq = 0")
    await relay.put_due(LATE_S)
    assert numbers(dynamo.outbox()[MINE]) == [1, 2]
    postgres.execute("UPDATE callapi.push_places SET seq = 0")
    tell(postgres, MINE, 1)
    await relay.put_due(LATE_S)
    assert numbers(dynamo.outbox()[MINE]) == [3]
    assert await load_due(database.reads, all_of_them=True) == ()


async def test_many_writers_at_once_keep_the_order(
    relay: Relay, database: Database, postgres: Postgres, tables: Tables, dynamo: Dynamo
) -> None:
    """Each event is put once, in order, whoever is quicker: what comes late is refused."""
    put: list[int] = []
    original, guard = tables.put, threading.Lock()

    def counted(batch: Batch) -> int | None:
        with guard:  # moto's conditions hold one at a time
            stands = original(batch)
            put.extend(numbers(batch) if stands is None else [])
        return stands

    tables.put = counted  # type: ignore[method-assign]
    await come(database, "one")

    async def write() -> None:
        for _ in range(5):
            await asyncio.to_thread(tell, postgres, MINE, 1)
            await relay.put_due(LATE_S)

    await asyncio.gather(*(write() for _ in range(4)))
    assert put == list(range(1, 21))


async def test_what_is_much_is_put_in_parts(
    relay: Relay, database: Database, postgres: Postgres, tables: Tables, dynamo: Dynamo
) -> None:
    """All of it, each part after the one before."""
    parts: list[tuple[int, int]] = []
    original = tables.put

    def noted(batch: Batch) -> int | None:
        parts.append((batch.after, batch.seq))
        return original(batch)

    tables.put = noted  # type: ignore[method-assign]
    await come(database, "one")
    tell(postgres, MINE, 250)
    await relay.put_due(LATE_S)
    assert parts[0][0] == 0
    assert parts[-1][1] == 250
    assert [after for after, _ in parts[1:]] == [seq for _, seq in parts[:-1]]
    assert len(parts) > 2


async def test_a_restored_backup_begins_anew(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """Numbers that are lower than those that were put are put again, from the newest on."""
    await come(database, "one")
    tell(postgres, MINE, 5)
    await relay.put_due(LATE_S)
    postgres.execute("UPDATE callapi.event_counters SET seq = 2")
    postgres.execute("DELETE FROM callapi.call_events WHERE seq > 2")
    await relay.put_due(LATE_S)
    assert (dynamo.outbox()[MINE].seq, numbers(dynamo.outbox()[MINE])) == (2, [])
    tell(postgres, MINE, 1)
    await relay.put_due(LATE_S)
    assert numbers(dynamo.outbox()[MINE]) == [3]


async def test_a_backup_that_nobody_saw_restored_loses_nothing(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """The outbox has higher numbers of before: what is told is put all the same, from the first."""
    await come(database, "one")
    tell(postgres, MINE, 5)
    await relay.put_due(LATE_S)
    await close_connection(database.reads, "one")
    postgres.execute("UPDATE callapi.event_counters SET seq = 2")
    postgres.execute("DELETE FROM callapi.call_events WHERE seq > 2")
    await come(database, "two")
    put = []
    for _ in range(4):
        tell(postgres, MINE, 1)
        await relay.put_due(LATE_S)
        batch = dynamo.outbox()[MINE]
        put.append((numbers(batch), batch.is_back))
    assert put == [([3], True), ([4], False), ([5], False), ([6], False)]


async def test_many_that_are_refused_keep_no_other_from_being_put(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo, tables: Tables
) -> None:
    """Though they are as many as one look finds, and stand before it."""
    original = tables.put

    def refused(batch: Batch) -> int | None:
        if batch.enterprise != "9999":
            raise OSError("throttled")
        return original(batch)

    tables.put = refused  # type: ignore[method-assign]
    for number in [*(f"{number:04}" for number in range(MOST_DUE)), "9999"]:
        postgres.seed_enterprise(number, "june", "192.0.2.10", f"{OTHER}-{number}")
        await come(database, number, number, secret=f"{OTHER}-{number}")
        tell(postgres, number, 1)
    for _ in range(100):  # of which each finds it 20 times of 21
        await relay.put_due(LATE_S)
        if dynamo.outbox():
            break
    assert list(dynamo.outbox()) == ["9999"]


async def test_one_that_is_refused_keeps_no_other_from_being_put(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo, tables: Tables
) -> None:
    """As where DynamoDB throttles one enterprise's item."""
    original = tables.put

    def refused(batch: Batch) -> int | None:
        if batch.enterprise == MINE:
            raise OSError("throttled")
        return original(batch)

    tables.put = refused  # type: ignore[method-assign]
    await come(database, "one")
    await come(database, "two", THEIRS)
    tell(postgres, MINE, 1)
    tell(postgres, THEIRS, 1)
    await relay.put_due(LATE_S)
    assert {number: numbers(batch) for number, batch in dynamo.outbox().items()} == {THEIRS: [1]}


async def test_a_table_that_is_away_fails_nobody(
    relay: Relay,
    database: Database,
    postgres: Postgres,
    dynamo: Dynamo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log tells it; once the table is back, everything is put."""
    await come(database, "one")
    tell(postgres, MINE, 1)
    dynamo.client.delete_table(TableName=OUTBOX)
    await relay.put_due(LATE_S)
    assert "не переданы" in caplog.text
    dynamo.client.delete_table(TableName=CONNECTIONS)
    Dynamo(dynamo.client)
    await relay.put_due(LATE_S)
    assert numbers(dynamo.outbox()[MINE]) == [1]


# ---- Rights


async def test_an_ended_right_ends_its_connections_with_the_next_event(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """The very batch that has the event says who is not to have it; others of it go on."""
    postgres.execute(
        "INSERT INTO callapi.keys (digest, number, name, of_table)"
        " VALUES (sha256('june-second-secret'), :number, 'page', false)",
        number=MINE,
    )
    await come(database, "one")
    await come(database, "two", secret="june-second-secret")
    postgres.execute("DELETE FROM callapi.keys")
    tell(postgres, MINE, 1)
    await relay.put_due(LATE_S)
    batch = dynamo.outbox()[MINE]
    assert (batch.ended, numbers(batch)) == (("two",), [1])
    assert [row["id"] for row in postgres.execute("SELECT id FROM callapi.push_connections")] == [
        "one"
    ]


async def test_the_watchdog_finds_whose_right_has_ended_in_silence(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo
) -> None:
    """Of an enterprise that is not active any more, without any event; and who was silent."""
    await come(database, "one")
    await come(database, "two", THEIRS)
    await come(database, "three", THEIRS)
    postgres.execute(
        "UPDATE callapi.push_connections SET until = clock_timestamp() WHERE id = 'two'"
    )
    postgres.execute("UPDATE enterprises SET active = false WHERE number = :number", number=MINE)
    await relay.put_due(LATE_S)
    assert dynamo.outbox() == {}
    await relay.put_due(LATE_S, all_of_them=True)
    ended = {number: batch.ended for number, batch in dynamo.outbox().items()}
    assert ended == {MINE: ("one",), THEIRS: ("two",)}
    assert await load_due(database.reads, all_of_them=True) == ()


async def test_who_wants_all_calls_has_the_pbx_watched(
    relay: Relay, database: Database, postgres: Postgres
) -> None:
    """Once a minute for a minute and a half, as long as such a connection is there."""
    await come(database, "one", wanted='{"scope": "all"}')
    await come(database, "two", THEIRS)
    await relay.put_due(LATE_S, all_of_them=True)
    rows = postgres.execute(
        "SELECT enterprise, round(extract(epoch FROM until - clock_timestamp()) / 10) AS tens"
        "  FROM callapi.watches"
    )
    assert rows == [{"enterprise": MINE, "tens": 9}]


async def test_an_enterprise_has_so_many_connections(
    relay: Relay, database: Database, postgres: Postgres
) -> None:
    """And no more, however many come at once; one that was silent for too long counts no more."""
    came = await asyncio.gather(*(come(database, str(number), most=3) for number in range(8)))
    assert sum(came) == 3
    assert await come(database, "theirs", THEIRS, most=3)
    postgres.execute("UPDATE callapi.push_connections SET until = clock_timestamp()")
    assert await come(database, "one more", most=3)


async def test_a_connection_is_heard_of(
    relay: Relay, database: Database, postgres: Postgres
) -> None:
    """It lasts as long again, never beyond its end; not once its right has ended."""
    await come(database, "one", wanted='{"extension": "150"}')
    postgres.execute("UPDATE callapi.push_connections SET until = until - interval '10 min'")
    kept = await keep_connection(database.reads, "one", LIMIT)
    assert kept is not None
    assert (kept.enterprise, kept.wanted, kept.wait_s) == (MINE, {"extension": "150"}, 0)
    left = "SELECT extract(epoch FROM until - clock_timestamp())::float8 AS s"
    (row,) = postgres.execute(f"{left} FROM callapi.push_connections")
    assert 600 < row["s"] <= 660
    postgres.execute(
        "UPDATE callapi.push_connections SET ends_at = clock_timestamp() + interval '5 s'"
    )
    assert await keep_connection(database.reads, "one", LIMIT)
    (row,) = postgres.execute(f"{left} FROM callapi.push_connections")
    assert row["s"] <= 5
    assert await keep_connection(database.reads, "unknown", LIMIT) is None
    postgres.execute("UPDATE enterprises SET active = false")
    assert await keep_connection(database.reads, "one", LIMIT) is None
    assert await close_connection(database.reads, "one") == MINE
    assert await close_connection(database.reads, "one") is None


async def test_pings_cost_what_reads_do(relay: Relay, database: Database) -> None:
    """All connections of an enterprise share its limit; who is refused is told when to come."""
    limit = Rate(count=2, per_s=60)
    await come(database, "one")
    await come(database, "two")
    waits = [
        kept.wait_s > 0
        for name in ("one", "two", "one")
        if (kept := await keep_connection(database.reads, name, limit))
    ]
    assert waits == [False, False, True]


async def test_a_number_goes_back_only_where_that_is_meant(
    relay: Relay, database: Database, postgres: Postgres
) -> None:
    """A late note of somebody slow undoes nothing."""
    await come(database, "one")
    await note_done(database.reads, MINE, 7, ())
    await note_done(database.reads, MINE, 5, ())
    assert postgres.execute("SELECT seq FROM callapi.push_places") == [{"seq": 7}]
    await note_done(database.reads, MINE, 5, (), back=True)
    assert postgres.execute("SELECT seq FROM callapi.push_places") == [{"seq": 5}]


# ---- Out of the stream, by boto3 and HTTP


def record(number: int, batch: Batch) -> dict[str, Any]:
    """Make a record of the stream, as Lambda is given it."""
    change = {"SequenceNumber": str(number), "NewImage": batch.item()}
    return {"eventName": "MODIFY", "dynamodb": change | {"ApproximateCreationDateTime": 2**33}}


async def put(relay: Relay, postgres: Postgres, dynamo: Dynamo, count: int) -> Batch:
    """Tell of so many calls, and have them put."""
    tell(postgres, MINE, count)
    await relay.put_due(LATE_S)
    return dynamo.outbox()[MINE]


async def test_the_management_api_is_asked_as_it_answers(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo, tables: Tables
) -> None:
    """Throttled is tried again, gone is forgotten, crashed comes again with the stream.

    What a connection does not want it is not sent; nobody is sent anything twice.
    """
    sockets = Sockets("well", "throttled", "crashed", "other")
    sockets.answer = lambda name, tries: (
        429
        if name == "throttled" and not tries
        else 503
        if name == "crashed" and tries < 3
        else 200
    )
    for name in ("well", "throttled", "crashed", "gone", "other"):
        await come(database, name)
        extension = "199" if name == "other" else None
        tables.add(Connection(MINE, name, extension, until_s=2**33))
    batch = await put(relay, postgres, dynamo, 2)
    with sockets.listening():
        client = Clients().of("apigatewaymanagementapi", sockets.url, attempts=1)
        push = Pusher(ManagedSockets(client), tables)
        again = await asyncio.to_thread(push.push, [record(1, batch)], 8)
        assert again == {"1"}
        assert dynamo.connections() == ["crashed", "other", "throttled", "well"]
        again = await asyncio.to_thread(push.push, [record(1, batch)], 8)
    assert again == set()
    assert {name: sockets.numbers(name) for name in sockets.told} == {
        "well": [1, 2],
        "throttled": [1, 2],
        "crashed": [1, 2],
    }
    assert sockets.tries["gone"] == 1
    assert set(sockets.told["well"][0]) == {"seq", "type", "at", "call"}


async def test_a_slow_connection_holds_up_no_other(
    relay: Relay, database: Database, postgres: Postgres, dynamo: Dynamo, tables: Tables
) -> None:
    """While it has not answered, all others are told everything."""
    others = [f"n{number}" for number in range(40)]
    sockets = Sockets("slow", *others)
    all_told = threading.Event()

    def answer(name: str, _tries: int) -> int:
        if name == "slow":
            assert all_told.wait(30)
        elif sum(map(len, sockets.told.values())) >= 2 * len(others) - 1:
            all_told.set()
        return 200

    sockets.answer = answer
    for name in ("slow", *others):
        tables.add(Connection(MINE, name, until_s=2**33))
    await come(database, "slow")
    batch = await put(relay, postgres, dynamo, 2)
    with sockets.listening():
        client = Clients().of("apigatewaymanagementapi", sockets.url, attempts=1, at_once=32)
        push = Pusher(ManagedSockets(client), tables)
        await asyncio.to_thread(push.push, [record(1, batch)], 20)
    assert all(sockets.numbers(name) == [1, 2] for name in others)
    assert sockets.numbers("slow") == [1, 2]


async def test_expired_connections_are_told_nothing(tables: Tables, dynamo: Dynamo) -> None:
    """DynamoDB removes what has expired hours later: until then it is left out."""
    tables.add(Connection(MINE, "old", until_s=1))
    tables.add(Connection(MINE, "new", until_s=2**33))
    assert [one.id for one in tables.connections_of(MINE)] == ["new"]
    tables.remove(MINE, "new")
    assert dynamo.connections() == ["old"]


async def test_a_thousand_connections_are_all_found(tables: Tables) -> None:
    """Also where DynamoDB tells them by pages."""
    names = [f"{number:04}" + "x" * 2000 for number in range(700)]
    for name in names:
        tables.add(Connection(MINE, name[:900], name, until_s=2**33))
    assert sorted(one.extension or "" for one in tables.connections_of(MINE)) == names

"""WebSockets on AWS: what their clients say, and how far what is written comes to them.

API Gateway's events are written down from its documentation; its tables are moto's, and what it
sends by goes to a server that answers as its management API does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest

from functions.push import handler as push
from functions.sockets import handler as sockets
from functions.sockets.said import answer_of, parse_ping
from functions.tracker import handler as tracker
from functions.watchdog import handler as watchdog
from shared.errors import InvalidParameter
from shared.events.feed import Told, Wanted, read_feed
from shared.events.filters import Filters
from shared.events.tickets import Grant, issue_ticket
from shared.following.wake import Waker
from shared.process import forget_all
from shared.push.outbox import Batch
from shared.push.pushing import the_pusher
from shared.push.tables import the_tables
from shared.store.database import the_database
from shared.telemetry import CALL_ID, ENDING, REQUEST_ID
from tests.emulator.sockets import Sockets
from tests.integration.dynamodb import CONNECTIONS, OUTBOX, Dynamo
from tests.integration.followed import follow, place
from tests.integration.gateway import Context, load
from tests.integration.service import OTHER_PHONE, Service, Services
from tests.integration.test_feed import tell
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

NUMBER, HOST = "0367", "127.0.0.1"
ONE, TWO = "L0SM9cOFvHcCIhw=", "M1TN0dPGwIdDJix="


@pytest.fixture
def gateway() -> Iterator[Sockets]:
    """What API Gateway sends by; both connections are open there."""
    gateway = Sockets(ONE, TWO)
    with gateway.listening():
        yield gateway


@pytest.fixture
async def service(start: Services, dynamo: Dynamo, gateway: Sockets) -> Service:
    """A service whose calls a function follows, and which is told of both tables."""
    return await follow(
        start,
        in_process=False,
        OUTBOX_TABLE=OUTBOX,
        CONNECTIONS_TABLE=CONNECTIONS,
        PUSH_ENDPOINT=gateway.url,
        SOCKETS_AT_ONCE=2,
        RATE_LIMIT_READS="20/60",
    )


async def ticket(service: Service, **filters: Any) -> str:
    """Ask for a ticket by the secret."""
    answer = await service.http.post("/api/events/ticket", json=filters)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["ticket"])


async def come(ticket: str, name: str = ONE, **more: Any) -> dict[str, Any]:
    """Have API Gateway ask whether a client may come."""
    event = load("sockets-connect")
    event["requestContext"]["connectionId"] = name
    event["queryStringParameters"] = {"ticket": ticket}
    event["headers"] |= more.pop("headers", {})
    return await sockets.serve(event | more)


async def say(text: str, name: str = ONE) -> dict[str, Any]:
    """Have a client say something; the message that it is answered."""
    event = load("sockets")
    event["requestContext"]["connectionId"] = name
    answer = await sockets.serve(event | {"body": text})
    assert answer["statusCode"] == 200
    told: dict[str, Any] = json.loads(answer["body"])
    return told


async def ping(after: int | None = None, name: str = ONE) -> dict[str, Any]:
    """Have a client ping."""
    return await say(
        json.dumps({"type": "ping"} | ({} if after is None else {"after": after})), name
    )


def stream(*batches: Batch) -> dict[str, Any]:
    """Make the stream's event of batches."""
    (record,) = load("push")["Records"]
    records = []
    for number, batch in enumerate(batches, 1):
        change = record["dynamodb"] | {
            "NewImage": batch.item(),
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": 2**33,
        }
        records.append(record | {"dynamodb": change})
    return {"Records": records}


async def pushed(dynamo: Dynamo) -> dict[str, Any]:
    """Have what stands in the outbox pushed."""
    batches = dynamo.outbox().values()
    return await anyio.to_thread.run_sync(push.handler, stream(*batches), Context())


# ---- All the way


async def test_a_call_is_told_from_its_placing_to_its_end(
    service: Service,
    dynamo: Dynamo,
    gateway: Sockets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As every other door tells it, by the tracker's puts; who wants another extension's, none."""
    parts: list[Batch] = []
    original = the_tables().put

    def noted(batch: Batch) -> int | None:
        stands = original(batch)
        if stands is None:
            parts.append(batch)
        return stands

    monkeypatch.setattr(the_tables(), "put", noted)
    monkeypatch.setattr(Waker, "start_function", lambda *_: anyio.lowlevel.checkpoint())
    assert await come(await ticket(service)) == {"statusCode": 200}
    assert await come(await ticket(service, extension="199"), TWO) == {"statusCode": 200}
    call_id = await place(service, "154", OTHER_PHONE)
    assert (await tracker.follow(HOST, 30))["end"] == "idle"
    answer = await anyio.to_thread.run_sync(push.handler, stream(*parts), Context())
    assert answer == {"batchItemFailures": []}
    told = gateway.told[ONE]
    every = (await service.http.get("/api/events", params={"after": 0})).json()
    assert told == every["events"]
    assert (told[0]["call"]["phase"], told[-1]["call"]["phase"]) == ("accepted", "ended")
    assert {event["call"]["call_id"] for event in told} == {call_id}
    assert len(parts) > 1
    assert gateway.told[TWO] == []
    assert await ping(told[0]["seq"]) == {
        "type": "events",
        "events": every["events"][1:],
        "next": every["next"],
    }
    assert await ping(every["next"]) == {"type": "heartbeat", "newest": every["next"]}


async def test_a_revoked_secret_ends_it(
    service: Service, postgres: Postgres, dynamo: Dynamo, gateway: Sockets
) -> None:
    """With the watchdog's look: an error as every door's, then the end; both tables forget it."""
    await come(await ticket(service))
    postgres.execute("UPDATE enterprises SET secret = 'another'")
    assert (await ping())["code"] == "ticket-expired"
    await watchdog.look_around(60)
    assert await pushed(dynamo) == {"batchItemFailures": []}
    (error,) = gateway.told[ONE]
    assert (error["type"], error["status"], error["code"]) == ("error", 401, "ticket-expired")
    assert error["request_id"] == Context.aws_request_id
    assert gateway.closed == [ONE]
    assert dynamo.connections() == []
    assert postgres.execute("SELECT id FROM callapi.push_connections") == []


async def test_who_was_given_up_learns_it_by_a_ping(
    service: Service, postgres: Postgres, dynamo: Dynamo, gateway: Sockets
) -> None:
    """Where nothing can be sent, nothing can be closed: who is told nothing more must not wait."""
    await come(await ticket(service))
    assert (await ping())["type"] == "heartbeat"
    for item in dynamo.client.scan(TableName=CONNECTIONS)["Items"]:  # it came long ago
        dynamo.client.put_item(TableName=CONNECTIONS, Item=item | {"since": {"N": "1"}})
    tell(postgres, NUMBER, 1)
    await watchdog.look_around(60)
    gateway.answer = lambda _name, _tries: 503
    gateway.answer_close = lambda _name: 503
    records = stream(*dynamo.outbox().values())
    records["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = 1
    answer = await anyio.to_thread.run_sync(push.handler, records, Context())
    assert answer == {"batchItemFailures": []}
    assert (gateway.closed, gateway.told[ONE]) == ([], [])
    told = await ping(0)
    assert (told["type"], told["code"]) == ("error", "ticket-expired")
    assert postgres.execute("SELECT id FROM callapi.push_connections") == []


async def test_a_ping_is_answered_without_the_table_of_connections(
    service: Service, postgres: Postgres, dynamo: Dynamo, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is sent away by an outage of what only tells whether he is sent to."""
    await come(await ticket(service))
    tell(postgres, NUMBER, 1)
    dynamo.client.delete_table(TableName=CONNECTIONS)
    assert [event["seq"] for event in (await ping(0))["events"]] == [1]
    assert "не прочитано" in caplog.text


async def test_who_goes_is_forgotten(
    service: Service, postgres: Postgres, dynamo: Dynamo, gateway: Sockets
) -> None:
    """API Gateway tells it; twice is once."""
    await come(await ticket(service))
    gone = load("sockets")
    gone["requestContext"] |= {"eventType": "DISCONNECT", "routeKey": "$disconnect"}
    for _ in range(2):
        assert await sockets.serve(gone) == {"statusCode": 200}
    assert dynamo.connections() == []
    assert postgres.execute("SELECT id FROM callapi.push_connections") == []


async def test_one_enterprise_never_hears_another(
    service: Service, postgres: Postgres, dynamo: Dynamo, gateway: Sockets
) -> None:
    """Each has its own item, and its own connections; a ping tells its own numbers."""
    postgres.seed_enterprise("0368", "july", HOST, "july-4c1d7e90b2a35f68")
    digest = f"{1:064x}"
    postgres.execute(
        "INSERT INTO callapi.keys (digest, number, name, of_table)"
        " VALUES (decode(:digest, 'hex'), '0368', 'page', false)",
        digest=digest,
    )
    theirs, _ = await issue_ticket(
        the_database().reads, Grant("0368", HOST, digest), Filters(scope="mine")
    )
    assert await come(await ticket(service)) == {"statusCode": 200}
    assert await come(theirs, TWO) == {"statusCode": 200}
    tell(postgres, NUMBER, 3)
    tell(postgres, "0368", 1)
    await watchdog.look_around(60)
    await pushed(dynamo)
    ours = {event["call"]["call_id"] for event in gateway.told[ONE]}
    others = {event["call"]["call_id"] for event in gateway.told[TWO]}
    assert (len(ours), len(others), ours & others) == (3, 1, set())
    assert [(await ping(name=name))["newest"] for name in (ONE, TWO)] == [3, 1]


# ---- The handshake


async def test_a_ticket_opens_one(service: Service, dynamo: Dynamo) -> None:
    """And no second one; nor does none, one that never was, or a secret in the URL."""
    once = await ticket(service)
    assert (await come(once))["statusCode"] == 200
    assert (await come(once, TWO))["statusCode"] == 401
    assert (await come("", TWO))["statusCode"] == 401
    assert (await come("x" * 43, TWO))["statusCode"] == 401
    event = load("sockets-connect")
    event["queryStringParameters"] = {"clientId": "june-8d1f04c7a96b4e52"}
    refused = await sockets.serve(event)
    assert (refused["statusCode"], "june-8d1f" in refused["body"]) == (422, False)
    assert (await sockets.serve(event | {"queryStringParameters": None}))["statusCode"] == 401
    assert dynamo.connections() == [ONE]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({"\ud800": "1"}, {}, 422),
        ({"july-4c1d7e90b2a35f68": "", "ticket": "x"}, {}, 422),
        ({"x" * 100_000: "1"}, {}, 422),
        ({"ticket": "\ud800" * 43}, {}, 401),
        ({"ticket": "x" * 1_000_000}, {}, 401),
        ({}, {"Origin": "\ud800"}, 403),
        ({}, {"\ud800": "x"}, 401),
        ({}, None, 401),
    ],
)
async def test_a_hostile_handshake_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch, query: Any, headers: Any, status: int
) -> None:
    """As what it is, in a few words, none of them its own; it is no defect of ours."""
    monkeypatch.setenv("CORS_ORIGINS", "https://crm.example.test")
    the_database().close()
    forget_all()
    event = load("sockets-connect") | {"queryStringParameters": query, "headers": headers}
    refused = await sockets.serve(event)
    assert refused["statusCode"] == status
    assert len(refused.get("body", "")) < 500
    assert "july-4c1d" not in refused.get("body", "")


async def test_an_event_leaves_no_request_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment does next is no part of it, however it ended."""
    events = [
        load("sockets-connect") | {"queryStringParameters": {"ticket": await ticket(service)}},
        load("sockets-connect"),
        load("sockets") | {"body": "hello"},
    ]
    for event in events:
        await sockets.serve(event)
        assert (REQUEST_ID.get(), CALL_ID.get(), ENDING.get()) == ("-", None, None)

    def fail(*_: object) -> None:
        assert REQUEST_ID.get() == Context.aws_request_id
        raise ConnectionError

    monkeypatch.setattr(the_pusher(), "push", fail)
    with pytest.raises(ConnectionError):
        push.handler({"Records": []}, Context())
    assert (REQUEST_ID.get(), CALL_ID.get(), ENDING.get()) == ("-", None, None)


async def test_so_many_are_open_at_once(service: Service) -> None:
    """The third of two is refused, and its ticket is used up."""
    for name, status in ((ONE, 200), (TWO, 200), ("three", 429)):
        assert (await come(await ticket(service), name))["statusCode"] == status


async def test_pages_of_others_open_none(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere: where CORS_ORIGINS names pages, no other one may."""
    monkeypatch.setenv("CORS_ORIGINS", "https://crm.example.test")
    mine = await ticket(service)
    the_database().close()
    forget_all()
    theirs = {"Origin": "https://evil.example.test"}
    assert (await come(mine, headers=theirs))["statusCode"] == 403
    ours = {"Origin": "https://crm.example.test"}
    assert (await come(mine, headers=ours))["statusCode"] == 200


async def test_a_table_that_is_away_opens_none(
    service: Service, postgres: Postgres, dynamo: Dynamo
) -> None:
    """503, and no place is taken by what was never opened."""
    dynamo.client.delete_table(TableName=CONNECTIONS)
    assert (await come(await ticket(service)))["statusCode"] == 503
    assert postgres.execute("SELECT id FROM callapi.push_connections") == []


async def test_who_wants_all_calls_has_the_pbx_followed(
    service: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the handshake on, as by every door."""
    started: list[str] = []

    async def start(_waker: Waker, host: str, *, tracked: bool) -> None:
        started.append(host)

    mine = await ticket(service, scope="all")
    postgres.execute("DELETE FROM callapi.watches")
    monkeypatch.setattr(Waker, "see_followed", start)
    assert (await come(mine))["statusCode"] == 200
    assert started == [HOST]
    assert len(postgres.execute("SELECT host FROM callapi.watches")) == 1


# ---- Pings


@pytest.mark.parametrize(
    "text",
    [
        *("", "ping", "[]", '{"type": "pong"}', '{"type": "ping", "after": -1}', "[" * 900),
        *('{"type": "ping", "after": "1"}', '{"type": "ping", "after": true}', " " * 2000),
        *('{"type": "ping", "after": 9223372036854775808}', '{"type": "ping", "after": 1.5}'),
    ],
)
def test_what_is_no_ping_is_refused(text: str) -> None:
    """Whatever it is, and however long."""
    with pytest.raises(InvalidParameter):
        parse_ping(text)


async def test_what_is_no_ping_is_answered_with_an_error(service: Service) -> None:
    """The same body as over HTTP; the connection goes on."""
    await come(await ticket(service))
    error = await say("hello")
    assert (error["type"], error["status"], error["code"]) == ("error", 422, "invalid-parameter")
    assert await ping() == {"type": "heartbeat", "newest": 0}


async def test_a_ping_is_told_what_was_missed(service: Service, postgres: Postgres) -> None:
    """Of the connection's filter; `next` and `newest` grow by what it leaves out."""
    await come(await ticket(service, extension="150"))
    await come(await ticket(service, extension="199"), TWO)
    tell(postgres, NUMBER, 2)
    told = await ping(1)
    assert ([event["seq"] for event in told["events"]], told["next"]) == ([2], 2)
    assert await ping(0, TWO) == {"type": "heartbeat", "newest": 2}
    assert await ping(0, "unknown") == (await ping(0, "unknown")) | {"code": "ticket-expired"}


async def test_a_ping_of_what_is_gone_says_so(service: Service) -> None:
    """410, with what is left, as over HTTP."""
    await come(await ticket(service))
    error = await ping(7)
    assert (error["status"], error["code"], error["newest"]) == (410, "events-gone", 0)


async def test_pings_have_the_limit_of_reads(service: Service) -> None:
    """Whoever pings too often is told when to come again."""
    await come(await ticket(service))
    answers = [await ping() for _ in range(25)]
    assert {answer.get("code") for answer in answers} == {None, "rate-limited"}


async def test_a_flood_ends_its_own_connection(
    service: Service, postgres: Postgres, dynamo: Dynamo, gateway: Sockets
) -> None:
    """Whatever is said counts, a ping or none; others of the enterprise go on."""
    for name in (ONE, TWO):
        await come(await ticket(service), name)
    assert (await say("hello"))["code"] == "invalid-parameter"
    assert (await ping(name=TWO))["type"] == "heartbeat"
    postgres.execute(  # as after 240 in a moment
        "UPDATE callapi.rate_limits SET tat = clock_timestamp() + interval '1 minute'"
        " WHERE key = :key",
        key=f"said:{ONE}",
    )
    assert (await say("hello"))["code"] == "ticket-expired"
    assert (await ping())["code"] == "ticket-expired"
    await watchdog.look_around(60)
    await pushed(dynamo)
    assert gateway.closed == [ONE]
    assert (await ping(name=TWO))["type"] == "heartbeat"


async def test_an_answer_fits_a_frame(service: Service, postgres: Postgres) -> None:
    """Of much as much as 32 kB have; one goes on after that; and one event always."""
    tell(postgres, NUMBER, 60)
    told = await read_feed(the_database().reads, NUMBER, 0, Wanted(), most=100)
    text = answer_of(told)
    answer = json.loads(text)
    assert len(text.encode()) < 32_768
    assert 1 < len(answer["events"]) < 60
    assert answer["next"] == answer["events"][-1]["seq"]
    alone = json.loads(answer_of(Told(told.events[:1], 60, is_all=True)))
    assert (len(alone["events"]), alone["next"]) == (1, 60)


async def test_a_defect_is_told_to_be_one(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client reads 500; the log has what it was."""
    await come(await ticket(service))
    monkeypatch.setattr("functions.sockets.said.parse_filters", lambda _: 1 / 0)
    assert (await ping())["code"] == "internal-error"
    assert "ZeroDivisionError" in caplog.text

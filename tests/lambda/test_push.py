"""Events by WebSocket from the built artifact: each function under the emulator, in its turn.

DynamoDB is moto's, its stream is what was put, and what is sent goes to a stand-in for API Gateway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.standin import StandIn
from shared.push.outbox import parse_batch
from tests.emulator.dynamodb import listening
from tests.emulator.invocations import Invocations
from tests.emulator.platform import Platform
from tests.emulator.sockets import Sockets
from tests.integration.dynamodb import CONNECTIONS, OUTBOX, Dynamo
from tests.integration.gateway import call_to, load, seed, settings
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

ANSWERS = "+375290000001"
ONE, GONE = "L0SM9cOFvHcCIhw=", "M1TN0dPGwIdDJix="
TRACKER = "tracker-of-the-tests"


@pytest.fixture
def gateway() -> Iterator[Sockets]:
    """What API Gateway sends by: one connection is there, another one has gone unheard."""
    gateway = Sockets(ONE)
    with gateway.listening():
        yield gateway


async def test_a_call_is_told_from_its_placing_to_its_end(
    platform: Platform, postgres: Postgres, pbx: StandIn, dynamo: Dynamo, gateway: Sockets
) -> None:
    """A ticket, a handshake, a call, its tracker, the stream: each event once, in order.

    The placing has put its event before it answered; a ping is answered with what one asks for.
    """
    seed(postgres)
    puts: list[dict[str, Any]] = []
    async with Invocations.listening() as invocations, listening(_noting(dynamo, puts)) as url:
        own = settings(postgres, pbx, platform.folder / "unused.log")
        own |= invocations.settings(TRACKER) | {"AWS_ENDPOINT_URL_DYNAMODB": url}
        tables = {"CONNECTIONS_TABLE": CONNECTIONS, "PUSH_ENDPOINT": gateway.url}
        async with platform.emulated("events", own) as events:
            tickets = [await _ticket(events.invoke) for _ in range(2)]
        async with platform.emulated("sockets", own | tables) as sockets:
            for name, ticket in zip((ONE, GONE), tickets, strict=True):
                assert await sockets.invoke(_opening(name, ticket)) == {"statusCode": 200}
            assert (await sockets.invoke(_opening("again", tickets[0])))["statusCode"] == 401
        _opened_long_ago(dynamo)
        writes = own | {"OUTBOX_TABLE": OUTBOX}
        async with platform.emulated("makecallexternal", writes) as placing:
            answer = await placing.invoke(call_to(ANSWERS))
        assert answer["statusCode"] == 200
        assert [parse_batch(put).seq for put in puts] == [1]
        async with platform.emulated("tracker", writes, timeout_s=60) as tracker:
            assert (await tracker.invoke(load("tracker")))["end"] == "idle"
        async with platform.emulated("push", own | tables) as push:
            answer = await push.invoke(_stream(puts))
            log = push.log()
        assert answer == {"batchItemFailures": []}
        told = gateway.told[ONE]
        sql = "SELECT seq, phase FROM callapi.call_events ORDER BY seq"
        written = [(row["seq"], row["phase"]) for row in postgres.execute(sql)]
        assert [(event["seq"], event["call"]["phase"]) for event in told] == written
        assert written[-1][1] == "ended"
        assert dynamo.connections() == [ONE]
        assert "demo-secret-0001" not in log
        async with platform.emulated("sockets", own | tables) as sockets:
            event = load("sockets") | {"body": json.dumps({"type": "ping", "after": 1})}
            answered = json.loads((await sockets.invoke(event))["body"])
        assert answered == {"type": "events", "events": told[1:], "next": written[-1][0]}


def _noting(dynamo: Dynamo, puts: list[dict[str, Any]]) -> Any:
    """Note what the outbox's stream would have."""

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo.client, name)

        def put_item(self, **asked: Any) -> Any:
            told = dynamo.client.put_item(**asked)
            if asked["TableName"] == OUTBOX:
                puts.append(asked["Item"])
            return told

    return Noting()


async def _ticket(invoke: Any) -> str:
    event = load("events-ticket")
    answer = await invoke(event | {"body": "{}"})
    assert answer["statusCode"] == 200
    return str(json.loads(answer["body"])["ticket"])


def _opening(name: str, ticket: str) -> dict[str, Any]:
    event = load("sockets-connect")
    event["requestContext"]["connectionId"] = name
    event["queryStringParameters"] = {"ticket": ticket}
    return event


def _opened_long_ago(dynamo: Dynamo) -> None:
    """Whoever has just come is not taken for gone."""
    for item in dynamo.client.scan(TableName=CONNECTIONS)["Items"]:
        dynamo.client.put_item(TableName=CONNECTIONS, Item=item | {"since": {"N": "1"}})


def _stream(puts: list[dict[str, Any]]) -> dict[str, Any]:
    (record,) = load("push")["Records"]
    records = []
    for number, image in enumerate(puts, 1):
        change = {"NewImage": image, "SequenceNumber": str(number)}
        now = {"ApproximateCreationDateTime": time.time()}
        records.append(record | {"dynamodb": record["dynamodb"] | change | now})
    return {"Records": records}

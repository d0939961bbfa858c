"""The two tables in DynamoDB: the outbox, and which connections an enterprise has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from shared.aws.answers import is_condition_failed
from shared.aws.clients import Clients, the_clients
from shared.process import once
from shared.push.outbox import Batch, Connection, Unreadable, parse_connection
from shared.settings import Settings, the_settings
from shared.telemetry import LOG, count

# An outbox of an enterprise to which nobody has listened for so long is forgotten.
_KEPT_S = 86_400


class Tables:
    """Both tables; every method blocks, and raises what boto3 does."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._outbox = settings.outbox_table
        self._connections = settings.connections_table
        self._clients = clients

    def put(self, batch: Batch) -> int | None:
        """Put what follows, unless somebody has put it, or something after it: up to where.

        None: it was put, as one that `is_back` is whatever stands there.
        """
        written = batch.item() | {"expires_at": {"N": str(int(time.time()) + _KEPT_S)}}
        condition: dict[str, Any] = {
            "ConditionExpression": "attribute_not_exists(enterprise) OR seq <= :after",
            "ExpressionAttributeValues": {":after": {"N": str(batch.after)}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._client().put_item(
                TableName=self._outbox, Item=written, **({} if batch.is_back else condition)
            )
        except Exception as error:
            if not is_condition_failed(error):
                raise
            stands: dict[str, Any] = error.response["Item"]  # type: ignore[attr-defined] # boto3's
            return int(stands["seq"]["N"])
        return None

    def add(self, connection: Connection) -> None:
        """Have a connection told what its enterprise is told."""
        self._client().put_item(TableName=self._connections, Item=connection.item())

    def remove(self, enterprise: str, connection: str) -> None:
        """Have it told nothing any more."""
        key = {"enterprise": {"S": enterprise}, "connection": {"S": connection}}
        self._client().delete_item(TableName=self._connections, Key=key)

    def has(self, enterprise: str, connection: str) -> bool:
        """Tell whether it is still told anything."""
        key = {"enterprise": {"S": enterprise}, "connection": {"S": connection}}
        asked = {"TableName": self._connections, "Key": key, "ConsistentRead": True}
        return "Item" in self._client().get_item(**asked)

    def connections_of(self, enterprise: str) -> tuple[Connection, ...]:
        """List an enterprise's connections, but for those that have outlived their time."""
        return tuple(one for one in self._all_of(enterprise) if one.until_s > time.time())

    def _all_of(self, enterprise: str) -> Iterator[Connection]:
        asked: dict[str, Any] = {
            "TableName": self._connections,
            "KeyConditionExpression": "enterprise = :enterprise",
            "ExpressionAttributeValues": {":enterprise": {"S": enterprise}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._client().query(**asked)
            for item in answer["Items"]:
                try:
                    yield parse_connection(item)
                except Unreadable as error:
                    count("InternalErrors")
                    LOG.error("❌ Соединение WebSocket не читается: %s", error)
            if "LastEvaluatedKey" not in answer:
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _client(self) -> Any:
        return self._clients.of("dynamodb")


@once
def the_tables() -> Tables:
    """Those of this process."""
    return Tables(the_settings(), the_clients())

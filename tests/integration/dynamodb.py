"""DynamoDB in the test's own process, by moto, with both tables as template.yaml makes them.

moto's is not atomic under threads: where several write, a test lets one do so at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from shared.push.outbox import Batch, parse_batch
from tests.made_up_aws import made_up_aws

OUTBOX, CONNECTIONS = "calls-outbox", "calls-connections"


class Dynamo:
    """Both tables."""

    def __init__(self, client: Any) -> None:
        self.client = client
        for name, *keys in ((OUTBOX, "enterprise"), (CONNECTIONS, "enterprise", "connection")):
            client.create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in keys],
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind}
                    for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
            )

    def outbox(self) -> dict[str, Batch]:
        """The last batch of each enterprise."""
        items = self.client.scan(TableName=OUTBOX)["Items"]
        batches = map(parse_batch, items)
        return {batch.enterprise: batch for batch in batches}

    def connections(self) -> list[str]:
        """Names of the connections that are kept."""
        items = self.client.scan(TableName=CONNECTIONS)["Items"]
        return sorted(item["connection"]["S"] for item in items)

    @classmethod
    @contextmanager
    def opened(cls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dynamo]:
        """Stand in for AWS until the block ends."""
        with made_up_aws(monkeypatch):
            yield cls(boto3.client("dynamodb"))

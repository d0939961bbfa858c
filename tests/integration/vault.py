"""A Secrets Manager in the test's own process, by moto; it counts what it is asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests.made_up_aws import made_up_aws


class Vault:
    """Secrets by name; `reads` are the ARNs that the service asked for, in order."""

    def __init__(self) -> None:
        self._client = boto3.client("secretsmanager")
        self.reads: list[str] = []
        self.refuses = False

    def put(self, name: str, **fields: object) -> str:
        """Make a secret of these JSON fields, or give it a new value; return its ARN."""
        return self.put_text(name, json.dumps(fields))

    def put_text(self, name: str, text: str) -> str:
        """Do the same with any text."""
        try:
            answer = self._client.put_secret_value(SecretId=name, SecretString=text)
        except self._client.exceptions.ResourceNotFoundException:
            answer = self._client.create_secret(Name=name, SecretString=text)
        return str(answer["ARN"])

    @classmethod
    @contextlib.contextmanager
    def opened(cls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
        """Stand in for AWS until the block ends."""
        with made_up_aws(monkeypatch):
            vault = cls()
            monkeypatch.setattr(BaseClient, "_make_api_call", vault._counted(BaseClient))
            yield vault

    def _counted(self, original: type[BaseClient]) -> Any:
        send = original._make_api_call

        def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            if operation == "GetSecretValue":
                self.reads.append(parameters["SecretId"])
                if self.refuses:
                    said = {"Code": "AccessDeniedException", "Message": "not authorized"}
                    raise ClientError({"Error": said}, operation)
            return send(client, operation, parameters)

        return call

"""API Gateway's management API of a WebSocket API: what is sent to a connection, and its end."""

from __future__ import annotations

from typing import Any, Protocol

from shared.aws.answers import Outcome, outcome_of
from shared.aws.clients import the_clients
from shared.process import once
from shared.settings import the_settings

# As many are posted to at once, each with a connection of its own to API Gateway.
AT_ONCE = 32


class Sockets(Protocol):
    """The connections by their ids; both methods may block for 3 s, and raise nothing."""

    def post(self, connection: str, text: str) -> Outcome:
        """Send a message, of at most 128 kB."""

    def close(self, connection: str) -> Outcome:
        """Close it."""


class ManagedSockets:
    """Those of API Gateway."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def post(self, connection: str, text: str) -> Outcome:
        """Send a message."""
        return outcome_of(
            lambda: self._client.post_to_connection(ConnectionId=connection, Data=text.encode())
        )

    def close(self, connection: str) -> Outcome:
        """Close it; the client reads 1000, API Gateway knows no other."""
        return outcome_of(lambda: self._client.delete_connection(ConnectionId=connection))


@once
def the_sockets() -> ManagedSockets:
    """Those of this process."""
    # Tried again by whoever knows what may wait: boto3 would hold up all others.
    endpoint = the_settings().push_endpoint
    return ManagedSockets(
        the_clients().of("apigatewaymanagementapi", endpoint, attempts=1, at_once=AT_ONCE)
    )

"""Clients of AWS's own services. The only importer of boto3, which costs 300 ms.

boto3 comes with Lambda's runtime and is not in the layer: nothing here is called elsewhere.
"""

from __future__ import annotations

from typing import Any

from shared.process import once


class Clients:
    """One client for each service; a snapshot must not hold their credentials."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    def of(self, service: str) -> Any:
        """Return a service's client, e.g. of `lambda`."""
        if service not in self._clients:
            self._clients[service] = _client(service)
        return self._clients[service]


def _client(service: str) -> Any:
    # Needed on AWS only, and there only where a setting asks for it.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # A caller waits for each answer, and none is worth the caller's whole time.
    limits = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    return boto3.client(service, config=limits)


@once
def the_clients() -> Clients:
    """Those of this process."""
    return Clients()

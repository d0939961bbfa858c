"""Clients of AWS's own services. The only importer of boto3, which costs 300 ms.

boto3 comes with Lambda's runtime and is not in the layer: nothing here is called elsewhere.
"""

from __future__ import annotations

from typing import Any

from shared.process import once


class Clients:
    """One client for each service; a snapshot must not hold their credentials."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], Any] = {}

    def of(self, service: str, endpoint: str = "", *, attempts: int = 2, at_once: int = 10) -> Any:
        """Return a service's client, e.g. of `lambda`.

        `endpoint` is its URL where that is not the region's own; `attempts` are boto3's own.
        """
        key = service, endpoint
        if key not in self._clients:
            self._clients[key] = _client(service, endpoint or None, attempts, at_once)
        return self._clients[key]


def _client(service: str, endpoint: str | None, attempts: int, at_once: int) -> Any:
    # Needed on AWS only, and there only where a setting asks for it.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # A caller waits for each answer, and none is worth the caller's whole time.
    limits = Config(
        connect_timeout=1,
        read_timeout=2,
        retries={"total_max_attempts": attempts},
        max_pool_connections=at_once,
    )
    return boto3.client(service, endpoint_url=endpoint, config=limits)


@once
def the_clients() -> Clients:
    """Those of this process."""
    return Clients()

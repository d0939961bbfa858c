"""Clients of AWS's own services. The only importer of boto3, which costs 300 ms.

boto3 comes with Lambda's runtime and is not in the layer: nothing here is called elsewhere.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from shared.snapstart import load_snapshot


@cache
def load_client(service: str) -> Any:
    """Client of a service, one a process; tests call `load_client.cache_clear()`."""
    # Needed on AWS only, and there only where a setting asks for it.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    load_snapshot().leave_out(load_client.cache_clear)
    # A caller waits for each answer, and none is worth the caller's whole time.
    limits = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    return boto3.client(service, config=limits)

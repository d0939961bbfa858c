"""AWS in the test's own process, by moto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto import mock_aws


@contextmanager
def made_up_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Answer whatever boto3 asks, by made-up keys, until the block ends."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setenv(f"AWS_{name}", "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield

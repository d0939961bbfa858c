"""What every suite shares."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture
def metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """Behave as on Lambda from now on; call it for what was counted since the last call."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "demo")

    def counted() -> list[str]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [
            metric["Name"]
            for line in lines
            if "_aws" in line  # the others are the log's own
            for written in line["_aws"]["CloudWatchMetrics"]
            for metric in written["Metrics"]
        ]

    return counted

"""What every suite shares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import hypothesis
import pytest

# The same cases each time, so that a test which fails has a reason in the change before it;
# `tests/run explore` looks for others.
_EXPLORED = int(os.environ.get("EXPLORED_CASES", "0"))
hypothesis.settings.register_profile(
    "ours",
    database=None,
    deadline=None,
    derandomize=not _EXPLORED,
    max_examples=_EXPLORED or 50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a matter of the machine's load
)
hypothesis.settings.load_profile("ours")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture
def metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """Behave as on Lambda from now on; call it for what was counted since the last call.

    Of the two that a call is either of, the other one is written as 0; milliseconds are no count.
    """
    either = {"CallsAccepted", "CallsFailed"}
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "demo")

    def counted() -> list[str]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [
            metric["Name"]
            for line in lines
            if "_aws" in line  # the others are the log's own
            for written in line["_aws"]["CloudWatchMetrics"]
            for metric in written["Metrics"]
            if metric["Unit"] == "Count"
            and (metric["Name"] not in either or any(line[metric["Name"]]))
        ]

    return counted

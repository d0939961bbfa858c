"""What every suite shares."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import hypothesis
import pytest

from shared.telemetry import CALL_ID, ENDING, REQUEST_ID

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


@contextlib.contextmanager
def _leaving_no_request() -> Iterator[None]:
    """Keep what a test tells of a request from the next one, which may run in the same task."""
    before = REQUEST_ID.get(), CALL_ID.get(), ENDING.get()
    try:
        yield
    finally:
        REQUEST_ID.set(before[0])
        CALL_ID.set(before[1])
        ENDING.set(before[2])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Have each test leave no request behind, in the task that runs it."""
    if inspect.iscoroutinefunction(test := pyfuncitem.obj):

        @functools.wraps(test)
        async def in_that_task(**given: Any) -> None:
            with _leaving_no_request():
                await test(**given)

        pyfuncitem.obj = in_that_task
    with _leaving_no_request():
        return (yield)


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

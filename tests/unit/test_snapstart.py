"""What happens around a snapshot of a Lambda environment."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from shared.aws.snapstart import register_hooks, renew_randomness
from shared.process import closed_by


class Runtime(SimpleNamespace):
    """Lambda's part: it records what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[Callable[[], None]] = []
        self.register_before_snapshot = self.register_after_restore = self.hooks.append


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Stand in for the module that the runtime brings."""
    runtime = Runtime()
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", runtime)
    return runtime


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run what awaits nothing."""
    with pytest.raises(StopIteration):
        work.send(None)


def test_lambda_is_told_of_both_moments(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hook closes on the loop of the requests, the other renews."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "calls")
    ran: list[object] = []

    def run_there(work: Coroutine[Any, Any, None]) -> None:
        run(work)
        ran.append(work)

    gone: list[str] = []
    closed_by(gone.append)(lambda: "database")()
    register_hooks(run_there)
    before, after = runtime.hooks
    before()
    assert len(ran) == 1
    assert gone == ["database"]
    assert after is renew_randomness


def test_nobody_else_is_told(runtime: Runtime) -> None:
    """Outside Lambda there is no snapshot, even where the module is installed."""
    register_hooks(run)
    assert runtime.hooks == []


def test_runtime_without_snapshots_needs_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11's has no such module: INIT goes on."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "calls")
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    register_hooks(run)


def test_environments_of_one_snapshot_draw_different_numbers() -> None:
    """The generator's state is the same in both; only the hook tells them apart."""
    drawn = []
    for _ in range(2):
        random.seed(1)
        renew_randomness()
        drawn.append(random.random())
    assert drawn[0] != drawn[1]

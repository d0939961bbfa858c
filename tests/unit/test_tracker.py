"""What the trackers tell an operator: how calls ended, and whom nobody follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from functions.tracker import handler
from shared.following import Change
from shared.tracker import _count

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        (Change(call_id="1", phase="ended", reason="busy"), ["CallsEnded"]),
        (Change(call_id="1", phase="unknown"), ["UnknownOutcomes"]),
        (Change(call_id="1", phase="talking"), []),
        (Change(call_id="1", reason="answered", cdr="confirmed"), []),  # a correction
    ],
)
async def test_end_is_counted_once(
    metrics: Callable[[], list[str]], change: Change, counted: list[str]
) -> None:
    """A late record corrects an end, and is none."""
    _count([change])
    assert metrics() == counted


@pytest.mark.parametrize("left_behind", [(), ("192.0.2.1", "192.0.2.2")])
async def test_watchdog_counts_whom_nobody_follows(
    left_behind: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    metrics: Callable[[], list[str]],
) -> None:
    """It does so each time, and starts a tracker for each."""
    started: list[str] = []

    async def untracked_hosts(_database: object) -> tuple[str, ...]:
        return left_behind

    async def invoke_tracker(host: str) -> None:
        started.append(host)

    monkeypatch.setattr(handler, "untracked_hosts", untracked_hosts)
    monkeypatch.setattr(handler, "invoke_tracker", invoke_tracker)
    assert await handler.start_missing() == {"started": list(left_behind)}
    assert started == list(left_behind)
    assert metrics() == ["HostsUntracked"]

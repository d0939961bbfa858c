"""When the way to a host is made ready: once nobody has asked for a moment."""

from __future__ import annotations

import asyncio

import pytest

from shared.pbx import readiness
from shared.pbx.readiness import Readiness

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a moment be short."""
    monkeypatch.setattr(readiness, "_IDLE_S", 0.01)


async def test_it_is_made_ready_once_after_the_last_use() -> None:
    """Each use begins the wait anew, of its own host."""
    ready: list[str] = []
    waiting = Readiness(ready.append, is_on=True)
    for host in ("a", "a", "b", "a"):
        waiting.note_use(host, "call")
    assert ready == []
    async with asyncio.timeout(30):
        while len(ready) < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.03)
    assert sorted(ready) == ["a", "b"]


async def test_looks_that_never_pause_put_nothing_off() -> None:
    """Far away one look follows the other, and whoever calls meanwhile is to wait for nothing."""
    ready = asyncio.Event()
    waiting = Readiness(lambda _: ready.set(), is_on=True)
    async with asyncio.timeout(30):
        while not ready.is_set():
            waiting.note_use("a", "look")
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_on", [True, False])
async def test_nothing_is_made_ready_at_the_end_or_where_it_is_off(*, is_on: bool) -> None:
    """As on Lambda, where nothing goes on after an answer."""
    ready: list[str] = []
    waiting = Readiness(ready.append, is_on=is_on)
    waiting.note_use("a", "call")
    if is_on:
        waiting.close()
    await asyncio.sleep(0.03)
    assert ready == []

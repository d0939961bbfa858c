"""What a process does beside its requests: a duty that ends by a defect is told of."""

from __future__ import annotations

import asyncio
import logging

import pytest

import asterisk
from shared.settings import Settings, the_settings
from shared.telemetry import LOG

pytestmark = pytest.mark.anyio


async def test_a_duty_that_ends_by_a_defect_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody awaits it before the process's end, and then its failure is dropped."""
    ended = asyncio.Event()

    async def warn(*_: object) -> None:
        ended.set()
        raise ZeroDivisionError

    monkeypatch.setattr(asterisk, "warn", warn)
    the_settings.put(Settings(role="api", log_file=""))
    with caplog.at_level(logging.ERROR, LOG.name):
        async with asterisk.lifespan(asterisk.app):
            await ended.wait()
    (record,) = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError

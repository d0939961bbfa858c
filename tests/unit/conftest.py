"""Unit tests touch no socket, file, process or database: fakes stand at every edge."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

os.environ["LOG_FILE"] = ""  # the handlers configure logging when they are imported

from shared.process import forget_all
from shared.settings import Settings

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


@pytest.fixture(params=["16", "22"])
def version(request: pytest.FixtureRequest) -> str:
    """Name each Asterisk whose output was recorded."""
    return str(request.param)


@pytest.fixture
def transcript(version: str) -> Transcripts:
    """Read what a real Asterisk printed, by the transcript's name."""
    return Transcripts(TRANSCRIPTS / version)


class Transcripts:
    """One Asterisk's recorded outputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> str:
        """Return the output, every byte of it."""
        return (self._folder / f"{name}.txt").read_bytes().decode()


@pytest.fixture(autouse=True)
def default_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test the default settings, whatever the developer's environment says."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    monkeypatch.setenv("LOG_FILE", "")
    forget_all()
    yield
    forget_all()


VISITOR = "visitor"


@pytest.fixture
async def visitors_leave() -> AsyncIterator[None]:
    """End what a test leaves waiting by this name: its loop may be the next tests' too."""
    yield
    left = [task for task in asyncio.all_tasks() if task.get_name() == VISITOR]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)

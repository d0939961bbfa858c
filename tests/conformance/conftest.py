"""Tests that ask for a host run against the stand-in, as 16 and 22, and against the real ones.

The real ones take part when CONFORMANCE_REAL is set, as `tests/run pbx` does: then one that is
missing is an error. To 11 and 13 the stand-in is held by recordings alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from tests.conformance.site import Host, Imitated, Real, Site, Version
from tests.pbx import lab

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
REAL = "CONFORMANCE_REAL" in os.environ
VERSIONS = cast("tuple[Version, ...]", tuple(lab.VERSIONS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which half has not run."""
    if not REAL:
        terminalreporter.write_line("NOT RUN: conformance of real Asterisk: sudo tests/run pbx")


@pytest.fixture(
    scope="session",
    params=[
        *(pytest.param((Imitated, version), id=f"standin{version}") for version in VERSIONS),
        *(pytest.param((Real, version), id=version) for version in VERSIONS if REAL),
    ],
)
async def running_site(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Site]:
    """Each host in turn; a real one is brought up, and without it the tests fail."""
    kind, version = request.param
    async with kind.running(version) as site:
        yield site


@pytest.fixture(scope="session")
async def connection(running_site: Site) -> AsyncIterator[Host]:
    """One SSH connection to each host, for all tests."""
    async with Host.connect(running_site) as host:
        yield host


@pytest.fixture
async def site(running_site: Site) -> AsyncIterator[Site]:
    """A host that runs and has no calls; a stand-in that was asked the unimaginable fails."""
    await running_site.make_peace()
    running_site.complaints().clear()
    yield running_site
    complaints = list(running_site.complaints())
    await running_site.make_peace()
    assert complaints == []


@pytest.fixture
def host(site: Site, connection: Host) -> Host:
    """That host, connected."""
    return connection


@pytest.fixture
def transcript(site: Site) -> Callable[[str], bytes]:
    """What the real Asterisk of that version printed when it was recorded."""
    return lambda name: (TRANSCRIPTS / site.version / f"{name}.txt").read_bytes()

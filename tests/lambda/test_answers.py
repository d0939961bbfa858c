"""Every function from the built artifact answers as the one uvicorn process does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from demo.standin import StandIn
from tests.emulator.artifact import Artifact, function_names
from tests.emulator.platform import Platform
from tests.integration.gateway import (
    REQUESTS,
    check_same,
    load,
    originates,
    request,
    seed,
    settings,
)
from tests.integration.service import ROOT, SSH_PASSWORD, make_pbx, run_process, until
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

SECRETS = ("demo-secret-0001", SSH_PASSWORD, PASSWORD)


@pytest.fixture(scope="module")
async def shared_pbx() -> AsyncIterator[StandIn]:
    """One stand-in for both ways to the service."""
    async with make_pbx() as pbx:
        yield pbx


@pytest.fixture
async def pbx(shared_pbx: StandIn) -> StandIn:
    """That one with nothing remembered."""
    shared_pbx.hang_up_all()
    await until(lambda: not shared_pbx.channels)
    shared_pbx.commands.clear()
    return shared_pbx


@pytest.fixture(scope="module")
async def uvicorn(
    postgres: Postgres, shared_pbx: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The composed app in a real process; its address."""
    folder = tmp_path_factory.mktemp("uvicorn")
    async with run_process(folder, settings(postgres, shared_pbx, folder / "log")) as process:
        yield process.url


@pytest.mark.parametrize("name", REQUESTS)
async def test_an_event_is_answered_as_its_request(
    platform: Platform, postgres: Postgres, pbx: StandIn, uvicorn: str, name: str
) -> None:
    """Status, headers and body are uvicorn's, and the PBX is told the same, once.

    What the function logs has none of the secrets.
    """
    event = load(name)
    own = settings(postgres, pbx, platform.folder / "unused.log")
    seed(postgres)
    async with platform.emulated(name.partition("-")[0], own) as function:
        on_lambda = await function.invoke(event)
        log = function.log()
    told_by_lambda = originates(pbx)
    pbx.commands.clear()
    seed(postgres)  # or the second would be a repeat
    over_http = await anyio.to_thread.run_sync(request, uvicorn, event)
    assert [secret for secret in SECRETS if secret in log] == []
    check_same(on_lambda, over_http, event)
    assert told_by_lambda == originates(pbx)
    assert len(told_by_lambda) == ("call_id" in json.loads(on_lambda["body"]))


def test_an_artifact_is_whole(artifact: Artifact) -> None:
    """A function's package is its own folder; the layer has every module, all as bytecode."""
    for name in function_names():
        packed = {path.name for path in artifact.function(name).rglob("*") if path.is_file()}
        assert packed == {path.name for path in (ROOT / "functions" / name).glob("*.py")}
    modules = list(artifact.layer.rglob("*.py"))
    assert artifact.layer / "shared" / "http" / "app.py" in modules
    compiled = {path.stem.partition(".")[0] for path in artifact.layer.rglob("shared/**/*.pyc")}
    assert compiled == {path.stem for path in artifact.layer.rglob("shared/**/*.py")}

"""A client that is generated from OpenAPI in TypeScript, compiled as strictly as there is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from anyio import to_thread

from tests.describe import WRITTEN
from tests.integration import node
from tests.integration.playing import AGENT, TALKS, playing
from tests.integration.service import SECRET
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

_FOLDER = Path(__file__).parents[1] / "typescript"
_MODULES = _FOLDER / "node_modules"


def install() -> None:
    """Have exactly what the lock names; quick when it is there."""
    lock = hashlib.sha256((_FOLDER / "package-lock.json").read_bytes()).hexdigest()
    installed = _MODULES / ".of-lock"
    if not installed.exists() or installed.read_text("utf-8") != lock:
        options = ("--ignore-scripts", "--no-audit", "--no-fund")
        node.run("npm", "ci", *options, folder=_FOLDER, limit_s=300)
        installed.write_text(lock, "utf-8")


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """The client's program: what is generated, and ours around it."""
    node.program("node")
    install()
    for name in ("package.json", "tsconfig.json", "client.ts"):
        shutil.copy(_FOLDER / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(_MODULES)
    generate = (_MODULES / "openapi-typescript/bin/cli.js", WRITTEN, "-o", "api.ts")
    node.run("node", *generate, folder=tmp_path)
    node.run("node", _MODULES / "typescript/bin/tsc", "--project", ".", folder=tmp_path)
    return tmp_path / "out/client.js"


async def test_a_generated_client_places_a_call_follows_it_and_lists_everything(
    postgres: Postgres, compiled: Path, tmp_path: Path
) -> None:
    """By the description alone it knows each answer's fields, and a failure's."""
    async with playing(postgres, tmp_path) as play:
        words = ("node", compiled, play.url, SECRET, AGENT, TALKS)
        told = json.loads(await to_thread.run_sync(lambda: node.run(*words)))
    assert told["placed"] == [True, False, True, True]
    assert told["phases"][-3:] == ["customer_ringing", "talking", "ended"]
    assert told["ended"] == ["answered", "phone"]
    assert told["listed"] == [1, 0]
    assert told["told"] == 2
    assert told["history"] == 2
    assert told["extension"] == AGENT
    assert told["refused"] == ["invalid-client-id", "no"]

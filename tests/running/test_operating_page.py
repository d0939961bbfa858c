"""docs/operate.md does what it says: its `sh` blocks are run as they stand, on a real service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
from anyio import to_thread

from demo.postgres import free_port
from demo.standin import StandIn
from tests.integration.followed import TALKS_ON
from tests.integration.installed import ROOT, install
from tests.integration.service import (
    LIMIT_S,
    OTHER_PHONE,
    PHONE,
    SECRET,
    environment,
    make_pbx,
    seed,
    until,
)
from tests.postgres import PASSWORD, Postgres
from tests.running.test_script import Script

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "operate.md").read_text("utf-8")
HEADERS = {"Authorization": f"Bearer {SECRET}"}


def blocks(title: str) -> list[str]:
    """The `sh` blocks of a section, as they stand."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def pbx() -> AsyncIterator[StandIn]:
    """A PBX on which calls are placed."""
    async with make_pbx(time_scale=0.2) as standin:
        yield standin


@pytest.fixture
async def script(pbx: StandIn, tmp_path: Path) -> AsyncIterator[Script]:
    """The service, started, on a database server of its own; psql's variables are the owner's."""
    if shutil.which("pg_dump") is None:
        if os.environ.get("CI"):
            pytest.fail("pg_dump is missing: apt-get install -y postgresql-client")
        pytest.skip("pg_dump is missing: apt-get install -y postgresql-client")
    with Postgres.running() as postgres:
        seed(postgres)
        install(tmp_path)
        own = environment(postgres, pbx.port, "asterisk_service.log")
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        owner = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres"}
        owner |= {"PGPASSWORD": PASSWORD, "PGDATABASE": "postgres"}
        port = free_port()
        own |= {"SERVICE_PORT": str(port), "PYTHONUTF8": "1"}
        script = Script(tmp_path, port, inherited | owner | own)
        assert (await to_thread.run_sync(script, "start"))[0] == 0
        yield script
        await to_thread.run_sync(script, "stop")


async def run(script: Script, block: str) -> str:
    """Run a block in the project's folder; what it says."""

    def run_it() -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=script.folder,
            env=script.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}{done.stdout}"
        return done.stdout

    return await to_thread.run_sync(run_it)


async def place(script: Script, code: str, phone: str, key: str) -> httpx.Response:
    """Place a call by a key that makes its repeats known for a day."""
    async with httpx.AsyncClient(timeout=LIMIT_S, headers=HEADERS) as http:
        url = f"http://127.0.0.1:{script.port}/api/makecallexternal"
        headers = {"Idempotency-Key": key}
        return await http.get(url, params={"code": code, "phone": phone}, headers=headers)


async def test_a_restored_backup_dials_nothing(script: Script, pbx: StandIn) -> None:
    """What was open then ends, what was ordered is a repeat, and nobody's phone rings.

    A rule that forbids dialling is there again; what came after the dump is not known.
    """
    backup, restore = blocks("Backup and restore")
    opened = (await place(script, "154", TALKS_ON, "of-before")).json()["call_id"]
    await until(
        lambda: script.get(f"/api/calls/{opened}?clientId={SECRET}").json()["phase"] == "talking"
    )
    await to_thread.run_sync(script, "rules", "0367", "--denied", "+375299")
    await run(script, backup)
    later = (await place(script, "150", PHONE, "of-after")).json()["call_id"]
    await to_thread.run_sync(script, "rules", "0367", "--denied")
    await until(lambda: pbx.invites["150"] == 1)
    rung = pbx.invites.total()

    said = await run(script, restore)

    assert "✅ ready to place calls: 200 ready" in said
    repeat = await place(script, "154", TALKS_ON, "of-before")
    assert (repeat.json()["call_id"], repeat.json()["repeated"]) == (opened, True)
    assert script.get(f"/api/calls/{later}?clientId={SECRET}").status_code == 404
    denied = await place(script, "151", "+375299000000", "of-now")
    assert (denied.status_code, denied.json()["dialled"]) == (403, "no")
    path = f"/api/calls/{opened}?clientId={SECRET}"
    await pbx.run("channel request hangup all")
    with anyio.fail_after(LIMIT_S):
        while script.get(path).json()["phase"] != "ended":  # noqa: ASYNC110 - another process
            await anyio.sleep(0.05)
    assert pbx.invites.total() == rung
    assert (await place(script, "151", OTHER_PHONE, "of-now")).status_code == 200


async def test_an_upgrade_is_what_the_page_shows(script: Script) -> None:
    """Its commands end well, in their order, and the service serves on."""
    (upgrade,) = blocks("Upgrade")
    said = await run(script, upgrade)
    assert "Restarted, pid " in said
    assert "✅ ready to place calls: 200 ready" in said
    assert (script.folder / "before.dump").stat().st_size > 0


async def test_a_sandbox_is_what_the_page_shows(postgres: Postgres, tmp_path: Path) -> None:
    """It is started, listed, stopped and started otherwise, beside no service at all."""
    seed(postgres)
    postgres.seed_enterprise("0001", "try", "127.0.0.21", "secret-of-0001-cc")
    install(tmp_path)
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    script = Script(tmp_path, 0, inherited | postgres.environment() | {"PYTHONUTF8": "1"})
    try:
        (block,) = blocks("A sandbox")
        said = await run(script, block)
    finally:
        await to_thread.run_sync(script, "sandbox", "0001", "remove")
    assert said.startswith("Started, pid ")
    assert "enterprise 0001: 127.0.0.21:" in said
    assert "Stopped.\nNot running.\nStarted, pid " in said


def test_every_block_of_commands_is_run_by_a_test() -> None:
    """Those of other sections would go stale unseen."""
    run_here = blocks("Backup and restore") + blocks("Upgrade") + blocks("A sandbox")
    assert len(run_here) == 4
    assert re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) == run_here


def test_the_table_for_the_night_is_short_and_true() -> None:
    """At most ten rows; what it quotes of the service is what the code says."""
    (section,) = re.findall(
        r"^## At three in the morning\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL
    )
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert 0 < len(rows) <= 10
    code = "".join(path.read_text("utf-8") for path in (ROOT / "shared").rglob("*.py"))
    script = (ROOT / "asterisk.sh").read_text("utf-8") + (ROOT / "deploy/smoke.py").read_text(
        "utf-8"
    )
    for words in ("Неверный clientId с адреса", "Трекер ", "CDR на ", " не читается"):
        assert words in code or words.replace("clientId", "%s") in code
    for words in ("Not running", "it hangs"):
        assert words in script
        assert words in section
    for error in re.findall(r"50[0-9] `([a-z-]+)`", section):
        assert f'"{error}"' in code, error

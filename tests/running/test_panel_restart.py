"""The panel's restart: as ./asterisk.sh restart, from a browser."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from anyio import to_thread

from demo.postgres import free_port
from tests.integration.installed import install
from tests.integration.panel import TOKEN, Visitor
from tests.integration.service import LIMIT_S, SSH_PASSWORD, seed
from tests.postgres import Postgres
from tests.running.test_restart import Clients
from tests.running.test_script import Script

pytestmark = pytest.mark.anyio


@pytest.fixture
async def script(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Script]:
    """The script, not started; what it has started is stopped."""
    seed(postgres)
    install(tmp_path)
    port = free_port()
    own = postgres.environment() | {"SERVICE_PORT": str(port), "SSH_PASSWORD": SSH_PASSWORD}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    script = Script(tmp_path, port, inherited | own | {"ADMIN_TOKEN": TOKEN})
    yield script
    await to_thread.run_sync(script, "stop")


class Duty(Visitor):
    """Somebody on duty, whose browser is at the service that the script runs."""

    @classmethod
    async def log_in(cls, http: httpx.AsyncClient) -> Duty:
        """Log in."""
        origin = {"Origin": str(http.base_url).rstrip("/")}
        answer = await http.post("/admin/log-in", data={"token": TOKEN}, headers=origin)
        assert answer.status_code == 303
        return cls(http)

    async def restart(self) -> str:
        """Ask for a restart; the page that tells of it, once it does no more say to wait."""
        form = {"csrf": await self.csrf()}
        origin = {"Origin": str(self.http.base_url).rstrip("/")}
        answer = await self.http.post("/admin/do/restart", data=form, headers=origin)
        assert answer.status_code == 303, answer.text
        path = answer.headers["location"].removeprefix("/admin")
        page = await self.see(path)
        async with asyncio.timeout(LIMIT_S):
            while 'data-state="restarting"' in page:
                await asyncio.sleep(0.05)
                page = await self.see(path)
        return page


def browser(script: Script) -> httpx.AsyncClient:
    """Make a browser; whoever asks closes it."""
    url = f"http://127.0.0.1:{script.port}"
    return httpx.AsyncClient(base_url=url, timeout=LIMIT_S, headers={"Accept-Language": "en"})


def environment_of(pid: str) -> list[bytes]:
    """The settings that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_restart_from_the_panel_loses_no_request(script: Script, workers: str) -> None:
    """It is seen to come back, the log-in goes on, and clients notice nothing; twice.

    The settings are those that served, not those of the very first start.
    """
    await to_thread.run_sync(lambda: script("start", SERVICE_WORKERS=workers, REPEAT_WINDOW_S="9"))
    again = {"SERVICE_WORKERS": workers, "MAX_CONNECTIONS": "77"}
    status, said = await to_thread.run_sync(lambda: script("restart", **again))
    assert status == 0, said
    clients = Clients(script)
    async with browser(script) as http, asyncio.TaskGroup() as group:
        duty = await Duty.log_in(http)
        before = await duty.see("/services")
        assert f"Workers: {workers}" in before
        group.create_task(clients.ask_on_one_connection())
        group.create_task(clients.ask_on_new_connections())
        pids = []
        for _ in range(2):
            page = await duty.restart()
            assert 'data-state="restarted"' in page
            (pid,) = re.findall(r'id="pid">(\d+)<', page)
            pids.append(pid)
        clients.end()
        assert len({*pids, *re.findall(r'id="pid">(\d+)<', before)}) == 3
        environment = environment_of(pids[-1])
        assert b"MAX_CONNECTIONS=77" in environment
        assert not [pair for pair in environment if pair.startswith(b"REPEAT_WINDOW_S")]
    assert set(clients.outcomes) == {"200"}


async def test_restart_that_fails_is_told_and_the_old_one_goes_on(script: Script) -> None:
    """New code that cannot start: the page says so at once, and what served serves."""
    await to_thread.run_sync(script, "start")
    async with browser(script) as http:
        duty = await Duty.log_in(http)
        (before,) = re.findall(r'id="pid">(\d+)<', await duty.see("/services"))
        code = script.folder / "asterisk.py"
        good = code.resolve()
        code.unlink()
        code.write_text("raise SystemExit('❌ broken')\n", "utf-8")
        page = await duty.restart()
        assert 'data-state="restart_failed"' in page
        assert f"the old one goes on (PID {before})" in page
        code.unlink()
        code.symlink_to(good)
        assert 'data-state="restarted"' in await duty.restart()
    answer = await to_thread.run_sync(script.get, "/health")
    assert answer.status_code == 200


async def test_restart_without_its_schema_is_refused(script: Script, postgres: Postgres) -> None:
    """Where the database cannot be brought up to date the old process goes on, and says why."""
    await to_thread.run_sync(script, "start")
    async with browser(script) as http:
        duty = await Duty.log_in(http)
        form = {"csrf": await duty.csrf()}
        origin = {"Origin": str(http.base_url).rstrip("/")}
        postgres.execute("ALTER TABLE callapi.migrations RENAME TO hidden")
        postgres.execute("CREATE VIEW callapi.migrations AS SELECT 1 AS version, '' AS name")
        try:
            answer = await http.post("/admin/do/restart", data=form, headers=origin)
        finally:
            postgres.execute("DROP VIEW callapi.migrations")
            postgres.execute("ALTER TABLE callapi.hidden RENAME TO migrations")
        assert answer.status_code == 409
        assert "of before the first release" in answer.text
        assert 'data-state="restarted"' in await duty.restart()

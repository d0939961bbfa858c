"""The service between a real PostgreSQL and a real PBX, and the phones that tell what it did."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from demo.postgres import free_port
from shared.asterisk.console import Console
from shared.pbx.hosts import the_pbx
from shared.settings import Settings, the_settings
from shared.store.connection import Rows
from shared.telemetry import configure_logging
from tests.integration.service import forget_process, settled
from tests.pbx.lab import Lab
from tests.postgres import Postgres

ROOT = Path(__file__).parents[2]
SECRET = "june-8d1f04c7a96b4e52"
TALKS = "+375290000001"
BUSY = "+375290000002"
NO_ANSWER = "+375290000003"
LIMIT_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it is not so for a minute.
    """
    deadline = time.monotonic() + LIMIT_S
    while not await anyio.to_thread.run_sync(condition):
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for did not come")
        await anyio.sleep(0.02)


class Phones:
    """Who has rung how often since this was made; every phone of the PBX is watched."""

    def __init__(self, lab: Lab) -> None:
        folder = lab.directory / f"run{lab.version}" / "phones"
        self._lab = lab
        self._before = {path.stem: lab.invites(path.stem) for path in folder.glob("*.invites")}

    def dialled(self, phone: str) -> list[str]:
        """List the request URIs that this phone was called by."""
        return self._lab.dialled(phone)[self._before[phone] :]

    def so_far(self) -> dict[str, int]:
        """Count the SIP calls of each phone that has got any."""
        counts = {phone: len(self.dialled(phone)) for phone in self._before}
        return {phone: count for phone, count in sorted(counts.items()) if count}

    async def in_the_end(self) -> dict[str, int]:
        """Count them when every call has ended, so that no more will come."""
        await anyio.to_thread.run_sync(self._lab.wait_idle, LIMIT_S)
        await anyio.sleep(0.25)  # a phone's record is there some 20 ms after the INVITE
        return self.so_far()


@dataclass
class Client:
    """A CRM: it asks as the specification has it."""

    http: httpx.AsyncClient

    async def call(self, code: str, phone: str, **headers: str) -> httpx.Response:
        """Ask for a call, the secret in the URL."""
        params = {"code": code, "phone": phone, "clientId": SECRET}
        return await self.http.get("/api/makecallexternal", params=params, headers=headers)

    async def monitor(
        self, action: str, target: str = "150", monitor_from: str = "151"
    ) -> httpx.Response:
        """Ask for a monitoring."""
        params = {"action": action, "target": target, "monitor_from": monitor_from}
        return await self.http.get("/api/monitor", params=params | {"clientId": SECRET})


@dataclass
class Service(Client):
    """The composed app in the test's own loop."""

    postgres: Postgres

    def calls(self) -> Rows:
        """The recorded calls, oldest first."""
        return self.postgres.execute("SELECT * FROM callapi.calls ORDER BY created_at")

    def consoles(self) -> list[type[Console]]:
        """The way to Asterisk of each open connection."""
        return [type(line.console) for line in the_pbx()._lines.values()]


def environment(postgres: Postgres, lab: Lab, **settings: object) -> dict[str, str]:
    """What a service for this PBX is configured with, unless a test says otherwise."""
    usual = postgres.environment() | {
        "SSH_PORT": str(lab.ssh_port),
        "SSH_PASSWORD": lab.password,
        "LOG_FILE": "",
        "RATE_LIMIT_ENTERPRISE": "100000/1",
        "RATE_LIMIT_EXTENSION": "100000/1",
    }
    return usual | {name: str(value) for name, value in settings.items()}


@dataclass
class Services:
    """Starts the service in the test's own loop: `await start(PRECHECK="off")`."""

    lab: Lab
    postgres: Postgres
    monkeypatch: pytest.MonkeyPatch
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __call__(self, **settings: object) -> Service:
        """Start the service with these settings; a second time: start it anew."""
        await self.end()
        for name in Settings.model_fields:
            self.monkeypatch.delenv(name.upper(), raising=False)
        for name, value in environment(self.postgres, self.lab, **settings).items():
            self.monkeypatch.setenv(name, value)
        app = importlib.import_module("asterisk").app
        forget_process()
        configure_logging(the_settings())
        await self.stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = httpx.AsyncClient(
            transport=transport,
            base_url="http://service",
            timeout=None,
            event_hooks={"response": [settled]},
        )
        return Service(await self.stack.enter_async_context(http), self.postgres)

    async def end(self) -> None:
        """End what runs."""
        await self.stack.aclose()
        forget_process()


@contextlib.asynccontextmanager
async def run_process(folder: Path, settings: dict[str, str]) -> AsyncIterator[Client]:
    """Run `python asterisk.py` until the block ends; it answers when the block begins."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
    output = folder / f"service-{port}.log"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, ROOT / "asterisk.py"),
            cwd=folder,
            env=inherited | {"PYTHONUTF8": "1"} | settings | {"SERVICE_PORT": str(port)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as http:
            with anyio.fail_after(LIMIT_S):
                while not await _answers(http):
                    if process.returncode is not None:
                        raise RuntimeError(output.read_text())
                    await anyio.sleep(0.05)
            yield Client(http)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).is_success
    except httpx.TransportError:
        return False

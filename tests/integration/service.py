"""The composed service in the test's own loop, between a real PostgreSQL and a stand-in PBX."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from demo.pbx.faults import Stage
from demo.postgres import free_port
from demo.standin import StandIn
from shared.calls.settling import the_settler
from shared.following.pace import Pace, the_pace
from shared.following.trackers import Trackers
from shared.process import forget_all
from shared.settings import Settings, the_settings
from shared.store.connection import Rows
from shared.store.database import the_database
from shared.telemetry import CALL_ID, LOG, configure_logging
from shared.webhooks.senders import Senders
from tests.integration.described import check_described
from tests.postgres import Postgres

ROOT = Path(__file__).parents[2]
SECRET = "june-8d1f04c7a96b4e52"
SSH_PASSWORD = "pbx-3f9c51d2"
PHONE = "+375296254070"
OTHER_PHONE = "+375290000001"
TIME_SCALE = 0.02
# A database that is away is asked again for longer, and few tests mean that.
SETTLES_S = 5.0
# Long enough on a machine that has much else to do.
LIMIT_S = 60.0


@dataclass
class Service:
    """One running service and what surrounds it."""

    pbx: StandIn
    http: httpx.AsyncClient
    postgres: Postgres
    log_file: Path
    app: FastAPI

    async def call(
        self,
        code: str = "150",
        phone: str = PHONE,
        *,
        key: str | None = None,
        secret: str = SECRET,
        prefer: str | None = None,
    ) -> httpx.Response:
        """Ask for a call as the specification does, the secret in a header."""
        headers = _headers(secret, {"Idempotency-Key": key, "Prefer": prefer})
        params = {"code": code, "phone": phone}
        return await self.http.get("/api/makecallexternal", params=params, headers=headers)

    async def monitor(
        self,
        action: str = "09",
        target: str = "150",
        monitor_from: str = "151",
        *,
        secret: str = SECRET,
        prefer: str | None = None,
    ) -> httpx.Response:
        """Ask for a monitoring."""
        headers = _headers(secret, {"Prefer": prefer})
        params = {"action": action, "target": target, "monitor_from": monitor_from}
        return await self.http.get("/api/monitor", params=params, headers=headers)

    def from_address(self, address: str) -> httpx.AsyncClient:
        """Make a client that comes from elsewhere, without a secret; whoever asks closes it."""
        transport = httpx.ASGITransport(self.app, client=(address, 40_000))
        return httpx.AsyncClient(transport=transport, base_url="http://service")

    def originates(self, containing: str = "") -> list[str]:
        """Every originate that the PBX executed; each rings one phone at most once."""
        return [
            command
            for command in self.pbx.commands
            if command.startswith("channel originate ") and containing in command
        ]

    async def rung(self, number: str, times: int = 1) -> int:
        """Wait until the number has rung that often; return how often it has."""
        await until(lambda: self.pbx.invites[number] >= times)
        return self.pbx.invites[number]

    def calls(self) -> Rows:
        """The recorded calls, oldest first."""
        return self.postgres.execute("SELECT * FROM callapi.calls ORDER BY created_at")

    def row(self, call_id: str) -> dict[str, Any]:
        """One recorded call."""
        (row,) = (row for row in self.calls() if str(row["call_id"]) == call_id)
        return row

    def claims(self, call_id: str | None = None) -> int:
        """How many claims would make a call a repeat now, of one call or of all."""
        sql = (
            "SELECT count(*) AS n FROM callapi.claims WHERE until > clock_timestamp()"
            " AND call_id = coalesce(CAST(:call_id AS uuid), call_id)"
        )
        return int(self.postgres.execute(sql, call_id=call_id)[0]["n"])

    def tokens(self) -> Rows:
        """Every token that was ever taken."""
        return self.postgres.execute("SELECT * FROM callapi.rate_limits ORDER BY key")

    def log(self) -> str:
        """What was logged so far, what is not written yet included."""
        for handler in LOG.handlers:
            handler.flush()
        return self.log_file.read_text("utf-8") if self.log_file.exists() else ""


async def settled(_: httpx.Response) -> None:
    """Have a test find in the database what follows an answer: no client waits for that.

    Give it to a client of a service in the test's own process, as a hook of its responses.
    """
    if the_settler.exists():
        await the_settler().wait(SETTLES_S)


async def _says_nothing(*_: object) -> None:
    """Stand in the place of what is logged at the start."""


def _headers(secret: str, others: dict[str, str | None]) -> dict[str, str]:
    given = {name: value for name, value in others.items() if value is not None}
    return {"Authorization": f"Bearer {secret}"} | given


class FreezesAfterBanner(StandIn):
    """A stand-in whose Asterisk stops right after one banner, before it reads the command.

    `spared` are answered before, of the questions that come first: it stops after the last of them.
    """

    armed = False
    spared = 0

    def strikes_drop(self, stage: Stage, text: str = "") -> bool:
        """Freeze where a dropped connection would be cut."""
        if self.armed and stage is (Stage.EXECUTED if self.spared else Stage.BANNER):
            self.spared = max(0, self.spared - 1)
            if not self.spared:
                self.armed = False
                self.freeze()
        return super().strikes_drop(stage, text)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; a test that never gets there fails.

    It is looked at each 5 ms, less often the longer it takes: others want the processor.
    """
    pause_s = 0.005
    with anyio.fail_after(LIMIT_S):
        while not condition():
            await anyio.sleep(pause_s)
            pause_s = min(1.05 * pause_s, 0.02)


def make_pbx(**options: Any) -> StandIn:
    """A stand-in whose phones are quick."""
    defaults: dict[str, Any] = {"password": SSH_PASSWORD, "time_scale": TIME_SCALE}
    return StandIn(**(defaults | options))


def environment(postgres: Postgres, ssh_port: int, log_file: str) -> dict[str, str]:
    """What the service is configured with, unless a test says otherwise."""
    return postgres.environment() | {
        "SSH_PORT": str(ssh_port),
        "SSH_PASSWORD": SSH_PASSWORD,
        "LOG_FILE": log_file,
        "RATE_LIMIT_ENTERPRISE": "100000/1",
        "RATE_LIMIT_EXTENSION": "100000/1",
        "RATE_LIMIT_ADDRESS": "100000/1",
        "PBX_AHEAD_S": "0",  # a test's faults strike the socket that its own request opens
        "MONITOR_IDLE": "wait",  # or each monitoring would need a call first
    }


def seed(postgres: Postgres) -> None:
    """Empty every table and add the one enterprise."""
    postgres.clear()
    postgres.seed_enterprise("0367", "june", "127.0.0.1", SECRET)


def forget_process() -> None:
    """Begin as a new process does, the log's file included.

    What is under way when a service ends may ask for a database anew: its connections are closed.
    """
    if the_database.exists():
        the_database().close()
    forget_all()
    for handler in LOG.handlers[:]:
        LOG.removeHandler(handler)
        handler.close()


@dataclass
class Services:
    """Starts services for one test and ends them all after it.

    Calls are followed only where a test says so: elsewhere the commands that a PBX gets are
    exactly those of the requests.
    """

    postgres: Postgres
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    follow: bool = False
    warn: bool = False  # of short secrets and the like, by a question to the database
    pace: Pace = field(default_factory=Pace)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __call__(self, **settings: object) -> Service:
        """Start the service with these settings, beside a stand-in of its own."""
        pbx = await self.stack.enter_async_context(make_pbx())
        return await self.on(pbx, **settings)

    async def beside(self, postgres: Postgres) -> Service:
        """Start the service beside another server, whose tables are emptied first."""
        seed(postgres)
        self.postgres = postgres
        return await self()

    async def on(self, pbx: StandIn, **settings: object) -> Service:
        """Start the service with these settings, beside a stand-in that runs already.

        A service that this test started before is ended.
        """
        await self._running.aclose()
        CALL_ID.set(None)  # that of a test before, which asked without a request
        log_file = self.folder / "asterisk_service.log"
        own = environment(self.postgres, pbx.port, str(log_file))
        own |= {name: str(value) for name, value in settings.items()}
        for name in Settings.model_fields:
            self.monkeypatch.delenv(name.upper(), raising=False)
        for name, value in own.items():
            self.monkeypatch.setenv(name, value)
        module = importlib.import_module("asterisk")
        forget_process()
        # The panel is a part of the app where it is asked for, and that costs a composition.
        app = module.compose(the_settings()) if "ADMIN_TOKEN" in own else module.app
        the_pace.put(self.pace)
        configure_logging(the_settings())
        if not self.warn:
            self.monkeypatch.setattr("asterisk.warn", _says_nothing)
        if not self.follow:
            self.monkeypatch.setattr(Trackers, "start", lambda _: None)
            self.monkeypatch.setattr(Senders, "start", lambda _: None)
        await self._running.enter_async_context(app.router.lifespan_context(app))
        http = await self._running.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://service",
                headers={"Authorization": f"Bearer {SECRET}"},
                event_hooks={"response": [check_described, settled]},
            )
        )
        return Service(pbx, http, self.postgres, log_file, app)

    async def end(self) -> None:
        """End the service, then what `stack` holds: the stand-ins."""
        await self._running.aclose()
        await self.stack.aclose()
        forget_process()


@dataclass
class Process:
    """A real `python asterisk.py`."""

    url: str
    output: Path
    process: asyncio.subprocess.Process

    @property
    def command_line(self) -> str:
        """What any user of the machine can read."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_text().replace("\0", " ")


@contextlib.asynccontextmanager
async def run_process(
    folder: Path,
    settings: dict[str, str],
    *,
    name: str = "asterisk",
    arguments: tuple[str, ...] = ("asterisk.py",),
    code: Path = ROOT,
) -> AsyncIterator[Process]:
    """Run one until the block ends; it answers when the block begins.

    `arguments` are Python's; 8018 among them becomes a free port. `code` is where its own is.
    """
    port = free_port()
    output = folder / f"{name}.log"
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *(word.replace("8018", str(port)) for word in arguments)),
            cwd=code,
            env=inherited
            | {"PYTHONUTF8": "1", "SERVICE_PORT": str(port), "FOLLOWER_PORT": str(port)}
            | settings,
            stdout=file,
            stderr=file,
        )
    certificate = settings.get("TLS_CERT_FILE")
    url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    trusted = ssl.create_default_context(cafile=certificate)
    try:
        async with httpx.AsyncClient(verify=trusted) as http:
            await _answering(http, url, process, output)
        yield Process(url, output, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answering(
    http: httpx.AsyncClient, url: str, process: asyncio.subprocess.Process, output: Path
) -> None:
    with anyio.fail_after(LIMIT_S):
        while True:
            assert process.returncode is None, f"it ended; see {output}"
            with contextlib.suppress(httpx.TransportError):
                await http.get(f"{url}/health")
                return
            await anyio.sleep(0.05)

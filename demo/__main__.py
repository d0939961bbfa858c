"""The demo: an embedded PostgreSQL, a stand-in PBX, the service, a call through them, its events.

    python -m demo        or: ./asterisk.sh demo

Runs until Ctrl-C and stops everything that it started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo.numbers import call_in
from demo.pbx.profiles import PROFILES
from demo.postgres import Postgres, PostgresFailed, PostgresMissing
from demo.standin import StandIn
from demo.telling import describe
from shared.operate.command import operator
from shared.operate.sandboxes import set_sandbox
from shared.settings import Settings
from shared.store.database import Database
from shared.store.migrations import migrate

SECRET = "demo-secret-0001"
_ENTERPRISE = "0001"
AGENT, CUSTOMER = "154", "+375290000001"
_BETWEEN_CALLERS_S = 15.0
# A page that somebody writes on this machine may call the demo, whatever port serves it.
_PAGES = ",".join(f"http://{host}:*" for host in ("localhost", "127.0.0.1", "[::1]"))
_ROOT = Path.cwd()
_FOLDER = _ROOT / ".run" / "demo"
_LOG = _FOLDER / "asterisk_service.log"
_START_LIMIT_S = 30.0
_CALL_LIMIT_S = 60.0
# What is told comes at once; so long Ctrl-C may have to wait for an answer.
_WAIT_S = 2


class DemoFailed(Exception):
    """The demo cannot go on; the text is one sentence that says what to do."""


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


async def main(port: int, version: str, *, once: bool) -> None:
    """Bring everything up, place a call, wait for Ctrl-C unless `once`."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DemoFailed(
                f"Port {port} is in use: stop what uses it, or ./asterisk.sh demo --port N."
            )
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres())
        pbx = await stack.enter_async_context(StandIn(is_open=True, version=version))
        say(
            f"[2/4] A stand-in PBX on SSH port {pbx.port}: an imitation of Asterisk"
            f" {PROFILES[version].version}, recorded from a real one; no phone rings"
        )
        await asyncio.to_thread(_mark_sandbox, postgres, pbx)
        await stack.enter_async_context(running_service(postgres, port))
        listener = Listener(port)
        await place_call(port, listener)
        if not once:
            say_what_next(port)
            await tell_until(stop, listener, pbx)
        say("\nStopping...")
    say("Everything that the demo started is stopped.")


@contextlib.asynccontextmanager
async def running_postgres() -> AsyncGenerator[Postgres]:
    """Start the database, with our schema and one enterprise in it."""
    say("[1/4] PostgreSQL with one enterprise, `demo`...")
    # Another user runs the server for root, and may not enter root's folders.
    as_root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="demo-postgres-")) if as_root else _FOLDER / "postgres"
    postgres = Postgres(folder, SECRET)
    try:
        await asyncio.to_thread(postgres.create)
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(_seed, postgres)
        yield postgres
    finally:
        await asyncio.to_thread(postgres.halt)
        if as_root:
            shutil.rmtree(folder, ignore_errors=True)


def _seed(postgres: Postgres) -> None:
    database = Database(Settings.from_environment(postgres.environment()))
    with database.transaction() as execute:
        execute(
            "CREATE TABLE IF NOT EXISTS public.enterprises "
            "(number text PRIMARY KEY, name text, ip text, secret text, active boolean)"
        )
        execute(
            "INSERT INTO public.enterprises VALUES (:number, 'demo', '127.0.0.1', :secret, true) "
            "ON CONFLICT DO NOTHING",
            number=_ENTERPRISE,
            secret=SECRET,
        )
    for _ in migrate(database):
        pass


def _mark_sandbox(postgres: Postgres, pbx: StandIn) -> None:
    """Say that the enterprise's PBX is a stand-in: each demo is a new one, with a new key."""
    database = Database(Settings.from_environment(postgres.environment()))
    with database.transaction() as execute:
        for table in ("sandboxes", "host_keys", "hosts"):
            execute(f"DELETE FROM callapi.{table}")
    key = pbx.host_key.export_public_key().decode().strip()
    set_sandbox(database, operator(), _ENTERPRISE, pbx.port, key)
    database.close()


@contextlib.asynccontextmanager
async def running_service(postgres: Postgres, port: int) -> AsyncGenerator[None]:
    """Start the service as asterisk.sh would, with settings of its own."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONUNBUFFERED": "1",
        "SERVICE_PORT": str(port),
        "SSH_PASSWORD": "unused: a sandbox is told none",
        "LOG_FILE": str(_LOG),
        "CORS_ORIGINS": _PAGES,
        **postgres.environment(),
    }
    with (_FOLDER / "console.log").open("wb") as console:
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, "asterisk.py"),
            cwd=_ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,  # Ctrl-C is for us; the service is stopped in its turn
        )
    try:
        await _until_healthy(service, port)
        say(f"[3/4] The service on http://127.0.0.1:{port}, its log in {_relative(_LOG)}")
        yield
    finally:
        if service.returncode is None:
            service.terminate()
        await service.wait()


async def _until_healthy(service: asyncio.subprocess.Process, port: int) -> None:
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end and service.returncode is None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(_get, port, "/health")
            return
        await asyncio.sleep(0.1)
    raise DemoFailed(f"The service did not start; see {_relative(_FOLDER / 'console.log')}.")


class Listener:
    """Somebody who is told what happens to the enterprise's calls, as it happens."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._after: object = None

    async def begin(self) -> None:
        """Listen from now on."""
        self._after = (await asyncio.to_thread(_get, self._port, "/api/events"))["next"]

    async def listen(self) -> AsyncGenerator[dict[str, Any]]:
        """Say each event, and yield it."""
        while True:
            query = urlencode({"after": self._after, "wait": _WAIT_S, "scope": "all"})
            told = await asyncio.to_thread(_get, self._port, f"/api/events?{query}")
            if "events" not in told:
                raise DemoFailed(f"GET /api/events: {told['detail']}")
            for event in told["events"]:
                self._after = event["seq"]
                if line := describe(event):
                    say(line)
                yield event
            self._after = told["next"]


async def place_call(port: int, listener: Listener) -> None:
    """Place the call, then tell what becomes of it, phase by phase."""
    await listener.begin()
    query = urlencode({"code": AGENT, "phone": CUSTOMER})
    say(f"[4/4] GET /api/makecallexternal?{query}")
    answer = await asyncio.to_thread(_get, port, f"/api/makecallexternal?{query}")
    say(json.dumps(answer, ensure_ascii=False, indent=2))
    if not answer.get("success"):
        raise DemoFailed("The call was not accepted; the answer above says why.")
    say("\nWhat GET /api/events tells of it, as it happens:")
    try:
        async with asyncio.timeout(_CALL_LIMIT_S):
            async for event in listener.listen():
                if event["type"] == "call.phase" and event["call"]["phase"] == "ended":
                    return
    except TimeoutError:
        raise DemoFailed(f"The call did not end; see {_relative(_LOG)}.") from None


async def tell_until(stop: asyncio.Event, listener: Listener, pbx: StandIn) -> None:
    """Tell of whatever calls there are; from time to time somebody calls in."""

    async def tell() -> None:
        async for _ in listener.listen():
            pass

    telling = asyncio.create_task(tell())
    others = [
        asyncio.create_task(call_in(pbx.call_in, _BETWEEN_CALLERS_S)),
        asyncio.create_task(stop.wait()),
    ]
    done, rest = await asyncio.wait({telling, *others}, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    if telling in done:
        await telling  # it has failed


def say_what_next(port: int) -> None:
    """Print requests to try."""
    url = f"http://127.0.0.1:{port}"
    bearer = f"-H 'Authorization: Bearer {SECRET}'"
    say(f"\nPlay in a browser: {url}/#{SECRET}")
    say("Or, in another terminal:")
    say(f"  curl {bearer} '{url}/api/makecallexternal?code=154&phone=%2B375290000005'")
    say(f"  curl {bearer} '{url}/api/monitor?action=09&target=154&monitor_from=151'")
    say(f"  curl {bearer} '{url}/api/makecallexternal?code=99x&phone=1'")
    say("Phones to ring: +3752900000... 01 talks, 02 is busy, 03 does not answer, 04 is no number,")
    say("05 talks until somebody hangs up. Agents: 150 to 159; the table is in README.md.")
    say("Each call is told here as it goes on, and now and then somebody calls in from outside.")
    say("Ctrl-C stops everything.")


def _get(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {SECRET}"})
        body: dict[str, Any] = json.loads(connection.getresponse().read())
        return body
    finally:
        connection.close()


def _relative(path: Path) -> str:
    return str(path.relative_to(_ROOT))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="demo", description="A call through a stand-in PBX.")
    parser.add_argument("--port", type=int, default=8018, help="port of the service")
    parser.add_argument(
        "--version", choices=PROFILES, default="16", help="Asterisk that the stand-in imitates"
    )
    parser.add_argument("--once", action="store_true", help="stop after the call")
    options = parser.parse_args()
    try:
        asyncio.run(main(options.port, options.version, once=options.once))
    except (DemoFailed, PostgresFailed, PostgresMissing) as error:
        sys.exit(str(error))

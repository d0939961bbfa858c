"""./asterisk.sh restart: new code and settings take the port over, and no request is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
from anyio import to_thread
from websockets.asyncio.client import connect

from demo.postgres import free_port
from demo.standin import StandIn
from tests.integration.doors import blocks_of
from tests.integration.installed import install
from tests.integration.service import LIMIT_S, SECRET, environment, seed, until
from tests.postgres import Postgres
from tests.processes import descendants, runs
from tests.running.test_script import Script

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
REQUESTS = 1_000
RESTARTS = 3


@pytest.fixture
async def script(postgres: Postgres, pbx: StandIn, tmp_path: Path) -> AsyncIterator[Script]:
    """The script, not started; what it has started is stopped."""
    seed(postgres)
    install(tmp_path)
    port = free_port()
    own = environment(postgres, pbx.port, str(tmp_path / "service.log"))
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    script = Script(tmp_path, port, inherited | own | {"SERVICE_PORT": str(port)})
    yield script
    await to_thread.run_sync(script, "stop")


async def run(script: Script, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run a command while clients go on."""
    return await to_thread.run_sync(lambda: script(*arguments, **settings))


def supervisor(script: Script) -> int:
    """The process that stays."""
    return int((script.folder / ".run" / "asterisk.pid").read_text("utf-8"))


# Shorter than the service keeps a connection that rests: or, where the machine makes a client wait
# for seconds, it may send just as the other end closes, as with any server.
KEPT = httpx.Limits(keepalive_expiry=2)


class Clients:
    """Clients that ask all the while, and what became of each request."""

    def __init__(self, script: Script) -> None:
        self._url = f"http://127.0.0.1:{script.port}"
        self._is_over = False
        self.outcomes: Counter[str] = Counter()

    async def _ask(self, http: httpx.AsyncClient, path: str) -> None:
        try:
            answer = await http.get(path, headers=HEADERS)
            self.outcomes[f"{answer.status_code}"] += 1
        except httpx.HTTPError as error:
            self.outcomes[f"{path}: {error!r}"] += 1

    async def ask_on_one_connection(self) -> None:
        """Ask again and again, on a connection for as long as it is kept."""
        async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S, limits=KEPT) as http:
            while not self._is_over:
                await self._ask(http, "/health")
                await self._ask(http, "/api/status")

    async def ask_on_new_connections(self) -> None:
        """Ask each time as a client that comes anew."""
        while not self._is_over:
            async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S) as http:
                await self._ask(http, "/health")

    async def place_calls(self, placed: list[str]) -> None:
        """Place one call after the other, each to a number of its own."""
        async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S, limits=KEPT) as http:
            while not self._is_over or len(placed) < 12:
                phone = f"+3752900{len(placed):05}"
                query = {"code": "150", "phone": phone}
                answer = await http.get("/api/makecallexternal", params=query, headers=HEADERS)
                assert answer.status_code == 200, answer.text
                placed.append(phone)

    def end(self) -> None:
        """Let each finish what it does."""
        self._is_over = True


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_restart_loses_no_request(script: Script, pbx: StandIn, workers: str) -> None:
    """Clients ask all the while, on new connections and on kept ones: all are answered.

    No call is dialled twice, and at the end only the last processes are left.
    """
    limits = {"RATE_LIMIT_ENTERPRISE": "9999/60", "RATE_LIMIT_EXTENSION": "9999/60"}
    settings = {"SERVICE_WORKERS": workers, **limits}
    status, said = await run(script, "start", **settings)
    assert status == 0, said
    pid = supervisor(script)
    clients, placed = Clients(script), list[str]()
    before = set(descendants(pid))
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(clients.ask_on_one_connection())
            group.create_task(clients.ask_on_new_connections())
        group.create_task(clients.place_calls(placed))
        for _ in range(RESTARTS):
            status, said = await run(script, "restart", **settings)
            assert (status, "Restarted, pid " in said) == (0, True), said
        await until(lambda: clients.outcomes.total() >= REQUESTS)
        await until(lambda: len(placed) >= 12)
        clients.end()
    assert set(clients.outcomes) == {"200"}
    dialled = [command for command in pbx.commands if command.startswith("channel originate")]
    assert [sum(phone in command for command in dialled) for phone in placed] == [1] * len(placed)
    assert supervisor(script) == pid
    await until(lambda: len(descendants(pid)) == len(before))
    assert not before & set(descendants(pid))


async def test_streams_are_told_to_go(script: Script) -> None:
    """A WebSocket is closed by 1001 and server-sent events end, so that both come again."""
    await run(script, "start")
    address = f"127.0.0.1:{script.port}/api/events"
    stream = HEADERS | {"Accept": "text/event-stream"}
    async with (
        connect(f"ws://{address}", additional_headers=HEADERS) as events,
        httpx.AsyncClient(timeout=LIMIT_S) as http,
        http.stream("GET", f"http://{address}", headers=stream) as answer,
    ):
        assert (await run(script, "restart"))[0] == 0
        with anyio.fail_after(LIMIT_S):
            await events.wait_closed()
            async for _ in blocks_of(answer):
                pass
        assert events.close_code == 1001


async def test_new_settings_hold_and_removed_ones_do_not(script: Script) -> None:
    """As after a stop and a start."""
    script.write_env("SSH_USER=first\n")
    await run(script, "start")
    for text, user in (("SSH_USER=second\n", "second"), ("", "root")):
        script.write_env(text)
        assert (await run(script, "restart"))[0] == 0
        assert script.get("/api/status").json()["asterisk_config"]["ssh_user"] == user
    left = [path.name for path in (script.folder / ".run").glob("*.environment")]
    assert left == []


async def test_what_cannot_start_leaves_the_old_one(script: Script) -> None:
    """A wrong setting, another port, no database, code that ends: one sentence each, exit 1."""
    await run(script, "start")
    pid = supervisor(script)
    serving = descendants(pid)
    faults: list[tuple[dict[str, str], str]] = [
        ({"SSH_PORT": "abc"}, "❌ Wrong settings: SSH_PORT: "),
        ({"SERVICE_PORT": str(free_port())}, "stop the service, then start it"),
        ({"POSTGRES_PORT": "1"}, " is unavailable: ConnectionRefusedError"),
    ]
    for settings, why in faults:
        status, said = await run(script, "restart", **settings)
        assert (status, why in said) == (1, True), said
        assert descendants(pid) == serving
        assert script.get("/health").status_code == 200
    (script.folder / "asterisk.py").unlink()
    (script.folder / "asterisk.py").write_text("raise SystemExit('❌ This code ends')\n", "utf-8")
    status, said = await run(script, "restart")
    assert (status, ": This code ends; " in said) == (1, True), said
    assert descendants(pid) == serving


async def test_what_cannot_even_be_begun_leaves_the_old_one(script: Script) -> None:
    """Python is being installed anew, or the settings cannot be read: it goes on, and tells."""
    await run(script, "start")
    pid = supervisor(script)
    serving = descendants(pid)
    outcome = script.folder / ".run" / "handover.outcome"
    environment = outcome.with_suffix(".environment")
    python = script.folder / ".venv"
    moved = python.rename(script.folder / "moved")
    os.kill(pid, signal.SIGHUP)
    await until(lambda: not runs(pid) or outcome.exists())
    moved.rename(python)
    assert outcome.read_text("utf-8") == "failed"
    outcome.unlink()
    environment.mkdir()
    os.kill(pid, signal.SIGHUP)
    await until(lambda: not runs(pid) or outcome.exists())
    environment.rmdir()
    assert outcome.read_text("utf-8") == "failed"
    assert descendants(pid) == serving
    assert "The new process did not start" in script.console()
    assert (await run(script, "restart"))[0] == 0


async def test_a_restart_that_cannot_be_noted_is_done(script: Script) -> None:
    """A full disk: what became of it is told by nobody, and the new process serves."""
    await run(script, "start")
    pid = supervisor(script)
    (before,) = descendants(pid)
    written = script.folder / ".run" / "handover.written"
    written.mkdir()  # as little to be written as on a full disk
    os.kill(pid, signal.SIGHUP)
    await until(lambda: not runs(before))
    written.rmdir()
    await until(lambda: len(descendants(pid)) == 1)
    assert script.get("/health").status_code == 200


async def test_the_outcome_of_one_restart_is_not_told_of_the_next(script: Script) -> None:
    """Whoever asks while another's is under way waits for his own."""
    await run(script, "start")
    pid = supervisor(script)
    serving = descendants(pid)
    outcome = script.folder / ".run" / "handover.outcome"
    outcome.write_text("ok", "utf-8")  # of the one before, which nobody has read
    environment = outcome.with_suffix(".environment")
    environment.write_bytes(b"PATH=/usr/bin\0SSH_PORT=abc\0")
    os.kill(pid, signal.SIGHUP)
    await until(lambda: not environment.exists())
    assert not outcome.exists() or outcome.read_text("utf-8") == "failed"
    await until(outcome.exists)
    assert outcome.read_text("utf-8") == "failed"
    assert descendants(pid) == serving


async def test_a_restart_that_is_given_up_leaves_no_settings(script: Script) -> None:
    """They have secrets, and are nobody else's."""
    await run(script, "start")
    pid = supervisor(script)
    environment = script.folder / ".run" / "handover.environment"
    os.kill(pid, signal.SIGSTOP)
    restart = await asyncio.create_subprocess_exec(
        *(script.folder / "asterisk.sh", "restart"), env=script.environment
    )
    await until(environment.exists)
    restart.terminate()
    await restart.wait()
    assert not environment.exists()
    os.kill(pid, signal.SIGCONT)
    await until(lambda: script.get("/health").status_code == 200)


async def test_two_restarts_follow_one_another(script: Script) -> None:
    """Both succeed, and one process serves at the end."""
    await run(script, "start")
    pid = supervisor(script)
    (before,) = descendants(pid)
    both = await asyncio.gather(run(script, "restart"), run(script, "restart"))
    assert [status for status, _ in both] == [0, 0]
    await until(lambda: len(descendants(pid)) == 1)
    assert descendants(pid) != [before]


async def test_a_signal_restarts_as_well(script: Script) -> None:
    """SIGHUP, which systemd's reload sends: a new process serves, the old one is gone."""
    await run(script, "start")
    pid = supervisor(script)
    (before,) = descendants(pid)
    os.kill(pid, signal.SIGHUP)
    await until(lambda: not runs(before))
    await until(lambda: len(descendants(pid)) == 1)
    assert script.get("/health").status_code == 200


async def test_processes_end_with_who_started_them(script: Script) -> None:
    """However that was killed: none goes on by itself, on a port that nobody could take."""
    await run(script, "start", SERVICE_WORKERS="2")
    pid = supervisor(script)
    started = descendants(pid)
    assert len(started) == 3
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(map(runs, started)))


async def test_the_console_is_bounded(script: Script) -> None:
    """At 10 MiB it is begun anew, and one file of before is kept; processes go on writing to it."""
    await run(script, "start")
    console = script.folder / ".run" / "console.log"
    before = console.read_bytes()
    with console.open("ab") as file:
        file.write(b"filled\n" + b"\n" * (10 << 20))
    await until(lambda: console.stat().st_size < 10 << 20)
    kept = console.with_name("console.log.1")
    assert kept.read_bytes().startswith(before + b"filled\n")
    assert kept.stat().st_mode & 0o077 == 0
    request_id = script.get("/health").headers["X-Request-Id"]
    await until(lambda: request_id in script.console())
    assert "\0" not in script.console()
    status, said = await run(script, "restart")
    assert status == 0, said


async def test_settings_that_are_handed_over_are_nobody_else_s(script: Script) -> None:
    """The file with all of them is its owner's alone, and gone once the new process began."""
    await run(script, "start")
    handed = script.folder / ".run" / "handover.environment"
    os.kill(supervisor(script), signal.SIGSTOP)  # it reads nothing yet
    restarting = asyncio.create_task(run(script, "restart"))
    await until(lambda: handed.exists() and b"SSH_PASSWORD=" in handed.read_bytes())
    seen = [path.stat().st_mode & 0o777 for path in (handed, handed.parent)]
    os.kill(supervisor(script), signal.SIGCONT)
    assert (await restarting)[0] == 0
    assert seen == [0o600, 0o700]
    assert not handed.exists()


async def test_every_worker_opens_the_log_that_was_moved(script: Script) -> None:
    """As logrotate moves it: of two workers each writes its next line to the new file."""
    await run(script, "start", SERVICE_WORKERS="2")
    log = script.folder / "service.log"
    workers = descendants(supervisor(script))[1:]
    assert len(workers) == 2

    def who_has(path: Path) -> set[int]:
        inode = path.stat().st_ino if path.exists() else None
        return {pid for pid in workers if inode in open_files(pid)}

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            await http.get(f"http://127.0.0.1:{script.port}/api/calls", headers=HEADERS)

    async def each_writes() -> None:
        with anyio.fail_after(LIMIT_S):
            while who_has(log) != set(workers):
                await asyncio.gather(*(ask() for _ in range(8)))

    await each_writes()
    moved = log.rename(log.with_suffix(".1"))
    assert who_has(moved) == set(workers)
    await each_writes()
    assert who_has(moved) == set()


def open_files(pid: int) -> set[int]:
    """The inodes of the files that a process has open."""
    found = set[int]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(link.stat().st_ino)
        except FileNotFoundError:  # closed meanwhile
            continue
    return found

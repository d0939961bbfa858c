"""asterisk.sh as an operator uses it: each command in a folder of its own, with its own .env."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from demo.postgres import free_port
from shared.settings import Settings
from tests.certificate import make_certificate
from tests.integration.installed import install, run_script
from tests.integration.service import SSH_PASSWORD, seed
from tests.postgres import Postgres
from tests.processes import descendants, runs

DATABASE = "postgres"


@dataclass
class Script:
    """The script in a folder that has the project's own files and, beside them, what is ours."""

    folder: Path
    port: int
    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a command; its exit status and all that it says."""
        script = self.folder / "asterisk.sh"
        status, said = run_script(script, *arguments, environment=self.environment | environment)
        assert "Traceback" not in said
        return status, said

    def write_env(self, text: str) -> None:
        """Write .env."""
        (self.folder / ".env").write_text(text, "utf-8")

    def get(self, path: str) -> httpx.Response:
        """Ask the service that it has started."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)

    def console(self) -> str:
        """What the service has printed."""
        return (self.folder / ".run" / "console.log").read_text("utf-8")


@contextlib.contextmanager
def installed(postgres: Postgres, folder: Path) -> Iterator[Script]:
    """Have the script in a folder, with a database; what it has started is stopped."""
    seed(postgres)
    install(folder)
    port = free_port()
    own = postgres.environment() | {"SERVICE_PORT": str(port), "SSH_PASSWORD": SSH_PASSWORD}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    script = Script(folder, port, inherited | {"PYTHONUTF8": "1"} | own)
    yield script
    with contextlib.suppress(FileNotFoundError):
        (folder / ".env").unlink()
    script("stop")


@pytest.fixture
def script(postgres: Postgres, tmp_path: Path) -> Iterator[Script]:
    """One of the test's own."""
    with installed(postgres, tmp_path) as script:
        yield script


def test_start_and_status_are_green_where_calls_can_be_placed(script: Script) -> None:
    """Exit 0 and a check mark for each of the two; a second start says the same."""
    lines = "✅ health: 200 healthy\n✅ ready to place calls: 200 ready\n"
    status, said = script("start")
    assert status == 0
    assert "Started, pid " in said
    assert said.endswith(lines)
    for command in ("status", "start"):
        status, said = script(command)
        assert status == 0
        assert said.endswith(lines)


def test_without_a_database_neither_is_green(script: Script) -> None:
    """It runs, so that it is ready once the database is; exit 1 and a cross say that it is not."""
    script.environment["POSTGRES_PORT"] = "1"
    for command in ("start", "status"):
        status, said = script(command)
        assert status == 1
        ready = f"❌ ready to place calls: 503 PostgreSQL 127.0.0.1:1/{DATABASE} is unavailable: "
        assert f"✅ health: 200 healthy\n{ready}" in said
    assert script("test")[0] == 1


def test_a_public_bind_is_refused_without_tls(script: Script) -> None:
    """One sentence names the variables; with a proxy before it, or TLS of its own, it starts."""
    status, said = script("start", SERVICE_HOST="0.0.0.0")
    assert status == 1
    assert said.startswith("❌ SERVICE_HOST: ")
    assert said.count("\n") == 1
    assert {"BEHIND_PROXY=yes", "TLS_CERT_FILE", "TLS_KEY_FILE"} <= set(re.split(r"[\s,]+", said))
    certificate, key = make_certificate(script.folder)
    tls = {"TLS_CERT_FILE": str(certificate), "TLS_KEY_FILE": str(key)}
    for more, scheme in (({"BEHIND_PROXY": "yes"}, "http"), (tls, "https")):
        status, said = script("start", SERVICE_HOST="0.0.0.0", **more)
        assert status == 0
        assert f": {scheme}://127.0.0.1:{script.port}/health" in said
        assert ("TRUSTED_PROXIES is empty" in said) == (scheme == "http")
        assert script("test", SERVICE_HOST="0.0.0.0", **more)[0] == 0
        script("stop")


def test_help_names_the_port_s_setting(script: Script) -> None:
    """8018 is only what SERVICE_PORT is by default."""
    status, said = script("--help")
    assert status == 0
    assert f"SERVICE_PORT ({Settings().service_port})" in said


def test_status_of_what_does_not_run_is_3(script: Script) -> None:
    """Another status than that of a service which cannot place calls."""
    assert script("status") == (3, "Not running.\n")
    assert script("stop") == (0, "Not running.\n")


@pytest.mark.parametrize("command", ["start", "restart", "status", "test", "check", "migrate"])
def test_a_wrong_setting_is_one_sentence(script: Script, command: str) -> None:
    """It names the variable; nothing is started, and what runs is not stopped."""
    if command in {"restart", "status"}:
        script("start")
    status, said = script(command, SSH_PORT="abc")
    last = said.splitlines()[-1]
    assert status == 1
    assert "Wrong settings: SSH_PORT: " in last
    assert len(said.splitlines()) <= 2
    if command == "restart":
        assert script("status")[0] == 0


def test_env_is_read_and_never_executed(script: Script) -> None:
    """A password with a shell's own characters is the password; .env comes before what was set."""
    password = "p$ss word&1"
    trap = script.folder / "executed"
    script.write_env(
        f"# the PBXs\nexport SSH_USER=caller\nSSH_PASSWORD={password}\n"
        f"DIALPLAN_CONTEXT='office'\nX=$(touch {trap}); touch {trap}\ntouch=`touch {trap}`\n"
    )
    assert script("start", SSH_USER="root", SSH_PASSWORD="other")[0] == 0
    (pid,) = (script.folder / ".run" / "asterisk.pid").read_text().split()
    given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert f"SSH_PASSWORD={password}".encode() in given
    assert script.get("/api/status").json()["asterisk_config"]["ssh_user"] == "caller"
    assert not trap.exists()
    for text in (script.console(), Path(f"/proc/{pid}/cmdline").read_text()):
        assert password not in text


@pytest.mark.parametrize("command", ["start", "status", "check"])
def test_a_malformed_line_is_told_by_its_number(script: Script, command: str) -> None:
    """The line itself is not repeated: it may be a secret."""
    script.write_env("SSH_PORT=22\nhunter2\n")
    assert script(command) == (
        1,
        "❌ .env, line 2: must be NAME=VALUE, or a comment that begins with #\n",
    )


def test_an_env_that_cannot_be_read_is_told(script: Script) -> None:
    """A folder of that name, e.g. made by a container's mount."""
    (script.folder / ".env").mkdir()
    assert script("status") == (1, "❌ .env cannot be read: Is a directory\n")
    (script.folder / ".env").rmdir()


def test_what_is_hardly_meant_is_told_and_starts(script: Script) -> None:
    """A misspelt name and an empty password are warned of, each in a line, and nothing more."""
    script.write_env("SSH_PASWORD=hunter2\nSSH_PASSWORD=\n")
    status, said = script("start")
    assert status == 0
    assert "⚠️ SSH_PASWORD is no setting and has no effect: perhaps SSH_PASSWORD is meant\n" in said
    assert (
        "⚠️ SSH_PASSWORD is empty, and so is SSH_PRIVATE_KEY: no PBX can be logged in to\n" in said
    )
    assert said.count("⚠️") == 2
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("log_file", "why"),
    [
        ("missing/service.log", "No such file or directory"),
        (".", "Is a directory"),
        ("asterisk.py/service.log", "Not a directory"),
    ],
)
def test_a_log_that_cannot_be_written_is_refused(script: Script, log_file: str, why: str) -> None:
    """Start says so in one sentence, and starts nothing."""
    status, said = script("start", LOG_FILE=log_file)
    assert status == 1
    assert said == f"❌ LOG_FILE: {log_file} cannot be written: {why}\n"
    assert script("status")[0] == 3


@pytest.mark.parametrize("log_file", ["logs/service.log", "/dev/full"])
def test_a_log_that_cannot_be_written_later_fails_no_request(script: Script, log_file: str) -> None:
    """Its folder goes away, the disk is full: requests are answered, the console says why, once."""
    (script.folder / "logs").mkdir()
    assert script("start", LOG_FILE=log_file, SSH_PORT="1")[0] == 0
    shutil.rmtree(script.folder / "logs")
    query = "/api/makecallexternal?code=150&phone=%2B375290000001&clientId=nobody"
    answers = [script.get(query) for _ in range(3)]
    assert [answer.json()["code"] for answer in answers] == ["invalid-client-id"] * 3
    console = script.console()
    assert console.count("⚠️ LOG_FILE: ") == 1
    assert console.count("❌ Неверный clientId с адреса 127.0.0.1 [") == 1
    assert "Traceback" not in console


def test_what_it_writes_is_nobody_elses_to_read(script: Script) -> None:
    """The log, the console's and the pid: they tell who called whom; also where they were open."""
    folder = script.folder / ".run"
    folder.mkdir(mode=0o755)
    log = script.folder / "asterisk_service.log"
    log.touch()
    log.chmod(0o644)
    assert script("start")[0] == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_command_may_be_another_users(script: Script) -> None:
    """ENV_FILE: migrating as the owner, where .env has the service's own user."""
    script.write_env("POSTGRES_USER=nobody\n")
    assert script("migrate")[0] == 1
    (script.folder / "owner.env").write_text("POSTGRES_USER=postgres\n")
    assert script("migrate", ENV_FILE="owner.env")[0] == 0


def test_a_follower_runs_beside_an_api(script: Script) -> None:
    """Of another ENV_FILE: each is started, told of and stopped by itself, its workers with it."""
    other = {"ENV_FILE": "follower.env"}
    script.write_env("ROLE=api\nSERVICE_WORKERS=2\n")
    settings = f"ROLE=follower\nFOLLOWER_PORT={free_port()}\n"
    (script.folder / "follower.env").write_text(settings, "utf-8")
    try:
        assert script("start")[0] == script("start", **other)[0] == 0
        files = ("asterisk.pid", "follower-asterisk.pid")
        api, follower = (int((script.folder / ".run" / name).read_text()) for name in files)
        workers = descendants(api)
        assert (len(workers), len(descendants(follower))) == (3, 1)
        assert script("stop") == (0, "Stopped.\n")
        assert not [*filter(runs, (api, *workers))]
        assert script("status")[0] == 3
        assert script("test", **other)[0] == 0
    finally:
        assert script("stop", **other) == (0, "Stopped.\n")
    assert not runs(follower)

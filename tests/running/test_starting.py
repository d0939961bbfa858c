"""A service that cannot start says why, in one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ("asterisk.py",)
UVICORN = ("-m", "uvicorn", "asterisk:app", "--port", "0")


@pytest.mark.parametrize(
    ("command", "name", "value", "said"),
    [
        (SCRIPT, "SSH_PORT", "abc", "❌ Wrong settings: SSH_PORT: "),
        (UVICORN, "SSH_PORT", "abc", "❌ Wrong settings: SSH_PORT: "),
        (UVICORN, "RATE_LIMIT_ENTERPRISE", "many", "❌ Wrong settings: RATE_LIMIT_ENTERPRISE: "),
        (SCRIPT, "SERVICE_HOST", "0.0.0.0", "❌ SERVICE_HOST: other machines can reach 0.0.0.0, "),
        (
            SCRIPT,
            "TLS_CERT_FILE",
            "/nosuch.pem",
            "❌ TLS_CERT_FILE, TLS_KEY_FILE: cannot be read: ",
        ),
        (SCRIPT, "TLS_KEY_FILE", "/nosuch.pem", "❌ TLS_KEY_FILE: TLS_CERT_FILE must name "),
        (SCRIPT, "TRUSTED_PROXIES", "nginx", "❌ Wrong settings: TRUSTED_PROXIES: "),
        (SCRIPT, "ROLE", "leader", "❌ Wrong settings: ROLE: "),
        (SCRIPT, "SERVICE_WORKERS", "0", "❌ Wrong settings: SERVICE_WORKERS: "),
        (SCRIPT, "LOG_FILE", "/nosuch/service.log", "❌ LOG_FILE: /nosuch/service.log cannot be"),
    ],
)
def test_a_wrong_setting_is_named(
    command: tuple[str, ...], name: str, value: str, said: str
) -> None:
    """The variable and what it may be; no traceback, and it ends with 1."""
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
    done = subprocess.run(
        (sys.executable, *command),
        cwd=ROOT,
        env=inherited | {"PYTHONUTF8": "1", "LOG_FILE": "", name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith(said)


def test_a_database_that_is_read_on_the_way_is_warned_of() -> None:
    """By what asterisk.sh asks before it starts; it starts all the same."""
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
    own = {"POSTGRES_HOST": "db.example.test", "SSH_PASSWORD": "x", "LOG_FILE": ""}
    done = subprocess.run(
        (sys.executable, "deploy/settings.py", "check"),
        cwd=ROOT,
        env=inherited | {"PYTHONUTF8": "1"} | own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("⚠️ POSTGRES_TLS is off, and POSTGRES_HOST is another machine")


def test_a_port_that_is_taken_is_told_before_any_worker_is_started() -> None:
    """In one sentence, as a wrong setting is."""
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = {"SERVICE_PORT": str(port), "SERVICE_WORKERS": "2", "LOG_FILE": ""}
        done = subprocess.run(
            (sys.executable, *SCRIPT),
            cwd=ROOT,
            env=inherited | {"PYTHONUTF8": "1"} | own,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    said = f"❌ 127.0.0.1, port {port}: cannot be bound: Address already in use\n"
    assert (done.stdout, done.stderr) == ("", said)


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the project's own modules, to its end."""
    return subprocess.run(
        (sys.executable, "-c", program),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_worker_that_cannot_start_ends_all() -> None:
    """With its exit status: it is not started again and again, and the others do not go on."""
    program = (
        "import os, sys, time; from shared.http.workers import Workers\n"
        "begun, begins = os.pipe()\n"
        "def serve(number):\n"
        "    os.write(1, b'%d\\n' % number)\n"
        "    if number == 0:\n"
        "        os.write(begins, b'0'); time.sleep(3600)\n"
        "    os.read(begun, 1); sys.exit(3)\n"
        "sys.exit(Workers(2, [], serve).run())"
    )
    done = run_program(program)
    assert done.returncode == 3
    assert sorted(done.stdout.split()) == ["0", "1"]


def test_a_worker_that_the_system_cannot_start_yet_is_started_later() -> None:
    """No process or memory to spare: the others go on meanwhile, and it is tried again."""
    program = (
        "import os, signal, sys, time; from shared.http.workers import Workers\n"
        "fork, asked = os.fork, []\n"
        "def rarely():\n"
        "    asked.append(1)\n"
        "    if len(asked) == 2: raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "    return fork()\n"
        "os.fork = rarely\n"
        "def serve(number):\n"
        "    os.write(1, b'%d\\n' % number)\n"
        "    if number == 0: sys.exit(1)\n"
        "    os.kill(os.getppid(), signal.SIGTERM); time.sleep(3600)\n"
        "sys.exit(Workers(1, [], serve).run())"
    )
    done = run_program(program)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1"]), done.stderr

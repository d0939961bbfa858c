"""What asterisk.sh says where something is wrong: one sentence, what and what to do, and not 0."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.postgres import Postgres
from tests.processes import descendants, runs
from tests.running.test_script import Script, installed

Settings: TypeAlias = dict[str, str]
Fault: TypeAlias = Callable[[Script, Postgres], AbstractContextManager[Settings]]
COMMANDS = ("start", "restart", "status", "logs", "test")


@pytest.fixture
def script(postgres: Postgres, tmp_path: Path) -> Iterator[Script]:
    """One of the test's own, that has started nothing."""
    with installed(postgres, tmp_path) as script:
        yield script


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers 501 to all that it is asked."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def port_taken(script: Script, _: Postgres) -> Iterator[Settings]:
    """Another program has the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", script.port), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {}
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def env_file_missing(_script: Script, _: Postgres) -> Iterator[Settings]:
    """The file that was named is not there: its own settings must not be another's."""
    yield {"ENV_FILE": "folower.env"}


@contextlib.contextmanager
def wrong_setting(_script: Script, _: Postgres) -> Iterator[Settings]:
    """No number."""
    yield {"SSH_PORT": "abc"}


def with_settings(**settings: str) -> Fault:
    """Run with these settings from the start on."""

    @contextlib.contextmanager
    def fault(script: Script, _: Postgres) -> Iterator[Settings]:
        script("start", **settings)
        yield settings

    return fault


def later(**settings: str) -> Fault:
    """Start as it should be; these settings come later."""

    @contextlib.contextmanager
    def fault(script: Script, _: Postgres) -> Iterator[Settings]:
        script("start")
        yield settings

    return fault


@contextlib.contextmanager
def nothing(_script: Script, _: Postgres) -> Iterator[Settings]:
    """Nothing was ever started."""
    yield {}


@contextlib.contextmanager
def no_log(_script: Script, _: Postgres) -> Iterator[Settings]:
    """None is to be written."""
    yield {"LOG_FILE": ""}


@contextlib.contextmanager
def log_is_a_folder(_script: Script, _: Postgres) -> Iterator[Settings]:
    """Somebody has made it one."""
    yield {"LOG_FILE": "."}


@contextlib.contextmanager
def not_migrated(script: Script, postgres: Postgres) -> Iterator[Settings]:
    """The schema went away under the service."""
    script("start")
    postgres.execute("ALTER SCHEMA callapi RENAME TO elsewhere")
    try:
        yield {}
    finally:
        postgres.execute("ALTER SCHEMA elsewhere RENAME TO callapi")


@contextlib.contextmanager
def old_python(script: Script, _: Postgres) -> Iterator[Settings]:
    """There is no environment yet, and no Python that could make one."""
    environment, stubs = script.folder / ".venv", script.folder / "stubs"
    target = environment.readlink()
    environment.unlink()
    stubs.mkdir()
    for name in ("python3", *(f"python3.{minor}" for minor in range(11, 14))):
        (stubs / name).write_text("#!/bin/sh\nexit 1\n")
        (stubs / name).chmod(0o755)
    yield {"PATH": f"{stubs}:{script.environment['PATH']}"}
    environment.symlink_to(target)


def becomes(script: Script, code: str) -> None:
    """Have new code in the place of the service's."""
    (script.folder / "asterisk.py").unlink()
    (script.folder / "asterisk.py").write_text(code, "utf-8")


@contextlib.contextmanager
def dies(script: Script, _: Postgres) -> Iterator[Settings]:
    """The code ends as it begins, by a traceback."""
    becomes(script, "import no_such_module\n")
    yield {}


@contextlib.contextmanager
def new_code_dies(script: Script, postgres: Postgres) -> Iterator[Settings]:
    """The old one serves; the new one would end so."""
    script("start")
    with dies(script, postgres) as settings:
        yield settings


@contextlib.contextmanager
def never_serves(script: Script, _: Postgres) -> Iterator[Settings]:
    """The code begins and comes to nothing."""
    becomes(script, "import time\ntime.sleep(3600)\n")
    yield {"START_LIMIT_S": "2"}


@contextlib.contextmanager
def hangs(script: Script, _: Postgres) -> Iterator[Settings]:
    """The process has stopped, and its port takes whoever connects."""
    script("start")
    pid = int((script.folder / ".run" / "asterisk.pid").read_text())
    stopped = descendants(pid)
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    yield {}
    for one in stopped:
        os.kill(one, signal.SIGCONT)


@contextlib.contextmanager
def run_is_a_file(script: Script, _: Postgres) -> Iterator[Settings]:
    """Nothing can be kept in .run."""
    (script.folder / ".run").touch()
    yield {}
    (script.folder / ".run").unlink()


PORT_TAKEN = (
    r"❌ Port \d+ is another program's \(ss -ltnp names it\): end that, or set SERVICE_PORT, "
)
NO_FILE = r"❌ folower\.env cannot be read: No such file or directory"
AWAY = r"PostgreSQL 127\.0\.0\.1:1/postgres is unavailable: ConnectionRefusedError"
REFUSED = r"PostgreSQL .* is unavailable: 28P01 password authentication failed for user"
OLD = r"❌ Python 3\.11 or newer is needed: install python3 and python3-venv, or name it: PYTHON="
NOT_READY = "❌ ready to place calls: 503 "
REPAIR = ".*; have it answer, or set POSTGRES_. and restart"
GOES_ON = r"❌ Not restarted, the old process goes on, pid \d+: "
DIED = r"ModuleNotFoundError: No module named 'no_such_module'; \.run/console\.log tells more"
NOT_OURS = r"❌ health: what listens at http://\S+ is not the service \(.*\): ss -ltnp names it"
HANGS = r"❌ health: http://\S+ is silent for 5 s, it hangs: restart it"

# What is wrong, and by command the exit status and the sentence. Left out: where nothing is wrong
# for it, as `start` finds a schema that is missing and makes it.
TABLE: list[tuple[Fault, dict[str, tuple[int, str]]]] = [
    (
        port_taken,
        {
            "start": (1, PORT_TAKEN),
            "restart": (1, PORT_TAKEN),
            "status": (3, r"Not running; what listens on port \d+ is another program"),
            "test": (1, NOT_OURS),
        },
    ),
    (env_file_missing, dict.fromkeys((*COMMANDS, "migrate"), (1, NO_FILE))),
    (
        wrong_setting,
        dict.fromkeys(("start", "restart", "status", "test"), (1, "❌ Wrong settings: SSH_PORT: ")),
    ),
    (
        with_settings(POSTGRES_PORT="1"),
        {
            "start": (1, NOT_READY + AWAY + REPAIR),
            "restart": (1, GOES_ON + AWAY),
            "status": (1, NOT_READY + AWAY + REPAIR),
            "test": (1, NOT_READY + AWAY + REPAIR),
        },
    ),
    (
        with_settings(POSTGRES_PASSWORD="wrong"),
        {
            "start": (1, NOT_READY + REFUSED + REPAIR),
            "restart": (1, GOES_ON + REFUSED),
            "status": (1, NOT_READY + REFUSED + REPAIR),
            "test": (1, NOT_READY + REFUSED + REPAIR),
        },
    ),
    (
        not_migrated,
        dict.fromkeys(
            ("status", "test"), (1, NOT_READY + r".* is missing: run \./asterisk\.sh migrate")
        ),
    ),
    (
        nothing,
        {
            "status": (3, r"Not running\."),
            "logs": (1, r"❌ asterisk_service\.log is no file: \./asterisk\.sh start makes it"),
            "test": (1, r"❌ health: nothing listens at http://\S+: start it"),
        },
    ),
    (no_log, {"logs": (1, r"❌ LOG_FILE is empty, so there is no log: .*\.run/console\.log")}),
    (
        log_is_a_folder,
        {
            "start": (1, r"❌ LOG_FILE: \. cannot be written: Is a directory"),
            "logs": (1, r"❌ \. is no file: "),
        },
    ),
    (
        later(LOG_FILE="missing/service.log"),
        {"restart": (1, r"❌ LOG_FILE: missing/service\.log cannot be written: No such file")},
    ),
    (old_python, dict.fromkeys(COMMANDS, (1, OLD))),
    (dies, {"start": (1, "❌ It did not start: " + DIED)}),
    (new_code_dies, {"restart": (1, GOES_ON + DIED)}),
    (
        never_serves,
        {"start": (1, r"❌ It did not start: no answer within 2 s; ")},
    ),
    (hangs, {"status": (1, HANGS), "test": (1, HANGS)}),
    (run_is_a_file, {"start": (1, r"❌ The folder \.run cannot be used, .*File exists")}),
]


@pytest.mark.parametrize(("fault", "told"), TABLE)
def test_what_is_wrong_is_told_in_a_sentence(
    script: Script, postgres: Postgres, fault: Fault, told: dict[str, tuple[int, str]]
) -> None:
    """The exit status is not 0, one line says what is wrong and what to do; no shell's, no code's.

    What answered before goes on doing so.
    """
    with fault(script, postgres) as settings:
        for command, (status, sentence) in told.items():
            code, said = script(command, **settings)
            assert code == status, (command, said)
            found = [line for line in said.splitlines() if re.match(sentence, line)]
            assert len(found) == 1, (command, said)
            assert not re.search(r": line \d+: |^  File |command not found", said), (command, said)


def test_what_did_not_start_leaves_nothing(script: Script) -> None:
    """Neither a process nor a pid, though its code hears no signal."""
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)\n"
    becomes(script, f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{code}")
    assert script("start", START_LIMIT_S="2")[0] == 1
    assert not runs(int((script.folder / "pid").read_text("utf-8")))
    assert not (script.folder / ".run" / "asterisk.pid").exists()


def test_a_stop_by_a_file_that_is_missing_stops_nothing(script: Script) -> None:
    """It was to be the follower's, say: the API must not go down for a misspelt name."""
    script("start")
    status, said = script("stop", ENV_FILE="folower.env")
    assert (status, re.match(NO_FILE, said) is not None) == (1, True), said
    assert script("status")[0] == 0


def test_what_hangs_is_restarted(script: Script, postgres: Postgres) -> None:
    """By `restart` alone: the new process takes the port from the one that answers nobody."""
    with hangs(script, postgres):
        assert script("restart")[0] == 0
        assert script("status")[0] == 0


@pytest.mark.parametrize("written", ["999999", "", "abc", "-1", "{own}", "{other}", "{follower}"])
def test_a_pid_that_is_not_ours_is_nobody(script: Script, written: str) -> None:
    """Stale, damaged, reused by another program, another folder's service or our follower.

    It is said that nothing runs; `stop` and `restart` end nobody else's, and a start starts.
    """
    command = [sys.executable, "-c", "import time; time.sleep(3600)", "deploy/serve.py"]
    others = [
        subprocess.Popen([*command, str(script.folder / ".run" / name)], cwd=cwd)
        for name, cwd in (("handover", "/"), ("follower-handover", script.folder))
    ]
    other, follower = (one.pid for one in others)
    (script.folder / ".run").mkdir()
    pid = written.format(own=os.getpid(), other=other, follower=follower)
    try:
        for command_ in ("status", "stop", "restart"):
            (script.folder / ".run" / "asterisk.pid").write_text(pid)
            status, said = script(command_)
            assert said.startswith("Not running.\n"), said
            assert status == (3 if command_ == "status" else 0)
        assert [one.poll() for one in others] == [None, None]
    finally:
        for one in others:
            one.kill()
            one.wait()

"""all.sh: every service of a deployment, each a file in services.d/."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.postgres import free_port
from tests.integration.installed import ROOT, install, run_script
from tests.integration.service import SSH_PASSWORD, seed
from tests.postgres import Postgres
from tests.processes import descendants

# Runs while its file is there, and says when it was called.
SERVICE = """#!/bin/sh
name=${0##*/}
echo "$name $1" >>called
case "$1" in
  start) touch "$name.runs"; echo "Starting..."; echo "Started." ;;
  stop) rm -f "$name.runs"; echo "Stopped." ;;
  status) if [ -e "$name.runs" ]; then echo "Running."; else echo "Not running."; exit 3; fi ;;
esac
"""


@dataclass
class All:
    """The script in a folder of its own, with the services that a test puts there."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, list[str]]:
        """Run a command; its exit status and the lines that it says."""
        script = self.folder / "all.sh"
        status, said = run_script(script, *arguments, environment=self.environment | environment)
        return status, said.splitlines()

    def add(self, name: str, script: str = SERVICE, *, mode: int = 0o755) -> None:
        """Add a service."""
        path = self.folder / "services.d" / name
        path.write_text(script, "utf-8")
        path.chmod(mode)

    def called(self) -> list[str]:
        """Tell which services were called with what, and forget it."""
        path = self.folder / "called"
        calls = path.read_text("utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return calls


@pytest.fixture
def every(tmp_path: Path) -> All:
    """One without a service."""
    (tmp_path / "all.sh").symlink_to(ROOT / "all.sh")
    (tmp_path / "services.d").mkdir()
    return All(tmp_path, {"PATH": os.environ["PATH"], "LC_ALL": "C"})


def test_they_start_in_order_and_stop_in_reverse(every: All) -> None:
    """One line and exit status each; a second start and a second stop say the same."""
    every.add("20-b")
    every.add("10-a")
    for _ in range(2):
        assert every("start") == (0, ["✅ 10-a [0] Started.", "✅ 20-b [0] Started."])
        assert every.called() == ["10-a start", "20-b start"]
    assert every("status") == (0, ["✅ 10-a [0] Running.", "✅ 20-b [0] Running."])
    every.called()
    for _ in range(2):
        assert every("stop") == (0, ["✅ 20-b [0] Stopped.", "✅ 10-a [0] Stopped."])
        assert every.called() == ["20-b stop", "10-a stop"]


def test_a_restart_stops_all_before_it_starts_any(every: All) -> None:
    """Whatever depends on another finds it running."""
    every.add("10-a")
    every.add("20-b")
    assert every("restart")[0] == 0
    assert every.called() == ["20-b stop", "10-a stop", "10-a start", "20-b start"]


OWN = SERVICE.replace("#!/bin/sh\n", "#!/bin/sh\n# restart: its own\n").replace(
    "  stop)", '  restart) echo "Restarted." ;;\n  stop)'
)


def test_a_restart_is_a_service_s_own_where_it_has_one(every: All) -> None:
    """In its place, and it is neither stopped nor started; what depends on it finds it running."""
    every.add("10-a", OWN)
    every.add("20-b")
    every.add("30-c", OWN)
    assert every("restart") == (
        0,
        [
            "✅ 20-b [0] Stopped.",
            "✅ 10-a [0] Restarted.",
            "✅ 20-b [0] Started.",
            "✅ 30-c [0] Restarted.",
        ],
    )
    assert every.called() == ["20-b stop", "10-a restart", "20-b start", "30-c restart"]


def test_a_restart_of_its_own_that_fails_stops_none_of_the_others(every: All) -> None:
    """Its line says why, the exit status is 1, and it is not stopped for it."""
    every.add("10-a", "#!/bin/sh\n# restart: its own\necho $1 >>calls\necho '❌ no'\nexit 3\n")
    every.add("20-b")
    status, lines = every("restart")
    assert (status, lines[1]) == (1, "❌ 10-a [3] no")
    assert every.called() == ["20-b stop", "20-b start"]
    assert (every.folder / "calls").read_text("utf-8") == "restart\n"


def test_status_of_one_that_does_not_run_is_3(every: All) -> None:
    """Unless another has failed: that is 1."""
    every.add("10-a")
    every.add("20-b")
    every("start")
    (every.folder / "20-b.runs").unlink()
    assert every("status") == (3, ["✅ 10-a [0] Running.", "➖ 20-b [3] Not running."])
    every.add("30-c", "#!/bin/sh\necho 'disk full'\nexit 7\n")
    assert every("status")[0] == 1


def hangs(every: All) -> str:
    """A service that does not come back; it is ended."""
    every.add("10-broken", "#!/bin/sh\necho waiting\nexec sleep 100\n")
    return "❌ 10-broken [124] did not finish within 1 s and was ended; before that: waiting"


def fails(every: All) -> str:
    """Its last line tells why; an exit status of 3 means nothing but for a status."""
    every.add("10-broken", "#!/bin/sh\necho first\necho '❌ port taken' >&2\nexit 3\n")
    return "❌ 10-broken [3] port taken"


def is_silent(every: All) -> str:
    """It says nothing."""
    every.add("10-broken", "#!/bin/sh\nexit 1\n")
    return "❌ 10-broken [1] said nothing"


def is_not_executable(every: All) -> str:
    """Somebody has copied it without its mode."""
    every.add("10-broken", mode=0o644)
    return "❌ 10-broken [126] is no executable file: chmod +x services.d/10-broken"


def has_no_interpreter(every: All) -> str:
    """Its first line names no program."""
    every.add("10-broken", "#!/nosuch/shell\n")
    return "❌ 10-broken ["


@pytest.mark.parametrize("broken", [hangs, fails, is_silent, is_not_executable, has_no_interpreter])
def test_a_broken_one_stops_none_of_the_others(every: All, broken: Callable[[All], str]) -> None:
    """It has its line, and the exit status is 1."""
    told = broken(every)
    every.add("20-b")
    status, lines = every("start", SERVICE_LIMIT_S="1")
    assert status == 1
    assert lines[0].startswith(told)
    assert lines[1:] == ["✅ 20-b [0] Started."]


def test_what_is_not_configured_is_left_out(every: All) -> None:
    """With exit status 6, which is no fault."""
    every.add("10-a", "#!/bin/sh\necho 'There is no a.env.'\nexit 6\n")
    every.add("20-b")
    lines = ["➖ 10-a [6] There is no a.env.", "✅ 20-b [0] Started."]
    assert every("start") == (0, lines)


@pytest.mark.parametrize("name", ["10-a.bak", "10-a~", "README", ".10-a.swp", "10-a.dpkg-old"])
def test_what_lies_beside_them_is_no_service(every: All, name: str) -> None:
    """As editors and package managers leave it."""
    every.add(name)
    every.add("20-b")
    assert every("start") == (0, ["✅ 20-b [0] Started."])


def test_a_daemon_that_keeps_its_output_open_holds_up_nothing(every: All) -> None:
    """Nor the next command: it has not inherited the lock."""
    every.add("10-a", "#!/bin/sh\nsleep 100 &\necho $! >pid\necho Started.\n")
    try:
        for _ in range(2):
            assert every("start", SERVICE_LIMIT_S="20") == (0, ["✅ 10-a [0] Started."])
            os.kill(int((every.folder / "pid").read_text()), 0)  # it runs on
            os.kill(int((every.folder / "pid").read_text()), 15)
    finally:
        (every.folder / "pid").unlink(missing_ok=True)


@pytest.mark.parametrize("arguments", [(), ("begin",), ("start", "10-a"), ("--version",)])
def test_other_words_start_nothing(every: All, arguments: tuple[str, ...]) -> None:
    """Exit 2 and how it is used."""
    every.add("10-a")
    status, lines = every(*arguments)
    assert (status, lines[0]) == (2, "Usage: ./all.sh start | stop | restart | status")
    assert every.called() == []


def test_without_a_service_it_says_so(every: All) -> None:
    """Nothing was started: exit 1."""
    assert every("start") == (1, ["There is no service in services.d/."])


def test_ours_are_there(postgres: Postgres, tmp_path: Path) -> None:
    """The service, and a follower once it has its follower.env; each by its own last line.

    A restart hands their ports over: who serves is new, who holds the port stays.
    """
    seed(postgres)
    install(tmp_path, "all.sh", "services.d")
    port, other = free_port(), free_port()
    (tmp_path / ".env").write_text(f"ROLE=api\nSERVICE_PORT={port}\n", "utf-8")
    own = postgres.environment() | {"SSH_PASSWORD": SSH_PASSWORD, "PYTHONUTF8": "1"}
    every = All(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | own)
    service, follower = "10-asterisk-calls", "20-asterisk-follower"
    assert every("status") == (
        3,
        [
            f"➖ {service} [3] Not running.",
            f"➖ {follower} [6] Not configured: there is no follower.env.",
        ],
    )
    (tmp_path / "follower.env").write_text(f"ROLE=follower\nFOLLOWER_PORT={other}\n", "utf-8")
    try:
        status, lines = every("start")
        assert status == 0, lines
        ready = [f"✅ {name} [0] ready to place calls: 200 ready" for name in (service, follower)]
        assert lines == ready
        assert every("status") == (0, ready)
        staying = [int(path.read_text("utf-8")) for path in (tmp_path / ".run").glob("*.pid")]
        before = {one for pid in staying for one in descendants(pid)}
        assert (len(staying), every("restart")) == (2, (0, ready))
        for pid in staying:
            assert set(descendants(pid)) - before
    finally:
        status, lines = every("stop")
    assert (status, lines) == (0, [f"✅ {follower} [0] Stopped.", f"✅ {service} [0] Stopped."])

"""What is shipped for systemd and logrotate, by those programs' own word."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ("asterisk-calls.service", "asterisk-calls-follower.service")
# Of systemd-analyze's exposure, which goes from 0 to 10: below 2 is `OK` at its strictest.
MOST_EXPOSED = 2.0
LINES = 3_000
_WRITER = """
import sys
from shared.settings import Settings
from shared.telemetry import LOG, configure_logging
configure_logging(Settings(log_file=sys.argv[1]))
for number in range(int(sys.argv[3])):
    LOG.info("line %s-%d ", sys.argv[2], number)
    if number % 1000 == 0:
        print(number, flush=True)
        sys.stdin.readline()
"""


def program(name: str, package: str) -> str:
    """Find it; without it the test is skipped, but never in CI."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        missing = f"{name} is missing: apt-get install -y {package}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_valid_and_hardened(unit: str, tmp_path: Path) -> None:
    """Valid to systemd, which finds no fault in them, and little that they expose."""
    analyze = program("systemd-analyze", "systemd")
    text = (ROOT / "deploy" / "systemd" / unit).read_text("utf-8")
    python = "/opt/asterisk-calls/.venv/bin/python"
    assert python in text
    here = tmp_path / unit
    here.write_text(text.replace(python, sys.executable), "utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(here)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if unit in line]
    assert (done.returncode, said) == (0, [])
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) < MOST_EXPOSED


def test_units_differ_where_they_must() -> None:
    """Each has an environment, a user and folders of its own; both stop later than a request."""
    texts = [(ROOT / "deploy" / "systemd" / unit).read_text("utf-8") for unit in UNITS]
    for name in ("EnvironmentFile", "User", "StateDirectory", "LogsDirectory"):
        values = [re.findall(rf"^{name}=(.+)$", text, re.MULTILINE) for text in texts]
        assert [len(found) for found in values] == [1, 1], name
        assert values[0] != values[1], name
    for text in texts:
        assert int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0]) > 35
        assert "ExecReload=/bin/kill -HUP $MAINPID\n" in text


def test_a_rotated_log_loses_no_line(tmp_path: Path) -> None:
    """Two processes write while a real logrotate moves the log: each line is there once.

    The new file is nobody else's to read.
    """
    rotate = program("logrotate", "logrotate")
    log = tmp_path / "asterisk_service.log"
    shipped = (ROOT / "deploy" / "logrotate" / "asterisk-calls").read_text("utf-8")
    for where in ("asterisk-calls-follower", "asterisk-calls"):
        path = f"/var/log/{where}/asterisk_service.log"
        assert path in shipped
        shipped = shipped.replace(path, str(log) if where == "asterisk-calls" else "")
    config = tmp_path / "rotate.conf"
    config.write_text(shipped, "utf-8")
    config.chmod(0o644)
    tmp_path.chmod(0o755)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(log), name, str(LINES)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in ("a", "b")
    ]
    for _ in range(LINES // 1000):
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline()
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        command = [rotate, "--force", "--state", str(tmp_path / "state"), str(config)]
        subprocess.run(command, check=True, capture_output=True)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    files = sorted(tmp_path.glob("asterisk_service.log*"))
    assert len(files) > 1
    texts = [
        subprocess.run(["gzip", "-dcf", str(file)], check=True, capture_output=True).stdout.decode()
        for file in files
    ]
    found = re.findall(r"line (\w-\d+) ", "".join(texts))
    assert sorted(found) == sorted(f"{name}-{n}" for name in ("a", "b") for n in range(LINES))
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file

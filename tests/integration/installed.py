"""The project in a folder of its own, and its shell scripts there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FILES = ("asterisk.sh", "asterisk.py", "deploy", "demo", "functions", "shared")


def install(folder: Path, *more: str) -> None:
    """Have in a folder all that a service needs, and `more` of the project's files."""
    for name in (*_FILES, *more):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)


def run_script(script: Path, *arguments: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run one in its folder; its exit status and all that it says."""
    done = subprocess.run(
        [str(script), *arguments],
        cwd=script.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout

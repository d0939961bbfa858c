"""Node.js, for what is tested of clients in JavaScript and TypeScript."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Find `node` or `npm`; without it the test is skipped, and fails in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: apt-get install nodejs npm")
        pytest.skip(f"{name} is not installed: apt-get install nodejs npm")
    return found


def run(*words: str | Path, folder: Path | None = None, limit_s: float = 120) -> str:
    """Run it to its end; what it has printed, which is shown where it fails."""
    done = subprocess.run(
        [program(str(words[0])), *map(str, words[1:])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""What a cold start loads: each handler, imported by a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"asyncssh", "cryptography", "pg8000", "uvicorn", "aws_lambda_powertools", "boto3"}


def loaded_by(module: str, folder: Path) -> set[str]:
    """Import a module in an interpreter of its own; the top-level packages that it loaded."""
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("health", set()),
        ("status", {"pg8000"}),
        ("makecallexternal", {"pg8000", "asyncssh", "cryptography"}),
        ("monitor", {"pg8000", "asyncssh", "cryptography"}),
        ("history", {"pg8000", "asyncssh", "cryptography"}),
    ],
)
def test_handler_loads_only_what_it_needs(name: str, needed: set[str], tmp_path: Path) -> None:
    """Health loads neither SSH nor the database, status no SSH; none makes a file."""
    assert needed == HEAVY & loaded_by(f"functions.{name}.handler", tmp_path)
    assert list(tmp_path.iterdir()) == []

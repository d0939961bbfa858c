"""What a cold start loads: each handler, imported by a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARAMETERS = "aws_lambda_powertools.utilities.parameters"
# What costs a cold start 85 ms or more, or belongs to the local service alone.
HEAVY = {
    *("asyncssh", "cryptography", "pg8000", "uvicorn", "httptools", "prometheus_client"),
    *("jinja2", "httpcore"),
    *("aws_lambda_powertools", PARAMETERS, "boto3", "botocore.session"),
}
DATABASE = {"pg8000"}
DATABASE_AND_SSH = {"pg8000", "asyncssh", "cryptography"}
NEEDED: dict[str, set[str]] = {
    "audit": DATABASE,
    "calls": DATABASE,
    "events": DATABASE,
    "extensions": DATABASE_AND_SSH,
    "hangup": DATABASE_AND_SSH,
    "health": set(),
    "history": DATABASE_AND_SSH,
    "makecallexternal": DATABASE_AND_SSH,
    "monitor": DATABASE_AND_SSH,
    "push": set(),
    "ready": DATABASE,
    "sockets": DATABASE,
    "status": DATABASE,
    "tracker": DATABASE_AND_SSH,
    "transfer": DATABASE_AND_SSH,
    "watchdog": DATABASE,
    "webhooks": DATABASE,
}
# How many apps and handlers of the log there are once a module is imported, and what is loaded.
COUNTED = """
import fastapi, logging, sys
made, init = [], fastapi.FastAPI.__init__
def counting(self, *args, **options):
    made.append(self)
    init(self, *args, **options)
fastapi.FastAPI.__init__ = counting
import {}
print(len(made), len(logging.getLogger("asterisk").handlers), *sys.modules)
"""
# Where there is no fastapi there is no app.
WITHOUT_APP = """
import logging, sys
import {}
print(int("fastapi" in sys.modules), len(logging.getLogger("asterisk").handlers), *sys.modules)
"""
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:made-up-AbCdEf"


def fresh(program: str, folder: Path, **environment: str) -> list[str]:
    """Run a few lines in an interpreter of its own; the words that they print."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def heavy_of(name: str, folder: Path, **environment: str) -> set[str]:
    """Import a function's handler; what it loaded of the heavy."""
    program = f"import sys, functions.{name}.handler; print(*sys.modules)"
    return HEAVY & set(fresh(program, folder, **environment))


def test_every_function_is_in_the_table() -> None:
    """Whoever adds a function says what it needs."""
    assert set(NEEDED) == {path.parent.name for path in ROOT.glob("functions/*/handler.py")}


@pytest.mark.parametrize(("name", "needed"), NEEDED.items())
def test_handler_loads_only_what_it_needs(name: str, needed: set[str], tmp_path: Path) -> None:
    """Health loads neither SSH nor the database, the readers of rows no SSH.

    None configures anything: it makes no file, no app and no log. Off Lambda the first event makes
    them, or asterisk.py has its own.
    """
    counted = WITHOUT_APP if name == "tracker" else COUNTED
    apps, handlers, *loaded = fresh(counted.format(f"functions.{name}.handler"), tmp_path)
    assert HEAVY & set(loaded) == needed
    assert (apps, handlers) == ("0", "0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["health", "makecallexternal", "tracker"])
def test_lambda_adds_the_logger_alone(name: str, tmp_path: Path) -> None:
    """Without a secret's ARN neither boto3 nor Powertools Parameters is loaded there either."""
    loaded = heavy_of(name, tmp_path, AWS_LAMBDA_FUNCTION_NAME=name)
    logger = set() if name == "tracker" else {"aws_lambda_powertools"}
    assert loaded == NEEDED[name] | logger


def test_the_composed_service_is_one_app(tmp_path: Path) -> None:
    """Importing asterisk.py builds one, whatever the number of handlers."""
    apps, *_ = fresh(COUNTED.format("asterisk"), tmp_path)
    assert apps == "1"


def test_the_trackers_function_loads_no_web_framework(tmp_path: Path) -> None:
    """It answers no HTTP request."""
    program = "import sys, functions.tracker.handler; print(*sys.modules)"
    assert not {"fastapi", "starlette"} & set(fresh(program, tmp_path))


@pytest.mark.parametrize("setting", ["POSTGRES_SECRET_ARN", "SSH_SECRET_ARN"])
def test_secrets_arn_loads_its_reader_in_init(setting: str, tmp_path: Path) -> None:
    """INIT has more CPU than a request, and a snapshot holds what it has imported."""
    environment = {"AWS_LAMBDA_FUNCTION_NAME": "makecallexternal", setting: ARN}
    loaded = heavy_of("makecallexternal", tmp_path, **environment)
    reader = {"aws_lambda_powertools", PARAMETERS, "boto3", "botocore.session"}
    assert loaded == DATABASE_AND_SSH | reader

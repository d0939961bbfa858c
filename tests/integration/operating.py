"""An operator's commands, executed in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from shared.operate.__main__ import main
from shared.process import forget_all
from tests.postgres import Postgres

HOST = "192.0.2.10"

# Arguments, and settings by their names; returns the exit code, stdout and stderr.
Operate: TypeAlias = Callable[..., tuple[int, str, str]]


def operate_on(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operate:
    """Execute commands on this database."""

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in (postgres.environment() | environment).items():
            monkeypatch.setenv(name, value)
        forget_all()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run

"""Lambda, as far as this machine can be it: the functions of an artifact, two ways to run each."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.artifact import Artifact
from tests.emulator.freezing import Environment, freezing
from tests.emulator.function import Function, emulated
from tests.emulator.runtime import Runtime

# What boto3 wants to know before it connects; made up, and nothing here reaches AWS.
_AWS = {
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Platform:
    """Runs the functions of an artifact; what they print goes to files in `folder`."""

    runtime: Runtime
    artifact: Artifact
    folder: Path

    def emulated(
        self, name: str, settings: dict[str, str], *, timeout_s: int = 30
    ) -> contextlib.AbstractAsyncContextManager[Function]:
        """Run one under the genuine emulator, which ends it when its time is up."""
        return emulated(
            self.runtime,
            _handler(name),
            self.artifact.function(name),
            self._environment(name, settings) | {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s)},
            self._output(name),
        )

    def freezing(
        self, name: str, settings: dict[str, str]
    ) -> contextlib.AbstractAsyncContextManager[Environment]:
        """Run one in an environment that is frozen between invocations."""
        return freezing(
            self.runtime,
            _handler(name),
            self.artifact.function(name),
            self._environment(name, settings),
            self._output(name),
        )

    def _output(self, name: str) -> Path:
        number = sum(1 for _ in self.folder.glob(f"{name}-*.output"))
        return self.folder / f"{name}-{number}.output"

    def _environment(self, name: str, settings: dict[str, str]) -> dict[str, str]:
        """What Lambda sets, and the function's own settings; nothing else of this machine.

        Lambda unpacks to where nothing can be written, so no bytecode appears that was not built.
        """
        return {
            "PATH": os.environ["PATH"],
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": self.artifact.python_path(name),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LAMBDA_TASK_ROOT": str(self.artifact.function(name)),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            **_AWS,
            **settings,
        }


def _handler(name: str) -> str:
    return f"functions.{name}.handler.handler"

"""The built artifact and what it runs with; made once a session.

`SAM_BUILD=.aws-sam/build` tests what `sam build` has made instead of building anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.emulator.artifact import Artifact, build
from tests.emulator.platform import Platform
from tests.emulator.runtime import DEPLOYED, Runtime, find_interpreter, load_runtime
from tests.integration.conftest import dynamo, pbx, postgres

__all__ = ["dynamo", "pbx", "postgres"]


def pytest_report_header() -> str:
    """Say which Python the functions run under, and what was built."""
    interpreter = find_interpreter()
    note = "" if interpreter.is_deployed else f"; the deployment's is {DEPLOYED}, not found here"
    built = os.environ.get("SAM_BUILD", "by make for this session")
    return f"lambda: python {interpreter.version} ({interpreter.path}){note}; built: {built}"


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The runtime interface client and emulator."""
    return load_runtime()


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Every function and the layer, as they would be uploaded."""
    interpreter = find_interpreter()
    given = os.environ.get("SAM_BUILD")
    if given is None:
        return build(tmp_path_factory.mktemp("artifact"), interpreter)
    artifact = Artifact(Path(given).resolve(strict=True))
    if artifact.tag != interpreter.tag:
        pytest.exit(f"{given} was built for {artifact.tag}, found here: {interpreter}", 1)
    return artifact


@pytest.fixture
def platform(runtime: Runtime, artifact: Artifact, tmp_path: Path) -> Platform:
    """What runs the artifact's functions, for one test."""
    return Platform(runtime, artifact, tmp_path)

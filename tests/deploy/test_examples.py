"""deploy/examples: what is there fits the code and template.yaml; tests/run deploy lints it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings
from tests.deploy.template import ROOT, load_template, parse
from tests.integration.service import run_process

EXAMPLES = ROOT / "deploy/examples"
STACKS = sorted(EXAMPLES.glob("*.yaml"))
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text("utf-8")


def container() -> dict[str, Any]:
    """The follower's container."""
    task = parse(EXAMPLES / "follower.yaml")["Resources"]["Task"]["Properties"]
    (found,) = task["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


def test_every_example_is_looked_through() -> None:
    """Each stack by checkov, too; cfn-lint and hadolint are given the whole folder."""
    looked_at = yaml.safe_load((ROOT / "deploy/checkov.yaml").read_text("utf-8"))["file"]
    assert set(looked_at) == {
        "template.yaml",
        *(path.relative_to(ROOT).as_posix() for path in STACKS),
    }


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_what_is_alike_is_so_by_default(path: Path) -> None:
    """A parameter of the service's own stack has its default here too, and names nobody."""
    known = load_template().parameters
    parameters = parse(path)["Parameters"]
    for name in parameters.keys() & known.keys():
        assert parameters[name].get("Default") == known[name].get("Default"), name
    assert not re.findall(r"\b\d{12}\b|AKIA\w+", path.read_text("utf-8"))


def test_the_follower_is_given_settings() -> None:
    """Those that the service knows, with values that it accepts; secrets by their ARNs alone."""
    stack = parse(EXAMPLES / "follower.yaml")
    defaults = {
        name: str(parameter.get("Default", "made-up"))
        for name, parameter in stack["Parameters"].items()
    }
    given = {
        item["Name"]: defaults[item["Value"]["Ref"]] if "Ref" in item["Value"] else item["Value"]
        for item in container()["Environment"]
        if item["Name"] != "AWS_DEFAULT_REGION"
    }
    settings = Settings.from_environment(given)
    assert (settings.role, settings.postgres_secret_arn) == ("follower", "made-up")
    assert "Secrets" not in container()


def test_the_image_is_asked_for_its_health_as_the_task_says() -> None:
    """The same question in both, of the port where a follower answers."""
    (asked,) = re.findall(r'CMD \["python", "-c", \\\n  "(.+)"\]', DOCKERFILE)
    assert container()["HealthCheck"]["Command"] == ["CMD", "python", "-c", asked]
    assert f"127.0.0.1:{Settings().follower_port}/health" in asked


def test_the_image_has_the_interpreter_of_the_functions() -> None:
    """And packages by the locks, all of which it copies before."""
    assert f"python:{load_template().globals['Runtime'].removeprefix('python')}-" in DOCKERFILE
    locks = re.findall(r"-r (\S+)", DOCKERFILE)
    assert "shared/requirements.txt" in locks
    for lock in locks:
        assert f"COPY {lock} {lock}" in DOCKERFILE
        assert (ROOT / lock).is_file()


@pytest.mark.anyio
async def test_what_the_image_copies_is_enough(tmp_path: Path) -> None:
    """A follower starts from these files alone, by the image's own command, and tells so.

    A database that is away does not keep it from that.
    """
    code = tmp_path / "image"
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE):
        (code / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, code / target, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, code / target)
    (command,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    python, *arguments = json.loads(command)
    assert python == "python"
    settings = {"ROLE": "follower", "LOG_FILE": "", "POSTGRES_PORT": "1"}
    async with run_process(tmp_path, settings, arguments=tuple(arguments), code=code) as process:
        assert process.url

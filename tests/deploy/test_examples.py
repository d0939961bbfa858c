"""deploy/examples: what is there fits the code and template.yaml; tests/run deploy lints it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.aws.logins import OriginSecret
from shared.http.edge import CLIENT_HEADER, SECRET_HEADER
from shared.settings import Settings
from tests.deploy.template import ROOT, load_template, parse
from tests.deploy.test_template import GATEWAY_TIMEOUT_S
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


# ---- edge.yaml


def edge() -> dict[str, Any]:
    """CloudFront's configuration, and what stands beside it."""
    resources = parse(EXAMPLES / "edge.yaml")["Resources"]
    assert isinstance(resources, dict)
    return resources


def test_cloudfront_shows_what_the_service_asks_for() -> None:
    """The header, the secret's two fields; the client's address in a header that it overwrites."""
    resources = edge()
    (origin,) = resources["Distribution"]["Properties"]["DistributionConfig"]["Origins"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"] == SECRET_HEADER
    shown = parse(EXAMPLES / "edge.yaml")["Parameters"]["Shown"]["AllowedValues"]
    assert set(shown) == set(OriginSecret.model_fields)
    made = resources["OriginSecret"]["Properties"]["GenerateSecretString"]
    assert made["GenerateStringKey"] == "current"
    secret = {made["GenerateStringKey"]: "x" * made["PasswordLength"]}
    assert OriginSecret.model_validate(secret).values
    code = resources["NameViewer"]["Properties"]["FunctionCode"]
    assert f'request.headers["{CLIENT_HEADER.lower()}"] = {{ value: event.viewer.ip }};' in code


def test_cloudfront_keeps_nothing() -> None:
    """No answer by its policy, and no error by its own habit, of any status that it may keep."""
    config = edge()["Distribution"]["Properties"]["DistributionConfig"]
    behavior = config["DefaultCacheBehavior"]
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert "CacheBehaviors" not in config
    kept = {item["ErrorCode"]: item for item in config["CustomErrorResponses"]}
    assert set(kept) == {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}
    for code, item in kept.items():
        assert item == {"ErrorCode": code, "ErrorCachingMinTTL": 0}


def test_cloudfront_waits_longer_than_a_request_takes() -> None:
    """Or the client would be told of a failure while its phone rings; it passes every method."""
    config = edge()["Distribution"]["Properties"]["DistributionConfig"]
    (origin,) = config["Origins"]
    assert origin["CustomOriginConfig"]["OriginReadTimeout"] > GATEWAY_TIMEOUT_S
    template = load_template()
    methods = {method for folder in template.functions for method, _ in template.routes(folder)}
    assert methods <= set(config["DefaultCacheBehavior"]["AllowedMethods"])


def test_the_firewall_logs_no_secret() -> None:
    """Not the query, where a clientId may be, nor the headers that carry one."""
    logging = edge()["FirewallLogging"]["Properties"]
    redacted = [
        field.get("SingleHeader", {}).get("Name", "query") for field in logging["RedactedFields"]
    ]
    assert sorted(redacted) == ["authorization", "query", "x-client-id"]
    assert "Logging" not in edge()["Distribution"]["Properties"]["DistributionConfig"]

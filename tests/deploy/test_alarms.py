"""The alarms in a CloudWatch and an SNS of moto's, which stand in for AWS's own.

Moto evaluates no alarm and sends nothing by itself: what is proved is that an alarm looks at the
very metric that the service writes, and that its actions lead to whoever has subscribed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from shared.measures import Metric
from shared.telemetry import count
from tests.deploy.template import load_template
from tests.made_up_aws import made_up_aws

STACK = "calls-demo"
EMAIL = "duty@example.test"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Moto's AWS, and the service on its Lambda."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", f"{STACK}-makecallexternal")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", STACK)
    with made_up_aws(monkeypatch):
        yield


@pytest.fixture
def alarms(aws: None) -> dict[str, dict[str, Any]]:
    """Make the topic, its subscription and the alarms of our own metrics; each by its name."""
    template, sns, cloudwatch = load_template(), boto3.client("sns"), boto3.client("cloudwatch")
    (topic,) = template.of_type("AWS::SNS::Topic")
    known: dict[str, Any] = {"AWS::StackName": STACK, "AlarmEmail": EMAIL, "SlowMs": 2000}
    known[topic] = sns.create_topic(Name=f"{STACK}-{topic}")["TopicArn"]
    (subscription,) = template.of_type("AWS::SNS::Subscription").values()
    sns.subscribe(**{name: resolve(value, known) for name, value in subscription.items()})
    made = {}
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        if alarm.get("Namespace") == {"Ref": "AWS::StackName"} and "AlarmActions" in alarm:
            made[name] = {key: resolve(value, known) for key, value in alarm.items()}
            cloudwatch.put_metric_alarm(AlarmName=name, **made[name])
    return made


def resolve(value: Any, known: dict[str, Any]) -> Any:
    """Put in what the template refers to."""
    if isinstance(value, list):
        return [resolve(item, known) for item in value]
    if isinstance(value, dict):
        return known[value["Ref"]] if set(value) == {"Ref"} else value
    return value


def written(capsys: pytest.CaptureFixture[str], metric: Metric, value: int = 1) -> dict[str, Any]:
    """Have the service write a metric; where CloudWatch finds it in that line of the log."""
    count(metric, value)
    line = json.loads(capsys.readouterr().out)
    (told,) = line["_aws"]["CloudWatchMetrics"]
    (dimensions,) = told["Dimensions"]
    return {
        "Namespace": told["Namespace"],
        "MetricName": told["Metrics"][0]["Name"],
        "Dimensions": [{"Name": name, "Value": line[name]} for name in dimensions],
    }


@pytest.mark.parametrize(
    ("metric", "alarm"),
    [
        ("UnknownOutcomes", "UnknownOutcomesAlarm"),
        ("HostKeysChanged", "HostKeysChangedAlarm"),
        ("InternalErrors", "InternalErrorsAlarm"),
        ("HostsUntracked", "TrackerStalledAlarm"),
        ("PlacingMs", "SlowCallsAlarm"),
        ("PushesGivenUp", "PushesGivenUpAlarm"),
    ],
)
def test_an_alarm_looks_at_what_the_service_writes(
    alarms: dict[str, Any], capsys: pytest.CaptureFixture[str], metric: Metric, alarm: str
) -> None:
    """The same namespace, name and dimensions to the letter: CloudWatch matches nothing less."""
    found = boto3.client("cloudwatch").describe_alarms_for_metric(**written(capsys, metric))
    assert [one["AlarmName"] for one in found["MetricAlarms"]] == [alarm]


def test_every_alarm_of_ours_is_told_above(alarms: dict[str, Any]) -> None:
    """A new one needs its line in the table."""
    (mark,) = test_an_alarm_looks_at_what_the_service_writes.pytestmark
    assert set(alarms) == {alarm for _, alarm in mark.args[1]}


def test_an_alarm_and_its_end_reach_the_subscriber(alarms: dict[str, Any]) -> None:
    """Each action is a topic that there is, and the e-mail's address is asked to confirm it."""
    sns = boto3.client("sns")
    actions = {arn for one in alarms.values() for arn in one["AlarmActions"]}
    assert {arn for one in alarms.values() for arn in one["OKActions"]} == actions
    (topic,) = actions
    (subscriber,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (subscriber["Protocol"], subscriber["Endpoint"]) == ("email", EMAIL)

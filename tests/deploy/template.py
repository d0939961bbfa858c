"""template.yaml as data: tags become the functions that they stand for, `!Ref X` {"Ref": "X"}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
_DASHBOARD = "AWS::CloudWatch::Dashboard"


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML ships no types
    """Knows CloudFormation's tags."""


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt":
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _function)


class Template:
    """The deployment; its parts are plain dictionaries, which a test may change."""

    def __init__(self, parsed: dict[str, Any]) -> None:
        self.conditions: dict[str, Any] = parsed["Conditions"]
        self.parameters: dict[str, Any] = parsed["Parameters"]
        self.globals: dict[str, Any] = parsed["Globals"]["Function"]
        self.resources: dict[str, Any] = parsed["Resources"]
        self.outputs: dict[str, Any] = parsed["Outputs"]

    def of_type(self, type_: str) -> dict[str, dict[str, Any]]:
        """Properties of each resource of a type, by its name."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == type_
        }

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        """Properties of each function, Globals included, by its folder's name."""
        found = {}
        for logical, own in self.of_type("AWS::Serverless::Function").items():
            environment = _variables(self.globals) | _variables(own)
            properties = {**self.globals, **own, "Logical": logical, "Variables": environment}
            found[str(own["CodeUri"]).removeprefix("functions/").strip("/")] = properties
        return found

    def routes(self, folder: str) -> set[tuple[str, str]]:
        """Method and path of each HTTP event of a function."""
        return {
            (event["Properties"]["Method"], event["Properties"]["Path"])
            for event in self.functions[folder].get("Events", {}).values()
            if event["Type"] == "HttpApi"
        }

    def policies(self, folder: str) -> set[str]:
        """Names of the policies of a function's role, those included that name it themselves."""
        role = self.role(folder)
        own = self.resources[role]["Properties"]["ManagedPolicyArns"]
        return {_meant(policy) for policy in own} | {
            name
            for name, policy in self.of_type("AWS::IAM::ManagedPolicy").items()
            if {"Ref": role} in policy.get("Roles", ())
        }

    def role(self, folder: str) -> str:
        """Name of a function's role."""
        name, attribute = self.functions[folder]["Role"]["Fn::GetAtt"]
        assert attribute == "Arn"
        return str(name)

    def groups(self, folder: str) -> set[str]:
        """Names of a function's security groups; none if it is in no VPC."""
        groups = self.functions[folder].get("VpcConfig", {}).get("SecurityGroupIds", [])
        return {_meant(group) for group in groups}

    def is_optional(self, name: str) -> bool:
        """Whether a resource is there only where there are WebSockets."""
        return self.resources[name].get("Condition") in {"HasSockets", "LacksEndpoint"}

    def dashboard(self) -> list[dict[str, Any]]:
        """List all dashboards' widgets, with `${...}` left as it is."""
        return [widget for name in self.of_type(_DASHBOARD) for widget in self.widgets(name)]

    def widgets(self, name: str) -> list[dict[str, Any]]:
        """List those of one dashboard."""
        body = self.resources[name]["Properties"]["DashboardBody"]["Fn::Sub"]
        widgets = json.loads(body)["widgets"]
        assert isinstance(widgets, list)
        return widgets


def load_template() -> Template:
    """Read template.yaml; each caller gets its own, to change it."""
    return Template(deepcopy(_parsed()))


@cache
def _parsed() -> dict[str, Any]:
    return parse(TEMPLATE)


def parse(path: Path) -> dict[str, Any]:
    """Read any template."""
    parsed = yaml.load(path.read_text("utf-8"), _Loader)
    assert isinstance(parsed, dict)
    return parsed


def _meant(item: dict[str, Any]) -> str:
    """Name what is referred to, be it only where there are WebSockets."""
    if "Fn::If" in item:
        condition, item, otherwise = item["Fn::If"]
        assert (condition, otherwise) == ("HasSockets", {"Ref": "AWS::NoValue"})
    return str(item["Ref"])


def _variables(function: dict[str, Any]) -> dict[str, Any]:
    return dict(function.get("Environment", {}).get("Variables", {}))


def needs(value: object) -> Iterator[str]:
    """Yield every name that a part of the template refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield str(inner)
            elif key == "Fn::GetAtt":
                yield str(inner[0])
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([A-Za-z0-9]+)", str(inner))
            else:
                yield from needs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from needs(inner)

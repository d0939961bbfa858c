"""The OpenAPI of the service: what FastAPI says of the declarations, made whole.

FastAPI tells paths, parameters and models. Here each answer gets its examples and headers, each
failure its body and codes, each enumeration of an answer stays open for words that are to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from shared.description.problem import Problem, example_of, may_say_when
from shared.description.schemas import (
    Json,
    describe_field,
    describe_fields,
    open_enumerations,
    reached,
)
from shared.description.schemas import example_of as example_of_schema
from shared.description.texts import ABOUT, HEADERS, SANDBOX, SECRETS, TAGS
from shared.http.app import Describe
from shared.http.failures import CODES, QUOTA, refer
from shared.http.problems import PROBLEM_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_JSON = "application/json"


def describing(root_path: str) -> Describe:
    """What makes a description whole, of a service that a proxy has below `root_path`."""
    return partial(describe, server=root_path or "/")


def describe(document: Json, *, server: str) -> Json:
    """Make a description whole."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    document["info"]["description"] = ABOUT
    document["servers"] = [{"url": server}]
    document["tags"] = TAGS
    document["components"]["securitySchemes"] = SECRETS
    document["components"]["headers"] = HEADERS
    examples: Json = document["components"].setdefault("examples", {})
    describe_fields(schemas)
    told = [operation["responses"] for operation in _operations(document)]
    for _, schema in reached([*told, _PROBLEM], schemas):
        open_enumerations(schema)
    for operation in _operations(document):
        if "security" in operation:
            operation["security"] = list(_places(operation["security"]))
        for parameter in operation.get("parameters", ()):
            # Its schema's own description stays: of what is missing it says what is required.
            words = [
                parameter.get("description", ""),
                describe_field(parameter["name"], parameter["schema"]),
            ]
            parameter["description"] = max(words, key=len)
        _describe_body(operation, schemas)
        # Who must not ask ahead of a click rings phones.
        rings = "prefetch-refused" in operation["responses"].get("403", {}).get(CODES, ())
        for status, response in operation["responses"].items():
            if CODES in response:
                _describe_failure(int(status), response, examples, rings=rings)
            else:
                _describe_success(response, schemas)
            response["headers"] = refer(["X-Request-Id"]) | response.get("headers", {})
            if "security" in operation:
                _tell_of_sandbox(response, schemas)
    return document


def _operations(document: Json) -> Iterator[Json]:
    for methods in document["paths"].values():
        yield from methods.values()


def _tell_of_sandbox(response: Json, schemas: Json) -> None:
    """Say what `shared/http/problems.py` adds to every answer to an enterprise that has one."""
    response["headers"] |= refer(["X-Sandbox"])
    schema = response.get("content", {}).get(_JSON, {}).get("schema", {})
    for part in schema.get("anyOf", [schema]):
        whole = schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        whole.get("properties", {}).setdefault("sandbox", dict(SANDBOX))


def _places(security: list[Json]) -> Iterator[Json]:
    """Yield each way of saying who asks; one that needs no secret stays as it is."""
    for way in security:
        yield from [{name: []} for name in SECRETS] if way else [way]


def _describe_body(operation: Json, schemas: Json) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = example_of_schema(content["schema"], schemas)


def _describe_success(response: Json, schemas: Json) -> None:
    content = response.get("content", {}).get(_JSON)
    if content is not None and "examples" not in content:
        content["example"] = example_of_schema(content["schema"], schemas)


def _describe_failure(status: int, response: Json, examples: Json, *, rings: bool) -> None:
    codes = response[CODES]
    names = {code: f"{code}-where-phones-ring" if rings else code for code in codes}
    for code, name in names.items():
        examples[name] = {"value": example_of(code, status, rings=rings)}
    refer_to = {code: {"$ref": f"#/components/examples/{name}"} for code, name in names.items()}
    response["content"] = {PROBLEM_TYPE: {"schema": _PROBLEM, "examples": refer_to}}
    headers: list[str] = []
    if status == 401:  # noqa: PLR2004 - HTTP's own
        headers.append("WWW-Authenticate")
    if any(map(may_say_when, codes)):
        headers.append("Retry-After")
    if "rate-limited" in codes:
        headers += QUOTA
    response["headers"] = refer(headers)
    words = ", ".join(f"`{code}`" for code in codes)
    response["description"] = f"{response['description']}: {words}"

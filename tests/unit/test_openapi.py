"""What the API says of itself is whole, and true to the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

import asterisk
from shared.description.problem import KINDS, OF_HTTP
from shared.description.schemas import reached, walk
from shared.http.failures import CODES
from tests.describe import WRITTEN, described, render
from tests.unit.test_readme import codes

Json = dict[str, Any]

DOCUMENT = described()
SCHEMAS: Json = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, Json] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
WITHOUT_SECRET = {"GET /health", "GET /ready", "GET /api/status"}

operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))


def test_what_is_checked_in_is_what_the_service_says() -> None:
    """docs/openapi.json; `python -m tests.describe` writes it anew."""
    assert WRITTEN.read_text("utf-8") == render(DOCUMENT)


def test_what_is_served_is_the_same() -> None:
    """The whole of it, as the app has it."""
    assert json.loads(json.dumps(asterisk.app.openapi())) == DOCUMENT


def test_each_operation_has_a_name_of_its_own() -> None:
    """By which generated clients call it, in one style."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch("[a-z]+(_[a-z]+)*", name)] == []


def test_each_operation_is_below_one_tag_that_is_described() -> None:
    """And no tag is empty; their order is a reader's."""
    used = [operation["tags"] for operation in OPERATIONS.values()]
    listed = [tag["name"] for tag in DOCUMENT["tags"]]
    assert {len(tags) for tags in used} == {1}
    assert {tags[0] for tags in used} == set(listed)
    assert listed == ["calls", "following", "records", "service"]


def test_each_schema_has_a_plain_name() -> None:
    """Of two of one name FastAPI makes names of modules, and of those generators nothing good."""
    assert [name for name in SCHEMAS if not re.fullmatch("[A-Z][A-Za-z]+", name)] == []


def test_each_schema_and_each_field_is_described() -> None:
    """Those of requests, of answers and of failures."""
    missing = [name for name, schema in SCHEMAS.items() if not schema.get("description")]
    for part in walk(SCHEMAS):
        fields = part.get("properties", {}).items()
        missing += [name for name, field in fields if not field.get("description")]
    assert missing == []


@operations
def test_each_parameter_header_and_answer_is_described(operation: Json) -> None:
    """And each header is one that is described once."""
    told = [*operation.get("parameters", ()), *operation["responses"].values()]
    assert [part for part in told if not part.get("description")] == []
    headers = DOCUMENT["components"]["headers"]
    for response in operation["responses"].values():
        assert "X-Request-Id" in response["headers"]
        for name, reference in response["headers"].items():
            assert reference == {"$ref": f"#/components/headers/{name}"}
            assert headers[name]["description"]


def contents(operation: Json) -> Iterator[Json]:
    """Yield each content of JSON that an operation takes or tells."""
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        for kind, content in part.get("content", {}).items():
            if kind.endswith("json"):
                yield content


@operations
def test_each_body_has_an_example_that_is_valid(operation: Json) -> None:
    """Of requests, of answers, and of each code of a failure."""
    for content in contents(operation):
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema)
        references = [each["$ref"] for each in content.get("examples", {}).values()]
        named = DOCUMENT["components"]["examples"]
        examples = [named[reference.rpartition("/")[2]]["value"] for reference in references]
        for example in examples or [content["example"]]:
            validator.validate(example)
            assert example != {}


def told_codes(operation: Json) -> set[tuple[str, int]]:
    """List the codes by which an operation may fail, each with its status."""
    return {
        (code, int(status))
        for status, response in operation["responses"].items()
        for code in response.get(CODES, ())
    }


@operations
def test_each_failure_is_one_that_there_is(operation: Json) -> None:
    """Its code has its status, and an example that says the same."""
    known = codes().items()
    for code, status in told_codes(operation):
        assert (code, status) in known
        responses = operation["responses"][str(status)]
        (content,) = responses["content"].values()
        name = content["examples"][code]["$ref"].rpartition("/")[2]
        example = DOCUMENT["components"]["examples"][name]["value"]
        assert (example["code"], example["status"]) == (code, status)
        assert ("dialled" in example) == (
            "prefetch-refused" in operation["responses"]["403"][CODES] and code in KINDS
        )


def test_each_code_is_told_of_some_operation() -> None:
    """But for those of what never is one of ours."""
    told = {code for operation in OPERATIONS.values() for code, _ in told_codes(operation)}
    never = {"not-found", "method-not-allowed", "malformed-request", "head-too-large"}
    assert told == set(codes()) - never
    assert {code for code, one in OF_HTTP.items() if one.example is None} == never


def test_an_answer_s_enumerations_are_open() -> None:
    """A word that is to come breaks no client: those that there are, are listed beside."""
    answers = [operation["responses"] for operation in OPERATIONS.values()]
    told = dict(reached(answers, SCHEMAS))
    assert "CallState" in told
    assert [part for part in walk(told) if {"enum", "const"} & part.keys()] == []
    assert "talking" in SCHEMAS["CallState"]["properties"]["phase"]["x-extensible-enum"]
    assert "no-such-call" in SCHEMAS["Problem"]["properties"]["code"]["x-extensible-enum"]


def test_a_request_s_enumerations_are_closed() -> None:
    """What is asked for is one of the words that are understood."""
    (source,) = (p for p in OPERATIONS["GET /api/calls"]["parameters"] if p["name"] == "source")
    assert source["schema"]["enum"] == ["api", "pbx"]


def test_events_that_are_to_come_are_events() -> None:
    """A generated client reads a type that it does not know."""
    schema = {"$ref": "#/components/schemas/Events", "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    event = {"seq": 1, "type": "call.recorded", "at": "2026-11-26T09:00:00Z", "file": "x"}
    validator.validate({"events": [event], "next": 1})


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_says_how_to_send_a_secret(name: str) -> None:
    """In three ways, or not at all; a stream's may be a ticket instead."""
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {(s["type"], s.get("scheme"), s.get("in"), s.get("name")) for s in schemes.values()} == {
        ("http", "bearer", None, None),
        ("apiKey", None, "header", "X-Client-Id"),
        ("apiKey", None, "query", "clientId"),
    }
    ways: list[Json] = [] if name in WITHOUT_SECRET else [{scheme: []} for scheme in schemes]
    ticket: list[Json] = [{}] if name == "GET /api/events" else []
    assert OPERATIONS[name].get("security", []) == ways + ticket


@pytest.mark.parametrize(("root_path", "server"), [("", "/"), ("/pbx", "/pbx")])
def test_the_server_is_where_a_proxy_has_it(root_path: str, server: str) -> None:
    """Clients, and the page that tries it, ask below ROOT_PATH."""
    assert described(root_path)["servers"] == [{"url": server}]

"""What the API's description offers to a generated client works as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import asterisk
from tests.integration.followed import TALKS_ON, follow, place, reach
from tests.integration.service import Services

pytestmark = pytest.mark.anyio

DESCRIPTION = asterisk.app.openapi()
Json = dict[str, Any]


class Operation(NamedTuple):
    """A method of a path, and what is described of it."""

    method: str
    path: str
    about: Json

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


OPERATIONS = [
    Operation(method, path, about)
    for path, methods in DESCRIPTION["paths"].items()
    for method, about in methods.items()
]


def resolved(schema: Json) -> Json:
    """Follow a reference."""
    if "$ref" not in schema:
        return schema
    found: Json = DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def offered(schema: Json) -> list[Any]:
    """List what a generated client may send of itself, or a person tries: defaults and examples."""
    whole = [schema, *schema.get("anyOf", ())]
    defaults = [part["default"] for part in whole if part.get("default") is not None]
    return defaults + [
        one for part in whole for one in (*part.get("examples", ()), *part.get("enum", ()))
    ]


def body_of(operation: Operation) -> Json | None:
    """Make a body of its fields' examples."""
    content = operation.about.get("requestBody", {}).get("content", {})
    if not content:
        return None
    schema = resolved(content["application/json"]["schema"])
    return {name: offered(resolved(field))[0] for name, field in schema["properties"].items()}


def requests_of(operation: Operation, call_id: str) -> Iterator[tuple[Json, Json, Json]]:
    """Yield queries, headers and places in the path: each offered value beside all defaults."""
    parameters = [p for p in operation.about.get("parameters", ()) if p["name"] != "call_id"]
    usual: Json = {}
    for parameter in parameters:
        values = offered(parameter["schema"])
        if parameter.get("required") or "default" in parameter["schema"]:
            usual[parameter["name"]] = values[0]
    others = [(p["name"], value) for p in parameters for value in offered(p["schema"])]
    where = {parameter["name"]: parameter["in"] for parameter in parameters}
    for changed in ({}, *({name: value} for name, value in others)):
        given = usual | changed
        yield (
            {name: value for name, value in given.items() if where[name] == "query"},
            {name: value for name, value in given.items() if where[name] == "header"},
            {name: value for name, value in given.items() if where[name] == "path"}
            | {"call_id": call_id},
        )


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
async def test_every_default_and_example_is_taken(start: Services, operation: Operation) -> None:
    """The answer is one that is described, and never that a value was wrong."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    asked = 0
    for query, headers, places in requests_of(operation, call_id):
        answer = await service.http.request(
            operation.method,
            operation.path.format(**places),
            params=query,
            headers=headers,
            json=body_of(operation),
        )
        assert str(answer.status_code) in operation.about["responses"], answer.text
        assert answer.status_code != 422, (query, headers, answer.text)
        asked += 1
    assert asked

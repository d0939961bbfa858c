"""Schemas as a client should read them: enumerations open, every object with an example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from shared.asterisk.models import PHASE_MEANINGS, REASON_MEANINGS

Json: TypeAlias = dict[str, Any]

OPEN = "x-extensible-enum"
_REF = "#/components/schemas/"


def walk(node: Any) -> Iterator[Json]:
    """Yield every object of a document, the outer ones first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def reached(node: Any, schemas: Json) -> Iterator[tuple[str, Json]]:
    """Yield the named schemas to which a part of a document leads, by whatever way, once each."""
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        for part in walk(waiting.pop()):
            name = str(part.get("$ref", "")).removeprefix(_REF)
            if name in schemas and name not in seen:
                seen.add(name)
                waiting.append(schemas[name])
                yield name, schemas[name]


def open_enumerations(node: Any) -> None:
    """Have an answer's enumerations name what is known, and forbid nothing that is to come."""
    for part in walk(node):
        known = part.pop("enum", None) or ([part.pop("const")] if "const" in part else None)
        if known is not None:
            part[OPEN] = known
        if OPEN in part:
            part["description"] = "; ".join(
                filter(None, [part.get("description"), f"so far{_told(part[OPEN])}"])
            )


def _told(words: list[Any]) -> str:
    """List the words of an enumeration, with what each means where that is known."""
    for meanings in (PHASE_MEANINGS, REASON_MEANINGS):
        if words == list(meanings):
            return ":\n\n" + "\n".join(f"- `{word}`: {said}" for word, said in meanings.items())
    return " " + ", ".join(f"`{word}`" for word in words)


def describe_field(name: str, schema: Json) -> str:
    """Take the title from a field's schema, and tell in words what the field is.

    A title that is not its name says what it is for, what is described its rule.
    """
    title = schema.pop("title", "")
    is_own = title.lower() != name.replace("_", " ").lower()
    parts = (schema, *schema.get("anyOf", ()))
    words = [title if is_own else "", *(part.get("description", "") for part in parts)]
    return "; ".join(filter(None, dict.fromkeys(words)))


def describe_fields(node: Any) -> None:
    """Have every field of all objects described in words of its own."""
    for part in walk(node):
        for name, field in part.get("properties", {}).items():
            if words := describe_field(name, field):
                field["description"] = words


def example_of(schema: Json, schemas: Json) -> Any:
    """Make an example of a schema's own examples, those of its parts included."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].removeprefix(_REF)], schemas)
    if "properties" in schema:
        needed = set(schema.get("required", ()))
        parts = {name: example_of(part, schemas) for name, part in schema["properties"].items()}
        return {n: part for n, part in parts.items() if n in needed or part is not None}
    if "items" in schema:
        one = example_of(schema["items"], schemas)
        return [] if one is None else [one]
    if "anyOf" in schema:
        found = (example_of(part, schemas) for part in schema["anyOf"])
        return next((one for one in found if one is not None), None)
    return {"boolean": False}.get(schema.get("type", ""))

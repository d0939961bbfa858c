"""What a client of one description loses by another: nothing, or a sentence for each.

A request must still be taken, an answer must still be understood. Both are one question: does the
one schema take all that the other allows? Of a request the new one must take what the old one
allowed, of an answer the old one what the new one may tell. Failures are of one shape, and not
compared by operation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_REF = "#/components/schemas/"
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_SAME = ("pattern", "format")


def losses(before: Json, now: Json) -> Iterator[str]:
    """Yield what a client that knows `before` loses by `now`."""
    for path, methods in before["paths"].items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            other = now["paths"].get(path, {}).get(method)
            if other is None:
                yield f"{where}: gone"
                continue
            yield from _of_operation(where, operation, other, before, now)


def _of_operation(where: str, old: Json, new: Json, before: Json, now: Json) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"{where}: operationId was {old['operationId']}"
    for scheme in old.get("security", []):
        if scheme not in new.get("security", [scheme]):
            yield f"{where}: security {[*scheme]} gone"
    if new.get("security") and not old.get("security"):
        yield f"{where}: needs a secret"
    yield from _of_parameters(where, old, new, before, now)
    yield from _of_body(where, old, new, before, now)
    for status, answer in old["responses"].items():
        if status >= "3":
            continue
        if status in new["responses"]:
            told = new["responses"][status]
            yield from _of_answer(f"{where} {status}", answer, told, before, now)
        else:
            yield f"{where}: {status} gone"


def _of_answer(where: str, old: Json, new: Json, before: Json, now: Json) -> Iterator[str]:
    gone = old.get("headers", {}).keys() - new.get("headers", {}).keys()
    gone |= old.get("content", {}).keys() - new.get("content", {}).keys()
    yield from (f"{where}: {name} gone" for name in sorted(gone))
    for kind, content in old.get("content", {}).items():
        if kind not in gone:
            schemas = (content["schema"], before, new["content"][kind]["schema"], now)
            yield from _refused(where, *schemas, is_answer=True)


def _of_parameters(where: str, old: Json, new: Json, before: Json, now: Json) -> Iterator[str]:
    taken = {(p["in"], p["name"]): p for p in new.get("parameters", ())}
    given = {(p["in"], p["name"]): p for p in old.get("parameters", ())}
    for key, parameter in taken.items():
        if parameter.get("required") and not given.get(key, {}).get("required"):
            yield f"{where}: {key[1]} is required"
    for key, parameter in given.items():
        place = f"{where} {key[1]}"
        if key not in taken:
            yield f"{place}: gone"
        else:
            schemas = (taken[key]["schema"], now, parameter["schema"], before)
            yield from _refused(place, *schemas, is_answer=False)


def _of_body(where: str, old: Json, new: Json, before: Json, now: Json) -> Iterator[str]:
    given, taken = old.get("requestBody", {}), new.get("requestBody", {})
    if taken.get("required") and not given.get("required"):
        yield f"{where}: a body is required"
    for kind, content in given.get("content", {}).items():
        if kind not in taken.get("content", {}):
            yield f"{where}: {kind} is not taken"
        else:
            schemas = (taken["content"][kind]["schema"], now, content["schema"], before)
            yield from _refused(where, *schemas, is_answer=False)


def _refused(
    where: str, wide: Json, of_wide: Json, narrow: Json, of_narrow: Json, *, is_answer: bool
) -> Iterator[str]:
    """Yield what `narrow` allows and `wide` does not take; each is of a document."""
    wide, narrow = _resolved(wide, of_wide), _resolved(narrow, of_narrow)
    if "anyOf" in narrow or "anyOf" in wide:
        takers = wide.get("anyOf", [wide])
        for part in narrow.get("anyOf", [narrow]):
            tries = [
                list(_refused(where, taker, of_wide, part, of_narrow, is_answer=is_answer))
                for taker in takers
            ]
            if all(tries):
                yield from min(tries, key=len)
        return
    if wide.get("type", narrow.get("type")) != narrow.get("type"):
        yield f"{where}: {narrow.get('type')} is no {wide['type']}"
        return
    yield from _refused_words(where, wide, narrow)
    yield from _refused_bounds(where, wide, narrow)
    if "items" in wide and "items" in narrow:
        schemas = (wide["items"], of_wide, narrow["items"], of_narrow)
        yield from _refused(f"{where}[]", *schemas, is_answer=is_answer)
    yield from _refused_fields(where, wide, of_wide, narrow, of_narrow, is_answer=is_answer)


def _refused_fields(
    where: str, wide: Json, of_wide: Json, narrow: Json, of_narrow: Json, *, is_answer: bool
) -> Iterator[str]:
    for name in sorted({*wide.get("required", ())} - {*narrow.get("required", ())}):
        yield f"{where}.{name}: {'may be missing' if is_answer else 'is required'}"
    fields, known = wide.get("properties", {}), narrow.get("properties", {})
    # What a client knows must be there still: that is the wide one's of an answer.
    gone = fields.keys() - known.keys() if is_answer else known.keys() - fields.keys()
    yield from (f"{where}.{name}: gone" for name in sorted(gone))
    for name in sorted(fields.keys() & known.keys()):
        schemas = (fields[name], of_wide, known[name], of_narrow)
        yield from _refused(f"{where}.{name}", *schemas, is_answer=is_answer)


def _refused_bounds(where: str, wide: Json, narrow: Json) -> Iterator[str]:
    for name in _SAME:
        if name in wide and wide[name] != narrow.get(name):
            yield f"{where}: {name} {wide[name]}"
    for names, is_tighter in ((_LEAST, operator.gt), (_MOST, operator.lt)):
        for name in names:
            if name in wide and (name not in narrow or is_tighter(wide[name], narrow[name])):
                yield f"{where}: {name} {wide[name]}"


def _refused_words(where: str, wide: Json, narrow: Json) -> Iterator[str]:
    """Yield what an enumeration leaves out; one that is open leaves out nothing."""
    words = wide.get("enum", [wide["const"]] if "const" in wide else None)
    if words is not None:
        allowed = narrow.get("enum", [narrow["const"]] if "const" in narrow else None)
        if allowed is None:
            yield f"{where}: only {words}"
        else:
            yield from (f"{where}: not {word}" for word in allowed if word not in words)


def _resolved(schema: Json, document: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = document["components"]["schemas"][schema["$ref"].removeprefix(_REF)]
    return found

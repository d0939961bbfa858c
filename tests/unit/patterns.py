"""Every regular expression of the shipped code, and texts that are hostile to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from re import _parser  # as `re` itself reads a pattern, from 3.11 on
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    [ROOT / "asterisk.py", *ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/**/*.py")]
)
FUNCTIONS = {"match", "fullmatch", "search", "findall", "finditer", "split", "sub", "subn"}
# A module without such a word has no pattern, and needs no parsing.
NAMED = re.compile(r"\b(re|regex|sre_compile)\b")
# What a pattern's f-string gets in the place of a value that is not a constant.
FILLED = "150"
# One of each is in, or out of, any class of characters that somebody writes.
PROBES = "a1 \n?&=;:-/.\"'+!\t_Z\u00e9"


class Pattern(NamedTuple):
    """A pattern, and what the code does with it."""

    place: str
    text: str | bytes
    flags: int
    functions: frozenset[str]


def patterns_of(source: str, place: str) -> tuple[list[Pattern], list[str]]:
    """Collect a module's patterns, and the calls of `re` whose pattern cannot be seen."""
    if not NAMED.search(source):
        return [], []
    tree = ast.parse(source)
    constants = _constants(tree)
    found, unseen = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "re":
            unseen.append(f"{place}: {ast.unparse(node)}")
        if isinstance(node, ast.Import):
            unseen += [f"{place}: {a.name} as {a.asname}" for a in node.names if _is_alias(a)]
        if not (isinstance(node, ast.Call) and _is_re(node.func)):
            continue
        assert isinstance(node.func, ast.Attribute)
        text = _text(node.args[0], constants) if node.args else None
        functions = {node.func.attr}
        if node.func.attr == "compile":
            functions = _uses(tree, node)
        if text is None or not functions or not functions <= FUNCTIONS:
            unseen.append(f"{place}: {ast.unparse(node)}")
        else:
            found.append(Pattern(place, text, _flags(node), frozenset(functions)))
    return found, unseen


def _is_alias(name: ast.alias) -> bool:
    return name.name in {"regex", "sre_compile"} or (name.name == "re" and name.asname is not None)


def _is_re(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "re"
        and node.attr not in {"escape", "purge"}
    )


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are given a value once."""
    given: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in given.items() if len(values) == 1}


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str | bytes | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return _text(constants[node.id], constants)
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            text = _text(inner, constants)
            parts.append(text if isinstance(text, str) else FILLED)
        return "".join(parts)
    return None


def _flags(call: ast.Call) -> int:
    flags = 0
    for argument in (*call.args[1:], *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Attribute) and _is_re(node) and node.attr.isupper():
                flags |= int(getattr(re, node.attr))
    return flags


def _uses(tree: ast.Module, compiled: ast.Call) -> set[str]:
    """Find which methods of a compiled pattern the module calls."""
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is compiled
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in names
    }


def hostile_texts(pattern: Pattern) -> Iterator[tuple[str, str, str]]:
    """Yield begin, repeated piece and end of texts that this pattern may take long for."""
    source = pattern.text if isinstance(pattern.text, str) else pattern.text.decode("ascii")
    tree = _parser.parse(source, pattern.flags & ~re.ASCII)
    pieces = list(dict.fromkeys(_pieces(tree)))
    characters = list(dict.fromkeys(c for c in _characters(tree) if c))
    begins = ["", *dict.fromkeys("".join(pieces[:n]) for n in range(1, len(pieces) + 1))]
    repeated = [*pieces, *characters, *begins[1:], " ", "\n", "\n ", "a", "\t "]
    repeated += [one + other for one in pieces for other in pieces if one != other]
    repeated = list(dict.fromkeys(repeated))
    for piece in repeated:
        # The begin that would lead to this piece, and none: whatever stands before it is skipped.
        for begin in begins if len(piece) == 1 else ("", begins[-1]):
            for end in ("", "\0\n"):
                yield begin, piece, end


def _pieces(tree: Any) -> Iterator[str]:
    """Yield a text for each part of a pattern: its literals together, each class by itself."""
    literal = ""
    for operator, argument in tree:
        name = str(operator)
        if name == "LITERAL":
            literal += chr(argument)
            continue
        if literal:
            yield literal
            literal = ""
        for inner in _inner(name, argument):
            yield from _pieces(inner)
        character = _member(name, argument)
        if character:
            yield character
    if literal:
        yield literal


def _inner(name: str, argument: Any) -> list[Any]:
    """The patterns within a part of a pattern."""
    if name == "SUBPATTERN":
        return [argument[3]]
    if name == "BRANCH":
        return list(argument[1])
    if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        return [argument[2]]
    if name in {"ASSERT", "ASSERT_NOT"}:
        return [argument[1]]
    return [argument] if name == "ATOMIC_GROUP" else []


def _member(name: str, argument: Any) -> str:
    return next(_members(name, argument), "")


def _members(name: str, argument: Any) -> Iterator[str]:
    """Yield characters that a class takes."""
    if name in {"IN", "ANY", "NOT_LITERAL"}:
        one = re.compile(".", re.DOTALL) if name == "ANY" else None
        for probe in PROBES:
            if one.match(probe) if one else _takes(name, argument, probe):
                yield probe


def _takes(name: str, argument: Any, probe: str) -> bool:
    if name == "NOT_LITERAL":
        return bool(ord(probe) != argument)
    negated = str(argument[0][0]) == "NEGATE"
    return negated != any(_is_member(item, probe) for item in argument[negated:])


def _is_member(item: Any, probe: str) -> bool:
    kind, value = str(item[0]), item[1]
    if kind == "LITERAL":
        return bool(ord(probe) == value)
    if kind == "RANGE":
        return bool(value[0] <= ord(probe) <= value[1])
    category = str(value).removeprefix("CATEGORY_")
    letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[category.removeprefix("NOT_")]
    letter = letter.upper() if category.startswith("NOT_") else letter
    return re.match(rf"\{letter}", probe) is not None


def _characters(tree: Any) -> Iterator[str]:
    """Yield the single characters that its classes take, a few of each."""
    for operator, argument in tree:
        name = str(operator)
        for inner in _inner(name, argument):
            yield from _characters(inner)
        if name == "LITERAL":
            yield chr(argument)
        members = list(_members(name, argument))
        yield from members[:4]

"""The parts of a row that are jsonb: rendered where they are written, typed where they are read.

What is not of its shape is an error that names its place: a guess would tell somebody what is not
so. A key more is none, since the next release may write one while this one still reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from shared.asterisk.models import CallElsewhere, Leg, PbxCall

T = TypeVar("T")


class Malformed(ValueError):
    """A part of a row is not of its shape; the text says which."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A root that may be a call's own."""

    channel: str
    uniqueid: str


def render(items: Iterable[Any]) -> str:
    """Write a list of dataclasses, or of dictionaries that hold such and ids."""
    return json.dumps(list(items), default=_plain)


def render_one(item: dict[str, Any]) -> str:
    """Write a dictionary that holds such."""
    return json.dumps(item, default=_plain)


def parse_legs(value: Any, place: str) -> tuple[Leg, ...]:
    """Read a call's legs. Raises Malformed."""
    return _parse(_legs, value, place)


def parse_candidates(value: Any, place: str) -> tuple[Candidate, ...]:
    """Read the roots that may be a call's own. Raises Malformed."""
    return _parse(_candidates, value, place)


def parse_pbx_call(value: Any, place: str) -> PbxCall:
    """Read one call of a host's view. Raises Malformed."""
    return _parse(_pbx_call, value, place)


def parse_call_elsewhere(value: Any, place: str) -> CallElsewhere:
    """Read a call that began elsewhere. Raises Malformed."""
    return _parse(_call_elsewhere, value, place)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else asdict(value)


@cache  # made at their first use: most cold starts need none
def _legs() -> TypeAdapter[tuple[Leg, ...]]:
    return TypeAdapter(tuple[Leg, ...])


@cache
def _candidates() -> TypeAdapter[tuple[Candidate, ...]]:
    return TypeAdapter(tuple[Candidate, ...])


@cache
def _pbx_call() -> TypeAdapter[PbxCall]:
    return TypeAdapter(PbxCall)


@cache
def _call_elsewhere() -> TypeAdapter[CallElsewhere]:
    return TypeAdapter(CallElsewhere)


def _parse(shape: Callable[[], TypeAdapter[T]], value: Any, place: str) -> T:
    try:
        return shape().validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Malformed(f"{place} {where}: {first['msg']}") from None

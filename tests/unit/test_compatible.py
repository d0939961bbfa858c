"""Nothing that a client of the release before relies on has gone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.compatible import losses
from tests.describe import RELEASED, described

Json = dict[str, Any]

DOCUMENT = described()


def test_a_client_of_the_release_before_loses_nothing() -> None:
    """No path, field, type or word that it relies on has gone, and nothing new is required."""
    assert list(losses(json.loads(RELEASED.read_text("utf-8")), DOCUMENT)) == []


def phases(document: Json) -> Json:
    """The field of an answer that some of the changes are about."""
    found: Json = document["components"]["schemas"]["CallState"]["properties"]
    return found


def parameters(document: Json, path: str = "/api/calls") -> list[Json]:
    """The parameters of a GET."""
    found: list[Json] = document["paths"][path]["get"]["parameters"]
    return found


def drop_path(document: Json) -> None:
    """A path goes."""
    del document["paths"]["/api/audit"]


def drop_method(document: Json) -> None:
    """A method goes."""
    del document["paths"]["/api/calls/{call_id}"]["delete"]


def rename_operation(document: Json) -> None:
    """A client's function has another name."""
    document["paths"]["/api/calls"]["get"]["operationId"] = "calls"


def drop_field(document: Json) -> None:
    """An answer's field goes."""
    del phases(document)["talk_s"]
    document["components"]["schemas"]["CallState"]["required"].remove("talk_s")


def make_optional(document: Json) -> None:
    """An answer's field may be missing."""
    document["components"]["schemas"]["CallState"]["required"].remove("phase")


def make_null(document: Json) -> None:
    """An answer's field may be null."""
    phases(document)["to"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def retype(document: Json) -> None:
    """An answer's number becomes text."""
    phases(document)["cancelled"] = {"type": "string"}


def require_field(document: Json) -> None:
    """A request needs a field that it did not need."""
    new_call = document["components"]["schemas"]["NewCall"]
    new_call["properties"]["why"] = {"type": "string"}
    new_call["required"].append("why")


def require_parameter(document: Json) -> None:
    """A request needs a parameter that it did not need."""
    next(p for p in parameters(document) if p["name"] == "kind")["required"] = True


def drop_parameter(document: Json) -> None:
    """A filter goes."""
    parameters(document).pop()


def drop_word(document: Json) -> None:
    """A word that could be asked for is refused."""
    next(p for p in parameters(document) if p["name"] == "source")["schema"]["enum"].pop()


def tighten_bound(document: Json) -> None:
    """A page may have fewer entries."""
    next(p for p in parameters(document) if p["name"] == "limit")["schema"]["maximum"] = 100


def tighten_pattern(document: Json) -> None:
    """A text may be written in fewer ways."""
    found = parameters(document, "/api/makecallexternal")
    next(p for p in found if p["name"] == "code")["schema"]["pattern"] = "^[0-9]{3}$"


def drop_header(document: Json) -> None:
    """An answer's header goes."""
    del document["paths"]["/api/calls"]["post"]["responses"]["201"]["headers"]["Location"]


def drop_media_type(document: Json) -> None:
    """A table goes."""
    content = document["paths"]["/api/history"]["get"]["responses"]["200"]["content"]
    del content["text/csv"]


def drop_scheme(document: Json) -> None:
    """A place for the secret goes."""
    document["paths"]["/api/calls"]["get"]["security"].pop()


@pytest.mark.parametrize(
    "change",
    [
        *(drop_path, drop_method, rename_operation, drop_field, make_optional, make_null, retype),
        *(require_field, require_parameter, drop_parameter, drop_word, tighten_bound),
        *(tighten_pattern, drop_header, drop_media_type, drop_scheme),
    ],
    ids=lambda change: change.__name__,
)
def test_what_a_client_loses_is_found(change: Callable[[Json], None]) -> None:
    """Each of these would break somebody; the other way round most are a gift."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    assert list(losses(DOCUMENT, changed))
    either_way = {rename_operation, retype, require_field, tighten_pattern}
    assert bool(list(losses(changed, DOCUMENT))) == (change in either_way)


def test_what_is_new_takes_nothing_away() -> None:
    """A field of an answer, an optional one of a request, a word of an answer, a path."""
    changed = copy.deepcopy(DOCUMENT)
    phases(changed)["recorded"] = {"type": "boolean"}
    phases(changed)["phase"]["x-extensible-enum"].append("on_hold")
    changed["components"]["schemas"]["NewCall"]["properties"]["why"] = {"type": "string"}
    changed["paths"]["/api/calls"]["get"]["parameters"].append(
        {"in": "query", "name": "mine", "schema": {"type": "boolean"}}
    )
    changed["paths"]["/api/recordings"] = {"get": {"operationId": "x", "responses": {}}}
    assert list(losses(DOCUMENT, changed)) == []

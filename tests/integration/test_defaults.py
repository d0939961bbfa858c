"""A default that the API's description names may as well be sent: it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import asterisk
from tests.integration.followed import (
    WEBHOOK,
    allow_audit,
    allow_webhooks,
    follow,
    place,
)
from tests.integration.service import OTHER_PHONE, PHONE, Services

pytestmark = pytest.mark.anyio

REQUIRED = {"code": "150", "phone": PHONE, "action": "09", "target": "150", "monitor_from": "151"}


class Asked(NamedTuple):
    """A GET request with every default of its endpoint, but for one parameter."""

    path: str
    query: dict[str, Any]
    headers: dict[str, str]

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.path} {self.query}"


def values(schema: dict[str, Any]) -> Iterator[Any]:
    """List the words of which a parameter takes one."""
    for kind in (schema, *schema.get("anyOf", ())):
        yield from kind.get("enum", ())
        yield from ("true", "false") if kind.get("type") == "boolean" else ()


def requests() -> Iterator[Asked]:
    """Make a request of each endpoint, and one more for each word that a parameter takes."""
    for path, operations in asterisk.app.openapi()["paths"].items():
        known = operations.get("get", {}).get("parameters", ())
        defaults = {p["name"]: p["schema"]["default"] for p in known if "default" in p["schema"]}
        if not defaults:
            continue
        headers = {p["name"] for p in known if p["in"] == "header"}
        query = {name: value for name, value in defaults.items() if name not in headers}
        query |= {
            p["name"]: REQUIRED[p["name"]] for p in known if p["required"] and p["in"] == "query"
        }
        sent = {name: str(value) for name, value in defaults.items() if name in headers}
        yield Asked(path, query, sent)
        for parameter in known:
            for value in values(parameter["schema"]):
                yield Asked(path, query | {parameter["name"]: value}, sent)


ASKED = list(requests())


def test_there_is_something_to_ask() -> None:
    """The endpoints that have defaults, with the choice that once refused them."""
    assert {asked.path for asked in ASKED} == {
        "/api/audit",
        "/api/calls",
        "/api/calls/{call_id}",
        "/api/events",
        "/api/history",
        "/api/webhooks/{webhook_id}/deliveries",
    }
    assert ("/api/calls", {"source": "pbx", "limit": 50}, {}) in ASKED


@pytest.mark.parametrize("asked", ASKED, ids=str)
async def test_a_default_may_be_sent(start: Services, asked: Asked) -> None:
    """With every other parameter's value, too: the answer is the one without them."""
    service = await follow(start)
    allow_audit(service)
    allow_webhooks(service)
    call_id = await place(service, "154", OTHER_PHONE)
    path = asked.path.format(call_id=call_id, webhook_id=WEBHOOK)
    answer = await service.http.get(path, params=asked.query, headers=asked.headers)
    assert answer.status_code == 200, answer.text

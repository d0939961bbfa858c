"""API Gateway's events, the requests that they were made of, and what their answers must agree in.

The events lie in tests/events, named FUNCTION or FUNCTION-CASE; `sam local invoke -e` takes them.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx

from demo.standin import StandIn
from tests.integration.service import environment
from tests.postgres import Postgres

EVENTS = {path.stem: path for path in Path(__file__).parents[1].glob("events/*.json")}
REQUESTS = sorted(EVENTS.keys() - {"tracker", "watchdog", "push", "sockets", "sockets-connect"})
# What two answers to one request may differ in.
OWN = {
    "ticket",
    "expires_at",
    "call_id",
    "call_status_url",
    "port",
    "request_id",
    "response_time_ms",
}
HEADERS = {
    *("content-type", "www-authenticate", "retry-after"),
    *("ratelimit", "ratelimit-policy", "preference-applied"),
    *("x-content-type-options", "cache-control"),
}


class Context:
    """What Lambda tells of an invocation."""

    aws_request_id = "5b1f6b6e-0000-4000-8000-000000000000"

    def __init__(self, left_s: float = 30.0) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        """Tell how much time is left, as if none passed."""
        return int(self._left_s * 1000)


def seed(postgres: Postgres) -> None:
    """Empty every table and add the events' enterprise."""
    postgres.clear()
    postgres.seed_enterprise("0001", "demo", "127.0.0.1", "demo-secret-0001")


def settings(postgres: Postgres, pbx: StandIn, log_file: Path) -> dict[str, str]:
    """How both ways are configured; keys are not pinned, since each test forgets everything."""
    return environment(postgres, pbx.port, str(log_file)) | {"SSH_HOST_KEYS": "off"}


def load(name: str) -> dict[str, Any]:
    """Read an event."""
    event: dict[str, Any] = json.loads(EVENTS[name].read_text("utf-8"))
    return event


def call_to(phone: str) -> dict[str, Any]:
    """Make the event of a call to another phone."""
    event = deepcopy(load("makecallexternal-header-auth"))
    event["rawQueryString"] = str(httpx.QueryParams({"code": "150", "phone": phone}))
    return event


def request(url: str, event: dict[str, Any]) -> httpx.Response:
    """Send over HTTP what API Gateway made the event of."""
    own = {"host", "content-length"}
    return httpx.request(
        event["requestContext"]["http"]["method"],
        f"{url}{event['rawPath']}?{event['rawQueryString']}".removesuffix("?"),
        headers={name: value for name, value in event["headers"].items() if name not in own},
        content=event.get("body"),
        timeout=30,
    )


def shown(body: str) -> dict[str, object]:
    """A body but for what is each answer's own; those fields are there, or not, in both."""
    fields: dict[str, object] = json.loads(body)
    return {name: "its own" if name in OWN else value for name, value in fields.items()}


def headers_of(headers: dict[str, str], body: str) -> dict[str, str]:
    """The headers that matter; a body's length varies with what is its own."""
    assert int(headers["content-length"]) == len(body.encode())
    return {
        # How much is left of a quota depends on the moment.
        name: re.sub(r"[rt]=\d+", "*", value)
        for name, value in headers.items()
        if name in HEADERS
    }


def check_same(answer: dict[str, Any], response: httpx.Response, event: dict[str, Any]) -> None:
    """Insist that an event was answered as its request: status, headers, body, request's id."""
    assert answer["statusCode"] == response.status_code
    assert shown(answer["body"]) == shown(response.text)
    theirs = headers_of(dict(response.headers), response.text)
    assert headers_of(answer["headers"], answer["body"]) == theirs
    assert answer["headers"]["x-request-id"] == event["requestContext"]["requestId"]
    assert not answer["isBase64Encoded"]


def originates(pbx: StandIn) -> list[str]:
    """Every originate that the PBX executed."""
    return [command for command in pbx.commands if command.startswith("channel originate")]

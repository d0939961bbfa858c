"""The API keeps what its own description promises, whatever the description lets a caller send."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

import asterisk
from shared.events.hub import Hub
from shared.http.fields import PHONE_IN_URL_PATTERN, PHONE_PATTERN
from tests.integration.service import SECRET, Service

pytestmark = pytest.mark.anyio

AnyCase: TypeAlias = Case[Any]

SCHEMA = schemathesis.openapi.from_dict(asterisk.app.openapi())
OPERATIONS = [
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/status"),
    ("GET", "/api/makecallexternal"),
    ("POST", "/api/calls"),
    ("GET", "/api/monitor"),
    ("GET", "/api/calls"),
    ("GET", "/api/calls/{call_id}"),
    ("DELETE", "/api/calls/{call_id}"),
    ("POST", "/api/calls/{call_id}/transfer"),
    ("GET", "/api/extensions/{extension}"),
    ("GET", "/api/events"),
    ("POST", "/api/events/ticket"),
    ("GET", "/api/history"),
    ("GET", "/api/audit"),
    ("POST", "/api/webhooks"),
    ("GET", "/api/webhooks"),
    ("GET", "/api/webhooks/{webhook_id}"),
    ("PATCH", "/api/webhooks/{webhook_id}"),
    ("DELETE", "/api/webhooks/{webhook_id}"),
    ("POST", "/api/webhooks/{webhook_id}/rotate"),
    ("POST", "/api/webhooks/{webhook_id}/test"),
    ("POST", "/api/webhooks/{webhook_id}/resend"),
    ("GET", "/api/webhooks/{webhook_id}/deliveries"),
]
EXTENSION = "[0-9]{1,10}"
RULES = {
    "GET /api/makecallexternal": {"code": EXTENSION, "phone": PHONE_IN_URL_PATTERN},
    "POST /api/calls": {"from": EXTENSION, "to": PHONE_PATTERN},
    "GET /api/monitor": {"action": "09|01|02", "target": EXTENSION, "monitor_from": EXTENSION},
}
MAY_BE_BODILESS = {"/api/events/ticket"}
# They ask the PBX also where the answer is that there is no such thing.
ASKED = {"unknown-extension", "no-such-extension"}
# A number of the right form need not be in the dialplan; the secret is among the parameters.
EXCLUDED = [positive_data_acceptance, ignored_auth]

bounded = settings(
    max_examples=60,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def cases(mode: GenerationMode) -> st.SearchStrategy[AnyCase]:
    """Requests to any operation, as described or, in one way or another, not."""
    return st.one_of(
        [SCHEMA[path][method].as_strategy(generation_mode=mode) for method, path in OPERATIONS]
    )


async def send(service: Service, case: AnyCase) -> httpx.Response:
    """Send it through ASGI, with the enterprise's secret, and hold the answer to the schema."""
    generated = case.as_transport_kwargs(base_url="http://service")
    generated["headers"] = dict(generated["headers"]) | {"Authorization": f"Bearer {SECRET}"}
    known = {"method", "url", "headers", "params", "data", "json", "cookies"}
    prepared = requests.Request(**{k: v for k, v in generated.items() if k in known}).prepare()
    assert isinstance(prepared.body, str | bytes | None)
    prepared.headers.pop("Content-Length", None)
    response = await service.http.request(
        str(prepared.method),
        str(prepared.url),
        headers=[(name, str(value)) for name, value in prepared.headers.items()],
        content=prepared.body,
    )
    case.validate_response(response, excluded_checks=EXCLUDED)
    return response


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that asks to wait for an event hears at once that there is none."""

    async def hear_nothing(*_: object) -> bool:
        return False

    monkeypatch.setattr(Hub, "wait_beyond", hear_nothing)


def is_sound(request: httpx.Request) -> bool:
    """Judge a request's parameters by the specification's own words; the last of a name counts."""
    asked: dict[str, object] = dict(request.url.params.multi_items())
    if request.method == "POST" and (request.content or request.url.path not in MAY_BE_BODILESS):
        try:
            body = json.loads(request.content)
        except ValueError:
            return False
        if not isinstance(body, dict):
            return False
        asked = body
    wanted = RULES.get(f"{request.method} {request.url.path}", {})
    return all(
        isinstance(value := asked.get(name), str) and re.fullmatch(rule, value)
        for name, rule in wanted.items()
    )


def test_every_operation_is_tried() -> None:
    """A new one is in the list."""
    described = asterisk.app.openapi()["paths"].items()
    assert {(m.upper(), path) for path, methods in described for m in methods} == set(OPERATIONS)


@bounded
@seed(20261122)
@given(case=cases(GenerationMode.POSITIVE))
async def test_what_is_described_is_answered_as_described(service: Service, case: AnyCase) -> None:
    """No crash, and status, type, headers and body are among the described ones."""
    service.pbx.commands.clear()
    response = await send(service, case)
    assert response.status_code < 500
    is_table = response.headers["content-type"].startswith("text/csv")
    placed = response.is_success and not is_table and "call_id" in response.json()
    assert len(service.originates()) == (placed and not response.json()["repeated"])


@bounded
@seed(20261122)
@given(case=cases(GenerationMode.NEGATIVE))
async def test_what_is_not_described_reaches_no_pbx(service: Service, case: AnyCase) -> None:
    """It is refused by a problem document, and Asterisk hears no command."""
    service.pbx.commands.clear()
    response = await send(service, case)
    assert response.status_code < 500
    if not is_sound(response.request):
        assert response.is_error
        assert response.json()["code"] != "unknown-extension"
    if response.is_error and response.json()["code"] not in ASKED:
        assert service.pbx.commands == []
    if response.is_error:
        assert service.originates() == []

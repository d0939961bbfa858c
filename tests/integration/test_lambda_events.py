"""The handlers as AWS Lambda calls them: API Gateway events, one process, many invocations."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.standin import StandIn
from shared import web
from shared.database import load_database
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.telemetry import configure_logging
from shared.web import LambdaHandler
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    environment,
    forget_process,
    make_pbx,
    seed,
)
from tests.postgres import Postgres


class Context:
    """What Lambda tells of an invocation."""

    aws_request_id = "5b1f6b6e-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 30_000


@pytest.fixture
def pbx() -> Iterator[StandIn]:
    """A stand-in in a thread of its own: a handler keeps the test's thread to itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def make() -> StandIn:
        return await make_pbx().__aenter__()

    async def end(started: StandIn) -> None:
        await started.__aexit__(None, None, None)

    standin = asyncio.run_coroutine_threadsafe(make(), loop).result()
    yield standin
    asyncio.run_coroutine_threadsafe(end(standin), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def process(
    postgres: Postgres, pbx: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Path]:
    """A fresh Lambda environment, as far as one process can tell; its log file."""
    seed(postgres)
    log_file = tmp_path / "lambda.log"
    settings = environment(postgres, pbx.port, str(log_file)) | {"SSH_HOST_KEYS": "off"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("makecallexternal", "health"):  # the first import sets the log up
        importlib.import_module(f"functions.{name}.handler")
    forget_process()
    configure_logging(load_settings())
    web._pinned_loop.cache_clear()
    yield log_file
    loop = web._pinned_loop()
    loop.run_until_complete(load_pbx().close())
    load_database().close()
    loop.close()
    asyncio.set_event_loop(None)
    web._pinned_loop.cache_clear()
    forget_process()


def event(path: str, query: str, *, request_id: str = "gateway-1") -> dict[str, Any]:
    """An HTTP API event, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": f"GET {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "api.test", "x-client-id": SECRET},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.test",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": request_id,
            "stage": "$default",
            "timeEpoch": 0,
        },
        "isBase64Encoded": False,
    }


def invoke(name: str, event: dict[str, Any], context: Context | None = None) -> dict[str, Any]:
    """Call a function's handler, loaded when the environment is set, as Lambda loads it."""
    handler: LambdaHandler = importlib.import_module(f"functions.{name}.handler").handler
    return handler(event, context or Context())


def call(phone: str, **options: str) -> dict[str, Any]:
    """Invoke makecallexternal."""
    query = f"code=150&phone={phone.replace('+', '%2B')}"
    return invoke("makecallexternal", event("/api/makecallexternal", query, **options))


def test_two_invocations_share_one_connection(process: Path, pbx: StandIn) -> None:
    """A warm environment keeps its loop, and so its SSH connection; each call rings once."""
    answers = [call(PHONE), call(OTHER_PHONE), call(PHONE)]
    bodies = [json.loads(answer["body"]) for answer in answers]
    assert [answer["statusCode"] for answer in answers] == [200, 200, 200]
    assert [body["repeated"] for body in bodies] == [False, False, True]
    assert bodies[0]["call_id"] == bodies[2]["call_id"]
    assert pbx.connections == 1
    originates = [c for c in pbx.commands if c.startswith("channel originate")]
    assert len(originates) == 2
    while pbx.invites["150"] < 2:
        threading.Event().wait(0.005)
    assert pbx.invites["150"] == 2


def test_the_gateway_s_request_id_is_ours(process: Path, pbx: StandIn) -> None:
    """An error's `request_id` is API Gateway's, so that both logs can be put side by side."""
    pbx.asterisk_down = True
    answer = call(PHONE, request_id="gateway=7")
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["request_id"], body["dialled"]) == (500, "gateway=7", "no")
    assert answer["headers"]["x-request-id"] == "gateway=7"
    assert (pbx.commands, pbx.invites.total()) == ([], 0)


def test_little_time_left_dials_nothing(process: Path, pbx: StandIn) -> None:
    """An invocation whose time is nearly up sends nothing that it could not settle."""

    class Short(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 900

    request = event("/api/makecallexternal", "code=150&phone=1")
    answer = invoke("makecallexternal", request, Short())
    assert answer["statusCode"] in {500, 503}
    assert json.loads(answer["body"])["dialled"] == "no"
    assert (pbx.commands, pbx.invites.total()) == ([], 0)


def test_health_by_event(process: Path) -> None:
    """`GET /health` answers an event with the specification's body."""
    answer = invoke("health", event("/health", ""))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {
        "status": "healthy",
        "service": "asterisk-call-management",
        "port": 8018,
    }

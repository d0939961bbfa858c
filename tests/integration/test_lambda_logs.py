"""On Lambda the same lines are JSON, by Powertools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.integration.service import SECRET, seed
from tests.postgres import Postgres

_INVOKE = """
from functions.makecallexternal.handler import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 20_000

http = {"method": "GET", "path": "/api/makecallexternal", "protocol": "HTTP/1.1",
        "sourceIp": "192.0.2.1", "userAgent": "test"}
print(handler({
    "version": "2.0", "routeKey": "$default", "rawPath": "/api/makecallexternal",
    "rawQueryString": "code=150&phone=1&clientId=made-up-secret-of-nobody",
    "headers": {"host": "example.test"}, "isBase64Encoded": False,
    "requestContext": {"http": http, "requestId": "JKJaXmPLvHcESHA=", "stage": "$default"},
}, Context())["statusCode"])
"""

# What a terminal obeys, or a reader does not see, in a message and in a traceback.
_LOG = """
from shared.settings import Settings
from shared.telemetry import LOG, configure_logging

configure_logging(Settings())
for text in ("\\n", "\\x1b[2J", "\\x85", "\\u200f", "\\u202e", "\\u2028", "\\ud800"):
    try:
        raise ValueError(f"bad {text}")
    except ValueError:
        LOG.exception("канал %s", text)
"""


def test_what_is_not_seen_is_written_out() -> None:
    """In the message and in the traceback of a line, which is plain text; nothing is lost."""
    done = subprocess.run(
        [sys.executable, "-c", _LOG],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "makecallexternal"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.split("\n")[:-1]
    assert [line for line in lines if not line.isprintable()] == []
    records = [json.loads(line) for line in lines]
    assert [record["message"].removeprefix("канал ") for record in records] == [
        *("\\n", "\\u001b[2J", "\\u0085", "\\u200f", "\\u202e", "\\u2028", "\\ud800")
    ]
    assert {record["exception_name"] for record in records} == {"ValueError"}
    assert all("bad " in record["exception"] for record in records)


def test_log_is_json_with_the_request_of_each_line() -> None:
    """Each line is an object with service, level, message and request_id; the secret is cut."""
    environment = {
        **os.environ,
        "AWS_LAMBDA_FUNCTION_NAME": "makecallexternal",
        "POSTGRES_PORT": "1",  # nobody listens there: the request fails, and says so
    }
    done = subprocess.run(
        [sys.executable, "-c", _INVOKE],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, answer = done.stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert answer == "503"
    assert {record["request_id"] for record in records} == {"JKJaXmPLvHcESHA="}
    assert {record["service"] for record in records} == {"asterisk"}
    told = [record["message"] for record in records]
    assert "🚀 Запрос на звонок: 150 -> 1, clientId: made-u..." in told
    assert "WARNING" in {record["level"] for record in records}
    assert "of-nobody" not in done.stdout + done.stderr


_ENDS = """
import json
from functions.calls.handler import handler as calls
from functions.health.handler import handler as health
from functions.status.handler import handler as status

class Context:
    def get_remaining_time_in_millis(self):
        return 20_000

def ask(handler, path, secret, number):
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
            "userAgent": "test"}
    answer = handler({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "limit=5",
        "headers": {"host": "example.test", "x-client-id": secret}, "isBase64Encoded": False,
        "requestContext": {"http": http, "requestId": f"request-{number}", "stage": "$default"},
    }, Context())
    print(json.dumps({"answer": answer["statusCode"]}))

ask(calls, "/api/calls", SECRET, 1)
ask(calls, CALL, SECRET, 2)
ask(calls, "/api/calls/none", SECRET, 3)
for number in (4, 5):
    ask(calls, "/api/calls", "somebody-else-s-secret", number)
ask(status, "/api/status", "", 6)
ask(health, "/health", "", 7)
"""


def test_ends_of_requests_are_fields(postgres: Postgres) -> None:
    """Whose, what, by which outcome, in how many milliseconds; strangers and probes cost nothing.

    One line a request; of a stranger's one a minute of each kind, and of a health probe none.
    """
    seed(postgres)
    call = f"/api/calls/{uuid.uuid4()}"
    environment = {
        **os.environ,
        **postgres.environment(),
        "AWS_LAMBDA_FUNCTION_NAME": "calls",
        "SSH_PASSWORD": "made-up",
    }
    done = subprocess.run(
        [sys.executable, "-c", f"SECRET = {SECRET!r}\nCALL = {call!r}\n{_ENDS}"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    answers = [record["answer"] for record in records if "answer" in record]
    assert answers == [200, 404, 422, 401, 401, 200, 200]
    ends = [record for record in records if "duration_ms" in record]
    told = ("request_id", "operation", "outcome", "status", "enterprise", "level")
    one = "GET /api/calls/{call_id}"
    assert [tuple(map(end.get, told)) for end in ends] == [
        ("request-1", "GET /api/calls", "ok", 200, "0367", "INFO"),
        ("request-2", one, "no-such-call", 404, "0367", "INFO"),
        ("request-3", one, "invalid-parameter", 422, None, "INFO"),
        ("request-4", "GET /api/calls", "invalid-client-id", 401, None, "WARNING"),
        ("request-6", "GET /api/status", "ok", 200, None, "INFO"),
    ]
    assert [end.get("host") for end in ends] == ["127.0.0.1", "127.0.0.1", None, None, None]
    assert all(isinstance(end["duration_ms"], float) for end in ends)
    assert all(end["message"].startswith("🏁 ") for end in ends)
    assert SECRET not in done.stdout + done.stderr

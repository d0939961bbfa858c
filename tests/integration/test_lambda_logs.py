"""On Lambda the same lines are JSON, by Powertools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
    assert "🚀 Запрос на звонок: 150 -> 1, clientId: made-up-..." in records[0]["message"]
    assert "WARNING" in {record["level"] for record in records}
    assert "of-nobody" not in done.stdout + done.stderr

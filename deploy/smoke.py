"""Real requests to the running service, for asterisk.sh.

    python deploy/smoke.py test          a verdict a line; exit 1 if one is bad
    python deploy/smoke.py status        what the service says of itself
    python deploy/smoke.py wait PID      until it answers, or PID is gone
    python deploy/smoke.py port-taken    exit 0 if something listens on its port

The service is found by its own settings.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.settings import load_settings

_START_LIMIT_S = 30.0


def _address() -> tuple[str, int]:
    settings = load_settings()
    host = settings.service_host
    return ("127.0.0.1" if host == "0.0.0.0" else host), settings.service_port  # noqa: S104


def _get(path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(*_address(), timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _verdict(what: str, path: str, expected: int, headers: dict[str, str] | None = None) -> bool:
    try:
        status, body = _get(path, headers)
    except (OSError, ValueError) as error:
        print(f"❌ {what}: no answer ({error})")
        return False
    good = status == expected
    said = body.get("detail") or body.get("message") or body.get("database") or body.get("status")
    print(f"{'✅' if good else '❌'} {what}: {status} {said}")
    return good


def test() -> bool:
    """Send them all, whatever fails."""
    call = urlencode({"code": "150", "phone": "+375291234567"})
    malformed = urlencode({"code": "1 5 0", "phone": "+375291234567"})
    wrong = {"X-Client-Id": "not-a-secret-of-anybody"}
    verdicts = [
        _verdict("health", "/health", 200),
        _verdict("status", "/api/status", 200),
        _verdict("wrong clientId is refused", f"/api/makecallexternal?{call}", 401, wrong),
        _verdict("malformed code is refused", f"/api/makecallexternal?{malformed}", 422, wrong),
    ]
    client_id, code, phone = (os.environ.get(f) for f in ("CLIENT_ID", "TEST_CODE", "TEST_PHONE"))
    if client_id and code and phone:
        query = urlencode({"code": code, "phone": phone})
        path = f"/api/makecallexternal?{query}"
        verdicts.append(_verdict(f"call {code}", path, 200, {"X-Client-Id": client_id}))
    else:
        print("➖ no call placed: set CLIENT_ID, TEST_CODE and TEST_PHONE to ring a phone")
    return all(verdicts)


def status() -> bool:
    """Print what /health and /api/status say."""
    good = _verdict("health", "/health", 200)
    return _verdict("database", "/api/status", 200) and good


def wait(pid: int) -> bool:
    """Wait for the first answer, as long as the process lives."""
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        try:
            return _get("/health")[0] == http.HTTPStatus.OK
        except (OSError, ValueError):
            time.sleep(0.1)
    return False


def port_taken() -> bool:
    """Tell whether something listens on the service's port."""
    with socket.socket() as probe:
        return probe.connect_ex(_address()) == 0


def main() -> int:
    """Run the command named; 0 is yes."""
    match sys.argv[1:]:
        case ["test"]:
            return not test()
        case ["status"]:
            return not status()
        case ["wait", pid]:
            return not wait(int(pid))
        case ["port-taken"]:
            return not port_taken()
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())

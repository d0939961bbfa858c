"""Real requests to the running service, for asterisk.sh.

    python deploy/smoke.py test          a verdict a line; exit 1 if one is bad
    python deploy/smoke.py status        is it alive, can it place calls? exit 1 if not
    python deploy/smoke.py wait PID      until it answers, or PID is gone
    python deploy/smoke.py port-taken    exit 0 if something listens on its port

The service is found by its own settings.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.http.binding import service_url
from shared.settings import SettingsError, the_settings

_START_LIMIT_S = 30.0
# Another program may answer on the port, and not in HTTP.
_NO_ANSWER = (OSError, ValueError, http.client.HTTPException)


def _get(path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    url = urlsplit(service_url(the_settings()))
    if url.scheme == "https":
        # Its certificate has the name by which others know it, not this machine's own address.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            url.netloc, timeout=30, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        body = json.loads(response.read())
        return response.status, body if isinstance(body, dict) else {}
    finally:
        connection.close()


def _verdict(what: str, path: str, expected: int, headers: dict[str, str] | None = None) -> bool:
    try:
        status, body = _get(path, headers)
    except _NO_ANSWER as error:
        print(f"❌ {what}: no answer ({error})")
        return False
    good = status == expected
    said = body.get("detail") or body.get("message") or body.get("status")
    print(f"{'✅' if good else '❌'} {what}: {status} {said}")
    return good


def test() -> bool:
    """Send them all, whatever fails."""
    call = urlencode({"code": "150", "phone": "+375291234567"})
    malformed = urlencode({"code": "1 5 0", "phone": "+375291234567"})
    wrong = {"X-Client-Id": "not-a-secret-of-anybody"}
    verdicts = [status()]
    if the_settings().role == "follower":
        return all(verdicts)
    verdicts += [
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
    """Print what /health and /ready say; good only where calls can be placed."""
    good = _verdict("health", "/health", 200)
    return _verdict("ready to place calls", "/ready", 200) and good


def wait(pid: int) -> bool:
    """Wait for the first answer, as long as the process lives."""
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        try:
            return _get("/health")[0] == http.HTTPStatus.OK
        except _NO_ANSWER:
            time.sleep(0.1)
    return False


def port_taken() -> bool:
    """Tell whether something listens on the service's port."""
    try:
        url = urlsplit(service_url(the_settings()))
        socket.create_connection((url.hostname, url.port), timeout=5).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Run the command named; 0 is yes."""
    try:
        return _run(sys.argv[1:])
    except SettingsError as error:
        print(f"❌ {error}")
        return 1


def _run(arguments: list[str]) -> int:
    match arguments:
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

"""Real requests to the running service, for asterisk.sh.

    python deploy/smoke.py test          a verdict a line; exit 1 if one is bad
    python deploy/smoke.py status        is it alive, can it place calls? exit 1 if not
    python deploy/smoke.py wait PID S    until it answers, PID is gone, or S seconds have passed
    python deploy/smoke.py port-taken    exit 0 if something listens on its port

The service is found by its own settings.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.errors import DatabaseUnavailable
from shared.http.binding import service_url
from shared.operate.command import explain
from shared.settings import SERVICE, SettingsError, the_settings
from shared.store.database import Database
from shared.telemetry import LOG

_LIMIT_S = 30.0
_HEALTH_LIMIT_S = 5.0  # it asks nobody else
# Another program may answer on the port, and not in HTTP.
_NO_ANSWER = (OSError, ValueError, http.client.HTTPException)


def _get(
    path: str, headers: dict[str, str] | None = None, *, limit_s: float = _LIMIT_S
) -> tuple[int, dict[str, Any]]:
    url = urlsplit(service_url(the_settings()))
    if url.scheme == "https":
        # Its certificate has the name by which others know it, not this machine's own address.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            url.netloc, timeout=limit_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=limit_s)
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
    if path == "/ready" and body.get("code") == DatabaseUnavailable.code:
        said = _why_unavailable()
    print(f"{'✅' if good else '❌'} {what}: {status} {said}")
    return good


def _why_unavailable() -> str:
    """Ask the database from here, since the service tells no stranger what it knows."""
    LOG.addHandler(logging.NullHandler())  # what fails is told here, once
    database = Database(the_settings())
    try:
        with database.transaction() as execute:
            execute("SELECT 1")
    except DatabaseUnavailable as error:
        return f"{explain(error, database)}; have it answer, or set POSTGRES_* and restart"
    finally:
        database.close()
    return "PostgreSQL answers from here: look again, or restart where settings have changed"


def test() -> bool:
    """Send them all, whatever fails."""
    call = urlencode({"code": "150", "phone": "+375291234567"})
    malformed = urlencode({"code": "1 5 0", "phone": "+375291234567"})
    wrong = {"X-Client-Id": "not-a-secret-of-anybody"}
    is_ready = status()
    if is_ready is None or the_settings().role == "follower":
        return bool(is_ready)
    verdicts = [
        is_ready,
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


def status() -> bool | None:
    """Print what /health and /ready say; good only where calls can be placed, None: no answer."""
    where = service_url(the_settings())
    try:
        code, body = _get("/health", limit_s=_HEALTH_LIMIT_S)
    except TimeoutError:
        print(f"❌ health: {where} is silent for {_HEALTH_LIMIT_S:g} s, it hangs: restart it")
    except ConnectionRefusedError:
        print(f"❌ health: nothing listens at {where}: start it")
    except _NO_ANSWER as error:
        print(f"❌ health: what listens at {where} is not the service ({error}): ss -ltnp names it")
    else:
        if code == http.HTTPStatus.OK and body.get("service") == SERVICE:
            print(f"✅ health: {code} {body.get('status')}")
            return _verdict("ready to place calls", "/ready", 200)
        print(f"❌ health: what listens at {where} is not the service ({code}): ss -ltnp names it")
    return None


def wait(pid: int, limit_s: float) -> bool:
    """Wait for the first answer, as long as the process lives."""
    end = time.monotonic() + limit_s
    while (left_s := end - time.monotonic()) > 0 and Path(f"/proc/{pid}").exists():
        try:
            return _get("/health", limit_s=left_s)[0] == http.HTTPStatus.OK
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
        case ["wait", pid, limit_s]:
            return not wait(int(pid), float(limit_s))
        case ["port-taken"]:
            return not port_taken()
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())

"""The sandboxes, as an operator has them: which enterprise's host is a stand-in, and where.

Only what is said here makes an enterprise's answers say `sandbox`, and has it connected to another
port than SSH_PORT; no request can.
"""

from __future__ import annotations

import ipaddress

from shared.operate.command import Execute, OperatorError, check_number, note
from shared.store.audit import Doer
from shared.store.database import Database
from shared.store.sandboxes import Sandbox

_OF = "SELECT enterprise, host, port FROM callapi.sandboxes WHERE enterprise = :enterprise"
_LIST = "SELECT enterprise, host, port FROM callapi.sandboxes ORDER BY enterprise"
# Every row of the number, and of its host: the others would be connected to the stand-in as well.
_HOSTS = """
SELECT x.host, ARRAY(SELECT DISTINCT o.number FROM callapi.enterprises() o
                      WHERE o.host = x.host AND o.number <> x.number ORDER BY 1) AS others
  FROM callapi.enterprises() x WHERE x.number = :enterprise ORDER BY x.active DESC
"""
# Whoever was connected to there was a PBX.
_WAS_PBX = """
SELECT EXISTS (SELECT 1 FROM callapi.hosts h WHERE h.host = :host AND h.met_at IS NOT NULL)
    OR EXISTS (SELECT 1 FROM callapi.host_keys k WHERE k.host = :host) AS is_so
"""
_ADD = "INSERT INTO callapi.sandboxes (enterprise, host, port) VALUES (:enterprise, :host, :port)"
_PIN = "INSERT INTO callapi.host_keys (host, port, key) VALUES (:host, :port, :key)"
_PINNED = "SELECT key FROM callapi.host_keys WHERE host = :host AND port = :port"


def list_sandboxes(database: Database) -> tuple[Sandbox, ...]:
    """List them by their enterprises. Raises DatabaseUnavailable."""
    with database.transaction() as execute:
        return tuple(Sandbox(**row) for row in execute(_LIST))


def find_place(database: Database, enterprise: str) -> tuple[str, int]:
    """Say where an enterprise's sandbox is to listen; a port of 0 is any.

    Raises:
        OperatorError: it cannot have one; the text says why.
        DatabaseUnavailable
    """
    with database.transaction() as execute:
        return _find_place(execute, enterprise)


def _find_place(execute: Execute, enterprise: str) -> tuple[str, int]:
    check_number(execute, enterprise)
    row = execute(_HOSTS, enterprise=enterprise)[0]
    host, others = row["host"], row["others"]
    _check_address(enterprise, host)
    if others:
        raise OperatorError(
            f"{host} is the ip of enterprise {others[0]} too, whose calls would go to the sandbox:"
            f" give {enterprise} an ip of its own"
        )
    present = execute(_OF, enterprise=enterprise)
    if present and present[0]["host"] == host:
        return host, present[0]["port"]
    if execute(_WAS_PBX, host=host)[0]["is_so"]:
        raise OperatorError(
            f"{host} is a PBX that the service has connected to: give {enterprise} an ip of its own"
        )
    return host, 0


def _check_address(enterprise: str, host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or str(address) != host or address.is_unspecified or address.is_multicast:
        raise OperatorError(
            f"The ip of enterprise {enterprise} is '{host}': a sandbox needs an address of this"
            " machine there that is no other enterprise's, e.g. 127.0.0.2"
        )


def set_sandbox(database: Database, doer: Doer, enterprise: str, port: int, key: str) -> Sandbox:
    """Have an enterprise's host be a stand-in that listens on a port and shows a host key.

    Nothing is written where it is so already, since the service's own role may only read it.

    Raises:
        OperatorError: it cannot have one; nothing is changed.
        DatabaseUnavailable: likewise.
    """
    with database.transaction() as execute:
        host, _ = _find_place(execute, enterprise)
        sandbox = Sandbox(enterprise, host, port)
        pinned = execute(_PINNED, host=host, port=port)
        present = execute(_OF, enterprise=enterprise)
        if present != [{"enterprise": enterprise, "host": host, "port": port}] or pinned != [
            {"key": key}
        ]:
            _forget(execute, enterprise)
            execute(_ADD, enterprise=enterprise, host=host, port=port)
            execute(_PIN, host=host, port=port, key=key)
            note(execute, doer, "sandbox", f"{host}:{port}", enterprise=enterprise)
    return sandbox


def remove_sandbox(database: Database, doer: Doer, enterprise: str) -> None:
    """Have an enterprise's host be a PBX again: what its `ip` names, on SSH_PORT.

    Raises:
        OperatorError: it has no sandbox.
        DatabaseUnavailable
    """
    with database.transaction() as execute:
        if not _forget(execute, enterprise):
            raise OperatorError(f"Enterprise {enterprise} has no sandbox")
        note(execute, doer, "sandbox", "removed", enterprise=enterprise)


def _forget(execute: Execute, enterprise: str) -> bool:
    """Forget a sandbox, its key, and that its host was connected to; whether there was one."""
    gone = execute(
        "DELETE FROM callapi.sandboxes WHERE enterprise = :enterprise RETURNING host",
        enterprise=enterprise,
    )
    for row in gone:
        execute("DELETE FROM callapi.host_keys WHERE host = :host", host=row["host"])
        execute("DELETE FROM callapi.hosts WHERE host = :host", host=row["host"])
    return bool(gone)

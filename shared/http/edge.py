"""Whether a request came by the edge, CloudFront and its firewall, that stands before API Gateway.

The API's own address is public. The edge shows that it is itself by a header that nobody else
knows, and tells the client's address in another, which is believed of it alone.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from anyio import to_thread
from starlette.datastructures import Headers

from shared.aws.logins import Logins, OriginSecret, origin_secrets
from shared.process import once
from shared.settings import the_settings

SECRET_HEADER = "X-Origin-Secret"  # noqa: S105 - its name
CLIENT_HEADER = "X-Viewer-Address"


class Edge:
    """What stands before the API, known by the values of a secret, two while it is changed."""

    def __init__(self, secrets: Logins[OriginSecret]) -> None:
        self._secrets = secrets

    async def has_sent(self, headers: Headers) -> bool:
        """Tell whether a request came by it. Raises SecretUnreadable: not known."""
        known = await to_thread.run_sync(self._secrets.read)
        given = ",".join(headers.getlist(SECRET_HEADER)).encode("utf-8", "surrogateescape")
        # Each is compared, to its end: how long it takes says nothing.
        matches = [hmac.compare_digest(given, value.encode()) for value in known.values]
        return any(matches)


def client_of(headers: Headers) -> str | None:
    """Read which client the edge names; None: it names none."""
    try:
        return str(ip_address(headers.get(CLIENT_HEADER, "")))
    except ValueError:
        return None


@once
def the_edge() -> Edge | None:
    """That of this process; None: none is known, and the API is open to all."""
    secrets = origin_secrets(the_settings())
    return None if secrets is None else Edge(secrets)

"""Pages of other origins: which may call the API, and how the others learn that they may not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from shared.http.problems import EDGE_HEADERS
from shared.telemetry import LOG, Sparing

_DAY_S = 86_400.0
_MOST_TOLD = 100
_LINES_S = 60.0
_MOST_LINES = 10
_SHOWN_CHARACTERS = 100
# What may stand in a header of ours.
_ORIGIN = re.compile(r"null|[A-Za-z][A-Za-z0-9+.-]*://[\x21-\x7e]{1,255}")


class Origins:
    """Judges a request by its `Origin`, which a browser writes and no page can forge.

    Without CORS_ORIGINS every page is served, since a proxy may know better; the log says once a
    day and origin why such a page reads nothing, in at most ten lines a minute. Whoever invents
    origins silences the others for no longer than a minute after he has stopped.
    """

    def __init__(self, allowed: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = frozenset(allowed)
        self._clock = clock
        self._lines = Sparing(window_s=_LINES_S, most=_MOST_LINES, clock=clock)
        self._told: dict[str, float] = {}  # by when; the one that was seen longest ago first

    def refuses(self, headers: Headers) -> str | None:
        """Return the origin of a page that may not call the API; None: the request may go on.

        `null`, as sandboxed pages and files have it, is an origin as any other.
        """
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or _is_ours(origin, headers):
            return None
        if self._allowed:
            return None if self._allowed & {origin, _of_any_port(origin)} else origin
        self._tell(origin[:_SHOWN_CHARACTERS])
        return None

    def _tell(self, origin: str) -> None:
        told_at = self._told.pop(origin, None)
        if told_at is None or self._clock() - told_at >= _DAY_S:
            left_out = self._lines.left_out(origin)
            if left_out is None:
                return
            told_at = self._clock()
            LOG.warning(
                "⚠️ Страница %s не прочтёт ответа: CORS_ORIGINS не задан. Если ей можно, "
                "добавьте туда её адрес; не записано до этого: %d",
                f"'{shown(origin)}'",
                left_out,
            )
        self._told[origin] = told_at
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]


def shown(origin: str) -> str:
    """Write an origin, which a stranger may have chosen, as it may be told: short, and in ASCII."""
    return ascii(origin[:_SHOWN_CHARACTERS])[1:-1]


def _of_any_port(origin: str) -> str:
    """Write an origin as CORS_ORIGINS names those of all ports, http://localhost:* for one."""
    return re.sub(r"(?<=[^:/]):[0-9]{1,5}\Z|\Z", ":*", origin, count=1)


def _is_ours(origin: str, headers: Headers) -> bool:
    """Whether the page came from the address that it asks; a proxy may have another scheme."""
    if headers.get("sec-fetch-site") == "same-origin":
        return True
    _, mark, authority = origin.partition("://")
    return bool(mark) and authority.lower() == headers.get("host", "").lower()


class ReadableRefusals(CORSMiddleware):
    """CORS that lets every page read its answer: a page that is not allowed gets only a refusal.

    So its preflight is granted too, or the browser would tell it nothing but that it failed.
    """

    def is_allowed_origin(self, origin: str) -> bool:
        """Let a page read."""
        return _ORIGIN.fullmatch(origin) is not None

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser's question, with the headers that every answer has."""
        response = super().preflight_response(request_headers)
        response.headers.update(EDGE_HEADERS)
        return response

"""The panel's way in: who is logged in, whose form it is, and the headers of every answer."""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth.strangers import log_wrong_secret
from shared.errors import DatabaseUnavailable, ServiceError
from shared.http.addresses import limited_as
from shared.http.language import Language, language_of
from shared.panel.language import Translate, translate_to
from shared.panel.refusals import Refused, tell
from shared.panel.rendering import render
from shared.panel.saying import Say, say_in
from shared.panel.sessions import COOKIE, SESSION_S, Session, the_sessions
from shared.panel.strangers import take_token
from shared.settings import the_settings
from shared.store.database import the_database
from shared.store.sqlstates import TextRefused
from shared.telemetry import LOG

PATH = "/admin"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# A part of a page, which the script has asked for.
_FRAGMENT = "X-Fragment"
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_MOST_FIELDS = 20


class PanelHeaders:
    """Gives every answer below /admin its headers, those to what is no page of ours too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_ours(path: str) -> bool:
    """Tell whether a path is the panel's, or below it."""
    return path == PATH or path.startswith(f"{PATH}/")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser's; `session` is None where nobody is logged in."""

    request: Request
    language: Language
    session: Session | None

    @classmethod
    def of(cls, request: Request) -> Visit:
        """Read it."""
        session = the_sessions().find(request.cookies.get(COOKIE, ""))
        return cls(request, language_of(request.headers.get("accept-language", "")), session)

    @property
    def t(self) -> Translate:
        """What writes a text in the visitor's language."""
        return translate_to(self.language)

    @property
    def say(self) -> Say:
        """What writes a text of an operator's command in the visitor's language."""
        return say_in(self.language)

    @property
    def address(self) -> str | None:
        """The visitor's, as wrong tokens are limited by it."""
        client = self.request.client
        return limited_as(client.host) if client else None

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Render a page, or what is in it, where the script has asked for that."""
        layout = "part.html" if _FRAGMENT in self.request.headers else "page.html"
        session = self.session
        own = {"layout": layout, "session": session, "here": self.request.url.path}
        csrf = session.csrf if session else ""
        text = render(template, self.language, **(own | {"csrf": csrf} | values))
        return HTMLResponse(text, status)

    def log_in_page(self, status: int = 401, said: str = "") -> HTMLResponse:
        """Render the log-in page."""
        return self.page("log_in.html", status, said=said)

    def error_page(self, error: Exception) -> HTMLResponse:
        """Render why something could not be done."""
        status, said, remedy = tell(error, self.t, self.say, the_database())
        return self.page("error.html", status, said=said, remedy=remedy)


class PanelRoute(APIRoute):
    """A page for whoever is logged in; to others it is the log-in page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            visit = Visit.of(request)
            if visit.session is None:
                return visit.log_in_page()
            try:
                return await handle(request)
            except (ServiceError, Refused, TextRefused) as error:
                return visit.error_page(error)

        return handled


router = APIRouter(prefix=PATH, include_in_schema=False)


async def _visit(request: Request) -> Visit:
    return Visit.of(request)


VisitOf = Annotated[Visit, Depends(_visit)]


async def read_form(request: Request) -> dict[str, str]:
    """Read a form's fields, the last of each name; what is no form has none."""
    body = await request.body()
    try:
        fields = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:  # no form of a browser's, or not of UTF-8
        return {}
    return {name: values[-1].strip() for name, values in fields.items()}


def check_origin(request: Request) -> None:
    """Refuse what a page of another origin sends, or nobody says which.

    A browser tells where a form comes from by Sec-Fetch-Site, where it trusts the way to us (https,
    localhost). Its Origin is `null` then, since our pages tell no referrer. Raises Refused.
    """
    headers = request.headers
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is not None:
        is_same = site == "same-origin"
    else:
        is_same = origin is not None and _authority(origin) == headers.get("host")
    if origin is not None and origin != "null":
        is_same = is_same and _authority(origin) == headers.get("host")
    if not is_same:
        raise Refused("refused_origin", status=403)


def _authority(origin: str) -> str:
    """Take it out of what a browser writes there; a stranger writes anything, brackets too."""
    return origin.partition("://")[2]


async def checked_form(visit: VisitOf) -> dict[str, str]:
    """Read a form that is sent from one of this session's own pages. Raises Refused."""
    check_origin(visit.request)
    fields = await read_form(visit.request)
    wanted = visit.session.csrf if visit.session else ""
    given = fields.pop("csrf", "").encode("utf-8", "replace")
    if not wanted or not hmac.compare_digest(given, wanted.encode()):
        raise Refused("refused_csrf", status=403)
    return fields


FormOf = Annotated[dict[str, str], Depends(checked_form)]


def _came_by_https(request: Request) -> bool:
    """Tell whether the browser came by https, as far as it, or a proxy, tells.

    Whoever writes these headers himself has a cookie that is sent back by https alone.
    """
    headers = request.headers
    told = {request.url.scheme, headers.get("x-forwarded-proto", "")}
    told.add(headers.get("origin", "").partition("://")[0])
    is_loopback = _LOOPBACK.fullmatch(headers.get("host", "")) is not None
    # A browser sends it by https, or to its own machine.
    is_trusted = "sec-fetch-site" in headers and not is_loopback
    return "https" in told or is_trusted


@router.post("/log-in")
async def log_in(visit: VisitOf) -> Response:
    """Begin a session for whoever knows the token."""
    try:
        check_origin(visit.request)
    except Refused as error:
        return visit.error_page(error)
    token = (await read_form(visit.request)).get("token", "")
    if not the_sessions().is_token(token):
        return await _refuse(visit)
    LOG.info("🔑 Панель: вход с адреса %s", visit.address)
    answer = RedirectResponse(PATH, 303)
    answer.set_cookie(
        COOKIE,
        the_sessions().begin(),
        max_age=SESSION_S,
        path=PATH,
        secure=_came_by_https(visit.request),
        httponly=True,
        samesite="strict",
    )
    return answer


async def _refuse(visit: Visit) -> Response:
    log_wrong_secret(visit.address, what="ADMIN_TOKEN")
    try:
        wait_s = await take_token(the_database(), the_settings(), visit.address)
    except DatabaseUnavailable as error:  # it cannot be counted, so it is not answered
        return visit.error_page(error)
    if wait_s:
        seconds = max(1, math.ceil(wait_s))
        answer = visit.log_in_page(429, visit.t("too_many_tokens", seconds=seconds))
        answer.headers["Retry-After"] = str(seconds)
        return answer
    return visit.log_in_page(401, visit.t("wrong_token"))


def to(path: str, **query: str) -> RedirectResponse:
    """Lead to a page."""
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return RedirectResponse(f"{PATH}{path}{'?' if pairs else ''}{pairs}", 303)


def without_session(answer: Response) -> Response:
    """Have the browser forget its session."""
    answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")
    return answer

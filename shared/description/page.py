"""`/`: what this is, and a place to play; `/docs`: the API to read and to try.

All of this service's own files, swagger-ui's among them; nothing is fetched from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse

from shared.http.language import language_of

_STATIC = Path(__file__).parent / "static"
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": _SCRIPT,
    "home.css": "text/css; charset=utf-8",
    "home.js": _SCRIPT,
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": _SCRIPT,
}
# swagger-ui's stylesheet has its pictures in itself.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none';"
    " base-uri 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request, lang: str = "") -> FileResponse:
    """Send the first page, in the language that the visitor wants; it calls in sandboxes alone."""
    wanted = lang or request.headers.get("accept-language", "")
    name = f"home.{language_of(wanted)}.html"
    headers = _HEADERS | {"Vary": "Accept-Language"}
    return FileResponse(_STATIC / name, media_type=_HTML, headers=headers)


@router.get("/docs")
async def page() -> FileResponse:
    """Send the page, which knows its script and the API by relative paths."""
    return FileResponse(_STATIC / "docs.html", media_type=_HTML, headers=_HEADERS)


@router.get("/docs/{name}")
async def file(name: str) -> FileResponse:
    """Send what the page is made of."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=_HEADERS)

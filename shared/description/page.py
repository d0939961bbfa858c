"""`/docs`: the API's description to read and to try, from this service's own files.

Its script is swagger-ui's, which is kept in `static`; nothing is fetched from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

_STATIC = Path(__file__).parent / "static"
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": _SCRIPT,
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

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("")
async def page() -> FileResponse:
    """Send the page, which knows its script and the API by relative paths."""
    return FileResponse(_STATIC / "docs.html", media_type=_HTML, headers=_HEADERS)


@router.get("/{name}")
async def file(name: str) -> FileResponse:
    """Send what the page is made of."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=_HEADERS)

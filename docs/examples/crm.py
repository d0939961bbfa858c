"""A CRM's own server: it has the secret, and knows who is logged in; crm.html has neither.

    CALLS_URL=http://127.0.0.1:8018 CALLS_SECRET=demo-secret-0001 uvicorn crm:app --port 8100

Then http://localhost:8100, as Julia; `?user=boss` is her supervisor. From elsewhere by https alone:
browsers say only there whose page asks. What the page may ask for is passed on with the secret.
Events come to the page from the API itself, by tickets: CORS_ORIGINS has to name this page.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse

CALLS_URL, SECRET = os.environ["CALLS_URL"], os.environ["CALLS_SECRET"]
HERE = Path(__file__).parent
MOST_BYTES = 16_000  # as the API
CLIENT = HERE.parents[1] / "clients" / "js" / "calls.js"

CALL = r"/api/calls(/[0-9a-f-]{36})?"
ANYBODY = re.compile(
    rf"POST /api/calls|(GET|DELETE) {CALL}|GET /api/events|POST /api/events/ticket"
)
SUPERVISOR = re.compile(r"GET /api/monitor")

app = FastAPI(openapi_url=None)
api = httpx.AsyncClient(
    base_url=CALLS_URL, timeout=30, headers={"Authorization": f"Bearer {SECRET}"}
)


@dataclass(frozen=True)
class User:
    """Somebody who works with the CRM."""

    name: str
    extension: str
    is_supervisor: bool = False


USERS = {"julia": User("Julia", "154"), "boss": User("Boss", "151", is_supervisor=True)}


def logged_in(request: Request) -> User:
    """Say who asks. Yours has a log-in; this cookie is as good as none."""
    user = USERS.get(request.cookies.get("user", "julia"))
    if user is None:
        raise HTTPException(401)
    return user


@app.get("/")
async def page(user: str = "julia") -> FileResponse:
    """Give out the page."""
    headers = {
        "Set-Cookie": f"user={user if user in USERS else 'julia'}; HttpOnly; SameSite=Strict"
    }
    return FileResponse(HERE / "crm.html", headers=headers)


@app.get("/calls.js")
async def client() -> FileResponse:
    """Give out the client."""
    return FileResponse(CLIENT, media_type="text/javascript")


@app.get("/me")
async def me(user: Annotated[User, Depends(logged_in)]) -> dict[str, object]:
    """Tell the page whose it is, and where events come from."""
    return asdict(user) | {"socket": CALLS_URL}


async def read(request: Request) -> bytes:
    """Read a body, which is not kept whatever its size."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return body


@app.api_route("/calls-api{path:path}", methods=["GET", "POST", "DELETE"])
async def pass_on(
    path: str, request: Request, user: Annotated[User, Depends(logged_in)]
) -> Response:
    """Pass on what this user may do, from his own extension, in his name."""
    asked = f"{request.method} {path}"
    may = ANYBODY.fullmatch(asked) or (user.is_supervisor and SUPERVISOR.fullmatch(asked))
    if not may or request.headers.get("Sec-Fetch-Site") != "same-origin":  # another's page, say
        raise HTTPException(403)
    body = await read(request)
    if asked == "POST /api/calls":
        try:
            body = json.dumps({"from": user.extension, "to": json.loads(body)["to"]}).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            raise HTTPException(400, "The body has to be JSON with `to`") from None
    params = dict(request.query_params)
    if path == "/api/monitor":
        params["monitor_from"] = user.extension
    headers = {b"X-Actor": user.name.encode(), b"Content-Type": b"application/json"}
    if key := request.headers.get("Idempotency-Key"):
        headers[b"Idempotency-Key"] = key.encode("latin-1")  # as it came
    try:
        answer = await api.request(
            request.method, path, params=params, content=body, headers=headers
        )
    except httpx.TransportError:
        raise HTTPException(502) from None  # the page's client knows what may be asked again
    kept = ("Content-Type", "Retry-After", "X-Request-Id")
    headers_back = {name: answer.headers[name] for name in kept if name in answer.headers}
    return Response(answer.content, answer.status_code, headers_back)

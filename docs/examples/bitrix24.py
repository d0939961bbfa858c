"""Bitrix24 by a local application: a click there rings here, and each call ends as a record there.

    CALLS_URL=... CALLS_SECRET=... CALLS_WEBHOOK_SECRET=whsec_... EXTENSIONS=7:154,8:151 \
    BITRIX_CLIENT_ID=... BITRIX_CLIENT_SECRET=... uvicorn bitrix24:app --port 8102

In the portal: a local application without an interface, of the scope `telephony`, whose handler and
installer is `https://.../bitrix24`; once it is installed bind ONEXTERNALCALLSTART to that address
(`event.bind`). Here: `POST /api/webhooks` with `https://.../calls` and `scope=all`. `EXTENSIONS`
maps the portal's users.

Bitrix24 sends an event once, and of one click maybe two: its CALL_ID is the click's name. A webhook
comes again until it is accepted, so that what fails here is not lost; so BITRIX_FILE keeps which
calls the portal was told to be over.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import sqlite3
from typing import Any
from urllib.parse import parse_qsl

import httpx
from asterisk_calls import AsyncCalls, CallsError
from fastapi import FastAPI, HTTPException, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

OAUTH = "https://oauth.bitrix.info/oauth/token/"
INCOMING = 2
USERS = dict(pair.split(":") for pair in os.environ["EXTENSIONS"].split(","))
STATUS = {"answered": "200", "busy": "486", "agent_busy": "486", "cancelled": "603-S"}
STATUS |= {"no_answer": "480", "agent_no_answer": "480", "failed": "404", "rejected": "503"}
MOST_BYTES = 100_000
LOG = logging.getLogger("uvicorn.error")  # which uvicorn shows

app = FastAPI(openapi_url=None)
calls = AsyncCalls(os.environ["CALLS_URL"], os.environ["CALLS_SECRET"])
webhook = Webhook(os.environ["CALLS_WEBHOOK_SECRET"])
bitrix = httpx.AsyncClient(timeout=20)
kept = sqlite3.connect(os.environ.get("BITRIX_FILE", "bitrix24.sqlite"), isolation_level=None)
kept.executescript(
    "CREATE TABLE IF NOT EXISTS portal (one INTEGER PRIMARY KEY CHECK (one = 1), auth TEXT);"
    "CREATE TABLE IF NOT EXISTS known (theirs TEXT PRIMARY KEY, ours TEXT, user TEXT,"
    " is_over INTEGER DEFAULT 0, since TEXT DEFAULT CURRENT_TIMESTAMP);"
    "DELETE FROM known WHERE since < datetime('now', '-30 days')"
)
turn = asyncio.Lock()  # to tell the portal: of two events of one call the later one has to know


class PortalRefused(Exception):
    """The portal refused a method, and will refuse it again."""


@app.exception_handler(PortalRefused)
async def go_on(_: Request, refused: Exception) -> Response:
    """Leave that call: whoever waits for the portal to take it waits with all that follows."""
    LOG.error("Bitrix24 refuses: %s", refused)
    return Response()


async def read(request: Request) -> bytes:
    """Read a body of anybody's, which is not kept whatever its size."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return body


@app.post("/bitrix24")
async def take_event(request: Request) -> Response:
    """Take what the portal sends: its installation, and clicks."""
    form = dict(parse_qsl((await read(request)).decode(errors="replace")))
    token = form.get("auth[application_token]", "")
    auth = {name[5:-1]: text for name, text in form.items() if name.startswith("auth[")}
    is_installation = form.get("event") == "ONAPPINSTALL"
    # Only the first one is believed: the token in it proves all that comes after, a second one too.
    known = _portal().get("application_token") or (token if is_installation else "")
    if not known or not hmac.compare_digest(token.encode(), known.encode()):
        raise HTTPException(403)
    if is_installation:
        kept.execute("INSERT OR REPLACE INTO portal VALUES (1, ?)", [json.dumps(auth)])
    if form.get("event") == "ONEXTERNALCALLSTART":
        data = {name[5:-1]: text for name, text in form.items() if name.startswith("data[")}
        await click(data)
    return Response()


async def click(data: dict[str, str]) -> None:
    """Ring the user's extension, then the number. The portal has registered the call already."""
    user, theirs = data["USER_ID"], data["CALL_ID"]
    number = data.get("PHONE_NUMBER_INTERNATIONAL") or data["PHONE_NUMBER"]
    if _knows(theirs):
        return
    try:
        key = f"bitrix24-{theirs}"
        placed = await calls.create_call(
            USERS.get(user, ""), number, key=key, actor=f"bitrix24 {user}"
        )
    except CallsError as error:
        code = "OTHER" if error.dialled == "unknown" else "503"
        async with turn:
            if not _knows(theirs):
                await finish(theirs, user, 0, code, error.detail)
                remember(theirs, None, user, is_over=True)
    else:
        remember(theirs, placed["call_id"], user)
        # It may have ended, and the webhook have come, before that was known here.
        await end(placed["call_id"], dict(await calls.get_call(placed["call_id"])))


@app.post("/calls")
async def take_webhook(request: Request) -> Response:
    """Take what the API tells. Whatever fails is a 500 here, and comes again."""
    try:
        event = webhook.verify(await read(request), dict(request.headers))
    except (WebhookVerificationError, ValueError):  # or what is no signature at all
        raise HTTPException(401) from None
    if call := event.get("call"):
        await end(call["call_id"], call)
    elif (call := event.get("pbx_call")) and call["direction"] == "incoming":
        if call["phase"] != "ended":  # who answers at once is seen talking first
            await show(call)
        await end(call["pbx_call_id"], call)
    return Response()


async def show(call: dict[str, Any]) -> None:
    """Register an incoming call once: its card opens at whose phone rings."""
    ours = call["pbx_call_id"]
    user = next((user for user, number in USERS.items() if number in call["extensions"]), None)
    async with turn:
        known = kept.execute("SELECT 1 FROM known WHERE ours = ?", [ours]).fetchone()
        if user is None or known or not call["from"]:
            return
        registered = await ask(
            "telephony.externalCall.register",
            USER_ID=user,
            PHONE_NUMBER=call["from"],
            TYPE=INCOMING,
            CALL_START_DATE=call["times"]["began"],
            CRM_CREATE=1,
            SHOW=1,
            EXTERNAL_CALL_ID=ours,  # without it two calls in 30 minutes are one there
        )
        remember(registered["CALL_ID"], ours, user)


async def end(ours: str, call: dict[str, Any]) -> None:
    """Finish a call that the portal knows, once; it becomes a record there."""
    if call["phase"] != "ended":
        return
    talk_s = call["talk_s"] or 0
    missed = "200" if talk_s else "304"
    code = STATUS.get(call["reason"] or "", "OTHER") if "reason" in call else missed
    async with turn:
        sql = "SELECT theirs, user FROM known WHERE ours = ? AND NOT is_over"
        for theirs, user in kept.execute(sql, [ours]).fetchall():  # two, if the second repeats one
            await finish(theirs, user, talk_s, code)
            kept.execute("UPDATE known SET is_over = 1 WHERE theirs = ?", [theirs])


async def finish(theirs: str, user: str, talk_s: int, code: str, why: str = "") -> None:
    """Tell the portal how a call ended."""
    what = {"CALL_ID": theirs, "USER_ID": user, "DURATION": talk_s, "STATUS_CODE": code}
    await ask("telephony.externalCall.finish", **what, **({"FAILED_REASON": why} if why else {}))


def remember(theirs: str, ours: str | None, user: str, *, is_over: bool = False) -> None:
    """Keep a call, by the portal's name for it and the API's."""
    sql = "INSERT OR IGNORE INTO known (theirs, ours, user, is_over) VALUES (?, ?, ?, ?)"
    kept.execute(sql, [theirs, ours, user, is_over])


def _knows(theirs: str) -> bool:
    return bool(kept.execute("SELECT 1 FROM known WHERE theirs = ?", [theirs]).fetchone())


def _portal() -> dict[str, str]:
    row = kept.execute("SELECT auth FROM portal").fetchone()
    found: dict[str, str] = json.loads(row[0]) if row else {}
    return found


async def ask(method: str, **params: Any) -> Any:
    """Have a method of the portal's done; an access token that has ended is renewed once."""
    for attempt in range(2):
        portal = _portal()
        url, body = (
            f"{portal['client_endpoint']}{method}",
            {**params, "auth": portal["access_token"]},
        )
        answer = await bitrix.post(url, json=body)
        told = answer.json()
        if told.get("error") != "expired_token" or attempt:
            break
        grant = {"grant_type": "refresh_token", "refresh_token": portal["refresh_token"]}
        ours = {
            "client_id": os.environ["BITRIX_CLIENT_ID"],
            "client_secret": os.environ["BITRIX_CLIENT_SECRET"],
        }
        renewed = (await bitrix.post(OAUTH, data=grant | ours)).raise_for_status().json()
        kept.execute("UPDATE portal SET auth = ?", [json.dumps(portal | renewed)])
    if answer.status_code == httpx.codes.BAD_REQUEST:
        raise PortalRefused(method, told.get("error"), told.get("error_description"))
    answer.raise_for_status()  # its limits, its repairs, our rights: all of which may pass
    return told["result"]

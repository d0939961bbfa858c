"""What amoCRM's stock widget "Asterisk" asks, answered by this API instead of a script on the PBX.

    CALLS_URL=http://127.0.0.1:8018 CALLS_SECRET=... WIDGET_LOGIN=amo WIDGET_SECRET=... \
        uvicorn amocrm_widget:app --port 8101

The widget's address is then `https://.../amo`, by TLS. It sends its login and secret in each URL,
`status` from the users' browsers: so they are the widget's own, and open nothing but this. The
API's secret stays here. `status` and `call` are answered as a script that calls `asterisk_cb`,
`cdr` as JSON, as the widget's own PHP script does. No GETFILE: this API has no recordings yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from asterisk_calls import AsyncCalls, CallsError, Event
from fastapi import FastAPI, Query, Response

LOGIN, SECRET = os.environ["WIDGET_LOGIN"], os.environ["WIDGET_SECRET"]
if not SECRET:
    raise SystemExit("WIDGET_SECRET is empty: whoever finds this address could call")
Moment = Annotated[int, Query(le=253_402_300_799)]  # the last second of the year 9999

calls = AsyncCalls(os.environ["CALLS_URL"], os.environ["CALLS_SECRET"])
ringing: dict[str, list[dict[str, str]]] = {}


def note(event: Event) -> None:
    """Keep which phones ring, and who calls them: the widget asks every few seconds."""
    if event["type"] == "events.gone":
        ringing.clear()
    if call := event.get("call"):
        is_ringing = call["phase"] == "agent_ringing"
        _note(call["call_id"], call["to"], [call["from"]] if is_ringing else [])
    if other := event.get("pbx_call"):
        is_ringing = other["phase"] == "ringing"
        _note(other["pbx_call_id"], other["from"] or "", other["extensions"] if is_ringing else [])


def _note(call_id: str, other: str, extensions: list[str]) -> None:
    ringing[call_id] = [
        {
            "state": "Ringing",
            "channelstatedesc": "Ringing",
            "calleridnum": extension,
            "connectedlinenum": other,
            "uniqueid": call_id,
        }
        for extension in extensions
    ]
    if not extensions:
        del ringing[call_id]


@contextlib.asynccontextmanager
async def listening(_: FastAPI) -> AsyncIterator[None]:
    """Follow the feed for as long as this runs."""

    async def listen() -> None:
        async for event in calls.follow(scope="all"):
            note(event)

    async with calls:
        task = asyncio.create_task(listen())
        yield
        task.cancel()


app = FastAPI(lifespan=listening, openapi_url=None)


@app.get("/amo")
async def amo(
    *,
    login: Annotated[str, Query(alias="_login")] = "",
    secret: Annotated[str, Query(alias="_secret")] = "",
    action: Annotated[str, Query(alias="_action")] = "",
    from_: Annotated[str, Query(alias="from")] = "",
    to: str = "",
    as_: Annotated[str, Query(alias="as")] = "",
    date_from: Moment = 0,
    date_to: Moment = 0,
) -> Response:
    """Answer one of the widget's questions."""
    given, right = f"{login}\n{secret}".encode(), f"{LOGIN}\n{SECRET}".encode()
    if not hmac.compare_digest(given, right):
        return _answer({"status": "error", "data": {"message": "Authentication failed"}})
    try:
        if action == "status":
            data: Any = [channel for channels in ringing.values() for channel in channels]
        elif action == "call":
            # The widget names no click; the API itself takes the same order within 10 s as one.
            placed = await calls.create_call(from_, to, actor=as_[:100])
            data = {"response": "Success", "message": placed["message"]}
        elif action == "cdr":
            rows = [row async for row in history(date_from, date_to)]
            return _answer({"status": "ok", "data": rows}, is_script=False)
        else:
            return Response("NO_PARAMS")
    except CallsError as error:
        failed = {"response": "Error", "message": error.detail}
        return _answer({"status": "error", "data": failed}, is_script=action != "cdr")
    return _answer({"status": "ok", "action": action, "data": data})


async def history(date_from: int, date_to: int) -> AsyncIterator[dict[str, Any]]:
    """List the PBX's calls between two moments, seconds since 1970, as its database would."""
    params: dict[str, Any] = {"limit": 500, "cursor": None}
    for name, moment in (("since", date_from), ("until", date_to)):
        params[name] = datetime.fromtimestamp(moment, UTC).isoformat() if moment > 0 else None
    while True:
        page = await calls.request("GET", "/api/history", params=params)
        for call in page["calls"]:
            yield {
                "calldate": call["started_at"].replace("T", " ").removesuffix("Z"),
                "src": call["from"],
                "dst": call["to"],
                "duration": call["duration_s"],
                "billsec": call["talk_s"],
                "uniqueid": call["uniqueid"],
                "recordingfile": "",
            }
        if page["next"] is None:
            return
        params["cursor"] = page["next"]


def _answer(body: dict[str, Any], *, is_script: bool = True) -> Response:
    text = json.dumps(body)
    return Response(f"asterisk_cb({text});" if is_script else text, media_type="text/javascript")

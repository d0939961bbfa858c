"""The panel's pages, and the one path by which its forms change something."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response, StreamingResponse

from shared.panel import deeds, enterprises, hosts, live, logbook, services
from shared.panel.actions import Actor, execute
from shared.panel.checking import check
from shared.panel.door import PATH, FormOf, PanelRoute, Visit, VisitOf, to, without_session
from shared.panel.refusals import Refused
from shared.pbx.hosts import the_pbx
from shared.pbx.telling import the_telling
from shared.settings import the_settings
from shared.store.database import the_database

router = APIRouter(prefix=PATH, include_in_schema=False, route_class=PanelRoute)
files = APIRouter(prefix=f"{PATH}/static", include_in_schema=False)

_STATIC = Path(__file__).parent / "static"
_FILES = {"panel.css": "text/css; charset=utf-8", "panel.js": "text/javascript; charset=utf-8"}
# What a form may have done, told on the page that it leads to.
_DONE = frozenset(
    {"hung_up", "dialling_stopped", "dialling_went", "key_ended", "key_accepted"},
)


@files.get("/{name}")
async def file(name: str) -> Response:
    """Send the script or the stylesheet, also to the log-in page."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_STATIC / name, media_type=_FILES[name])


def _done(visit: Visit) -> str:
    key = visit.request.query_params.get("done", "")
    return visit.t(key) if key in _DONE else ""


@router.get("")
async def calls(visit: VisitOf) -> Response:
    """The open calls, and who listens to whom."""
    found = await live.list_live(the_database())
    return visit.page(
        "calls.html",
        calls=[one for one in found if one.kind != "monitor"],
        monitors=[one for one in found if one.kind == "monitor"],
        done=_done(visit),
    )


@router.get("/call")
async def call(visit: VisitOf, call_id: str) -> Response:
    """Ask whether a call is really to be ended."""
    for one in await live.list_live(the_database()):
        if str(one.call_id) == call_id and one.phase != "ended":
            return visit.page("hang_up.html", call=one)
    raise Refused("not_found", status=404)


@router.get("/hosts")
async def host_list(visit: VisitOf) -> Response:
    """Each PBX, and how it is reached."""
    settings = the_settings()
    found = await hosts.list_hosts(the_database(), the_pbx(), settings)
    retry_s = settings.pbx_retry_s
    return visit.page("hosts.html", hosts=found, retry_s=retry_s, done=_done(visit))


@router.get("/key")
async def host_key(visit: VisitOf, host: str) -> Response:
    """Compare the pinned key of a PBX with what it shows."""
    keys = await hosts.compare_keys(the_database(), the_pbx(), the_settings(), host)
    return visit.page("key.html", keys=keys)


@router.get("/enterprises")
async def enterprise_list(visit: VisitOf) -> Response:
    """The enterprises, with what of each is weak."""
    listed = await enterprises.list_all(the_database(), the_settings())
    return visit.page("enterprises.html", listed=listed)


@router.get("/enterprise")
async def enterprise(visit: VisitOf, number: str) -> Response:
    """One of them, whole."""
    return await _enterprise(visit, number)


async def _enterprise(visit: Visit, number: str, secret: str = "", said: str = "") -> Response:
    database, settings = the_database(), the_settings()
    await the_telling().tell()
    row = await enterprises.find_row(database, number)
    place = await enterprises.load_place(database)
    limits = await enterprises.load_limits(database, row.number)
    whole = await anyio.to_thread.run_sync(enterprises.load, database, settings, row, place, limits)
    return visit.page("enterprise.html", whole=whole, done=_done(visit), secret=secret, said=said)


@router.get("/dialling")
async def dialling(visit: VisitOf, number: str) -> Response:
    """Have the number typed of whose dialling is to be stopped, or let go."""
    row = await enterprises.find_row(the_database(), number)
    return visit.page("dialling.html", row=row)


@router.get("/end-key")
async def end_key(visit: VisitOf, number: str, key: str) -> Response:
    """Ask whether a secret is really to end."""
    row = await enterprises.find_row(the_database(), number)
    return visit.page("end_key.html", row=row, key=key)


@router.get("/requests")
async def requests(visit: VisitOf, q: str = "") -> Response:
    """What the log's end tells of requests."""
    found = await anyio.to_thread.run_sync(logbook.load_entries, the_settings().log_file, q)
    return visit.page("requests.html", entries=found, q=q)


@router.get("/audit")
async def audit(visit: VisitOf, q: str = "") -> Response:
    """Who did what."""
    notes = await deeds.list_deeds(the_database().reads, the_settings(), q)
    return visit.page("audit.html", notes=notes, q=q)


@router.get("/services")
async def service_list(visit: VisitOf, since: int = 0) -> Response:
    """The service's state, and its restart; `since` is the process before one that was begun."""
    found = await services.look(the_database(), the_settings())
    state = ""
    if since:
        outcome = services.Family.load().outcome
        state = "restarted" if found.main != since else "restarting"
        if state == "restarting" and outcome == "failed":
            state = "restart_failed"
    return visit.page("services.html", service=found, state=state, since=since)


@router.get("/restart")
async def restart(visit: VisitOf) -> Response:
    """Ask whether the service is really to start anew."""
    can_restart = services.Family.load().supervisor is not None
    return visit.page("restart.html", can_restart=can_restart)


@router.post("/check")
async def run_check(visit: VisitOf, form: FormOf) -> Response:
    """Check an enterprise's PBX, a line for each finding."""
    number = form.get("number", "")
    lines = await check(the_database(), the_settings(), number, visit.t, visit.say)
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8")


@router.post("/log-out")
async def log_out(_form: FormOf) -> Response:
    """Forget the session."""
    return without_session(to(""))


@router.post("/do/{name}")
async def do(name: str, visit: VisitOf, form: FormOf) -> Response:
    """Change something."""
    session = visit.session.name if visit.session else ""
    done = await execute(name, form, Actor(session, visit.address))
    if done.secret:
        return await _enterprise(visit, done.query["number"], secret=done.secret, said=done.said)
    if done.key == "restart":
        return to(done.path, **done.query)
    return to(done.path, **done.query, done=done.key)

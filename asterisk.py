"""The whole service without AWS: every handler's router, on one port.

python asterisk.py                 serves on SERVICE_PORT (8018), by SERVICE_WORKERS processes
python deploy/serve.py             has it serve so, and lets new code take its place
uvicorn asterisk:app ...           likewise, without shared/http/server.py's bounds: docs/operate.md

ROLE=follower leaves out the API, ROLE=api the following of calls, which a follower does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI

from functions.audit.handler import router as audit
from functions.calls.handler import router as calls
from functions.events.handler import router as events
from functions.extensions.handler import router as extensions
from functions.hangup.handler import router as hangup
from functions.health.handler import router as health
from functions.history.handler import router as history
from functions.makecallexternal.handler import router as makecallexternal
from functions.monitor.handler import router as monitor
from functions.ready.handler import router as ready
from functions.status.handler import router as status
from functions.transfer.handler import router as transfer
from functions.webhooks.handler import router as webhooks
from shared.auth.weaknesses import warn
from shared.description.document import describing
from shared.description.page import router as docs
from shared.following.trackers import the_trackers
from shared.following.unfollowed import tell_of_unfollowed
from shared.http.app import create_app
from shared.http.handover import HandedServer, Handover
from shared.http.server import server_options
from shared.http.workers import Workers
from shared.logfile import check_log_file
from shared.metrics.folder import forget_process, shared_folder, the_folder
from shared.metrics.page import PATH, Page, the_metrics
from shared.panel.app import add_panel
from shared.pbx.telling import the_telling
from shared.process import ending_with_signals, let_go_of_all
from shared.settings import Settings, SettingsError, the_settings
from shared.store.database import Database, the_database
from shared.telemetry import LOG, configure_logging
from shared.webhooks.senders import the_senders


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Own what outlives a request: the trackers of calls, and the connections."""
    settings = the_settings()
    app.state.request_timeout_s = settings.request_timeout_s
    configure_logging(settings)  # uvicorn has made its loggers since the app was made
    tasks = [asyncio.create_task(task) for task in (the_metrics().go_on(), the_telling().go_on())]
    if settings.role == "api":
        tasks.append(asyncio.create_task(tell_of_unfollowed(the_database())))
    else:
        the_trackers().start()
        the_senders().start()
    if app.state.warns:
        tasks.append(asyncio.create_task(warn(the_database(), settings)))
    for task in tasks:
        task.add_done_callback(_tell_of_defect)
    with ending_with_signals():
        yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await let_go_of_all()


def _tell_of_defect(task: asyncio.Task[None]) -> None:
    """Tell why a duty has ended; nobody awaits it before the process does."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.error("❌ Фоновая задача прервана", exc_info=error)


@contextmanager
def settings_told() -> Iterator[None]:
    """Let a wrong setting end the program by its own sentence, without a traceback."""
    try:
        yield
    except SettingsError as error:
        raise SystemExit(f"❌ {error}") from None


def compose(settings: Settings) -> FastAPI:
    """Make the app of a process by its role."""
    is_api = settings.role != "follower"
    routers = [health, ready]
    if is_api:
        routers = [
            *(
                makecallexternal,
                monitor,
                calls,
                hangup,
                transfer,
                events,
                history,
                extensions,
                audit,
                webhooks,
            ),
            *(health, ready, status, docs),
        ]
    describe = describing(settings.root_path) if is_api else None
    app = create_app(*routers, settings=settings, lifespan=lifespan, describe=describe)
    app.router.add_route(PATH, Page())  # type: ignore[arg-type] # an app is no function
    app.state.warns = is_api  # of what helps who breaks in there
    if is_api and settings.admin_token.get_secret_value():
        add_panel(app)
    return app


with settings_told():
    app = compose(the_settings())


def main() -> None:
    """Serve until a signal comes; requests under way are finished first."""
    with settings_told():
        settings = the_settings()
        Database(settings)  # connects to nothing yet, and reads POSTGRES_CA_FILE
        check_log_file(settings)
        options = server_options(settings)
        workers = settings.service_workers
        handover = Handover(int(sys.argv[2]) if sys.argv[1:2] == ["--supervised"] else None)
        bound = handover.take(settings)
    if not bound:
        uvicorn.run(app, **options)
        return

    def serve(number: int) -> None:
        app.state.warns = app.state.warns and number == 0
        HandedServer(uvicorn.Config(app, **options), handover).run(bound)

    if workers == 1:
        serve(0)
        return

    LOG.info("👥 Порт %d, процессов: %d", settings.port, workers)
    with settings_told(), shared_folder() as folder:
        the_folder.put(folder)
        status = Workers(workers, bound, serve, partial(forget_process, folder)).run()
    sys.exit(status)


if __name__ == "__main__":
    main()

"""The whole service in one process: every handler's router, on one port.

python asterisk.py                 serves on SERVICE_PORT (8018)
uvicorn asterisk:app --port 8018   the same
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from functions.calls.handler import router as calls
from functions.extensions.handler import router as extensions
from functions.hangup.handler import router as hangup
from functions.health.handler import router as health
from functions.history.handler import router as history
from functions.makecallexternal.handler import router as makecallexternal
from functions.monitor.handler import router as monitor
from functions.status.handler import router as status
from functions.transfer.handler import router as transfer
from shared.database import load_database
from shared.late import load_late_calls
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.trackers import load_trackers
from shared.web import create_app


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Own what outlives a request: the trackers of calls, and the connections."""
    load_trackers().start()
    yield
    await load_trackers().close()
    await load_late_calls().close()
    await load_pbx().close()
    load_database().close()


app = create_app(
    *(makecallexternal, monitor, calls, hangup, transfer, history, extensions, health, status),
    lifespan=lifespan,
)


def main() -> None:
    """Serve until a signal comes; requests under way are finished first."""
    settings = load_settings()
    uvicorn.run(app, host=settings.service_host, port=settings.service_port)


if __name__ == "__main__":
    main()

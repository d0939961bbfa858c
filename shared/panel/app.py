"""The panel as a part of the service's app."""

from __future__ import annotations

from fastapi import FastAPI

from shared.panel import door, pages


def add_panel(app: FastAPI) -> None:
    """Serve the panel below /admin."""
    for router in (door.router, pages.files, pages.router):
        app.include_router(router)
    app.add_middleware(door.PanelHeaders)  # the last one is the outermost: refusals pass it too

"""Tell the service's version, its database's state and how it reaches a PBX: `GET /api/status`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from shared.http.gateway import lambda_handler
from shared.settings import SERVICE, VERSION, the_settings
from shared.store.database import the_database

router = APIRouter(tags=["service"])


class AsteriskConfig(BaseModel):
    """How hosts are reached; no secret among it."""

    method: str
    ssh_port: int
    ssh_user: str


class Status(BaseModel):
    """The specification's answer."""

    service: str
    version: str
    database: Literal["connected", "disconnected"]
    asterisk_config: AsteriskConfig


@router.get("/api/status", summary="Version, database, SSH settings")
async def get_status() -> Status:
    """Answer 200 also while the database is away: that is what it tells."""
    settings = the_settings()
    connected = await the_database().connected()
    return Status(
        service=SERVICE,
        version=VERSION,
        database="connected" if connected else "disconnected",
        asterisk_config=AsteriskConfig(
            method="SSH CLI", ssh_port=settings.ssh_port, ssh_user=settings.ssh_user
        ),
    )


handler = lambda_handler(router)

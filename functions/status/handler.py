"""Tell the service's version, its database's state and how it reaches a PBX: `GET /api/status`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shared.http.failures import answering, failing
from shared.http.gateway import lambda_handler
from shared.settings import SERVICE, VERSION, the_settings
from shared.store.database import the_database

router = APIRouter(tags=["service"])


class AsteriskConfig(BaseModel):
    """How hosts are reached; no secret among it."""

    method: str = Field(description="always `SSH CLI`", examples=["SSH CLI"])
    ssh_port: int = Field(description="the port of every PBX's sshd", examples=[5059])
    ssh_user: str = Field(description="who logs in there", examples=["root"])


class Status(BaseModel):
    """The specification's answer."""

    service: str = Field(description="what answers", examples=[SERVICE])
    version: str = Field(description="the service's version", examples=[VERSION])
    database: Literal["connected", "disconnected"] = Field(
        description="whether PostgreSQL answers", examples=["connected"]
    )
    asterisk_config: AsteriskConfig = Field(description="how PBXs are reached")


@router.get(
    "/api/status",
    operation_id="get_status",
    summary="Version, database, SSH settings",
    responses=answering(200, description="The service") | failing(),
)
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

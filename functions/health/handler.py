"""Tell that the process answers: `GET /health`. It loads neither SSH nor the database."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shared.http.failures import answering, failing
from shared.http.gateway import lambda_handler
from shared.settings import SERVICE, the_settings

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The specification's answer."""

    status: str = Field(description="always `healthy`", examples=["healthy"])
    service: str = Field(description="what answers", examples=[SERVICE])
    port: int = Field(description="the port that it listens on", examples=[8018])


@router.get(
    "/health",
    operation_id="get_health",
    summary="Is the process alive?",
    responses=answering(200, description="It is") | failing(),
)
async def health() -> Health:
    """Answer without asking anybody else."""
    return Health(status="healthy", service=SERVICE, port=the_settings().port)


handler = lambda_handler(router)

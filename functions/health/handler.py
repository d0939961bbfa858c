"""Tell that the process answers: `GET /health`. It loads neither SSH nor the database."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from shared.http.gateway import lambda_handler
from shared.settings import SERVICE, the_settings

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The specification's answer."""

    status: str
    service: str
    port: int


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Answer without asking anybody else."""
    return Health(status="healthy", service=SERVICE, port=the_settings().port)


handler = lambda_handler(router)

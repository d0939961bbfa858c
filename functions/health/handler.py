"""Tell that the process answers: `GET /health`. It loads neither SSH nor the database."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from shared.settings import SERVICE, load_settings
from shared.web import create_app, lambda_handler

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The specification's answer."""

    status: str
    service: str
    port: int


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Answer without asking anybody else."""
    return Health(status="healthy", service=SERVICE, port=load_settings().service_port)


app = create_app(router)
handler = lambda_handler(app)

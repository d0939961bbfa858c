"""Tell whether calls can be placed: `GET /ready`. A load balancer asks; no secret is needed."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shared.http.failures import DATABASE, answering, failing
from shared.http.gateway import lambda_handler
from shared.store.database import the_database
from shared.store.migrations import check_schema

router = APIRouter(tags=["service"])


class Ready(BaseModel):
    """The only answer that is not a problem."""

    status: Literal["ready"] = Field(description="always `ready`", examples=["ready"])


@router.get(
    "/ready",
    operation_id="get_readiness",
    summary="Can calls be placed?",
    responses=answering(200, description="They can") | failing(*DATABASE),
)
async def ready() -> Ready:
    """Answer 200 only where they can; the `code` of a 503 says what fails, database or schema."""
    await check_schema(the_database().reads)
    return Ready(status="ready")


handler = lambda_handler(router)

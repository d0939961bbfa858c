"""Tell whether calls can be placed: `GET /ready`. A load balancer asks; no secret is needed."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from shared.http.gateway import lambda_handler
from shared.http.problems import ReadyRoute
from shared.store.database import the_database
from shared.store.migrations import check_schema

router = APIRouter(tags=["service"], route_class=ReadyRoute)


class Ready(BaseModel):
    """The only answer that is not a problem."""

    status: Literal["ready"]


@router.get("/ready", summary="Can calls be placed?")
async def ready() -> Ready:
    """Answer 200 only where they can; the `code` of a 503 says what fails, database or schema."""
    await check_schema(the_database().reads)
    return Ready(status="ready")


handler = lambda_handler(router)

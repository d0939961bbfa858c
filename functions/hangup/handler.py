"""End a call: `DELETE /api/calls/{call_id}`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from shared.auth.credentials import DoerOf
from shared.auth.enterprise import identify
from shared.calls.hanging_up import hang_up
from shared.calls.telling import status_url
from shared.following.wake import the_waker
from shared.http.gateway import lambda_handler
from shared.http.problems import TellingRoute
from shared.pbx.hosts import the_pbx
from shared.settings import the_settings
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=TellingRoute)


class HungUp(BaseModel):
    """Asterisk was told to end the call; `call_status_url` tells when it has."""

    success: bool
    message: str
    call_id: UUID
    call_status_url: str


@router.delete("/api/calls/{call_id}", summary="Hang a call up")
async def delete(call_id: UUID, caller: DoerOf) -> HungUp:
    """Hang up whoever rings or talks; 409 once the call is over."""
    enterprise = await identify(the_database(), the_settings(), caller)
    call = await hang_up(
        enterprise,
        call_id,
        caller.deadline,
        doer=caller.doer,
        database=the_database(),
        pbx=the_pbx(),
        waker=the_waker(),
    )
    return HungUp(
        success=True,
        message=f"Call hung up: {call.code} -> {call.to}",
        call_id=call.call_id,
        call_status_url=status_url(call.call_id),
    )


handler = lambda_handler(router)

"""End a call: `DELETE /api/calls/{call_id}`."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shared.auth.credentials import DoerOf
from shared.auth.enterprise import identify
from shared.calls.fields import CallId, StatusUrl
from shared.calls.hanging_up import hang_up
from shared.calls.telling import status_url
from shared.errors import CallEnded, CallNotReady, ChannelUnaskable, NoSuchCall
from shared.following.wake import the_waker
from shared.http.failures import ASKING, PBX, answering, failing
from shared.http.fields import CallInPath
from shared.http.gateway import lambda_handler
from shared.http.problems import Route
from shared.pbx.hosts import the_pbx
from shared.push.afterwards import after_answer
from shared.settings import the_settings
from shared.store.database import the_database

router = APIRouter(tags=["calls"], route_class=Route)


class HungUp(BaseModel):
    """Asterisk was told to end the call; `call_status_url` tells when it has."""

    success: bool = Field(description="always true", examples=[True])
    message: str = Field(
        description="what was done, in a sentence",
        examples=["Call hung up: 150 -> +375291234567"],
    )
    call_id: CallId
    call_status_url: StatusUrl


@router.delete(
    "/api/calls/{call_id}",
    operation_id="hang_up_call",
    summary="Hang a call up",
    responses=answering(200, description="Told to end")
    | failing(*ASKING, *PBX, NoSuchCall, CallEnded, CallNotReady, ChannelUnaskable),
)
async def delete(call_id: CallInPath, caller: DoerOf) -> HungUp:
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


handler = lambda_handler(router, after_answer)

"""End a call: `DELETE /api/calls/{call_id}`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from shared.auth import ReaderOf
from shared.hanging_up import hang_up
from shared.identity import identify
from shared.web import FOLLOWS_CALLS, create_app, lambda_handler, status_url

router = APIRouter(tags=[FOLLOWS_CALLS])


class HungUp(BaseModel):
    """Asterisk was told to end the call; `call_status_url` tells when it has."""

    success: bool
    message: str
    call_id: UUID
    call_status_url: str


@router.delete("/api/calls/{call_id}", summary="Hang a call up")
async def delete(call_id: UUID, caller: ReaderOf) -> HungUp:
    """Hang up whoever rings or talks; 409 once the call is over."""
    enterprise = await identify(caller)
    call = await hang_up(enterprise, call_id, caller.deadline)
    return HungUp(
        success=True,
        message=f"Call hung up: {call.code} -> {call.phone}",
        call_id=call.call_id,
        call_status_url=status_url(call.call_id),
    )


app = create_app(router)
handler = lambda_handler(app)

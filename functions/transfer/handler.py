"""Hand a customer over to another extension: `POST /api/calls/{call_id}/transfer`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from shared.auth import NoPrefetch, ReaderOf
from shared.fields import ExtensionText
from shared.identity import identify
from shared.transferring import transfer
from shared.web import PLACES_CALLS, create_app, lambda_handler, status_url

router = APIRouter(tags=[PLACES_CALLS], dependencies=[NoPrefetch])


class TransferTo(BaseModel):
    """Who rings next."""

    to: ExtensionText


class Transferred(BaseModel):
    """Asterisk rings `to` for the customer; the extension that talked before is free."""

    success: bool
    message: str
    call_id: UUID
    call_status_url: str
    to: str
    repeated: bool


@router.post("/api/calls/{call_id}/transfer", summary="Hand the customer over")
async def post(call_id: UUID, target: TransferTo, caller: ReaderOf) -> Transferred:
    """Connect the customer with another extension; the same again at once is a repeat."""
    enterprise = await identify(caller)
    repeated = await transfer(enterprise, call_id, target.to, caller.deadline)
    return Transferred(
        success=True,
        message=f"Call transferred to {target.to}",
        call_id=call_id,
        call_status_url=status_url(call_id),
        to=target.to,
        repeated=repeated,
    )


app = create_app(router)
handler = lambda_handler(app)

"""Hand a customer over to another extension: `POST /api/calls/{call_id}/transfer`."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from shared.auth.caller import Wishes
from shared.auth.credentials import RediallerOf, placed_headers
from shared.auth.enterprise import identify
from shared.calls.fields import CallId, Detail, Repeated, StatusUrl
from shared.calls.telling import status_url
from shared.calls.transferring import transfer
from shared.errors import (
    CallElsewhere,
    CallEnded,
    CallNotReady,
    ChannelUnaskable,
    HostUnverified,
    NoSuchCall,
    SharedHost,
)
from shared.http.failures import QUOTA, RINGING, answering, failing
from shared.http.fields import CallInPath, ExtensionText
from shared.http.gateway import lambda_handler
from shared.http.problems import RingingRoute
from shared.pbx.hosts import the_pbx
from shared.pbx.neighbours import the_neighbours
from shared.push.afterwards import after_answer
from shared.settings import the_settings
from shared.store.database import the_database

_FAILURES = (
    *(*RINGING, SharedHost, HostUnverified, ChannelUnaskable),
    *(NoSuchCall, CallEnded, CallNotReady, CallElsewhere),
)

router = APIRouter(tags=["calls"], route_class=RingingRoute)


_UNKNOWN = "The transfer to {} was sent before, whether it rings is unknown; nothing was sent now"


class TransferTo(BaseModel):
    """Who rings next."""

    to: ExtensionText = Field(title="The extension that rings for the customer")


class Transferred(BaseModel):
    """Asterisk rings `to` for the customer; the extension that talked before is free.

    `success` is false of a repeat where nobody knows whether the first was executed.
    """

    success: bool = Field(
        description="whether `to` was told to ring; false: nobody knows", examples=[True]
    )
    message: str = Field(
        description="what became of it, in a sentence", examples=["Call transferred to 151"]
    )
    detail: Detail = None
    call_id: CallId
    call_status_url: StatusUrl
    to: str = Field(description="the extension that rings", examples=["151"])
    repeated: Repeated


@router.post(
    "/api/calls/{call_id}/transfer",
    operation_id="transfer_call",
    summary="Hand the customer over",
    response_model_exclude_none=True,
    responses=answering(200, *QUOTA, description="Handed over")
    | failing(*_FAILURES, has_body=True),
)
async def post(
    call_id: CallInPath, target: TransferTo, caller: RediallerOf, response: Response
) -> Transferred:
    """Connect the customer with another extension; the same again is told what became of it."""
    enterprise = await identify(the_database(), the_settings(), caller)
    handed_over = await transfer(
        enterprise,
        call_id,
        target.to,
        caller,
        database=the_database(),
        pbx=the_pbx(),
        neighbours=the_neighbours(),
        settings=the_settings(),
    )
    response.headers.update(placed_headers(handed_over.admitted.quota, Wishes()))
    is_known = handed_over.state == "executed"
    return Transferred(
        success=is_known,
        message=f"Call transferred to {target.to}" if is_known else _UNKNOWN.format(target.to),
        detail=None if is_known else _UNKNOWN.format(target.to),
        call_id=call_id,
        call_status_url=status_url(call_id),
        to=target.to,
        repeated=handed_over.admitted.repeated,
    )


handler = lambda_handler(router, after_answer)

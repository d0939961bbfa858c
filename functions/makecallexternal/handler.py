"""Ring an extension, then call a phone: `GET /api/makecallexternal` and `POST /api/calls`."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, Field

from shared.asterisk.models import Extension, Phone
from shared.auth import CallerOf, NoPrefetch, placed_headers
from shared.caller import Caller
from shared.fields import ExtensionText, PhoneText
from shared.placing import CallIntent, Phase, place
from shared.web import PLACES_CALLS, create_app, lambda_handler, status_url

router = APIRouter(tags=[PLACES_CALLS], dependencies=[NoPrefetch])

_MESSAGES: dict[Phase, str] = {
    "accepted": "Call initiated successfully",
    "agent_ringing": "Call initiated successfully",
    "agent_answered": "Call initiated successfully",
    "ended": "Call ended before the extension answered",
    "placing": "Call is already being placed",
    "unknown": "Call was sent before, whether it rings is unknown",
}


class NewCall(BaseModel):
    """A call to place."""

    from_: ExtensionText = Field(alias="from")
    to: PhoneText


class CallPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions."""

    success: bool
    message: str
    enterprise: str
    enterprise_number: str
    from_ext: str
    to_phone: str
    host_ip: str
    response_time_ms: float
    call_id: str
    call_status_url: str
    phase: Phase
    repeated: bool


@router.get("/api/makecallexternal", summary="Place a call, as in the specification")
async def make_call_external(
    code: Annotated[ExtensionText, Query()],
    phone: Annotated[PhoneText, Query()],
    caller: CallerOf,
    response: Response,
) -> CallPlaced:
    """Ring `code`; once it answers, call `phone`. Asterisk accepting it is what 200 promises."""
    return await _place(code, phone, caller, response, field="code")


@router.post(
    "/api/calls",
    summary="Place a call",
    status_code=status.HTTP_201_CREATED,
    responses={status.HTTP_200_OK: {"model": CallPlaced, "description": "The repeat of a call"}},
)
async def create_call(
    call: NewCall,
    caller: CallerOf,
    response: Response,
) -> CallPlaced:
    """Do the same; 201 for a new call, 200 for the repeat of one."""
    placed = await _place(call.from_, call.to, caller, response, field="from")
    response.headers["Location"] = placed.call_status_url
    if placed.repeated:
        response.status_code = status.HTTP_200_OK
    return placed


async def _place(
    code: str, phone: str, caller: Caller, response: Response, *, field: Literal["code", "from"]
) -> CallPlaced:
    started = time.perf_counter()
    intent = CallIntent(Extension(code), Phone(phone), field)
    placed = await place(intent, caller)
    response.headers.update(placed_headers(placed.admitted.quota, caller))
    return CallPlaced(
        success=placed.success,
        message=f"{_MESSAGES[placed.phase]}: {intent}",
        enterprise=placed.admitted.enterprise_name,
        enterprise_number=placed.admitted.enterprise_number,
        from_ext=code,
        to_phone=phone,
        host_ip=placed.admitted.host,
        response_time_ms=round((time.perf_counter() - started) * 1000, 2),
        call_id=str(placed.admitted.call_id),
        call_status_url=status_url(placed.admitted.call_id),
        phase=placed.phase,
        repeated=placed.admitted.repeated,
    )


app = create_app(router)
handler = lambda_handler(app)

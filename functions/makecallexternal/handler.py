"""Ring an extension, then call a phone: `GET /api/makecallexternal` and `POST /api/calls`."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, Field

from shared.asterisk.models import CallOrder, Extension, Phase, Phone, Reason
from shared.auth.caller import Caller, Wishes
from shared.auth.credentials import DoerOf, NoPrefetch, WishesOf, placed_headers
from shared.calls.placing import the_placing
from shared.calls.telling import status_url
from shared.calls.words import summary
from shared.http.fields import ExtensionText, PhoneInUrl, PhoneText
from shared.http.gateway import lambda_handler
from shared.http.problems import RingingRoute

router = APIRouter(tags=["calls"], route_class=RingingRoute, dependencies=[NoPrefetch])


class NewCall(BaseModel):
    """A call to place."""

    from_: ExtensionText = Field(alias="from")
    to: PhoneText


class CallPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions.

    `reason` is why a call has ended; `detail` says in a sentence why it is no success.
    """

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
    reason: Reason | None = None
    repeated: bool
    detail: str | None = None


@router.get(
    "/api/makecallexternal",
    summary="Place a call, as in the specification",
    response_model_exclude_none=True,
)
async def make_call_external(
    code: Annotated[ExtensionText, Query()],
    phone: Annotated[PhoneInUrl, Query()],
    caller: DoerOf,
    wishes: WishesOf,
    response: Response,
) -> CallPlaced:
    """Ring `code`; once it answers, call `phone`. Asterisk accepting it is what 200 promises."""
    return await _place(code, phone, caller, wishes, response, field="code")


@router.post(
    "/api/calls",
    summary="Place a call",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses={status.HTTP_200_OK: {"model": CallPlaced, "description": "The repeat of a call"}},
)
async def create_call(
    call: NewCall,
    caller: DoerOf,
    wishes: WishesOf,
    response: Response,
) -> CallPlaced:
    """Do the same; 201 for a new call, 200 for the repeat of one."""
    placed = await _place(call.from_, call.to, caller, wishes, response, field="from")
    response.headers["Location"] = placed.call_status_url
    if placed.repeated:
        response.status_code = status.HTTP_200_OK
    return placed


async def _place(
    code: str,
    phone: str,
    caller: Caller,
    wishes: Wishes,
    response: Response,
    *,
    field: Literal["code", "from"],
) -> CallPlaced:
    started = time.perf_counter()
    order = CallOrder(Extension(code), Phone(phone))
    placed = await the_placing().place(order, caller, wishes, field=field)
    response.headers.update(placed_headers(placed.admitted.quota, wishes))
    told = summary("Call", placed.phase, placed.reason)
    return CallPlaced(
        success=placed.success,
        message=f"{told}: {order}",
        enterprise=placed.admitted.enterprise_name,
        enterprise_number=placed.admitted.enterprise_number,
        from_ext=code,
        to_phone=phone,
        host_ip=placed.admitted.host,
        response_time_ms=round((time.perf_counter() - started) * 1000, 2),
        call_id=str(placed.admitted.call_id),
        call_status_url=status_url(placed.admitted.call_id),
        phase=placed.phase,
        reason=placed.reason,
        repeated=placed.admitted.repeated,
        detail=None if placed.success else told,
    )


handler = lambda_handler(router)

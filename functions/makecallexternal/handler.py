"""Ring an extension, then call a phone: `GET /api/makecallexternal` and `POST /api/calls`."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.models import CallOrder, Extension, Phone
from shared.auth.caller import Dialler
from shared.auth.credentials import DiallerOf, placed_headers
from shared.calls.fields import (
    CallIdText,
    Detail,
    EndReason,
    EnterpriseName,
    EnterpriseNumber,
    HostIp,
    PhaseNow,
    Repeated,
    ResponseTime,
    StatusUrl,
    Success,
)
from shared.calls.placing import the_placing
from shared.calls.telling import status_url
from shared.calls.words import summary
from shared.errors import KeyReused, NoChannel
from shared.http.answers import render
from shared.http.failures import PLACED, RINGING, answering, failing
from shared.http.fields import ExtensionText, PhoneInUrl, PhoneText
from shared.http.gateway import lambda_handler
from shared.http.problems import RingingRoute
from shared.push.afterwards import after_answer

_FAILURES = (*RINGING, KeyReused, NoChannel)
_CREATED = ("Location", *PLACED)

router = APIRouter(tags=["calls"], route_class=RingingRoute)


class NewCall(BaseModel):
    """A call to place."""

    from_: ExtensionText = Field(alias="from", title="The extension that rings first")
    to: PhoneText = Field(title="Whom it is connected with once it answers")


class CallPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions.

    `reason` is why a call has ended; `detail` says in a sentence why it is no success.
    """

    success: Success
    message: str = Field(
        description="what became of it, in a sentence",
        examples=["Call initiated successfully: 150 -> +375291234567"],
    )
    enterprise: EnterpriseName
    enterprise_number: EnterpriseNumber
    from_ext: str = Field(description="the extension that rings first", examples=["150"])
    to_phone: str = Field(description="the number as it is dialled", examples=["+375291234567"])
    host_ip: HostIp
    response_time_ms: ResponseTime
    call_id: CallIdText
    call_status_url: StatusUrl
    phase: PhaseNow
    reason: EndReason = None
    repeated: Repeated
    detail: Detail = None


@router.get(
    "/api/makecallexternal",
    operation_id="make_call_external",
    summary="Place a call, as in the specification",
    response_model=CallPlaced,
    responses=answering(200, *PLACED, description="Accepted") | failing(*_FAILURES),
)
async def make_call_external(
    code: Annotated[ExtensionText, Query(title="The extension that rings first")],
    phone: Annotated[PhoneInUrl, Query(title="Whom it is connected with once it answers")],
    dialler: DiallerOf,
) -> Response:
    """Ring `code`; once it answers, call `phone`. Asterisk accepting it is what 200 promises."""
    placed, headers = await _place(code, phone, dialler, field="code")
    return render(placed, headers)


@router.post(
    "/api/calls",
    operation_id="create_call",
    summary="Place a call",
    status_code=HTTPStatus.CREATED,
    response_model=CallPlaced,
    responses=answering(200, *_CREATED, model=CallPlaced, description="The repeat of a call")
    | answering(201, *_CREATED, description="Accepted")
    | failing(*_FAILURES, has_body=True),
)
async def create_call(call: NewCall, dialler: DiallerOf) -> Response:
    """Do the same; 201 for a new call, 200 for the repeat of one."""
    placed, headers = await _place(call.from_, call.to, dialler, field="from")
    headers["Location"] = placed.call_status_url
    return render(placed, headers, HTTPStatus.OK if placed.repeated else HTTPStatus.CREATED)


async def _place(
    code: str, phone: str, dialler: Dialler, *, field: Literal["code", "from"]
) -> tuple[CallPlaced, dict[str, str]]:
    """Place it; the answer and its headers."""
    started = time.perf_counter()
    order = CallOrder(Extension(code), Phone(phone))
    placed = await the_placing().place(order, *dialler, field=field)
    told = summary("Call", placed.phase, placed.reason)
    answer = CallPlaced(
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
    return answer, placed_headers(placed.admitted.quota, dialler.wishes)


handler = lambda_handler(router, after_answer)

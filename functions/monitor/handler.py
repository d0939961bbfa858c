"""Let a supervisor into a call: `GET /api/monitor`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.asterisk.models import Extension, MonitorOrder, SpyMode, Technology
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
from shared.errors import (
    ChannelAmbiguous,
    ChannelUnaskable,
    FieldError,
    HostUnverified,
    InvalidParameter,
    KeyReused,
    NobodyToHear,
    NoChannel,
    SharedHost,
)
from shared.http.answers import render
from shared.http.failures import PLACED, RINGING, answering, failing
from shared.http.fields import ExtensionText, SpyModeText, SupervisorText
from shared.http.gateway import lambda_handler
from shared.http.problems import RingingRoute
from shared.push.afterwards import after_answer

_FAILURES = (
    *(*RINGING, KeyReused, NoChannel, SharedHost, HostUnverified),
    *(NobodyToHear, ChannelAmbiguous, ChannelUnaskable),
)

router = APIRouter(tags=["calls"], route_class=RingingRoute)


class MonitoringPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions.

    `reason` is why it has ended; `detail` says in a sentence why it is no success.
    """

    success: Success
    message: str = Field(
        description="what became of it, in a sentence",
        examples=["Monitoring initiated successfully: подслушивание for SIP/150"],
    )
    action: str = Field(
        description="as it was asked for: `09` listen, `01` whisper, `02` barge", examples=["09"]
    )
    action_name: str = Field(
        description="the same in Russian, as in the specification", examples=["подслушивание"]
    )
    target: str = Field(description="the extension that is heard", examples=["150"])
    monitor_from: str = Field(description="the supervisor's extension", examples=["151"])
    target_channel: str = Field(
        description="the device of `target`, by Asterisk's name", examples=["SIP/150"]
    )
    enterprise: EnterpriseName
    enterprise_number: EnterpriseNumber
    host_ip: HostIp
    response_time_ms: ResponseTime
    call_id: CallIdText
    call_status_url: StatusUrl
    phase: PhaseNow
    reason: EndReason = None
    repeated: Repeated
    detail: Detail = None


@router.get(
    "/api/monitor",
    operation_id="monitor_call",
    summary="Listen to, whisper into or join a call",
    response_model=MonitoringPlaced,
    responses=answering(200, *PLACED, description="Accepted") | failing(*_FAILURES),
)
async def monitor(
    *,
    action: Annotated[SpyModeText, Query(description="09 listen, 01 whisper, 02 barge")],
    target: Annotated[ExtensionText, Query(title="Whose call is heard")],
    monitor_from: Annotated[SupervisorText, Query(title="The supervisor, who rings")],
    dialler: DiallerOf,
) -> Response:
    """Ring `monitor_from`; once it answers, let it into `target`'s call."""
    started = time.perf_counter()
    if monitor_from == target:
        raise InvalidParameter(FieldError("monitor_from", "must be another extension than target"))
    mode = SpyMode(action)
    order = MonitorOrder(Extension(monitor_from), Extension(target), mode)
    placed = await the_placing().place(order, *dialler, field="monitor_from")
    target_channel = f"{(placed.technology or Technology.SIP).value}/{target}"
    told = summary("Monitoring", placed.phase, placed.reason)
    answer = MonitoringPlaced(
        success=placed.success,
        message=f"{told}: {mode.title} for {target_channel}",
        action=action,
        action_name=mode.title,
        target=target,
        monitor_from=monitor_from,
        target_channel=target_channel,
        enterprise=placed.admitted.enterprise_name,
        enterprise_number=placed.admitted.enterprise_number,
        host_ip=placed.admitted.host,
        response_time_ms=round((time.perf_counter() - started) * 1000, 2),
        call_id=str(placed.admitted.call_id),
        call_status_url=status_url(placed.admitted.call_id),
        phase=placed.phase,
        reason=placed.reason,
        repeated=placed.admitted.repeated,
        detail=None if placed.success else told,
    )
    return render(answer, placed_headers(placed.admitted.quota, dialler.wishes))


handler = lambda_handler(router, after_answer)

"""Let a supervisor into a call: `GET /api/monitor`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from shared.asterisk.models import Extension, SpyMode, Technology
from shared.auth import CallerOf, NoPrefetch, placed_headers
from shared.errors import FieldError, InvalidParameter
from shared.fields import ExtensionText, SpyModeText
from shared.placing import MonitorIntent, Phase, place
from shared.web import PLACES_CALLS, create_app, lambda_handler, status_url

router = APIRouter(tags=[PLACES_CALLS], dependencies=[NoPrefetch])

_MESSAGES: dict[Phase, str] = {
    "accepted": "Monitoring initiated successfully",
    "agent_ringing": "Monitoring initiated successfully",
    "agent_answered": "Monitoring initiated successfully",
    "ended": "Monitoring ended before the extension answered",
    "placing": "Monitoring is already being placed",
    "unknown": "Monitoring was sent before, whether it rings is unknown",
}


class MonitoringPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions."""

    success: bool
    message: str
    action: str
    action_name: str
    target: str
    monitor_from: str
    target_channel: str
    enterprise: str
    enterprise_number: str
    host_ip: str
    response_time_ms: float
    call_id: str
    call_status_url: str
    phase: Phase
    repeated: bool


@router.get("/api/monitor", summary="Listen to, whisper into or join a call")
async def monitor(
    action: Annotated[SpyModeText, Query(description="09 listen, 01 whisper, 02 barge")],
    target: Annotated[ExtensionText, Query()],
    monitor_from: Annotated[ExtensionText, Query()],
    caller: CallerOf,
    response: Response,
) -> MonitoringPlaced:
    """Ring `monitor_from`; once it answers, let it into `target`'s call."""
    started = time.perf_counter()
    if monitor_from == target:
        raise InvalidParameter(FieldError("monitor_from", "must be another extension than target"))
    mode = SpyMode(action)
    intent = MonitorIntent(Extension(monitor_from), Extension(target), mode, "monitor_from")
    placed = await place(intent, caller)
    response.headers.update(placed_headers(placed.admitted.quota, caller))
    target_channel = f"{(placed.technology or Technology.SIP).value}/{target}"
    return MonitoringPlaced(
        success=placed.success,
        message=f"{_MESSAGES[placed.phase]}: {mode.title} for {target_channel}",
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
        repeated=placed.admitted.repeated,
    )


app = create_app(router)
handler = lambda_handler(app)

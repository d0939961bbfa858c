"""Let a supervisor into a call: `GET /api/monitor`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from shared.asterisk.models import Extension, MonitorOrder, Phase, Reason, SpyMode, Technology
from shared.auth.credentials import DoerOf, NoPrefetch, WishesOf, placed_headers
from shared.calls.placing import the_placing
from shared.calls.telling import status_url
from shared.calls.words import summary
from shared.errors import FieldError, InvalidParameter
from shared.http.fields import ExtensionText, SpyModeText, SupervisorText
from shared.http.gateway import lambda_handler
from shared.http.problems import RingingRoute

router = APIRouter(tags=["calls"], route_class=RingingRoute, dependencies=[NoPrefetch])


class MonitoringPlaced(BaseModel):
    """The specification's answer; the fields after `response_time_ms` are additions.

    `reason` is why it has ended; `detail` says in a sentence why it is no success.
    """

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
    reason: Reason | None = None
    repeated: bool
    detail: str | None = None


@router.get(
    "/api/monitor",
    summary="Listen to, whisper into or join a call",
    response_model_exclude_none=True,
)
async def monitor(
    *,
    action: Annotated[SpyModeText, Query(description="09 listen, 01 whisper, 02 barge")],
    target: Annotated[ExtensionText, Query()],
    monitor_from: Annotated[SupervisorText, Query()],
    caller: DoerOf,
    wishes: WishesOf,
    response: Response,
) -> MonitoringPlaced:
    """Ring `monitor_from`; once it answers, let it into `target`'s call."""
    started = time.perf_counter()
    if monitor_from == target:
        raise InvalidParameter(FieldError("monitor_from", "must be another extension than target"))
    mode = SpyMode(action)
    order = MonitorOrder(Extension(monitor_from), Extension(target), mode)
    placed = await the_placing().place(order, caller, wishes, field="monitor_from")
    response.headers.update(placed_headers(placed.admitted.quota, wishes))
    target_channel = f"{(placed.technology or Technology.SIP).value}/{target}"
    told = summary("Monitoring", placed.phase, placed.reason)
    return MonitoringPlaced(
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


handler = lambda_handler(router)

"""Fields that several answers have, each described once: what it is, its unit, an example."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.asterisk.models import AnsweredBy, Kind, Phase, Reason

_ID = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
_ID_RULE = "names the call for good, a UUID"

Sandbox = Annotated[
    bool,
    Field(
        description="true: a stand-in answers the enterprise, and no phone rings; else absent",
        exclude_if=lambda is_so: not is_so,
    ),
]
CallId = Annotated[UUID, Field(description=_ID_RULE, examples=[_ID])]
CallIdText = Annotated[str, Field(description=_ID_RULE, examples=[_ID])]
StatusUrl = Annotated[
    str,
    Field(
        description="where `GET` tells how far the call is: a path of this host, which begins with"
        " ROOT_PATH",
        examples=[f"/api/calls/{_ID}"],
    ),
]
Success = Annotated[
    bool,
    Field(
        description="whether it is under way or was answered; false of a call that is over without,"
        " or of which nobody knows",
        examples=[True],
    ),
]
Repeated = Annotated[
    bool,
    Field(
        description="true: this request repeats an earlier one and did nothing", examples=[False]
    ),
]
Detail = Annotated[
    str | None, Field(description="why it is no success, in a sentence; else absent")
]
EnterpriseName = Annotated[str, Field(description="the enterprise's name", examples=["june"])]
EnterpriseNumber = Annotated[
    str, Field(description="the enterprise's number, as text", examples=["0367"])
]
HostIp = Annotated[
    str, Field(description="the PBX: the enterprise's `ip`", examples=["192.0.2.10"])
]
ResponseTime = Annotated[
    float, Field(description="what answering took, in milliseconds", examples=[41.3])
]
PhaseNow = Annotated[Phase, Field(description="how far the call is", examples=["accepted"])]
EndReason = Annotated[
    Reason | None, Field(description="why the call has ended; null or absent: it has not")
]
KindOfCall = Annotated[
    Kind,
    Field(description="`call`, or `monitor`: a supervisor who listens to one", examples=["call"]),
]
RingSeconds = Annotated[
    int | None,
    Field(
        description="seconds for which the phone rang that answered, else that rang last; null: not"
        " known",
        examples=[2],
    ),
]
AnsweredByWhom = Annotated[
    AnsweredBy | None,
    Field(
        description="`phone`, or `pbx`: a mailbox, an announcement, a dialplan that answers first;"
        " null: nobody, or not known",
        examples=["phone"],
    ),
]

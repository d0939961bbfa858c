"""Tell what an extension's phone does: `GET /api/extensions/{extension}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from shared.asterisk.devices import DeviceState
from shared.asterisk.models import Extension, Technology
from shared.auth import ReaderOf
from shared.errors import NoSuchExtension
from shared.fields import ExtensionText
from shared.identity import identify
from shared.pbx import load_pbx
from shared.web import FOLLOWS_CALLS, create_app, lambda_handler

router = APIRouter(tags=[FOLLOWS_CALLS])


class ChannelOfExtension(BaseModel):
    """A live channel; `state` and `application` are Asterisk's words."""

    channel: str
    state: str
    application: str
    caller: str
    duration_s: int


class ExtensionState(BaseModel):
    """`in_use` wins over `ringing`: a phone that talks while a second call rings is in use."""

    extension: str
    state: DeviceState
    registered: bool
    device: str
    technology: Technology
    channels: list[ChannelOfExtension]


@router.get("/api/extensions/{extension}", summary="Is an extension free?")
async def get(extension: Annotated[ExtensionText, Path()], caller: ReaderOf) -> ExtensionState:
    """Ask the PBX now; 404 where no phone has this number."""
    enterprise = await identify(caller)
    enterprise.check_extension(extension)
    device = await load_pbx().find_device(enterprise.host, Extension(extension), caller.deadline)
    if device is None:
        raise NoSuchExtension(f"The PBX has no SIP or PJSIP device named {extension}")
    return ExtensionState(
        extension=extension,
        state=device.state,
        registered=device.reach != "unregistered",
        device=f"{device.technology.value}/{extension}",
        technology=device.technology,
        channels=[
            ChannelOfExtension(
                channel=channel.name,
                state=channel.state,
                application=channel.application,
                caller=channel.caller,
                duration_s=channel.duration_s,
            )
            for channel in device.channels
        ],
    )


app = create_app(router)
handler = lambda_handler(app)

"""Tell what an extension's phone does: `GET /api/extensions/{extension}`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from shared.asterisk.devices import DeviceState
from shared.asterisk.models import Extension, Technology
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import identify
from shared.errors import NoSuchExtension
from shared.http.fields import ExtensionText
from shared.http.gateway import lambda_handler
from shared.http.problems import TellingRoute, quota_headers
from shared.pbx.hosts import the_pbx
from shared.pbx.neighbours import the_neighbours
from shared.settings import the_settings
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=TellingRoute)


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
async def get(
    extension: Annotated[ExtensionText, Path()], caller: CallerOf, response: Response
) -> ExtensionState:
    """Ask the PBX now; 404 where no phone has this number."""
    learn = partial(the_neighbours().learn, deadline=caller.deadline)
    enterprise = await identify(
        the_database().reads, the_settings(), caller, "pbx_reads", learn=learn
    )
    response.headers.update(quota_headers(enterprise.quota))
    enterprise.check_extension(extension)
    device = await the_pbx().find_device(enterprise.host, Extension(extension), caller.deadline)
    if device is None:
        raise NoSuchExtension(f"The PBX has no phone named {extension}")
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


handler = lambda_handler(router)

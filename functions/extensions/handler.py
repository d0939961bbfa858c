"""Tell what an extension's phone does: `GET /api/extensions/{extension}`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from shared.asterisk.devices import DeviceState
from shared.asterisk.models import Extension, Technology
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import identify
from shared.errors import ExtensionNotOwned, HostUnverified, NoSuchExtension, SharedHost
from shared.http.failures import ASKING, PBX, QUOTA, answering, failing
from shared.http.fields import ExtensionText
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.pbx.hosts import the_pbx
from shared.pbx.neighbours import the_neighbours
from shared.settings import the_settings
from shared.store.database import the_database

router = APIRouter(tags=["following"], route_class=Route)


class ChannelOfExtension(BaseModel):
    """A live channel of a phone's, in Asterisk's words."""

    channel: str = Field(description="its name", examples=["SIP/150-0000002a"])
    state: str = Field(description="what it does", examples=["Up"])
    application: str = Field(description="what the dialplan has it do", examples=["Dial"])
    caller: str = Field(description="the number that it shows", examples=["150"])
    duration_s: int = Field(description="seconds since it began", examples=[41])


class ExtensionState(BaseModel):
    """`in_use` wins over `ringing`: a phone that talks while a second call rings is in use."""

    extension: str = Field(description="as it was asked for", examples=["150"])
    state: DeviceState = Field(description="what its phone does", examples=["in_use"])
    registered: bool = Field(
        description="whether the PBX knows where its phone is", examples=[True]
    )
    device: str = Field(description="the phone, by Asterisk's name", examples=["SIP/150"])
    technology: Technology = Field(description="its channel driver", examples=["SIP"])
    channels: list[ChannelOfExtension] = Field(description="those that it has now")


@router.get(
    "/api/extensions/{extension}",
    operation_id="get_extension",
    summary="Is an extension free?",
    responses=answering(200, *QUOTA, description="Its phone")
    | failing(*ASKING, *PBX, NoSuchExtension, ExtensionNotOwned, SharedHost, HostUnverified),
)
async def get(
    extension: Annotated[ExtensionText, Path(title="Whose phone it is")],
    caller: CallerOf,
    response: Response,
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

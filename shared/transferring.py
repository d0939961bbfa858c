"""Handing the customer of a call over to another extension."""

from __future__ import annotations

from uuid import UUID

from shared import calls
from shared.asterisk.models import Channel, Extension
from shared.asterisk.phases import UP, Progress, observe
from shared.calls import Call, Transfer
from shared.database import load_database
from shared.deadline import Deadline
from shared.errors import (
    CallEnded,
    CallNotReady,
    FieldError,
    InvalidParameter,
    PbxError,
    ServiceError,
)
from shared.identity import Enterprise
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.telemetry import LOG


async def transfer(enterprise: Enterprise, call_id: UUID, target: str, deadline: Deadline) -> bool:
    """Have `target` ring for the customer, once; True if this repeats a transfer just before.

    Asterisk reports success for an extension that does not exist, and loses the customer: so the
    dialplan is asked first.

    Raises:
        NoSuchCall, CallEnded, CallNotReady: there is nobody to hand over.
        InvalidParameter, Forbidden: `to` may not be rung, or is not there.
        PbxError: `dialled` is true to whether `to` may ring.
    """
    database, pbx = load_database(), load_pbx()
    call = await calls.get_call(database, enterprise.number, call_id)
    _check(call, enterprise, target)
    extension = Extension(target)
    await pbx.check_extension(call.host, extension, deadline, field="to")
    claim = await Transfer.claim(
        database, call_id, target, window_s=load_settings().repeat_window_s
    )
    if claim is None:
        return True
    try:
        customer = await _find_customer(call, deadline)
        if not await pbx.redirect(call.host, customer, extension, deadline):
            raise CallEnded("The customer has hung up")
    except ServiceError as error:
        if error.dialled == "no":
            await claim.release()
        if isinstance(error, PbxError):
            error.during = "Transfer failed"
        raise
    LOG.info("↪️ Звонок %s переведён на %s", call_id, target)
    return False


def _check(call: Call, enterprise: Enterprise, target: str) -> None:
    """Refuse what is certainly no transfer, before the PBX is asked anything."""
    if call.is_over:
        raise CallEnded("The call is over")
    if call.kind != "call":
        raise CallNotReady("A monitoring has no customer to hand over")
    if call.root is None:
        raise CallNotReady("Which channel is the call's own is not known yet; try again")
    if target == call.code and call.transferred_to is None:
        raise InvalidParameter(FieldError("to", "must be another extension than the call's own"))
    enterprise.check_extension(target)


async def _find_customer(call: Call, deadline: Deadline) -> Channel:
    """Find the customer's channel, of a call whose parties talk."""
    assert call.root is not None  # noqa: S101 - checked by _check
    channels = await load_pbx().find_legs(call.host, call.root, deadline)
    if not channels:
        raise CallEnded("The call is over")
    linkedids = {channel.uniqueid: call.root.uniqueid for channel in channels}
    seen = observe(call.root, Progress("accepted", call.legs), channels, linkedids)
    customers = {leg.uniqueid for leg in seen.legs if leg.party == "customer"}
    for channel in channels:
        if channel.uniqueid in customers and channel.state == UP and channel.bridge:
            return channel
    raise CallNotReady("The customer has not answered yet")

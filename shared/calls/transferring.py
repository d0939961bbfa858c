"""Handing the customer of a call over to another extension."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal
from uuid import UUID

from shared.asterisk import client
from shared.asterisk.console import Console
from shared.asterisk.models import Channel, Context, Extension, Progress
from shared.asterisk.parties import customers_among
from shared.asterisk.phases import UP, observe
from shared.auth import admission
from shared.auth.admission import AdmittedTransfer
from shared.auth.caller import Caller
from shared.auth.enterprise import Enterprise
from shared.deadline import Deadline
from shared.errors import (
    CallElsewhere,
    CallEnded,
    CallNotReady,
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    HostUnverified,
    InternalError,
    InvalidParameter,
    LimitExceeded,
    PbxError,
    ServiceError,
    UnknownExtension,
)
from shared.pbx.hosts import Pbx, Question
from shared.pbx.neighbours import Neighbours
from shared.settings import Settings
from shared.store import calls, control
from shared.store.calls import Call
from shared.store.database import Database
from shared.store.settled import get_settled
from shared.telemetry import CALL_ID, LOG, note_repeat
from shared.together import together

# The first of two clicks is under way for some hundredths of a second.
_POLL_S = 0.1
_FAILED = "Transfer failed"


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A transfer that was sent, now or (`admitted.repeated`) just before.

    `state` tells whether Asterisk has acknowledged it.
    """

    admitted: AdmittedTransfer
    state: Literal["executed", "unknown"]


async def transfer(
    enterprise: Enterprise,
    call_id: UUID,
    target: str,
    caller: Caller,
    *,
    database: Database,
    pbx: Pbx,
    neighbours: Neighbours,
    settings: Settings,
) -> HandedOver:
    """Have `target` ring for the customer, once; a repeat waits for what became of the first.

    It is admitted as a call is. Asterisk reports success for an extension that does not exist, and
    loses the customer: so the dialplan is asked first.

    Raises:
        NoSuchCall, CallEnded, CallNotReady, CallElsewhere: there is nobody to hand over.
        InvalidParameter, Forbidden, LimitExceeded, HostUnverified: `to` may not be rung, or is not
            there.
        PbxError, InternalError: `dialled` is true to whether `to` may ring.
    """
    deadline = caller.deadline
    while True:
        call = await get_settled(database, enterprise.number, call_id, deadline)
        CALL_ID.set(str(call_id))
        _check(call, enterprise, target)
        at = datetime.now(UTC)
        try:
            admitted = await admission.admit_transfer(
                database,
                settings,
                enterprise=enterprise.number,
                host=call.host,
                call_id=call_id,
                target=target,
                at=at,
                doer=caller.doer,
                learn=partial(neighbours.learn, deadline=deadline),
            )
        except (Forbidden, LimitExceeded, HostUnverified, PbxError) as error:
            LOG.warning("❌ Перевод %s на %s: %s", call_id, target, error)
            if isinstance(error, PbxError):
                error.during = _FAILED
            raise
        if not admitted.repeated:
            claim = _Claim(database, settings, call_id, target, at)
            await _send(claim, pbx, call, deadline)
            return HandedOver(admitted, "executed")
        first = await _outcome_of_first(database, settings, call, target, deadline, at=at)
        if first is not None:
            note_repeat()
            return HandedOver(admitted, first)


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to send one transfer, until it is told what became of it."""

    database: Database
    settings: Settings
    call_id: UUID
    target: str
    at: datetime

    async def settle(self, state: Literal["executed", "unknown"] | None) -> None:
        """Note what became of it; None: nothing was sent, and it may be asked for again.

        Where that cannot be noted the claim holds on, so it is never sent twice.
        """
        which = (self.database, self.call_id, self.target, self.at)
        try:
            if state is None:
                await control.transfer_not(*which)
            else:
                is_known, settings = state == "executed", self.settings
                hold_s = settings.repeat_window_s if is_known else settings.unknown_hold_s
                await control.settle_transfer(*which, state=state, hold_s=hold_s)
        except DatabaseUnavailable:
            LOG.error("⚠️ Исход перевода %s не записан: %s", self.call_id, state)


async def _send(claim: _Claim, pbx: Pbx, call: Call, deadline: Deadline) -> None:
    """Send a transfer once, and settle its claim whatever happens."""
    may_be_sent = False
    done: list[bool] = []
    try:
        redirect = await _prepare(pbx, claim, call, deadline)

        async def send(console: Console, *, deadline: Deadline) -> None:
            done.append(await redirect(console, deadline=deadline))

        may_be_sent = True
        await pbx.ask(call.host, send, deadline)
    except BaseException as error:
        if isinstance(error, ServiceError):
            may_be_sent = error.dialled != "no"
        elif isinstance(error, Exception):  # a defect: after it was sent it is of the tree
            may_be_sent = bool(done)
        await claim.settle("unknown" if may_be_sent else None)
        if isinstance(error, PbxError):
            error.during = _FAILED
        if isinstance(error, Exception) and not isinstance(error, ServiceError) and not done:
            raise InternalError from error
        raise
    (is_done,) = done
    await claim.settle("executed" if is_done else None)
    if not is_done:
        raise CallEnded("The customer has hung up")
    LOG.info("↪️ Звонок %s переведён на %s", claim.call_id, claim.target)


async def _outcome_of_first(
    database: Database,
    settings: Settings,
    call: Call,
    target: str,
    deadline: Deadline,
    *,
    at: datetime,
) -> Literal["executed", "unknown"] | None:
    """Wait for what became of the transfer that this one, of `at`, repeats; None: it was not sent.

    Raises:
        CallNotReady: it is still under way, or another one has taken its place.
    """
    settled_within = timedelta(seconds=settings.settled_within_s)
    while True:
        call = await calls.get_call(database, call.enterprise, call.call_id)
        if call.transferred_to is None or call.transferred_at is None:
            return None
        if call.transferred_to != target:
            if call.transferred_at >= at or not deadline.remaining_s():
                raise CallNotReady(
                    f"The call is handed over to {call.transferred_to} at this moment"
                )
            if call.transfer_state != "sending":  # the one before it is the newest again
                return None
        elif call.transfer_state != "sending":
            return call.transfer_state or "executed"
        if datetime.now(UTC) - call.transferred_at > settled_within:
            return "unknown"
        if not deadline.remaining_s():
            raise CallNotReady("The same transfer is still under way; ask again what became of it")
        await asyncio.sleep(min(_POLL_S, deadline.remaining_s()))


def _check(call: Call, enterprise: Enterprise, target: str) -> None:
    """Refuse what is certainly no transfer, before the PBX is asked anything."""
    if call.is_over:
        raise CallEnded("The call is over")
    if call.kind != "call":
        raise CallNotReady("A monitoring has no customer to hand over")
    if call.host != enterprise.host:
        raise CallElsewhere(
            "The call is on the PBX that this enterprise had before:"
            " it can be hung up, not transferred"
        )
    if call.root is None:
        raise CallNotReady("Which channel is the call's own is not known yet; try again")
    if target == call.code and call.transferred_to is None:
        raise InvalidParameter(FieldError("to", "must be another extension than the call's own"))


async def _prepare(pbx: Pbx, claim: _Claim, call: Call, deadline: Deadline) -> Question[bool]:
    """Make sure that the transfer can be, and make the command of it; nothing is sent."""
    extension = Extension(claim.target)
    _, customer = await together(
        _check_extension(pbx, call.host, extension, deadline), _load_customer(pbx, call, deadline)
    )
    context = Context(claim.settings.dialplan_context)
    return partial(client.redirect, leg=customer, extension=extension, context=context)


async def _check_extension(pbx: Pbx, host: str, extension: Extension, deadline: Deadline) -> None:
    try:
        await pbx.check_extension(host, extension, deadline)
    except UnknownExtension as error:
        raise error.of("to") from None


async def _load_customer(pbx: Pbx, call: Call, deadline: Deadline) -> Channel:
    """Find the customer's channel, of a call whose parties talk."""
    assert call.root is not None  # noqa: S101 - checked by _check
    channels = await pbx.ask(call.host, client.list_channels, deadline, then=1)
    known = next(customers_among(call.root, call.legs, filter(_talks, channels)), None)
    if known is not None:
        return known
    # Nobody has seen him yet, who follows the call: each channel is asked whose it is.
    legs = await pbx.ask(
        call.host,
        partial(client.legs_among, root_uniqueid=call.root.uniqueid, channels=channels),
        deadline,
        then=1,
    )
    if not legs:
        raise CallEnded("The call is over")
    linkedids = {leg.uniqueid: call.root.uniqueid for leg in legs}
    seen = observe(call.root, Progress("accepted", call.legs), legs, linkedids, at_s=time.time())
    talking = list(filter(_talks, legs))
    certain = next(customers_among(call.root, seen.legs, talking), None)
    parties = {leg.uniqueid: leg.party for leg in seen.legs}
    others = [channel for channel in talking if parties.get(channel.uniqueid) == "customer"]
    if certain is None and len(others) > 1:  # one is a third, or a guest of the same conference
        raise CallNotReady("Which of the channels is the customer's cannot be told")
    customer = certain or next(iter(others), None)
    if customer is None:
        raise CallNotReady("The customer has not answered yet")
    return customer


def _talks(channel: Channel) -> bool:
    return channel.state == UP and bool(channel.bridge)

"""Placing a call or a monitoring: admit it, send it at most once, settle what became of it."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from shared import admission
from shared.admission import Admitted, Order, Outcome, Settlement
from shared.asterisk.client import AgentPhase, OriginateUnknown
from shared.asterisk.commands import Originate, OriginateCall, OriginateMonitor
from shared.asterisk.models import Channel, Context, Extension, Phone, SpyMode, Technology
from shared.asterisk.phases import Reason
from shared.caller import Caller
from shared.database import load_database
from shared.deadline import Deadline
from shared.errors import (
    CommandRejected,
    ContextMissing,
    DatabaseUnavailable,
    Dialled,
    Forbidden,
    InvalidClientId,
    InvalidParameter,
    LimitExceeded,
    PbxError,
    ServiceError,
)
from shared.late import UnknownCall, load_late_calls
from shared.pbx import load_pbx
from shared.settings import load_settings, on_lambda
from shared.telemetry import LOG, count, cut_secret
from shared.wake import wake_tracker

Phase: TypeAlias = Literal["placing", "unknown"] | AgentPhase

_RING_POLL_S = 0.15
# One question is let finish: to cut it short would cost the host its connection.
_RING_ASK_S = 3.0
_OUTCOMES: dict[Dialled, Outcome] = {"no": "not_executed", "unknown": "unknown"}


@dataclass(frozen=True, slots=True)
class CallIntent:
    """Ring `extension`, then call `phone`; `field` is the extension's name in the request."""

    extension: Extension
    phone: Phone
    field: str

    failure = "Call initiation failed"
    requested = "🚀 Запрос на звонок"

    @property
    def order(self) -> Order:
        """What makes two requests the same call."""
        return Order(kind="call", code=self.extension.number, phone=self.phone.number)

    def command(self, context: Context, _technology: Technology | None) -> Originate:
        """The command for the PBX."""
        return OriginateCall(self.extension, self.phone, context)

    def __str__(self) -> str:
        return f"{self.extension.number} -> {self.phone.number}"


@dataclass(frozen=True, slots=True)
class MonitorIntent:
    """Ring `extension`, the supervisor's, then let it hear `target`'s call."""

    extension: Extension
    target: Extension
    mode: SpyMode
    field: str

    failure = "Monitoring initiation failed"
    requested = "🎧 Запрос на мониторинг"

    @property
    def order(self) -> Order:
        """What makes two requests the same monitoring."""
        return Order(
            kind="monitor",
            code=self.extension.number,
            phone=self.target.number,
            action=self.mode.value,
        )

    def command(self, context: Context, technology: Technology | None) -> Originate:
        """The command for the PBX, in the words of its channel driver."""
        if technology is None:
            raise ValueError("monitoring needs the technology of the PBX")
        return OriginateMonitor(
            self.extension,
            self.target,
            context,
            self.mode,
            technology,
            load_settings().monitor_match,
        )

    def __str__(self) -> str:
        return f"{self.extension.number} -> {self.target.number} ({self.mode.title})"


Intent: TypeAlias = CallIntent | MonitorIntent


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that Asterisk accepted, or the earlier one that this request repeats."""

    admitted: Admitted
    phase: Phase
    technology: Technology | None = None

    @property
    def success(self) -> bool:
        """Whether somebody rings, or soon will, as far as is known."""
        return self.phase not in {"unknown", "ended"}


async def place(intent: Intent, caller: Caller) -> Placed:
    """Place a call, unless this request repeats one; then tell of that and dial nothing.

    The claim is written before anything is sent, and only settling lifts it. Once Asterisk has
    accepted the call the answer is its success, whatever happens to the bookkeeping.

    Raises:
        ServiceError: any of the tree; `dialled` is true to what was sent.
    """
    LOG.info("%s: %s, clientId: %s", intent.requested, intent, cut_secret(caller.secret))
    call_id = uuid.uuid4()
    try:
        admitted = await admission.admit(
            load_database(),
            load_settings(),
            caller.secret,
            intent.order,
            call_id=call_id,
            idempotency_key=caller.idempotency_key,
            address=caller.address,
        )
    except (InvalidClientId, Forbidden, LimitExceeded) as error:
        LOG.warning("❌ %s: %s, clientId: %s", intent, error, cut_secret(caller.secret))
        raise
    enterprise = f"{admitted.enterprise_name} ({admitted.enterprise_number})"
    LOG.info("✅ Клиент авторизован: %s", enterprise)
    if admitted.repeated:
        count("CallsRepeated")
        LOG.info("🔁 Повтор звонка %s: %s", admitted.call_id, intent)
        label = await _label(intent, admitted.host, caller.deadline)
        return Placed(admitted, _phase(admitted), label)
    try:
        LOG.info("🔗 SSH подключение к %s: %s", admitted.host, intent)
        technology = await _technology(intent, admitted.host, caller.deadline)
        roots = await _send(intent, admitted, technology, caller.deadline)
    except ServiceError as error:
        LOG.error("❌ %s на %s: %s", intent, admitted.host, error)
        if error.dialled == "no":
            count("CallsFailed")
        await _settle(
            admitted,
            Settlement(_OUTCOMES[error.dialled], error_code=error.code, reason=_reason(error)),
        )
        error.call_id = str(call_id)
        if isinstance(error, PbxError):
            error.during = intent.failure
        raise
    count("CallsAccepted")
    LOG.info("✅ CLI команда выполнена на %s: %s", admitted.host, intent)
    await _settle(admitted, Settlement("executed", roots))
    # Where another program's call cannot be told from ours, there is nothing to look at yet.
    alone = len(roots) == 1
    phase = await _wait_for_ring(admitted.host, roots[0], caller) if alone else "accepted"
    return Placed(admitted, phase, technology)


async def _send(
    intent: Intent, admitted: Admitted, technology: Technology | None, deadline: Deadline
) -> tuple[Channel, ...]:
    """Send the command; the root channels that appeared with it."""
    pbx = load_pbx()
    await pbx.check_extension(admitted.host, intent.extension, deadline, field=intent.field)
    command = intent.command(Context(load_settings().dialplan_context), technology)
    try:
        originated = await pbx.originate(admitted.host, command, deadline)
    except OriginateUnknown as error:
        if not on_lambda():
            unknown = UnknownCall(admitted.call_id, admitted.host, command, error.pending)
            load_late_calls().watch(unknown)
        elif error.pending is not None:
            error.pending.close()
        raise
    return originated.roots


async def _wait_for_ring(host: str, root: Channel, caller: Caller) -> AgentPhase:
    """Wait until the extension rings or the call is over, as long as the caller wants."""
    phase: AgentPhase = "accepted"
    deadline = caller.deadline.sooner(caller.wait_s)
    while phase == "accepted" and deadline.remaining_s():
        try:
            until = caller.deadline.sooner(_RING_ASK_S)
            phase = await load_pbx().find_agent_phase(host, root, until)
        except ServiceError:
            break  # the call is placed: the answer is what was known last
        if phase == "accepted":
            await asyncio.sleep(min(_RING_POLL_S, deadline.remaining_s()))
    return phase


async def _technology(intent: Intent, host: str, deadline: Deadline) -> Technology | None:
    """Find out what the tapped device is called; a call needs no such word."""
    if isinstance(intent, CallIntent):
        return None
    return await load_pbx().technology(host, intent.target, deadline)


async def _label(intent: Intent, host: str, deadline: Deadline) -> Technology | None:
    """Like `_technology`, for the answer to a repeat: a PBX that is away must not fail that."""
    try:
        return await _technology(intent, host, deadline)
    except ServiceError:
        return Technology.SIP


def _phase(admitted: Admitted) -> Phase:
    """Tell how far the earlier call is; one that nobody settled in time is unknown."""
    match admitted.state:
        case "executed":
            return "accepted"
        case "placing":
            longest = timedelta(seconds=load_settings().request_timeout_s)
            abandoned = datetime.now(UTC) - admitted.created_at > longest
            return "unknown" if abandoned else "placing"
    return "unknown"


def _reason(error: ServiceError) -> Reason | None:
    """Tell why a call has ended before it began; None if it may not have ended."""
    if error.dialled != "no":
        return None
    refused = isinstance(error, InvalidParameter | CommandRejected | ContextMissing)
    return "rejected" if refused else "failed"


async def _settle(admitted: Admitted, settlement: Settlement) -> None:
    """Record the outcome, and see to it that the call is followed.

    Without it the claim holds on, so a lost record never dials twice.
    """
    try:
        tracked = await admission.settle(
            load_database(), load_settings(), admitted.call_id, settlement
        )
    except DatabaseUnavailable:
        LOG.error("⚠️ Исход звонка %s не записан: %s", admitted.call_id, settlement.outcome)
        return
    if settlement.outcome != "not_executed":
        await wake_tracker(admitted.host, tracked=tracked)

"""Placing a call or a monitoring: admit it, send it at most once, settle what became of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from shared import admission
from shared.admission import Admitted, Order
from shared.asterisk.client import Originated
from shared.asterisk.commands import Originate, OriginateCall, OriginateMonitor
from shared.asterisk.models import Context, Extension, Phone, SpyMode, Technology
from shared.database import load_database
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, Dialled, InvalidClientId, PbxError, ServiceError
from shared.pbx import load_pbx
from shared.settings import load_settings
from shared.telemetry import LOG, cut_secret

Phase: TypeAlias = Literal["placing", "accepted", "unknown"]
Outcome: TypeAlias = Literal["executed", "not_executed", "unknown"]

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


async def place(
    intent: Intent, secret: str, deadline: Deadline, *, idempotency_key: str | None
) -> Placed:
    """Place a call, unless this request repeats one; then tell of that and dial nothing.

    The claim is written before anything is sent, and only settling lifts it. Once Asterisk has
    accepted the call the answer is its success, whatever happens to the bookkeeping.

    Raises:
        ServiceError: any of the tree; `dialled` is true to what was sent.
    """
    LOG.info("%s: %s, clientId: %s", intent.requested, intent, cut_secret(secret))
    settings = load_settings()
    call_id = uuid.uuid4()
    try:
        admitted = await admission.admit(
            load_database(),
            settings,
            secret,
            intent.order,
            call_id=call_id,
            idempotency_key=idempotency_key,
        )
    except InvalidClientId:
        LOG.warning("❌ Неверный clientId: %s", cut_secret(secret))
        raise
    enterprise = f"{admitted.enterprise_name} ({admitted.enterprise_number})"
    LOG.info("✅ Клиент авторизован: %s", enterprise)
    if admitted.repeated:
        LOG.info("🔁 Повтор звонка %s: %s", admitted.call_id, intent)
        return Placed(admitted, _phase(admitted), await _label(intent, admitted.host, deadline))
    try:
        LOG.info("🔗 SSH подключение к %s: %s", admitted.host, intent)
        technology = await _technology(intent, admitted.host, deadline)
        originated = await _send(intent, admitted.host, technology, deadline)
    except ServiceError as error:
        LOG.error("❌ %s на %s: %s", intent, admitted.host, error)
        await _settle(call_id, _OUTCOMES[error.dialled], error_code=error.code)
        error.call_id = str(call_id)
        if isinstance(error, PbxError):
            error.during = intent.failure
        raise
    LOG.info("✅ CLI команда выполнена на %s: %s", admitted.host, intent)
    # Several roots: another program originated to the same extension in the same millisecond.
    root = originated.roots[0] if len(originated.roots) == 1 else None
    await _settle(
        call_id,
        "executed",
        root_channel=root.name if root else None,
        root_uniqueid=root.uniqueid if root else None,
    )
    return Placed(admitted, "accepted", technology)


async def _send(
    intent: Intent, host: str, technology: Technology | None, deadline: Deadline
) -> Originated:
    pbx = load_pbx()
    await pbx.check_extension(host, intent.extension, deadline, field=intent.field)
    context = Context(load_settings().dialplan_context)
    return await pbx.originate(host, intent.command(context, technology), deadline)


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


async def _settle(
    call_id: uuid.UUID,
    outcome: Outcome,
    *,
    root_channel: str | None = None,
    root_uniqueid: str | None = None,
    error_code: str | None = None,
) -> None:
    """Record the outcome. Without it the claim holds on, so a lost record never dials twice."""
    try:
        await admission.settle(
            load_database(),
            load_settings(),
            call_id,
            outcome,
            root_channel=root_channel,
            root_uniqueid=root_uniqueid,
            error_code=error_code,
        )
    except DatabaseUnavailable:
        LOG.error("⚠️ Исход звонка %s не записан: %s", call_id, outcome)

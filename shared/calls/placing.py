"""Placing a call or a monitoring: admit it, send it at most once, settle what became of it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from uuid import UUID

from shared.asterisk import client
from shared.asterisk.client import AgentPhase
from shared.asterisk.commands import Originate, OriginateCall, OriginateMonitor
from shared.asterisk.console import Exchange
from shared.asterisk.devices import Tap
from shared.asterisk.models import (
    CallOrder,
    Channel,
    Context,
    MonitorOrder,
    Order,
    Phase,
    Reason,
    Technology,
)
from shared.asterisk.originating import Originated, OriginateUnknown
from shared.auth import admission
from shared.auth.admission import Admitted, Outcome, Settlement
from shared.auth.caller import Caller, Learn, Wishes
from shared.auth.enterprise import identify
from shared.auth.strangers import is_of_wrong_secret
from shared.auth.under_way import execution_to_wait
from shared.calls.repeating import how_far
from shared.calls.settling import Settler, the_settler
from shared.deadline import Deadline
from shared.errors import (
    ChannelAmbiguous,
    CommandRejected,
    ContextMissing,
    Dialled,
    Forbidden,
    HostUnverified,
    InternalError,
    InvalidParameter,
    LimitExceeded,
    NobodyToHear,
    PbxError,
    ServiceError,
    UnknownExtension,
)
from shared.following.late import LateCalls, UnknownCall, the_late_calls
from shared.pbx.hosts import Pbx, the_pbx
from shared.pbx.neighbours import Neighbours, the_neighbours
from shared.process import once
from shared.settings import Settings, on_lambda, the_settings
from shared.store.database import Database, the_database
from shared.telemetry import CALL_ID, LOG, count, count_call, cut_secret, note_repeat, of_pbx
from shared.together import together

_RING_POLL_S = 0.15
# One question is let finish: to cut it short would cost the host its connection.
_RING_ASK_S = 3.0
_OUTCOMES: dict[Dialled, Outcome] = {"no": "not_executed", "unknown": "unknown"}


# The specification's words.
_FAILURES = {"call": "Call initiation failed", "monitor": "Monitoring initiation failed"}
_REQUESTS = {"call": "🚀 Запрос на звонок", "monitor": "🎧 Запрос на мониторинг"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that Asterisk accepted, or the earlier one that this request repeats."""

    admitted: Admitted
    phase: Phase
    technology: Technology | None = None
    reason: Reason | None = None

    @property
    def success(self) -> bool:
        """Whether somebody rings, will soon, or was answered, as far as is known."""
        return self.phase not in {"placing", "unknown", "ended"} or self.reason == "answered"


@dataclass(frozen=True, slots=True)
class Placing:
    """What it takes to place calls.

    `late` watches calls of unknown outcome; None where nothing may run after the answer.
    """

    settings: Settings
    database: Database
    pbx: Pbx
    neighbours: Neighbours
    settler: Settler
    late: LateCalls | None

    async def place(self, order: Order, caller: Caller, wishes: Wishes, *, field: str) -> Placed:
        """Place a call, unless this request repeats one; then tell of that and dial nothing.

        The claim is written before anything is sent, and only settling lifts it. Once Asterisk has
        accepted the call the answer is its success, whatever happens to the bookkeeping: where a
        process lives on, that follows the answer. `field` is what the request calls the extension
        that rings first.

        Raises:
            ServiceError: any of the tree; `dialled` is true to what was sent.
        """
        began = time.monotonic()
        admitted = await self._admit(order, caller, wishes)
        CALL_ID.set(str(admitted.call_id))
        enterprise = f"{admitted.enterprise_name} ({admitted.enterprise_number})"
        LOG.info("✅ Клиент авторизован: %s", enterprise)
        if admitted.repeated:
            count("CallsRepeated")
            note_repeat()
            LOG.info("🔁 Повтор звонка %s: %s", admitted.call_id, order)
            return await self._repeat(order, admitted, caller.deadline, field)
        command, originated = await self._send(order, admitted, caller.deadline, field)
        count_call(is_accepted=True)
        count("PlacingMs", round((time.monotonic() - began) * 1000))
        LOG.info(
            "✅ CLI команда выполнена на %s: %s", admitted.host, order, extra=of_pbx(admitted.host)
        )
        roots = originated.roots
        await self.settler.settle_accepted(admitted, Settlement("executed", roots))
        if originated.blocked is not None:
            self._let_ring(originated.blocked)
        # Where another program's call cannot be told from ours, there is nothing to look at yet.
        phase: AgentPhase = "accepted"
        if len(roots) == 1 and wishes.wait_s:
            phase = await self._wait_for_ring(admitted, roots[0], caller, wishes)
        technology = command.technology if isinstance(command, OriginateMonitor) else None
        return Placed(admitted, phase, technology)

    async def _admit(self, order: Order, caller: Caller, wishes: Wishes) -> Admitted:
        """Admit an order, and log it: with a wrong secret only as `strangers` do."""
        request = f"{_REQUESTS[order.kind]}: {order}, clientId: {cut_secret(caller.secret)}"
        learn = partial(self.neighbours.learn, deadline=caller.deadline)
        try:
            await self._check_prefix(order, caller, learn)
            admitted = await admission.admit(
                self.database,
                self.settings,
                caller,
                order,
                call_id=uuid.uuid4(),
                idempotency_key=wishes.idempotency_key,
                learn=learn,
            )
        except ServiceError as error:
            if not is_of_wrong_secret(error):
                LOG.info(request)
                if isinstance(error, Forbidden | LimitExceeded | HostUnverified | PbxError):
                    LOG.warning("❌ %s: %s", order, error)
            if isinstance(error, PbxError):
                error.during = _FAILURES[order.kind]
            raise
        LOG.info(request)
        return admitted

    async def _send(
        self, order: Order, admitted: Admitted, deadline: Deadline, field: str
    ) -> tuple[Originate, Originated]:
        """Send an order once; of whatever fails is settled, before it is told, what is known."""
        may_ring = False
        try:
            LOG.info(
                "🔗 SSH подключение к %s: %s", admitted.host, order, extra=of_pbx(admitted.host)
            )
            command = await self._prepare(order, admitted, deadline, field)
            may_ring = True
            return command, await self.pbx.originate(admitted.host, command, deadline)
        except ServiceError as error:
            if isinstance(error, OriginateUnknown):
                self._listen(command, admitted, error)
            _tell_failure(error, order, admitted.host)
            outcome, reason = _OUTCOMES[error.dialled], _reason(error)
            settlement = Settlement(
                outcome, error_code=error.code, error_detail=error.recorded_detail, reason=reason
            )
            await self.settler.settle(admitted, settlement)
            _complete(error, order, admitted.call_id)
            raise
        except Exception as defect:
            # Of whatever happens after the command was sent, its sender makes an error of the tree.
            count_call(is_accepted=False)
            await self.settler.settle(admitted, Settlement("not_executed", reason="failed"))
            internal = InternalError()
            internal.call_id = admitted.call_id
            raise internal from defect
        except BaseException:  # the request was given up
            reason = None if may_ring else "failed"
            outcome = "unknown" if may_ring else "not_executed"
            await self.settler.settle(admitted, Settlement(outcome, reason=reason))
            raise

    async def _repeat(
        self, order: Order, admitted: Admitted, deadline: Deadline, field: str
    ) -> Placed:
        """Tell of the earlier call, or of the failure to place it."""
        longest_s = self.settings.request_timeout_s
        try:
            phase, reason = await how_far(
                self.database, admitted, deadline, longest_request_s=longest_s
            )
        except ServiceError as error:
            told = error.of(field) if isinstance(error, UnknownExtension) else error
            told.repeated = True
            _complete(told, order, admitted.call_id)
            raise told from None
        label = await self._label(order, admitted.host, deadline)
        return Placed(admitted, phase, label, reason)

    async def _check_prefix(self, order: Order, caller: Caller, learn: Learn) -> None:
        """Refuse to tap others' extensions by the first digits of an own one."""
        if isinstance(order, MonitorOrder) and self.settings.monitor_match == "prefix":
            enterprise = await identify(self.database, self.settings, caller, learn=learn)
            enterprise.check_prefix(order.target.number)

    async def _prepare(
        self, order: Order, admitted: Admitted, deadline: Deadline, field: str
    ) -> Originate:
        """Make sure that the order can be, and make the command of it; nothing is sent.

        Raises what has made the host unreachable already.
        """
        if admitted.failure is not None:
            raise admitted.failure
        self.pbx.heed(admitted.host, admitted.broken)
        if isinstance(order, CallOrder):  # whose command asks nothing
            await self._check_extension(order, admitted, deadline, field)
            return await self._command(order, admitted.host, deadline)
        _, command = await together(
            self._check_extension(order, admitted, deadline, field),
            self._command(order, admitted.host, deadline),
        )
        return command

    async def _check_extension(
        self, order: Order, admitted: Admitted, deadline: Deadline, field: str
    ) -> None:
        """Refuse an extension that the dialplan does not know, by the name of the field."""
        try:
            await self.pbx.check_extension(admitted.host, order.extension, deadline)
        except UnknownExtension as error:
            raise error.of(field) from None

    def _listen(self, command: Originate, admitted: Admitted, error: OriginateUnknown) -> None:
        """Have a call of unknown outcome watched for, where something may run after the answer."""
        if self.late is not None:
            unknown = UnknownCall(
                *(admitted.call_id, admitted.host, command, error.pending),
                may_block=error.may_block,
            )
            self.late.watch(unknown)
        elif error.pending is not None:
            error.pending.close()

    def _let_ring(self, blocked: Exchange) -> None:
        """Let an originate block its console until the extension has answered."""
        if self.late is not None:
            self.late.drain(blocked)
        else:
            blocked.close()

    async def _command(self, order: Order, host: str, deadline: Deadline) -> Originate:
        """Write the order in the words of the PBX; a monitoring's target is looked for first."""
        context = Context(self.settings.dialplan_context)
        match order:
            case CallOrder():
                return OriginateCall(order, context)
            case MonitorOrder() if self.settings.monitor_match == "prefix":
                technology = await self.pbx.technology(host, order.target, deadline)
                return OriginateMonitor(order, context, technology, "prefix")
            case MonitorOrder():
                tap = await self.pbx.find_tap(host, order.target, deadline)
                self._check_tap(tap, order.target.number)
                tapped = None if tap.channel is None else tap.spied
                return OriginateMonitor(
                    *(order, context, tap.technology, "exact", tapped), is_exact=tap.is_exact
                )

    def _check_tap(self, tap: Tap, target: str) -> None:
        """Refuse to let a supervisor hear nothing, or a stranger."""
        if tap.channel is None and self.settings.monitor_idle == "refuse":
            raise NobodyToHear(f"Nobody to hear: {target} is on no call ({tap.does})")
        if tap.spied is None:
            what = "talks by" if tap.channel else "is waited for by"
            name = f"the channel {tap.channel.name[:80]!a}" if tap.channel else "name"
            raise ChannelAmbiguous(
                f"Nobody was rung: {target} {what} {name}, which this Asterisk cannot tell from"
                " channels of another name"
            )

    async def _wait_for_ring(
        self, admitted: Admitted, root: Channel, caller: Caller, wishes: Wishes
    ) -> AgentPhase:
        """Wait until the extension rings or the call is over, as long as the caller wants.

        On Lambda its enterprise's other requests may wait already: then it does not.
        """
        async with execution_to_wait(admitted.enterprise_number) as may_wait:
            deadline = caller.deadline.sooner(wishes.wait_s if may_wait else 0)
            return await self._ring(admitted.host, root, caller, deadline)

    async def _ring(
        self, host: str, root: Channel, caller: Caller, deadline: Deadline
    ) -> AgentPhase:
        phase: AgentPhase = "accepted"
        while phase == "accepted" and deadline.remaining_s():
            try:
                until = caller.deadline.sooner(_RING_ASK_S)
                question = partial(client.load_agent_phase, root=root)
                phase = await self.pbx.ask(host, question, until, turn="look")
            except Exception as error:  # noqa: BLE001 - the call is placed
                if not isinstance(error, ServiceError):
                    LOG.exception("❌ Звонок принят, его фаза не узнана")
                break  # the answer is what was known last
            if phase == "accepted":
                await asyncio.sleep(min(_RING_POLL_S, deadline.remaining_s()))
        return phase

    async def _label(self, order: Order, host: str, deadline: Deadline) -> Technology | None:
        """Find out what a repeat's tapped device is called; a PBX that is away must not fail it."""
        if isinstance(order, CallOrder):
            return None
        try:
            return await self.pbx.technology(host, order.target, deadline)
        except ServiceError:
            return Technology.SIP


def _complete(error: ServiceError, order: Order, call_id: UUID) -> None:
    """Say what failed, in the specification's words, and of which call."""
    error.call_id = call_id
    if isinstance(error, PbxError):
        error.during = _FAILURES[order.kind]


def _tell_failure(error: ServiceError, order: Order, host: str) -> None:
    """Log and count a call that was not placed, or may not have been."""
    level = _level(error)
    is_operators = level == logging.ERROR
    # By this field AWS counts which PBX's calls fail.
    failed: dict[str, object] = {"failed_host": host} if is_operators else {}
    LOG.log(level, "❌ %s на %s: %s", order, host, error, extra=of_pbx(host) | failed)
    if is_operators and error.dialled == "no":
        count_call(is_accepted=False)


def _level(error: ServiceError) -> int:
    """Tell an operator's matter from what a caller has to do otherwise."""
    is_his = error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.dialled == "no"
    return logging.WARNING if is_his else logging.ERROR


def _reason(error: ServiceError) -> Reason | None:
    """Tell why a call has ended before it began; None if it may not have ended."""
    if error.dialled != "no":
        return None
    refused = isinstance(error, InvalidParameter | CommandRejected | ContextMissing)
    return "rejected" if refused else "failed"


@once
def the_placing() -> Placing:
    """That of this process."""
    late = None if on_lambda() else the_late_calls()
    return Placing(the_settings(), the_database(), the_pbx(), the_neighbours(), the_settler(), late)

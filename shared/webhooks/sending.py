"""One turn of one webhook: its messages in order, each until it is accepted, or has to wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from shared.deadline import Deadline
from shared.errors import EventsGone
from shared.events.feed import read_feed
from shared.measures import observe
from shared.store.database import Database
from shared.store.webhooks import LEASE_S, ToSend, give_back, note_delivery
from shared.telemetry import LOG
from shared.webhooks.addresses import AddressRefused, parse_url
from shared.webhooks.composing import Outgoing, of_event, of_gap, of_test
from shared.webhooks.posting import Poster
from shared.webhooks.schedule import SEVERAL, Answer, Health, Verdict, judge
from shared.webhooks.signing import sign
from shared.webhooks.subscription import Subscription, parse_subscription

# Then it is the next one's turn, who may have waited.
TURN_S: Final = 10.0
_MOST_AT_ONCE = 20
# What is left of the lease must be enough for an attempt, and for noting it.
_ENOUGH_S = 20.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages in order, up to the number `next`; `is_all`: nothing follows it yet."""

    messages: tuple[Outgoing, ...]
    next: int
    is_all: bool


class Turn:
    """Sends what is due at one webhook, as whoever has its lease."""

    def __init__(self, database: Database, poster: Poster, owner: str, taken: ToSend) -> None:
        self._database = database
        self._poster = poster
        self._owner = owner
        self._state = taken
        self._leased = Deadline.after(LEASE_S)
        self._position = taken.after

    async def run(self) -> None:
        """Send until nothing is due, or others wait; then let others have it.

        Raises:
            DatabaseUnavailable: what was sent last may not be noted, and is then sent once more,
                when the lease has ended by itself.
            Exception: a defect, which is tried again then, too.
        """
        try:
            if self._state.test is None or await self._send(of_test(self._state.test, 0)):
                await self._send_events()
        except asyncio.CancelledError:
            await self._give_back()
            raise
        await self._give_back()

    async def _give_back(self) -> None:
        await give_back(self._database, self._owner, self._state, after=self._position)

    async def _send_events(self) -> None:
        until = Deadline.after(TURN_S)
        while self._state.ready and until.remaining_s():
            batch = await self._read(parse_subscription(self._state.wanted))
            for message in batch.messages:
                if not until.remaining_s() or not await self._send(message):
                    return
                self._position = self._state.after
                if self._position != message.after:  # somebody wants others, or again
                    break
            else:
                self._position = batch.next
                if batch.is_all:
                    return

    async def _read(self, subscription: Subscription) -> _Batch:
        try:
            told = await read_feed(
                self._database.reads,
                self._state.enterprise,
                self._position,
                subscription.wanted,
                most=_MOST_AT_ONCE,
            )
        except EventsGone as gone:
            LOG.error(
                "❌ Вебхук %s предприятия %s: события после %d не хранятся, хранятся %d-%d",
                *(self._state.id, self._state.enterprise, self._position, gone.oldest, gone.newest),
            )
            gap = of_gap(self._state.id, self._position, gone)
            return _Batch((gap,), gap.after, is_all=False)
        wanted = filter(subscription.takes, told.events)
        messages = tuple(of_event(self._state.id, event) for event in wanted)
        return _Batch(messages, told.next, told.is_all)

    async def _send(self, message: Outgoing) -> bool:
        """Send once and note it; False: it ends here."""
        if self._leased.remaining_s() < _ENOUGH_S:
            return False
        state, before = self._state, self._state.after
        headers = sign(state.secrets, message.id, int(time.time()), message.body)
        answer = await self._poster.post(state.url, headers, message.body, whose=state.enterprise)
        verdict = judge(Health(state.failures, state.failed_s, state.failing_s), answer)
        is_test = message.seq is None
        leased = Deadline.after(LEASE_S)
        noted = await note_delivery(
            self._database,
            self._owner,
            state.id,
            {
                "attempts": state.attempts,
                "url": state.url,
                "known": state.failures,
                "before": before,
                "after": message.after if answer.is_accepted else before,
                "wanted": state.wanted,
                "test": str(state.test) if is_test else None,
                "message": message.id,
                "seq": message.seq,
                "type": message.type,
                "status": answer.status,
                "error": answer.error,
                "took_ms": round(answer.took_s * 1000),
                "failures": verdict.health.failures,
                "failing_s": verdict.health.failing_s,
                "retry_s": verdict.retry_s,
                "slow": verdict.is_slow,
                "disabled_why": None if is_test else verdict.disabled_why,
            },
        )
        _tell(state, answer, verdict, is_test=is_test)
        if noted is None:
            LOG.warning("⚠️ Вебхук %s удалён, или его отправляет другой процесс", state.id)
            return False
        self._state, self._leased = noted, leased
        if noted.after != before or noted.wanted != state.wanted:
            self._position = noted.after
        return answer.is_accepted or is_test


def _tell(state: ToSend, answer: Answer, verdict: Verdict, *, is_test: bool) -> None:
    outcome = "accepted" if answer.is_accepted else "failed"
    observe("WebhookDeliveries", outcome=outcome)
    if is_test or answer.is_accepted:
        return
    where = (state.id, state.enterprise, origin_of(state.url))
    if verdict.disabled_why is not None:
        observe("WebhookDeliveries", outcome="disabled")
        LOG.error("❌ Вебхук %s предприятия %s отключён: %s, %s", *where, verdict.disabled_why)
    elif verdict.health.failures == SEVERAL:
        why = answer.error or f"HTTP {answer.status}"
        LOG.warning("⚠️ Вебхук %s предприятия %s не принимает: %s, %s", *where, why)


def origin_of(url: str) -> str:
    """Tell where a URL leads, without what may be a secret of the receiver's."""
    try:
        return parse_url(url).origin
    except AddressRefused:
        return "?"

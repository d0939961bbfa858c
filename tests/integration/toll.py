"""A desk of one enterprise whose tolls are limited, on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import anyio

from shared.asterisk.models import Order
from shared.auth.admission import (
    Admitted,
    AdmittedTransfer,
    Outcome,
    Settlement,
    admit,
    admit_transfer,
    settle,
)
from shared.errors import LimitExceeded
from shared.settings import Settings
from shared.store.control import settle_transfer
from shared.store.database import Database
from tests.orders import call_order, caller_of
from tests.postgres import Postgres

HOST = "192.0.2.1"
SECRETS = {"0367": "june-secret-51c2", "0368": "july-secret-51c2"}


class TollDesk:
    """Admits, settles and transfers with the settings of one test."""

    def __init__(self, database: Database, postgres: Postgres) -> None:
        self.database = database
        self.postgres = postgres
        self.settings = self.limited()

    def limited(self, **limits: Any) -> Settings:
        """Use these limits from now on; the rates of placing are no matter here."""
        rates = dict.fromkeys(("rate_limit_extension", "rate_limit_enterprise"), "100000/1")
        self.settings = self.postgres.settings(**rates | {"shared_hosts": "allow"} | limits)
        return self.settings

    async def admit(self, order: Order, number: str = "0367") -> Admitted:
        """Admit an order; nothing is known of it yet."""
        return await admit(
            *(self.database, self.settings, caller_of(SECRETS[number]), order),
            call_id=uuid4(),
            idempotency_key=None,
        )

    async def settle(self, admitted: Admitted, outcome: Outcome = "executed") -> None:
        """Record what became of it."""
        await settle(self.database, self.settings, admitted.call_id, Settlement(outcome))

    async def place(self, code: str, phone: str, number: str = "0367") -> Admitted:
        """Place a call that Asterisk accepts."""
        admitted = await self.admit(call_order(code, phone), number)
        await self.settle(admitted)
        return admitted

    async def transfer(self, call_id: UUID, to: str) -> AdmittedTransfer:
        """Hand a call over to another extension, which Asterisk acknowledges."""
        at = datetime.now(UTC)
        admitted = await admit_transfer(
            *(self.database, self.settings),
            enterprise="0367",
            host=HOST,
            call_id=call_id,
            target=to,
            at=at,
            doer=caller_of(SECRETS["0367"]).doer,
        )
        if not admitted.repeated:
            which = (self.database, call_id, to, at)
            await settle_transfer(*which, state="executed", hold_s=self.settings.repeat_window_s)
        return admitted

    async def at_once(self, *orders: Order) -> tuple[list[Admitted], list[LimitExceeded]]:
        """Admit all of them at the same time: who was, and who was refused."""
        admitted: list[Admitted] = []
        refused: list[LimitExceeded] = []

        async def one(order: Order) -> None:
            try:
                admitted.append(await self.admit(order))
            except LimitExceeded as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for order in orders:
                group.start_soon(one, order)
        return admitted, refused

    def end(self, admitted: Admitted, reason: str = "answered") -> None:
        """Let a call be over, as a tracker tells it; a repeat of it is a call of its own again."""
        self.postgres.execute(
            "UPDATE callapi.calls SET phase = 'ended', reason = :reason,"
            " ended_at = clock_timestamp() WHERE call_id = :call_id",
            reason=reason,
            call_id=admitted.call_id,
        )
        self.release()

    def release(self) -> None:
        """Let no call have repeats any more."""
        self.postgres.execute("DELETE FROM callapi.claims")

    def pass_time(self, seconds: float) -> None:
        """Let this time pass for the calls and for what trackers have reached."""
        self.postgres.execute(
            "UPDATE callapi.calls SET created_at = created_at - :s * interval '1 second',"
            " transferred_at = transferred_at - :s * interval '1 second'",
            s=seconds,
        )
        self.postgres.execute(
            "UPDATE callapi.trackers SET reached_at = reached_at - :s * interval '1 second'",
            s=seconds,
        )

    def count(self) -> dict[str, int]:
        """How many rows there are of what an admission writes."""
        tables = ("calls", "claims", "rate_limits")
        return {
            name: self.postgres.execute(f"SELECT count(*) AS n FROM callapi.{name}")[0]["n"]
            for name in tables
        }

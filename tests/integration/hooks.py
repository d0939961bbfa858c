"""Webhooks as tests make them, and whoever sends to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from shared.store import webhooks
from shared.store.audit import Doer
from shared.store.database import Database
from shared.store.webhooks import Added, Delivery, Webhook
from shared.webhooks.senders import Senders
from shared.webhooks.signing import make_secret, show_secret
from shared.webhooks.subscription import Subscription
from tests.integration.service import until
from tests.postgres import Postgres

NUMBER = "0367"
OPERATOR = Doer("operator", actor="anna")


class Hooks:
    """One test's webhooks, senders and their database."""

    def __init__(self, postgres: Postgres, database: Database) -> None:
        self.postgres = postgres
        self.database = database

    async def add(
        self, url: str, *, number: str = NUMBER, after: int | None = None, **filters: Any
    ) -> tuple[UUID, str]:
        """Add one, as if somebody sent: its id and its secret."""
        self.postgres.execute(
            "INSERT INTO callapi.webhook_sender (until)"
            " VALUES (clock_timestamp() + interval '1 minute') ON CONFLICT (one) DO NOTHING"
        )
        webhook, secret = uuid4(), make_secret()
        wanted = Subscription(**filters).render()
        added = Added(webhook, url, wanted, secret, after, "added")
        sql, parameters = webhooks.to_add(number, added, OPERATOR)
        rows = await self.database.run(sql, **parameters)
        assert rows[0]["verdict"] == "added"
        return webhook, show_secret(secret)

    async def change(self, webhook: UUID, number: str = NUMBER, **change: Any) -> None:
        """Change one."""
        sql, parameters = webhooks.to_change(number, webhook, change, "changed", OPERATOR)
        assert (await self.database.run(sql, **parameters))[0]["found"]

    async def read(self, webhook: UUID, number: str = NUMBER) -> Webhook:
        """Read one."""
        sql, parameters = webhooks.to_list(number, webhook)
        (found,) = webhooks.webhooks_of(await self.database.run(sql, **parameters))
        return found

    async def log(self, webhook: UUID, number: str = NUMBER) -> tuple[Delivery, ...]:
        """Read its attempts, the newest first."""
        sql, parameters = webhooks.to_list_deliveries(number, webhook, 1000)
        return webhooks.deliveries_of(await self.database.run(sql, **parameters))

    def row(self, webhook: UUID) -> dict[str, Any]:
        """All that is kept of one."""
        (row,) = self.postgres.execute("SELECT * FROM callapi.webhooks WHERE id = :id", id=webhook)
        return row

    async def reach(self, webhook: UUID, seq: int) -> None:
        """Wait until all up to a number was accepted."""
        await until(lambda: self.row(webhook)["after_seq"] >= seq)

    async def attempted(self, webhook: UUID, attempts: int) -> dict[str, Any]:
        """Wait until so many attempts were noted, and nobody sends; the row."""

        def is_so() -> bool:
            row = self.row(webhook)
            return bool(row["attempts"] >= attempts and row["owner"] == "")

        await until(is_so)
        return self.row(webhook)

    def pass_time(self, webhook: UUID, seconds: float) -> None:
        """Let all that is known of a webhook be older."""
        self.postgres.execute(
            "UPDATE callapi.webhooks SET due_at = due_at - make_interval(secs => :s),"
            " failed_at = failed_at - make_interval(secs => :s),"
            " failing_since = failing_since - make_interval(secs => :s),"
            " previous_until = previous_until - make_interval(secs => :s) WHERE id = :id",
            s=seconds,
            id=webhook,
        )

    @asynccontextmanager
    async def sending(
        self, *, whole_s: float = 15.0, private: str = "127.0.0.0/8"
    ) -> AsyncIterator[Senders]:
        """Send until the block ends."""
        senders = Senders(self.postgres.settings(webhooks_allow_private=private), self.database)
        senders._poster._whole_s = whole_s
        senders.start()
        try:
            yield senders
        finally:
            await senders.close()

"""What is said of webhooks, in requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from shared.events.feed import Scope
from shared.http.fields import CallId, ExtensionText, Moment
from shared.store.webhooks import Delivery, Webhook
from shared.webhooks.addresses import MOST_CHARACTERS
from shared.webhooks.subscription import EventType, Subscription

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MOST_CHARACTERS,
        description="https:// and a public address",
        examples=["https://crm.example.test/hooks/calls"],
    ),
]


WebhookId = Annotated[UUID, Path(examples=["5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11"])]


class NewWebhook(Subscription):
    """Where events are sent, and which; without `after` those from now on."""

    url: Url


class WebhookChange(BaseModel):
    """What is to be otherwise; null takes a filter away. `enabled`: it goes on where it ceased."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    types: list[EventType] | None = Field(None, min_length=1, examples=[["call.phase"]])
    scope: Scope | None = None
    extension: ExtensionText | None = None
    call_id: CallId | None = None
    enabled: bool | None = Field(None, examples=[True])

    @property
    def filters(self) -> dict[str, Any]:
        """Those that are given, as they are written."""
        given = self.model_dump(mode="json", include=self.model_fields_set - {"url", "enabled"})
        return dict(given)


class Resend(BaseModel):
    """From which moment on events are sent again."""

    model_config = ConfigDict(extra="forbid")

    since: Moment


class WebhookState(BaseModel):
    """A webhook. Up to the event `after` of `newest` the receiver has accepted all that it wants.

    `failures` are those in a row; `failing_since` is when the clock has started that disables it
    after five days. `disabled_why` is `client`, `operator`, `answered-410`, `failing`, or one that
    is to come.
    """

    webhook_id: UUID
    url: str
    types: list[str] | None
    scope: Scope
    extension: str | None
    call_id: UUID | None
    created_at: datetime
    after: int
    newest: int
    enabled: bool
    disabled_at: datetime | None
    disabled_why: str | None
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    previous_secret_until: datetime | None


class WebhookList(BaseModel):
    """The enterprise's webhooks, the oldest first."""

    webhooks: list[WebhookState]


class WebhookWithSecret(BaseModel):
    """A webhook, and its secret, which is told this once."""

    webhook: WebhookState
    secret: str = Field(
        description="as libraries of Standard Webhooks take it", examples=["whsec_..."]
    )


class Test(BaseModel):
    """The test's name, which its attempt has among the deliveries."""

    message_id: str


class DeliveryState(BaseModel):
    """An attempt; `error` says why there is no `status` of HTTP's."""

    at: datetime
    message_id: str
    type: str
    seq: int | None
    status: int | None
    error: str | None
    took_ms: int


class Deliveries(BaseModel):
    """The last attempts, the newest first."""

    deliveries: list[DeliveryState]


def tell(webhook: Webhook) -> WebhookState:
    """Tell of a webhook."""
    return WebhookState(
        webhook_id=webhook.id,
        url=webhook.url,
        types=webhook.wanted.get("types"),
        scope=webhook.wanted.get("scope") or "mine",
        extension=webhook.wanted.get("extension"),
        call_id=webhook.wanted.get("call_id"),
        created_at=webhook.created_at,
        after=webhook.after,
        newest=webhook.newest,
        enabled=webhook.disabled_at is None,
        disabled_at=webhook.disabled_at,
        disabled_why=webhook.disabled_why,
        failures=webhook.failures,
        failing_since=webhook.failing_since,
        next_attempt_at=webhook.next_attempt_at,
        previous_secret_until=webhook.previous_until,
    )


def tell_delivery(delivery: Delivery) -> DeliveryState:
    """Tell of an attempt."""
    return DeliveryState(
        at=delivery.at,
        message_id=delivery.message,
        type=delivery.type,
        seq=delivery.seq,
        status=delivery.status,
        error=delivery.error,
        took_ms=delivery.took_ms,
    )

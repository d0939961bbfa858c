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


WebhookId = Annotated[
    UUID,
    Field(description="the webhook's id", examples=["5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11"]),
]
WebhookInPath = Annotated[
    UUID,
    Path(description="the webhook's id", examples=["5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11"]),
]


class NewWebhook(Subscription):
    """Where events are sent, and which; without `after` those from now on."""

    url: Url


class WebhookChange(BaseModel):
    """What is to be otherwise; null takes a filter away. `enabled`: it goes on where it ceased."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    types: list[EventType] | None = Field(
        None, min_length=1, description="only these types", examples=[["call.phase"]]
    )
    scope: Scope | None = Field(
        None, description="`all`: also calls on the PBX that were not started here; else `mine`"
    )
    extension: ExtensionText | None = Field(None, description="that took part")
    call_id: CallId | None = Field(None, description="of this call alone")
    enabled: bool | None = Field(
        None, description="false: nothing is sent; true: it goes on", examples=[True]
    )

    @property
    def filters(self) -> dict[str, Any]:
        """Those that are given, as they are written."""
        given = self.model_dump(mode="json", include=self.model_fields_set - {"url", "enabled"})
        return dict(given)


class Resend(BaseModel):
    """From which moment on events are sent again."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(description="from this moment on", examples=["2026-11-26T09:00:00Z"])


class WebhookState(BaseModel):
    """A webhook: up to the event `after` the receiver has accepted all that it wants."""

    webhook_id: WebhookId
    url: str = Field(
        description="where events are sent", examples=["https://crm.example.test/hooks/calls"]
    )
    types: list[str] | None = Field(
        description="only these types; null: all", examples=[["call.phase"]]
    )
    scope: Scope = Field(description="whose calls", examples=["mine"])
    extension: str | None = Field(description="that took part; null: any")
    call_id: UUID | None = Field(description="of this call alone; null: of all")
    created_at: datetime = Field(
        description="when it was made, in UTC", examples=["2026-11-26T09:00:00.120000Z"]
    )
    after: int = Field(
        description="up to this event the receiver has accepted all that it wants", examples=[4711]
    )
    newest: int = Field(description="the newest event that there is", examples=[4715])
    enabled: bool = Field(description="whether events are sent", examples=[True])
    disabled_at: datetime | None = Field(description="since when they are not")
    disabled_why: str | None = Field(
        description="why they are not",
        json_schema_extra={"x-extensible-enum": ["client", "operator", "answered-410", "failing"]},
    )
    failures: int = Field(description="attempts in a row that failed", examples=[0])
    failing_since: datetime | None = Field(
        description="when the clock has started that disables it after five days"
    )
    next_attempt_at: datetime | None = Field(description="when the next attempt is made")
    previous_secret_until: datetime | None = Field(
        description="until when the secret before signs too"
    )


class WebhookList(BaseModel):
    """The enterprise's webhooks, the oldest first."""

    webhooks: list[WebhookState] = Field(description="the oldest first")


class WebhookWithSecret(BaseModel):
    """A webhook, and its secret, which is told this once."""

    webhook: WebhookState = Field(description="the webhook")
    secret: str = Field(
        description="as libraries of Standard Webhooks take it", examples=["whsec_..."]
    )


class Test(BaseModel):
    """The test's name, which its attempt has among the deliveries."""

    message_id: str = Field(
        description="the test's name among the deliveries",
        examples=["msg_5d2f3a0e8c534b1c9a43"],
    )


class DeliveryState(BaseModel):
    """An attempt; `error` says why there is no `status` of HTTP's."""

    at: datetime = Field(description="when, in UTC", examples=["2026-11-26T09:00:00.310000Z"])
    message_id: str = Field(
        description="`webhook-id` of the message", examples=["msg_5d2f3a0e8c534b1c9a43"]
    )
    type: str = Field(description="what it told", examples=["call.phase"])
    seq: int | None = Field(description="the event's number; null: it was none", examples=[4711])
    status: int | None = Field(description="what was answered; null: nothing", examples=[204])
    error: str | None = Field(description="why nothing was")
    took_ms: int = Field(description="how long it took", examples=[38])


class Deliveries(BaseModel):
    """The last attempts, the newest first."""

    deliveries: list[DeliveryState] = Field(description="the newest first")


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

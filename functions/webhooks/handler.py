"""Manage webhooks: `/api/webhooks`; what is sent, a process that follows calls sends."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from functions.webhooks.models import (
    Deliveries,
    NewWebhook,
    Resend,
    Test,
    WebhookChange,
    WebhookInPath,
    WebhookList,
    WebhookState,
    WebhookWithSecret,
    tell,
    tell_delivery,
)
from shared.auth.caller import Caller
from shared.auth.credentials import CallerOf
from shared.auth.enterprise import Enterprise, identify
from shared.errors import (
    EventsGone,
    FieldError,
    HostUnverified,
    InvalidParameter,
    NoSuchWebhook,
    NoWebhookSender,
    SharedHost,
    TooManyWebhooks,
    WebhooksOff,
)
from shared.events.feed import read_feed
from shared.http.failures import ASKING, QUOTA, answering, failing
from shared.http.gateway import lambda_handler
from shared.http.problems import Route, quota_headers
from shared.settings import the_settings
from shared.store import webhooks
from shared.store.connection import Rows
from shared.store.database import Door, the_database
from shared.store.webhooks import Webhook
from shared.webhooks import managing
from shared.webhooks.addresses import AddressRefused, Target, check_url
from shared.webhooks.managing import Change
from shared.webhooks.signing import show_secret
from shared.webhooks.subscription import Subscription, parse_subscription

router = APIRouter(tags=["following"], route_class=Route)

_FAILURES = (*ASKING, WebhooksOff)
_OF_HOST = (SharedHost, HostUnverified)


@router.post(
    "/api/webhooks",
    operation_id="create_webhook",
    status_code=201,
    summary="Have events sent to an address",
    responses=answering(201, *QUOTA, description="Made")
    | failing(
        *(*_FAILURES, *_OF_HOST, EventsGone, NoWebhookSender, TooManyWebhooks), has_body=True
    ),
)
async def create(wanted: NewWebhook, caller: CallerOf, response: Response) -> WebhookWithSecret:
    """Have events sent, each signed by the secret that is told here and never again.

    They come in order, each until it is accepted; docs/webhooks.md says how to verify them. Where
    no process would send, as on Lambda alone, it is 409 `no-webhook-sender`.
    """
    database = the_database().reads
    enterprise = await _come_in(caller, response, sees_host=wanted.sees_host)
    if wanted.sees_host:
        _check_host(enterprise)
    target = await _checked(wanted.url, enterprise)
    if wanted.after is not None:
        await read_feed(database, enterprise.number, wanted.after, wanted.wanted, most=1)
    added = managing.new_webhook(wanted.url, target, wanted)
    rows = await _run(webhooks.to_add(enterprise.number, added, caller.doer))
    match rows[0]["verdict"]:
        case "no-sender":
            raise NoWebhookSender(managing.NO_SENDER)
        case "too-many":
            raise TooManyWebhooks(f"This enterprise has {webhooks.MOST} webhooks: remove one first")
    webhook = tell(await _load(enterprise, added.id))
    return WebhookWithSecret(webhook=webhook, secret=show_secret(added.secret))


@router.get(
    "/api/webhooks",
    operation_id="list_webhooks",
    summary="List webhooks",
    responses=answering(200, *QUOTA, description="All of them") | failing(*_FAILURES),
)
async def list_(caller: CallerOf, response: Response) -> WebhookList:
    """List the enterprise's webhooks, and how it stands with their receivers."""
    enterprise = await _come_in(caller, response)
    rows = await _run(webhooks.to_list(enterprise.number))
    return WebhookList(webhooks=list(map(tell, webhooks.webhooks_of(rows))))


@router.get(
    "/api/webhooks/{webhook_id}",
    operation_id="get_webhook",
    summary="How does it stand with a webhook?",
    responses=answering(200, *QUOTA, description="The webhook")
    | failing(*_FAILURES, NoSuchWebhook),
)
async def get(webhook_id: WebhookInPath, caller: CallerOf, response: Response) -> WebhookState:
    """Tell of one webhook."""
    return tell(await _load(await _come_in(caller, response), webhook_id))


@router.patch(
    "/api/webhooks/{webhook_id}",
    operation_id="change_webhook",
    summary="Change a webhook",
    responses=answering(200, *QUOTA, description="As it is now")
    | failing(*_FAILURES, *_OF_HOST, NoSuchWebhook, has_body=True),
)
async def change(
    webhook_id: WebhookInPath, wanted: WebhookChange, caller: CallerOf, response: Response
) -> WebhookState:
    """Change what is given; it holds from the next attempt on."""
    enterprise = await _come_in(caller, response, sees_host=wanted.scope == "all")
    if wanted.scope == "all":
        _check_host(enterprise)
    changes: dict[str, Any] = {}
    said = [f"change {webhook_id}"]
    if wanted.url is not None:
        said.append((await _checked(wanted.url, enterprise)).origin)
        changes["url"] = wanted.url
    if wanted.filters:
        known = (await _load(enterprise, webhook_id)).wanted
        changes["wanted"] = _merged(known, wanted.filters).told()
        said += sorted(wanted.filters)
    if wanted.enabled is not None:
        changes["enabled"] = wanted.enabled
        said.append("enabled" if wanted.enabled else "disabled")
    return await _change(enterprise, caller, webhook_id, Change(changes, " ".join(said)))


@router.delete(
    "/api/webhooks/{webhook_id}",
    operation_id="remove_webhook",
    summary="Remove a webhook",
    responses=answering(200, *QUOTA, description="As it was") | failing(*_FAILURES, NoSuchWebhook),
)
async def remove(webhook_id: WebhookInPath, caller: CallerOf, response: Response) -> WebhookState:
    """Send nothing there any more; the answer is what it was."""
    enterprise = await _come_in(caller, response)
    webhook = await _load(enterprise, webhook_id)
    removal = managing.removal(webhook_id)
    # Whether it was found says nothing: asked again after a lost reply, it has gone.
    await _run(webhooks.to_change(enterprise.number, webhook_id, *removal, caller.doer))
    return tell(webhook)


@router.post(
    "/api/webhooks/{webhook_id}/rotate",
    operation_id="rotate_webhook",
    summary="Make another secret",
    responses=answering(200, *QUOTA, description="Made") | failing(*_FAILURES, NoSuchWebhook),
)
async def rotate(
    webhook_id: WebhookInPath, caller: CallerOf, response: Response
) -> WebhookWithSecret:
    """Make another secret, told here and never again; the one before signs for a day, too."""
    enterprise = await _come_in(caller, response)
    rotation, secret = managing.rotation(webhook_id)
    webhook = await _change(enterprise, caller, webhook_id, rotation)
    return WebhookWithSecret(webhook=webhook, secret=show_secret(secret))


@router.post(
    "/api/webhooks/{webhook_id}/test",
    operation_id="test_webhook",
    status_code=202,
    summary="Send a test",
    responses=answering(202, *QUOTA, description="It will be sent")
    | failing(*_FAILURES, NoSuchWebhook),
)
async def test(webhook_id: WebhookInPath, caller: CallerOf, response: Response) -> Test:
    """Send `webhook.test`, once and whatever the state; the deliveries tell what became of it."""
    enterprise = await _come_in(caller, response)
    testing, message_id = managing.testing(webhook_id)
    await _run_change(enterprise, caller, webhook_id, testing)
    return Test(message_id=message_id)


@router.post(
    "/api/webhooks/{webhook_id}/resend",
    operation_id="resend_events",
    summary="Send events again",
    responses=answering(200, *QUOTA, description="They will be sent")
    | failing(*_FAILURES, NoSuchWebhook, has_body=True),
)
async def resend(
    webhook_id: WebhookInPath, wanted: Resend, caller: CallerOf, response: Response
) -> WebhookState:
    """Send what was told from a moment on again, under the names that it had.

    It goes on after `after`; what is not kept any more is not sent.
    """
    enterprise = await _come_in(caller, response)
    resending = managing.resending(webhook_id, wanted.since)
    return await _change(enterprise, caller, webhook_id, resending)


@router.get(
    "/api/webhooks/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="What was sent?",
    responses=answering(200, *QUOTA, description="The last attempts")
    | failing(*_FAILURES, NoSuchWebhook),
)
async def list_deliveries(
    webhook_id: WebhookInPath,
    caller: CallerOf,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000, description="attempts at most")] = 100,
) -> Deliveries:
    """List the last attempts; each message may have several."""
    enterprise = await _come_in(caller, response)
    await _load(enterprise, webhook_id)
    rows = await _run(webhooks.to_list_deliveries(enterprise.number, webhook_id, limit))
    return Deliveries(deliveries=list(map(tell_delivery, webhooks.deliveries_of(rows))))


async def _come_in(caller: Caller, response: Response, *, sees_host: bool = False) -> Enterprise:
    """Find out who asks, and whether an operator has let them have webhooks."""
    database = the_database().reads
    enterprise = await identify(database, the_settings(), caller, "reads", sees_host=sees_host)
    response.headers.update(quota_headers(enterprise.quota))
    if not await webhooks.may_have(database, enterprise.number):
        raise WebhooksOff
    return enterprise


def _check_host(enterprise: Enterprise) -> None:
    """Refuse what would show a neighbour's calls; where that is not known yet, none is told."""
    with suppress(HostUnverified):
        enterprise.check_whole_host()


async def _checked(url: str, enterprise: Enterprise) -> Target:
    try:
        private = the_settings().webhooks_allow_private
        return await check_url(url, private, enterprise.number)
    except AddressRefused as error:
        raise InvalidParameter(FieldError("url", str(error))) from None


def _merged(known: dict[str, Any], given: dict[str, Any]) -> Subscription:
    merged = {name: value for name, value in (known | given).items() if value is not None}
    return parse_subscription(merged)


async def _load(enterprise: Enterprise, webhook_id: UUID) -> Webhook:
    rows = await _run(webhooks.to_list(enterprise.number, webhook_id))
    if not rows:
        raise NoSuchWebhook
    return webhooks.webhooks_of(rows)[0]


async def _change(
    enterprise: Enterprise, caller: Caller, webhook_id: UUID, wanted: Change
) -> WebhookState:
    await _run_change(enterprise, caller, webhook_id, wanted)
    return tell(await _load(enterprise, webhook_id))


async def _run_change(
    enterprise: Enterprise, caller: Caller, webhook_id: UUID, wanted: Change
) -> None:
    rows = await _run(webhooks.to_change(enterprise.number, webhook_id, *wanted, caller.doer))
    if not rows[0]["found"]:
        raise NoSuchWebhook


async def _run(statement: tuple[str, dict[str, Any]]) -> Rows:
    database: Door = the_database().reads
    sql, parameters = statement
    return await database.run(sql, **parameters)


handler = lambda_handler(router)

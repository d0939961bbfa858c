"""An enterprise's webhooks, as an operator manages them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import anyio

from shared.errors import InvalidParameter
from shared.operate import times
from shared.operate.command import Add, Execute, OperatorError, check_number, operator
from shared.settings import Settings
from shared.store.database import Database
from shared.store.webhooks import (
    Delivery,
    Webhook,
    deliveries_of,
    to_add,
    to_change,
    to_list,
    to_list_deliveries,
    webhooks_of,
)
from shared.webhooks import managing
from shared.webhooks.addresses import AddressRefused, check_url
from shared.webhooks.managing import Change
from shared.webhooks.signing import show_secret
from shared.webhooks.subscription import Subscription, parse_subscription

_SHOWN = 50
_SHARES = """
SELECT bool_or(callapi.shares_host(e.number, e.host)) AS shares FROM callapi.enterprises() e
 WHERE e.number = :number AND e.active
   AND NOT EXISTS (SELECT 1 FROM callapi.enterprise_rules r
                    WHERE r.enterprise = e.number AND r.extensions IS NOT NULL)
"""


def add_commands(add: Add) -> None:
    """Add what concerns webhooks."""
    webhooks = add("webhooks", _webhooks, "list or manage where an enterprise's events are sent")
    webhooks.add_argument("enterprise", metavar="NUMBER", help="as in enterprises.number")
    actions = webhooks.add_subparsers(
        dest="action", metavar="add | remove | rotate | test | resend | log | enable"
    )
    adding = actions.add_parser("add", help="send events there; the secret is shown this once")
    adding.add_argument("url", metavar="URL", help="https://...")
    adding.add_argument("--types", nargs="+", metavar="TYPE", help="e.g. call.phase; default: all")
    adding.add_argument("--scope", choices=["mine", "all"], help="all: of the whole PBX")
    adding.add_argument("--extension", metavar="EXT", help="only calls of this one")
    for name, text in (
        ("remove", "send nothing there any more"),
        ("rotate", "make another secret, shown this once; the one before signs for a day, too"),
        ("test", "send a test, once, whatever its state"),
        ("resend", "send again what was told from a moment on"),
        ("log", f"list the last {_SHOWN} attempts"),
        ("enable", "go on where it ceased"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("webhook", metavar="ID", help="as it is listed, or how it begins")
        if name == "resend":
            action.add_argument(
                "--since", type=times.since, metavar="TIME", required=True, help=times.SINCE
            )


def _webhooks(database: Database, settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    number = options.enterprise.strip(" ")
    with database.transaction() as execute:
        lines = list(_done(execute, settings, number, options))
    yield from lines  # once it is sure to be kept


def _done(
    execute: Execute, settings: Settings, number: str, options: argparse.Namespace
) -> Iterator[str]:
    if options.action is None:
        yield from _list(execute, number)
    elif options.action == "add":
        yield from _add(execute, settings, number, options)
    else:
        yield from _act(execute, number, options)


def _list(execute: Execute, number: str) -> Iterator[str]:
    found = webhooks_of(_run(execute, to_list(number, is_operators=True)))
    if not found:
        check_number(execute, number)
        yield f"No webhooks of enterprise {number}"
    for webhook in found:
        yield from _described(webhook)


def _act(execute: Execute, number: str, options: argparse.Namespace) -> Iterator[str]:
    webhook = _find(execute, number, options.webhook)
    match options.action:
        case "log":
            listed = deliveries_of(_run(execute, to_list_deliveries(number, webhook.id, _SHOWN)))
            yield from map(_line, listed)
            if not listed:
                yield f"{webhook.id}: nothing was sent yet"
        case "rotate":
            change, secret = managing.rotation(webhook.id)
            _change(execute, number, webhook, change)
            yield f"{webhook.id}: the one before signs for a day, too. The secret, shown this once:"
            yield show_secret(secret)
        case "test":
            change, message = managing.testing(webhook.id)
            _change(execute, number, webhook, change)
            yield f"{webhook.id}: {message} is sent within seconds; log tells what became of it"
        case "resend":
            _change(execute, number, webhook, managing.resending(webhook.id, options.since))
            now = _find(execute, number, str(webhook.id))
            yield f"{webhook.id}: goes on after event {now.after} of {now.newest}"
        case "enable":
            _change(execute, number, webhook, managing.enabling(webhook.id))
            yield f"{webhook.id}: goes on after event {webhook.after} of {webhook.newest}"
        case _:
            _change(execute, number, webhook, managing.removal(webhook.id))
            yield f"{webhook.id}: removed"


def _add(
    execute: Execute, settings: Settings, number: str, options: argparse.Namespace
) -> Iterator[str]:
    check_number(execute, number)
    subscription = _subscription(options)
    if subscription.sees_host and settings.shared_hosts == "refuse":
        (row,) = execute(_SHARES, number=number)
        if row["shares"]:
            raise OperatorError(
                "Another enterprise has the same PBX: name this one's extensions by rules first"
            )
    try:
        target = anyio.run(check_url, options.url, settings.webhooks_allow_private, number)
    except AddressRefused as error:
        raise OperatorError(f"URL {error}") from None
    added = managing.new_webhook(options.url, target, subscription)
    match _run(execute, to_add(number, added, operator()))[0]["verdict"]:
        case "no-sender":
            raise OperatorError(managing.NO_SENDER)
        case "too-many":
            raise OperatorError(f"Enterprise {number} has as many webhooks as it may: remove one")
    yield f"{added.id}: {target.origin}. The secret, shown this once:"
    yield show_secret(added.secret)


def _subscription(options: argparse.Namespace) -> Subscription:
    given = {
        name: value
        for name in ("types", "scope", "extension")
        if (value := getattr(options, name)) is not None
    }
    try:
        return parse_subscription(given)
    except InvalidParameter as error:
        raise OperatorError(error.detail) from None


def _find(execute: Execute, number: str, begins: str) -> Webhook:
    known = webhooks_of(_run(execute, to_list(number, is_operators=True)))
    found = [webhook for webhook in known if str(webhook.id).startswith(begins)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(str(webhook.id) for webhook in found or known) or "none"
    raise OperatorError(f"Enterprise {number} has no one webhook {begins}; it has {ids}")


def _change(execute: Execute, number: str, webhook: Webhook, change: Change) -> None:
    _run(execute, to_change(number, webhook.id, *change, operator()))


def _run(execute: Execute, statement: tuple[str, dict[str, Any]]) -> Any:
    sql, parameters = statement
    return execute(sql, **parameters)


def _described(webhook: Webhook) -> Iterator[str]:
    yield f"{webhook.id} {webhook.url}"
    filters = " ".join(
        f"{name}={' '.join(value) if isinstance(value, list) else value}"
        for name, value in webhook.wanted.items()
    )
    yield f"  sends {filters or 'all'}; event {webhook.after} of {webhook.newest} was accepted"
    if webhook.disabled_at is not None:
        yield f"  OFF since {times.shown(webhook.disabled_at)}: {webhook.disabled_why}"
    elif webhook.next_attempt_at is not None:
        again = times.shown(webhook.next_attempt_at)
        yield f"  FAILS: {webhook.failures} times in a row, again {again}"
    if webhook.previous_until is not None:
        yield f"  the secret before signs, too, until {times.shown(webhook.previous_until)}"


def _line(one: Delivery) -> str:
    became = one.error if one.status is None else f"HTTP {one.status}"
    event = "" if one.seq is None else f" event {one.seq}"
    return f"{times.shown(one.at)} | {one.type}{event} {one.message} | {became}, {one.took_ms} ms"

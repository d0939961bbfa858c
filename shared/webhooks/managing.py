"""What may be done to a webhook, as its enterprise and its operator ask for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from shared.store.webhooks import Added
from shared.webhooks.addresses import Target
from shared.webhooks.composing import test_id
from shared.webhooks.schedule import DAY_S
from shared.webhooks.signing import make_secret
from shared.webhooks.subscription import Subscription

NO_SENDER: Final = (
    "Nobody would send to it: webhooks need a process of ROLE=all or follower, which Lambda has not"
)


class Change(NamedTuple):
    """A change as `callapi.change_webhook` takes it, and what is said of it in the audit."""

    change: dict[str, Any]
    what: str


def new_webhook(url: str, target: Target, subscription: Subscription) -> Added:
    """Make a webhook of a URL that was checked, with a secret of its own."""
    webhook = uuid4()
    return Added(
        id=webhook,
        url=url,
        wanted=subscription.render(),
        secret=make_secret(),
        after=subscription.after,
        what=f"add {webhook} {target.origin}",
    )


def rotation(webhook: UUID) -> tuple[Change, bytes]:
    """Have another secret sign, too, and after a day alone; it."""
    secret = make_secret()
    return Change({"secret": secret.hex(), "previous_s": DAY_S}, f"rotate {webhook}"), secret


def testing(webhook: UUID) -> tuple[Change, str]:
    """Have a test sent, once; its name."""
    test = uuid4()
    return Change({"test": str(test)}, f"test {webhook}"), test_id(test)


def resending(webhook: UUID, since: datetime) -> Change:
    """Have what was told from a moment on sent again."""
    return Change({"since": since.isoformat()}, f"resend {webhook} --since {since.isoformat()}")


def enabling(webhook: UUID) -> Change:
    """Have it go on where it ceased."""
    return Change({"enabled": True}, f"enable {webhook}")


def removal(webhook: UUID) -> Change:
    """Have it removed, its log with it."""
    return Change({"remove": True}, f"remove {webhook}")

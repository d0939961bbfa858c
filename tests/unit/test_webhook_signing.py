"""A webhook's signature is the Standard Webhooks specification's own."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.webhooks.signing import make_secret, message_id, show_secret, sign

WEBHOOK = UUID("5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11")
AT = datetime(2026, 11, 26, 9, 0, 2, 310000, tzinfo=UTC)


def test_signature_is_the_specifications_own_example() -> None:
    """What its text computes by hand, byte by byte."""
    shown = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    secret = Webhook(shown)._whsecret
    headers = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert show_secret(secret) == shown


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_whoever_has_the_secret_can_verify(text: str) -> None:
    """The specification's library takes any body, and another secret's it refuses."""
    secret = make_secret()
    body = json.dumps(text, ensure_ascii=False).encode()
    headers = sign([secret], "msg_1", int(time.time()), body)
    assert Webhook(show_secret(secret)).verify(body, headers) == text
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(make_secret())).verify(body, headers)


def test_while_two_secrets_sign_either_verifies() -> None:
    """A receiver changes its own whenever it likes."""
    old, new = make_secret(), make_secret()
    headers = sign([new, old], "msg_1", int(time.time()), b"{}")
    assert headers["webhook-signature"].count(" ") == 1
    for secret in (old, new):
        assert Webhook(show_secret(secret)).verify(b"{}", headers) == {}


def test_a_secret_has_the_length_that_is_asked_for() -> None:
    """24 to 64 bytes; no two are the same."""
    assert 24 <= len(make_secret()) <= 64
    assert make_secret() != make_secret()


def test_a_message_has_one_name_for_ever() -> None:
    """By the webhook, the number and the moment, in whichever zone that is written."""
    elsewhere = AT.astimezone(timezone(timedelta(hours=3)))
    named = message_id(WEBHOOK, 4711, AT)
    assert named == message_id(WEBHOOK, 4711, elsewhere)
    others = {
        message_id(WEBHOOK, 4712, AT),
        message_id(WEBHOOK, 4711, AT + timedelta(microseconds=1)),
        message_id(WEBHOOK, 4711),
        message_id(UUID(int=1), 4711, AT),
    }
    assert len(others | {named}) == 5
    assert "." not in named

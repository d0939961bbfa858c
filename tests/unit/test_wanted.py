"""Which events a listener wants, where they are not asked of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from shared.asterisk.models import CallElsewhere
from shared.events.feed import Event, PbxNotice, Wanted, WebhookNotice

CALL = CallElsewhere(
    root_uniqueid="1.1",
    pbx_call_id=UUID(int=1),
    step=1,
    phase="ringing",
    direction="incoming",
    from_="+375290000001",
    to="150",
    began_at=0.0,
    took_part=("150", "151"),
)
NOTICE = PbxNotice("192.0.2.10", None)


@pytest.mark.parametrize(
    ("wanted", "about", "is_taken"),
    [
        (Wanted(), CALL, False),
        (Wanted(), NOTICE, False),
        (Wanted(scope="all"), CALL, True),
        (Wanted("151", scope="all"), CALL, True),
        (Wanted("152", scope="all"), CALL, False),
        (Wanted("152", scope="all"), NOTICE, True),
        (Wanted(call_id=UUID(int=1), scope="all"), CALL, False),
        (Wanted(call_id=UUID(int=1), scope="all"), NOTICE, False),
    ],
)
def test_what_began_elsewhere_is_for_who_wants_all(
    wanted: Wanted, about: CallElsewhere | PbxNotice, *, is_taken: bool
) -> None:
    """Of any extension that took part; by a call's id only calls of ours are meant."""
    event = Event(1, "pbx.call", datetime.now(UTC), about)
    assert wanted.takes(event) is is_taken


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        (Wanted(), True),
        (Wanted("150"), True),
        (Wanted(scope="all"), True),
        (Wanted(call_id=UUID(int=1)), False),
    ],
)
def test_what_is_about_a_webhook_is_for_all_but_who_wants_one_call(
    wanted: Wanted, *, is_taken: bool
) -> None:
    """That nothing is sent any more concerns whoever listens."""
    notice = WebhookNotice(UUID(int=2), "https://crm.example.test", "failing")
    event = Event(1, "webhook.disabled", datetime.now(UTC), notice)
    assert wanted.takes(event) is is_taken

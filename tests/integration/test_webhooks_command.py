"""`asterisk.sh webhooks`: an operator manages an enterprise's."""

from __future__ import annotations

import re

import pytest

from tests.integration.operating import HOST, Operate
from tests.integration.test_feed import tell
from tests.postgres import Postgres

LOCAL = {"WEBHOOKS_ALLOW_PRIVATE": "127.0.0.0/8"}
URL = "http://127.0.0.1:9/hook?token=1"


@pytest.fixture
def sending(operate: Operate, postgres: Postgres) -> Operate:
    """Execute commands while somebody sends."""
    postgres.execute(
        "INSERT INTO callapi.webhook_sender (until) VALUES (clock_timestamp() + interval '1 hour')"
    )
    return operate


def add(operate: Operate, *options: str) -> str:
    """Add one and return its id."""
    code, out, err = operate("webhooks", "0367", "add", URL, *options, **LOCAL)
    assert (code, err) == (0, "")
    first, secret = out.splitlines()
    assert first.endswith(": http://127.0.0.1:9. The secret, shown this once:")
    assert re.fullmatch("whsec_[A-Za-z0-9+/]{43}=", secret)
    return first.partition(":")[0]


def test_one_is_added_and_listed(sending: Operate, postgres: Postgres) -> None:
    """With its filters and its place; the secret is not in the list."""
    webhook = add(sending, "--types", "call.phase", "call.corrected", "--extension", "150")
    tell(postgres, "0367", 3)
    _, out, _ = sending("webhooks", "0367")
    assert out.splitlines() == [
        f"{webhook} {URL}",
        "  sends types=call.phase call.corrected extension=150; event 0 of 3 was accepted",
    ]


def test_none_is_added_where_nobody_sends(operate: Operate) -> None:
    """The reason is told, and nothing kept."""
    code, out, err = operate("webhooks", "0367", "add", URL, **LOCAL)
    assert (code, out) == (1, "")
    assert err == (
        "Nobody would send to it: webhooks need a process of ROLE=all or follower, which Lambda"
        " has not\n"
    )
    assert operate("webhooks", "0367")[1] == "No webhooks of enterprise 0367\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("0367", "add", "https://10.0.0.1/"), "URL leads to no public address"),
        (("0367", "add", "http://8.8.8.8/"), "URL must begin with https://"),
        (("0367", "add", URL, "--types", "call.phases"), "types: "),
        (("0367", "add", URL, "--types", "pbx.call"), "types pbx... are told with scope=all only"),
        (("0367", "add", URL, "--scope", "all"), "Another enterprise has the same PBX"),
        (("0366", "add", URL), "There is no enterprise 0366"),
        (("0366",), "There is no enterprise 0366"),
        (("0367", "remove", "5d2f"), "Enterprise 0367 has no one webhook 5d2f; it has none"),
    ],
)
def test_what_cannot_be_is_refused(sending: Operate, arguments: tuple[str, ...], said: str) -> None:
    """In one sentence; nothing is kept."""
    code, out, err = sending("webhooks", *arguments, **LOCAL)
    assert (code, out) == (1, "")
    assert said in err
    assert sending("webhooks", "0367")[1] == "No webhooks of enterprise 0367\n"


def test_all_calls_of_a_shared_pbx_need_named_extensions(
    sending: Operate, postgres: Postgres
) -> None:
    """Then a neighbour's are not among them."""
    assert HOST
    sending("rules", "0367", "--extensions", "150")
    add(sending, "--scope", "all")


def test_a_secret_is_rotated_and_shown_once(sending: Operate, postgres: Postgres) -> None:
    """The one before signs for a day, too; the beginning of an id is enough."""
    webhook = add(sending)
    _, out, _ = sending("webhooks", "0367", "rotate", webhook[:8])
    assert out.splitlines()[1].startswith("whsec_")
    _, listed, _ = sending("webhooks", "0367")
    assert re.search("^  the secret before signs, too, until 20", listed, re.MULTILINE)
    (row,) = postgres.execute("SELECT secret, previous FROM callapi.webhooks")
    assert bytes(row["secret"]) != bytes(row["previous"])


def test_one_that_is_off_goes_on_where_it_ceased(sending: Operate, postgres: Postgres) -> None:
    """Why it is off is listed, and since when."""
    webhook = add(sending)
    tell(postgres, "0367", 2)
    postgres.execute(
        "UPDATE callapi.webhooks SET disabled_at = clock_timestamp(), disabled_why = 'failing',"
        " failures = 30"
    )
    assert re.search("OFF since .* UTC: failing", sending("webhooks", "0367")[1])
    _, out, _ = sending("webhooks", "0367", "enable", webhook)
    assert out == f"{webhook}: goes on after event 0 of 2\n"
    (row,) = postgres.execute("SELECT disabled_at, failures FROM callapi.webhooks")
    assert (row["disabled_at"], row["failures"]) == (None, 0)


def test_events_are_sent_again_from_a_day_on(sending: Operate, postgres: Postgres) -> None:
    """As far as they are kept; never later than it is."""
    tell(postgres, "0367", 2, days_ago=3)
    tell(postgres, "0367", 2)
    webhook = add(sending)
    for since, after in (("2100-01-01", 4), ("2026-01-01", 0)):
        _, out, _ = sending("webhooks", "0367", "resend", webhook, "--since", since)
        assert out == f"{webhook}: goes on after event {after} of 4\n"


def test_a_test_waits_and_the_log_tells_of_it(sending: Operate, postgres: Postgres) -> None:
    """Sent by whoever sends; until then nothing was."""
    webhook = add(sending)
    _, out, _ = sending("webhooks", "0367", "test", webhook)
    (row,) = postgres.execute("SELECT test FROM callapi.webhooks")
    assert f"msg_{row['test'].hex} is sent within seconds" in out
    assert sending("webhooks", "0367", "log", webhook)[1] == f"{webhook}: nothing was sent yet\n"
    postgres.execute(
        "INSERT INTO callapi.webhook_deliveries"
        " (webhook, slot, attempt, message, seq, type, status, error, took_ms) VALUES"
        " (:id, 0, 1, 'msg_1', 7, 'call.phase', 500, NULL, 12),"
        " (:id, 1, 2, 'msg_1', 7, 'call.phase', NULL, 'timeout', 15000)",
        id=webhook,
    )
    _, out, _ = sending("webhooks", "0367", "log", webhook)
    newest, oldest = out.splitlines()
    assert newest.endswith(" UTC | call.phase event 7 msg_1 | timeout, 15000 ms")
    assert oldest.endswith(" UTC | call.phase event 7 msg_1 | HTTP 500, 12 ms")


def test_one_is_removed(sending: Operate, postgres: Postgres) -> None:
    """And what was noted of it."""
    webhook = add(sending)
    assert sending("webhooks", "0367", "remove", webhook)[1] == f"{webhook}: removed\n"
    assert postgres.execute("SELECT * FROM callapi.webhooks") == []


def test_another_enterprises_is_not_found(sending: Operate) -> None:
    """By whichever number it is asked for."""
    webhook = add(sending)
    code, _, err = sending("webhooks", "0368", "remove", webhook)
    assert (code, "it has none" in err) == (1, True)


def test_every_change_is_in_the_audit(sending: Operate) -> None:
    """As an operator's; the address without what follows the host."""
    webhook = add(sending)
    sending("webhooks", "0367", "remove", webhook)
    _, out, _ = sending("audit", "0367")
    removed, added = out.splitlines()
    assert f"webhooks add {webhook} http://127.0.0.1:9 | by operator" in added
    assert f"webhooks remove {webhook} | by operator" in removed
    assert "token" not in out


def test_the_rule_is_shown(operate: Operate) -> None:
    """Off until it is switched on."""
    _, out, _ = operate("rules", "0367", "--audit", "on")
    assert "  webhooks: operators only" in out.splitlines()
    _, out, _ = operate("rules", "0367", "--webhooks", "on")
    assert "  webhooks: may have them" in out.splitlines()

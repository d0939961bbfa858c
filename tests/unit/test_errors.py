"""The tree of failures: stable codes, and whether a phone may be ringing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from shared import errors
from shared.asterisk.console import Unacknowledged
from shared.errors import (
    ConnectTimeout,
    FieldError,
    Forbidden,
    InvalidClientId,
    InvalidParameter,
    NotExecuted,
    OutcomeUnknown,
    PbxError,
    ServiceError,
)
from tests.unit.test_readme import API, table


def family(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Yield a class of the tree and all below it."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


# Four groups of the tree are never raised themselves, so they have no code.
GROUPS = (ServiceError, Forbidden, PbxError, NotExecuted)
RAISED = [error for error in family(ServiceError) if error not in GROUPS]

STATUSES = {
    "invalid-parameter": 422,
    "host-unverified": 503,
    "idempotency-key-reused": 422,
    "unknown-extension": 422,
    "internal-error": 500,
    "invalid-client-id": 401,
    "ticket-expired": 401,
    "prefetch-refused": 403,
    "dialling-stopped": 403,
    "destination-denied": 403,
    "extension-not-owned": 403,
    "shared-host": 403,
    "audit-off": 403,
    "webhooks-off": 403,
    "no-such-call": 404,
    "no-such-extension": 404,
    "no-such-webhook": 404,
    "stream-unavailable": 406,
    "call-ended": 409,
    "call-not-ready": 409,
    "nobody-to-hear": 409,
    "channel-ambiguous": 409,
    "call-elsewhere": 409,
    "no-webhook-sender": 409,
    "too-many-webhooks": 409,
    "events-gone": 410,
    "rate-limited": 429,
    "too-many-open-calls": 429,
    "database-unavailable": 503,
    "schema-missing": 503,
    "postgres-secret-unreadable": 503,
    "ssh-secret-unreadable": 503,
    "view-unavailable": 503,
    "pbx-busy": 503,
    "pbx-sends-too-much": 500,
    "ssh-connect-timeout": 500,
    "ssh-connect-failed": 500,
    "ssh-authentication-failed": 500,
    "ssh-host-key-changed": 500,
    "ssh-connection-lost": 500,
    "asterisk-socket-refused": 500,
    "asterisk-no-answer": 500,
    "asterisk-unavailable": 500,
    "asterisk-rejected-command": 500,
    "dialplan-context-missing": 500,
    "channel-unaskable": 500,
    "cdr-unreadable": 500,
    "outcome-unknown": 500,
    "originate-without-channel": 500,
}


def test_every_code_and_its_status() -> None:
    """Clients rely on these codes: a changed, missing or shared one is a break."""
    codes = [(error.code, error.status) for error in RAISED]
    assert sorted(codes) == sorted(STATUSES.items())


def test_every_code_is_told_to_callers() -> None:
    """docs/api.md's table has each."""
    told = {row[0].strip("`") for row in table(API, "code")}
    assert {error.code for error in RAISED} <= told


@pytest.mark.parametrize("error", RAISED)
def test_code_is_the_classs_own_and_kebab_case(error: type[ServiceError]) -> None:
    """Every class that is raised states its own code."""
    assert "code" in vars(error)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", error.code)


@pytest.mark.parametrize("error", RAISED)
def test_only_the_unknown_outcomes_are_unknown(error: type[ServiceError]) -> None:
    """`dialled` is "unknown" of the family of unknown outcomes and "no" of all others."""
    expected = "unknown" if issubclass(error, OutcomeUnknown) else "no"
    assert expected == error.dialled


def test_only_what_was_not_executed_may_be_tried_again() -> None:
    """`again` is an attribute of the family that proves that nothing was executed."""
    assert [error for error in RAISED if hasattr(error, "again")] == list(family(NotExecuted))[1:]


def test_consoles_broken_exchange_is_of_unknown_outcome() -> None:
    """The one error outside this module that belongs to the tree keeps its parent's words."""
    error = Unacknowledged("Connection lost", replies=(), begun=1)
    assert (error.code, error.dialled) == ("outcome-unknown", "unknown")


def test_failure_of_a_call_reads_as_in_the_specification() -> None:
    """The detail names what was wanted, that SSH failed, and why."""
    error = ConnectTimeout("Connection timeout")
    assert error.detail == "SSH command failed: Connection timeout"
    error.during = "Call initiation failed"
    assert error.detail == "Call initiation failed: SSH command failed: Connection timeout"


def test_wrong_secret_reads_as_in_the_specification() -> None:
    """No detail tells whether the secret is wrong or its enterprise inactive."""
    assert InvalidClientId().detail == "Invalid clientId"


def test_wrong_parameters_read_as_one_sentence() -> None:
    """The detail is a string that lists every field, since the spec's JavaScript prints it."""
    error = InvalidParameter(FieldError("code", "must be x"), FieldError("phone", "is required"))
    assert error.detail == "code: must be x; phone: is required"


@pytest.mark.parametrize("error", RAISED)
def test_a_code_is_told_of_whole(error: type[ServiceError]) -> None:
    """Its class says in one line what it means, and what an answer's detail may be."""
    meaning = (error.__doc__ or "").splitlines()[0]
    assert meaning.endswith(".")
    assert "example" in vars(error)
    assert error.example not in {"", meaning}


def test_drawn_tree_names_every_class() -> None:
    """The docstring's tree is complete, and draws nothing that does not exist."""
    text = errors.__doc__ or ""
    drawn = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", text))
    drawn |= set(re.findall(r"── ([A-Z]\w+)", text))
    drawn -= {"PostgreSQL"}
    assert {error.__name__ for error in family(ServiceError)} == drawn


def test_drawn_statuses_are_true() -> None:
    """Where the drawing gives a class a status, the class has it."""
    drawn = re.findall(r"([A-Z]\w+) +(\d{3})$", errors.__doc__ or "", re.MULTILINE)
    assert len(drawn) > 8
    statuses = {error.__name__: error.status for error in family(ServiceError)}
    for name, status in drawn:
        assert int(status) == statuses[name], name

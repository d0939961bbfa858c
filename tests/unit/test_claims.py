"""Whatever fails before the command is sent releases the claim; whatever fails after keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.asterisk.client import list_channels, redirect
from shared.asterisk.commands import OriginateCall
from shared.asterisk.models import Banner, Context, Extension
from shared.asterisk.originating import originate
from shared.asterisk.parsers import parse_channels
from shared.asterisk.socket_console import SocketConsole
from shared.deadline import Deadline
from shared.errors import (
    ConnectionLost,
    InternalError,
    NoAnswer,
    OutcomeUnknown,
    PbxBusy,
    ServiceError,
    TooMuchSent,
)
from tests.orders import call_order
from tests.unit.test_placing import Late, Pbx, late, outcomes, pbx, phase

__all__ = ["late", "outcomes", "pbx"]

pytestmark = pytest.mark.anyio

DEFECTS = (RuntimeError, KeyError, ValueError, UnicodeError, OSError, MemoryError, TimeoutError)
NOT_SENT = (ConnectionLost, NoAnswer, PbxBusy, TooMuchSent)
COMMAND = OriginateCall(call_order("150", "+375290000001"), Context("inoffice"))
(LEG,) = parse_channels("SIP/trunk-2b!inoffice!!1!Up!Dial!!!!!3!5!b!17.2\n")


def failing(error: BaseException) -> Callable[..., Any]:
    """Make a step that fails."""

    async def fail(*_args: object, **_named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [*DEFECTS, *NOT_SENT], ids=lambda error: error.__name__)
@pytest.mark.parametrize("step", ["check_extension", "originate"])
async def test_a_step_that_fails_releases_the_claim(
    pbx: Pbx, outcomes: list[str], step: str, error: type[Exception]
) -> None:
    """Nothing was dialled, so the same call again is dialled, and no success is told."""
    setattr(pbx, step, failing(error("it")))
    with pytest.raises(ServiceError) as raised:
        await phase(pbx, 0)
    assert type(raised.value) is (error if issubclass(error, ServiceError) else InternalError)
    assert raised.value.dialled == "no"
    assert raised.value.call_id is not None
    assert outcomes == ["not_executed"]
    delattr(pbx, step)
    assert await phase(pbx, 0) == "accepted"
    assert outcomes == ["not_executed", "executed"]


@pytest.mark.parametrize(
    ("step", "outcome"), [("check_extension", "not_executed"), ("originate", "unknown")]
)
async def test_a_request_that_is_given_up_keeps_its_claim_if_it_may_have_dialled(
    pbx: Pbx, outcomes: list[str], step: str, outcome: str
) -> None:
    """Nobody knows how far a cancelled exchange had got."""
    setattr(pbx, step, failing(asyncio.CancelledError()))
    with pytest.raises(asyncio.CancelledError):
        await phase(pbx, 0)
    assert outcomes == [outcome]


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: error.__name__)
async def test_what_fails_after_the_acceptance_is_no_failure(
    pbx: Pbx, late: Late, outcomes: list[str], error: type[Exception]
) -> None:
    """The phone rings: the answer is the call's success, whatever becomes of the looking."""
    setattr(pbx, "ask", failing(error("it")))  # noqa: B010 - mypy knows no other way
    assert await phase(pbx, 5, late) == "accepted"
    assert outcomes == ["executed"]


class Faulty:
    """A control socket that fails at one of its steps."""

    is_quiet = True

    def __init__(self, step: str, error: Exception) -> None:
        self._step = step
        self._error = error
        self._said = iter([b"pbx/1/16.28.0\n"])

    async def open(self, _deadline: Deadline) -> Faulty:
        """Open it."""
        if self._step == "open":
            raise self._error
        return self

    async def read(self) -> bytes:
        """Say the banner, then fail."""
        if self._step == "banner":
            raise self._error
        said = next(self._said, None)
        if said is None:
            raise self._error
        return said

    def write(self, data: bytes) -> None:
        """Take it, or not."""
        if self._step == "write":
            raise self._error

    def close(self) -> None:
        """Be gone."""


def booted(step: str, error: Exception) -> SocketConsole:
    """Make a console that knows its Asterisk, whose exchange fails at a step."""
    console = SocketConsole(Faulty(step, error).open)
    console._booted = Banner("pbx", 1, "16.28.0"), 0
    return console


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("step", ["open", "banner", "write", "reply"])
async def test_a_sender_tells_whether_it_may_have_been_sent(
    step: str, error: type[Exception]
) -> None:
    """A defect before the write stays what it is; after it, it is of unknown outcome."""
    for work in (
        lambda console: originate(console, COMMAND, Deadline.after(5)),
        lambda console: redirect(
            console, LEG, Extension("151"), Context("inoffice"), Deadline.after(5)
        ),
    ):
        try:
            await work(booted(step, error("it")))
        except OutcomeUnknown:
            assert step == "reply"
        except (error, NoAnswer):  # no banner in time is no defect
            assert step != "reply"
        else:
            raise AssertionError


async def test_a_question_that_cannot_be_read_is_an_error_of_a_pbx() -> None:
    """It changes nothing, so it is no unknown outcome."""
    console = booted("reply", KeyError("it"))
    with pytest.raises(ConnectionLost):
        await list_channels(console, Deadline.after(5))

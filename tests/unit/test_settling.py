"""What became of a placed call is recorded after its answer: soon, in the end, or not at all."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast
from uuid import UUID

import pytest
from starlette.types import Message, Scope

from functions.makecallexternal import handler
from shared.asterisk.parsers import parse_channels
from shared.auth import admission
from shared.auth.admission import Admitted, Settlement
from shared.aws.clients import Clients
from shared.calls import settling
from shared.calls.placing import Placing
from shared.calls.settling import Settler, the_settler
from shared.errors import DatabaseUnavailable
from shared.following.wake import Waker
from shared.http.app import create_app
from shared.pbx.neighbours import Neighbours
from shared.settings import Settings, the_settings
from shared.store.database import Database
from shared.telemetry import LOG
from tests.orders import admitted
from tests.unit.test_placing import Late, Pbx

pytestmark = pytest.mark.anyio

ROOTS = parse_channels("Local/150@inoffice-2a;1!inoffice!150!1!Down!AppDial2!!!!!3!0!!17.7\n")
EXECUTED = Settlement("executed", ROOTS)
FAILED = Settlement("not_executed", error_code="pbx-busy", error_detail="busy", reason="failed")
ADMITTED = admitted(UUID(int=7))


class Book:
    """Stands for the database, and for whoever follows: what they are told, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.faults: list[Exception] = []
        self.is_stuck = False
        self.outcome = EXECUTED
        monkeypatch.setattr(admission, "settle", self.settle)
        monkeypatch.setattr(admission, "admit", self.admit)
        monkeypatch.setattr(settling, "_FIRST_PAUSE_S", 0.001)

    async def admit(self, *_: object, **__: object) -> Admitted:
        """Admit any call."""
        return ADMITTED

    async def settle(self, _database: object, _settings: object, *settled: Any) -> bool:
        """Record it, or fail as told."""
        assert settled == (ADMITTED.call_id, self.outcome)
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.faults:
            raise self.faults.pop(0)
        self.told.append("settled")
        return True

    def settler(self, settings: Settings, *, lives_on: bool = True) -> Settler:
        """Make one that tells it here."""
        waker = Waker(settings, Clients())
        waker.add(self.told.append)
        return Settler(settings, cast("Database", None), waker, lives_on=lives_on)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    """Make an empty one."""
    return Book(monkeypatch)


async def test_the_answer_goes_out_before_a_call_is_settled(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing on its way lets anything else of the process go first; whoever follows comes last."""
    settings, database, pbx = the_settings(), Database(the_settings()), Pbx()
    settler = book.settler(settings)
    neighbours = Neighbours(database, pbx)  # type: ignore[arg-type] # a fake
    placing = Placing(settings, database, pbx, neighbours, settler, Late())  # type: ignore[arg-type] # fakes
    monkeypatch.setattr(handler, "the_placing", lambda: placing)
    app = create_app(handler.router, settings=settings)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            book.told.append("answered")

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/makecallexternal",
        "root_path": "",
        "client": ("192.0.2.9", 40_000),
        "query_string": b"code=150&phone=%2B375296254070",
        "headers": [(b"host", b"x"), (b"x-client-id", b"secret")],
    }
    await app(scope, receive, send)
    assert book.told == ["answered"]
    await settler.close()
    assert book.told == ["answered", "settled", ADMITTED.host]


async def test_a_database_that_is_away_is_asked_again(book: Book) -> None:
    """The root is known here alone: it is kept until it is written."""
    book.faults = [DatabaseUnavailable("It is away")] * 3
    settler = book.settler(Settings.from_environment({}))
    await settler.settle_accepted(ADMITTED, EXECUTED)
    assert book.told == []
    await settler.close()
    assert book.told == ["settled", ADMITTED.host]


async def test_what_is_known_of_a_failure_is_not_forgotten(book: Book) -> None:
    """Its answer said `dialled: no`, so its repeats are not to be told that it may ring."""
    book.outcome = FAILED
    book.faults = [DatabaseUnavailable("It is away")] * 3
    settler = book.settler(Settings.from_environment({}))
    await settler.settle(ADMITTED, FAILED)
    assert (book.told, len(book.faults)) == ([], 2), "the answer waits for one attempt alone"
    await settler.close()
    assert book.told == ["settled"]


async def test_on_lambda_a_failure_is_asked_for_once(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """There nothing runs after the answer; the claim holds."""
    book.outcome = FAILED
    book.faults = [DatabaseUnavailable("It is away")] * 3
    settler = book.settler(Settings.from_environment({}), lives_on=False)
    with caplog.at_level(logging.ERROR, LOG.name):
        await settler.settle(ADMITTED, FAILED)
        await settler.close()
    assert (book.told, len(book.faults)) == ([], 2)
    assert f"Исход звонка {ADMITTED.call_id} не записан: not_executed" in caplog.text


async def test_a_database_that_stays_away_is_given_up(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """Once no claim waits for it any more; the log says of which call."""
    book.faults = [DatabaseUnavailable("It is away")] * 1000
    settings = Settings.from_environment(
        {"REQUEST_TIMEOUT_S": "0.01", "POSTGRES_TIMEOUT_S": "0.01"}
    )
    settler = book.settler(settings)
    with caplog.at_level(logging.ERROR, LOG.name):
        await settler.settle_accepted(ADMITTED, EXECUTED)
        await settler.wait(30)
    assert book.told == []
    assert f"Исход звонка {ADMITTED.call_id} не записан: executed" in caplog.text


async def test_what_is_no_outage_is_not_asked_again(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect is told, and harms no answer."""
    book.faults = [ValueError("odd")]
    settler = book.settler(Settings.from_environment({}))
    with caplog.at_level(logging.ERROR, LOG.name):
        await settler.settle_accepted(ADMITTED, EXECUTED)
        await settler.wait(30)
    assert book.told == []
    assert "Traceback" in caplog.text


async def test_the_end_of_a_process_waits_for_no_database_for_ever(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not written by then a tracker finds."""
    monkeypatch.setattr(settling, "_CLOSING_S", 0.01)
    book.is_stuck = True
    settler = book.settler(Settings.from_environment({}))
    await settler.settle_accepted(ADMITTED, EXECUTED)
    async with asyncio.timeout(30):
        await settler.close()
    assert settler._under_way == set()


async def test_on_lambda_it_is_settled_before_the_answer(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nothing runs after the answer."""
    settler = book.settler(Settings.from_environment({}), lives_on=False)
    await settler.settle_accepted(ADMITTED, EXECUTED)
    assert book.told == ["settled", ADMITTED.host]
    assert the_settler()._lives_on
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "makecallexternal")
    assert not settling.the_settler._make()._lives_on

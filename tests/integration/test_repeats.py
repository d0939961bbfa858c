"""A repeat tells what became of the call that it repeats, and dials nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.asterisk.models import Phase, Reason
from shared.auth import admission
from shared.auth.admission import Admitted, Settlement, admit, settle
from shared.calls.repeating import how_far
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, OutcomeUnknown, ServiceError
from shared.settings import Settings
from shared.store.database import Database
from tests.integration.followed import BUSY, NO_ANSWER, TALKS_ON, follow, place, reach
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    Service,
    Services,
    environment,
    run_process,
    seed,
    until,
)
from tests.orders import call_order, caller_of
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

REPEAT = "🔁 Повтор звонка"


async def _follow(start: Services) -> Service:
    """Start a service in which nothing but a hang-up ends the repeats of a call."""
    return await follow(start, REPEAT_WINDOW_S=60, REPEAT_AFTER_END_S=60)


@pytest.mark.parametrize(
    ("code", "phone", "reason", "detail"),
    [
        ("155", OTHER_PHONE, "agent_busy", "Call ended, the extension was busy"),
        ("153", OTHER_PHONE, "agent_no_answer", "Call ended, the extension did not answer"),
        ("154", BUSY, "busy", "Call ended, the number was busy"),
        ("154", NO_ANSWER, "no_answer", "Call ended, the number did not answer"),
        ("154", OTHER_PHONE, "answered", None),
    ],
)
async def test_a_repeat_tells_how_the_call_ended(
    start: Services, code: str, phone: str, reason: str, detail: str | None
) -> None:
    """Ended, why, and success only where it was answered; no phone rings, no token is taken."""
    service = await _follow(start)
    call_id = await place(service, code, phone)
    await reach(service, call_id, "ended")
    rung, tokens = service.pbx.invites.total(), service.tokens()
    body = (await service.call(code, phone)).json()
    assert (body["call_id"], body["repeated"]) == (call_id, True)
    assert (body["phase"], body["reason"], body["success"]) == ("ended", reason, detail is None)
    assert body.get("detail") == detail
    assert (service.pbx.invites.total(), len(service.originates())) == (rung, 1)
    assert service.tokens() == tokens


async def test_a_repeat_tells_of_a_talk(start: Services) -> None:
    """While both talk, the phase is `talking`, and that is a success."""
    service = await _follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    body = (await service.call("154", TALKS_ON)).json()
    assert (body["call_id"], body["repeated"]) == (call_id, True)
    assert (body["phase"], body["success"]) == ("talking", True)
    assert not {"reason", "detail"} & set(body)
    assert len(service.originates()) == 1


async def test_who_redials_after_busy_gets_a_call(start: Services) -> None:
    """Once REPEAT_AFTER_END_S is over the same order rings again, within REPEAT_WINDOW_S."""
    service = await follow(start, REPEAT_WINDOW_S=60, REPEAT_AFTER_END_S=0.001)
    call_id = await place(service, "155", OTHER_PHONE)
    await reach(service, call_id, "ended")
    again = (await service.call("155", OTHER_PHONE)).json()
    assert (again["repeated"], again["success"]) == (False, True)
    assert again["call_id"] != call_id
    assert len(service.originates()) == await service.rung("155", 2) == 2


async def test_who_hung_up_may_call_again_at_once(start: Services) -> None:
    """A confirmed hang-up lets the same order ring; the key still leads to the call it named."""
    service = await _follow(start)
    first = (await service.call("154", TALKS_ON, key="order-17")).json()
    await reach(service, first["call_id"], "talking")
    hung_up = await service.http.delete(first["call_status_url"])
    assert hung_up.status_code == 200
    second = (await service.call("154", TALKS_ON)).json()
    assert (second["repeated"], second["success"]) == (False, True)
    assert len(service.originates()) == await service.rung("154", 2) == 2
    await reach(service, first["call_id"], "ended")
    keyed = (await service.call("154", TALKS_ON, key="order-17")).json()
    assert (keyed["call_id"], keyed["repeated"]) == (first["call_id"], True)
    assert (keyed["phase"], keyed["reason"]) == ("ended", "answered")
    assert len(service.originates()) == 2


class Held:
    """Holds the first call back just before it is settled."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self._go = asyncio.Event()

        async def settle_later(*args: Any, **values: Any) -> bool:
            await self._go.wait()
            return await settle(*args, **values)

        monkeypatch.setattr(admission, "settle", settle_later)

    async def both(
        self,
        first: Awaitable[httpx.Response],
        repeat: Awaitable[httpx.Response],
        log: Callable[[], str],
    ) -> tuple[httpx.Response, httpx.Response]:
        """Let the first go on once the repeat waits for it; `log` is that of the repeat's."""
        one = asyncio.ensure_future(first)
        await until(lambda: bool(self.service.calls()))
        two = asyncio.ensure_future(repeat)
        await until(lambda: REPEAT in log())
        self._go.set()
        return await one, await two


def _post(service: Service, code: str) -> Awaitable[httpx.Response]:
    return service.http.post("/api/calls", json={"from": code, "to": PHONE})


async def test_a_repeat_waits_for_the_first_one_s_success(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first is being placed the repeat is not answered; then it is accepted as well."""
    held = Held(service, monkeypatch)
    first, repeat = await held.both(service.call(), service.call(), service.log)
    assert first.json()["call_id"] == repeat.json()["call_id"]
    assert (first.json()["repeated"], repeat.json()["repeated"]) == (False, True)
    for answer in (first, repeat):
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        assert answer.json()["phase"] == "accepted"
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_repeat_is_told_the_first_one_s_failure(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same status, code, detail and call; it names its own field, and dials nothing itself."""
    held = Held(service, monkeypatch)
    first, repeat = await held.both(service.call("9"), _post(service, "9"), service.log)
    assert (first.status_code, first.json()["code"]) == (422, "unknown-extension")
    assert (repeat.status_code, repeat.json()["code"]) == (422, "unknown-extension")
    assert repeat.json()["call_id"] == first.json()["call_id"]
    assert (repeat.json()["dialled"], repeat.json()["repeated"]) == ("no", True)
    assert "repeated" not in first.json()
    assert first.json()["detail"].replace("code: ", "from: ") == repeat.json()["detail"]
    assert [error["field"] for error in repeat.json()["errors"]] == ["from"]
    assert (len(service.calls()), service.originates(), service.claims()) == (1, [], 0)


async def test_a_repeat_at_another_process_is_told_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the PBX of the first refused is told by a process that shares nothing but PostgreSQL."""
    settings = environment(service.postgres, service.pbx.port, "")
    service.pbx.asterisk_down = True
    held = Held(service, monkeypatch)
    async with (
        run_process(tmp_path, settings, name="other") as other,
        httpx.AsyncClient(base_url=other.url, timeout=30) as http,
    ):
        first, repeat = await held.both(
            service.call(),
            http.post(
                "/api/calls", json={"from": "150", "to": PHONE}, headers={"X-Client-Id": SECRET}
            ),
            lambda: other.output.read_text("utf-8"),
        )
    assert (first.status_code, first.json()["dialled"]) == (500, "no")
    same = ("title", "status", "code", "detail", "dialled", "call_id")
    assert [repeat.json()[name] for name in same] == [first.json()[name] for name in same]
    assert repeat.json()["repeated"]
    assert (len(service.calls()), service.originates()) == (1, [])


class Repeat:
    """The repeat of a call that is being placed."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def admit(self) -> Admitted:
        """Admit the one order."""
        return await admit(
            self.database,
            self.settings,
            caller_of(SECRET),
            call_order("150", PHONE),
            call_id=UUID(int=0),
            idempotency_key=None,
        )

    async def told(self, admitted: Admitted, wait_s: float) -> tuple[Phase, Reason | None]:
        """Tell how far it is."""
        until_ = Deadline.after(wait_s)
        longest_s = self.settings.request_timeout_s
        return await how_far(self.database, admitted, until_, longest_request_s=longest_s)


@pytest.fixture
def repeat(database: Database, postgres: Postgres) -> Repeat:
    """Of an enterprise's order that nobody has settled yet."""
    seed(postgres)
    return Repeat(database, postgres.settings())


async def test_an_unknown_outcome_is_told_to_who_waited(repeat: Repeat) -> None:
    """The very error that its own caller gets, `dialled` unknown included."""
    admitted = await repeat.admit()
    telling = asyncio.ensure_future(repeat.told(admitted, 20))
    settlement = Settlement("unknown", error_code="outcome-unknown", error_detail="Not said")
    await settle(repeat.database, repeat.settings, admitted.call_id, settlement)
    with pytest.raises(OutcomeUnknown) as caught:
        await telling
    assert (caught.value.reason, caught.value.dialled) == ("Not said", "unknown")


@pytest.mark.parametrize(
    ("settlement", "told"),
    [
        (Settlement("unknown"), ("unknown", None)),
        (Settlement("not_executed", error_code="of-another-release"), ("ended", None)),
        (Settlement("not_executed", error_code="ssh-connect-failed"), ("ended", None)),
    ],
)
async def test_a_failure_without_its_words_is_still_told(
    repeat: Repeat, settlement: Settlement, told: tuple[Phase, Reason | None]
) -> None:
    """What a process of another release has recorded is no success, whatever it was."""
    admitted = await repeat.admit()
    await settle(repeat.database, repeat.settings, admitted.call_id, settlement)
    assert await repeat.told(admitted, 20) == told


async def test_who_cannot_wait_is_told_that_it_is_being_placed(repeat: Repeat) -> None:
    """The deadline comes first: still `placing`, which is all that is known."""
    assert await repeat.told(await repeat.admit(), 0.1) == ("placing", None)


async def test_a_call_that_nobody_will_settle_is_unknown(repeat: Repeat) -> None:
    """Older than any request: its process has died, and waiting would bring nothing."""
    admitted = await repeat.admit()
    await repeat.database.run(
        "UPDATE callapi.calls SET created_at = created_at - interval '28 s' WHERE true"
    )
    assert await repeat.told(admitted, 1000) == ("unknown", None)


async def test_a_database_that_is_away_meanwhile_is_asked_again(
    repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat goes on waiting, and is told once it is back."""
    admitted = await repeat.admit()
    await settle(repeat.database, repeat.settings, admitted.call_id, Settlement("executed"))
    run, failures = Database.run, iter([DatabaseUnavailable("Away")] * 2)

    async def run_later(database: Database, sql: str, **parameters: Any) -> Any:
        failure: ServiceError | None = next(failures, None)
        if failure is not None:
            raise failure
        return await run(database, sql, **parameters)

    monkeypatch.setattr(Database, "run", run_later)
    assert await repeat.told(admitted, 20) == ("accepted", None)

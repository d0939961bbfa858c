"""A process that dies between its answer and the settling: the call is found, followed, told."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.asterisk.commands import OriginateCall
from shared.asterisk.models import Context
from shared.asterisk.originating import Originated
from shared.calls.settling import Settler
from shared.following import judge
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.store import settled
from shared.store.calls import Call, get_call
from tests.integration.followed import BUSY, TALKS_ON, follow, reach, state
from tests.integration.service import (
    OTHER_PHONE,
    ROOT,
    SECRET,
    Service,
    Services,
    environment,
    run_process,
    until,
)
from tests.orders import call_order

pytestmark = pytest.mark.anyio

HEALED = "🩹 Звонок на 127.0.0.1 найден на АТС"


async def follow_anew(start: Services, *, hold_s: int = 120) -> Service:
    """Start a service that follows calls, which may be another process's that is gone.

    It waits until that would have had to settle: 4 s, not 42.
    """
    start.monkeypatch.setattr(Settings, "settled_within_s", property(lambda _: 4.0))
    return await follow(
        start,
        REPEAT_WINDOW_S=60,
        REPEAT_AFTER_END_S=60,
        UNKNOWN_HOLD_S=hold_s,
    )


def phases(service: Service, call_id: str) -> list[str]:
    """What listeners were told of a call, in order."""
    rows = service.postgres.execute(
        "SELECT phase FROM callapi.call_events WHERE call_id = :id ORDER BY seq",
        id=UUID(call_id),
    )
    return [row["phase"] for row in rows]


async def test_a_killed_process_s_call_is_followed_to_its_end(
    start: Services, tmp_path: Path
) -> None:
    """Told `accepted`, never settled: a repeat dials nothing, and its true end is told once."""
    service = await follow_anew(start)
    own = environment(service.postgres, service.pbx.port, "")
    script = (str(ROOT / "tests" / "faults" / "service_with_faults.py"), "answered")
    async with (
        run_process(tmp_path, own, arguments=script) as doomed,
        httpx.AsyncClient(base_url=doomed.url) as http,
    ):
        headers = {"Authorization": f"Bearer {SECRET}"}
        params = {"code": "154", "phone": TALKS_ON}
        answer = await http.get("/api/makecallexternal", params=params, headers=headers)
        assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
        assert await doomed.process.wait() == -9
    call_id = answer.json()["call_id"]
    assert service.row(call_id)["state"] == "placing"
    repeat = (await service.call("154", TALKS_ON)).json()
    assert (repeat["call_id"], repeat["repeated"]) == (call_id, True)

    await reach(service, call_id, "talking")
    row = service.row(call_id)
    assert (row["state"], row["error_code"], row["cancelled_at"]) == ("executed", None, None)
    assert (await service.call("154", TALKS_ON)).json()["repeated"]
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    end = await reach(service, call_id, "ended")
    assert (end["reason"], end["cdr"]) == ("answered", "confirmed")
    told = phases(service, call_id)
    assert (told[0], told[-1], told.count("ended")) == ("accepted", "ended", 1)
    assert service.pbx.invites == Counter({"154": 1, TALKS_ON: 1})
    assert HEALED in service.log()


@pytest.mark.parametrize(
    ("code", "phone", "reason"),
    [
        ("155", OTHER_PHONE, "agent_busy"),
        ("153", OTHER_PHONE, "agent_no_answer"),
        ("154", BUSY, "busy"),
        ("154", OTHER_PHONE, "answered"),
    ],
)
async def test_a_call_that_is_over_by_then_has_its_true_end(
    start: Services, monkeypatch: pytest.MonkeyPatch, code: str, phone: str, reason: str
) -> None:
    """By its root, if that was seen; else by the PBX's record of the only call that it can be."""
    monkeypatch.setattr(judge, "_SETTLED_AT_ONCE_S", 0.1)
    monkeypatch.setattr(Settler, "settle", _lost)
    service = await follow_anew(start)
    call_id = (await service.call(code, phone)).json()["call_id"]
    end = await reach(service, call_id, "ended")
    assert (end["reason"], end["cdr"]) == (reason, "confirmed")
    told = phases(service, call_id)
    assert (told[-1], told.count("ended")) == ("ended", 1)
    assert service.pbx.invites[code] == 1


async def test_a_call_that_is_not_on_the_pbx_ends_unknown(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another extension's call is not taken for it."""
    service = await follow_anew(start, hold_s=6)
    another = OriginateCall(call_order("151", TALKS_ON), Context("inoffice"))
    await service.pbx.run(another.render())

    async def send_nothing(*_: object) -> Originated:
        return Originated(())

    monkeypatch.setattr(Settler, "settle", _lost)
    monkeypatch.setattr(Pbx, "originate", send_nothing)
    call_id = (await service.call("154", OTHER_PHONE)).json()["call_id"]
    end = await reach(service, call_id, "ended")
    assert (end["reason"], service.row(call_id)["root_uniqueid"]) == ("unknown", None)
    assert phases(service, call_id) == ["unknown", "ended"]


async def _lost(*_: object, **__: object) -> None:
    """Stand in the place of a settling whose process is gone."""


def _unsettle(service: Service, call_id: str) -> dict[str, Any]:
    """Make a call one whose settling is still to come; what it was."""
    row = service.row(call_id)
    service.postgres.execute(
        "UPDATE callapi.calls SET state = 'placing', phase = 'placing', settled_at = NULL,"
        " root_channel = NULL, root_uniqueid = NULL WHERE call_id = :id",
        id=UUID(call_id),
    )
    return row


def _settle(service: Service, row: dict[str, Any]) -> None:
    names = ("call_id", "state", "phase", "settled_at", "root_channel", "root_uniqueid")
    service.postgres.execute(
        "UPDATE callapi.calls SET state = :state, phase = :phase, settled_at = :settled_at,"
        " root_channel = :root_channel, root_uniqueid = :root_uniqueid WHERE call_id = :call_id",
        **{name: row[name] for name in names},
    )


@pytest.mark.parametrize(
    ("method", "path", "phase"),
    [
        ("GET", "", "talking"),
        ("GET", "?phase=accepted", "talking"),
        ("GET", "?phase=accepted&wait=5", "talking"),
        ("DELETE", "", None),
        ("POST", "/transfer", None),
    ],
)
async def test_whoever_asks_right_after_the_answer_waits_for_the_settling(
    start: Services,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    phase: str | None,
) -> None:
    """In whichever process that is: nobody is told `placing`, or that it is too early."""
    service = await follow(start)
    call_id = (await service.call("154", TALKS_ON)).json()["call_id"]
    await reach(service, call_id, "talking")
    row, asked = _unsettle(service, call_id), Counter[str]()

    async def counted(*arguments: Any) -> Call:
        asked["times"] += 1
        return await get_call(*arguments)

    monkeypatch.setattr(settled, "get_call", counted)
    body = {"to": "151"} if method == "POST" else None
    url = f"/api/calls/{call_id}{path}"
    answering = asyncio.create_task(service.http.request(method, url, json=body))
    await until(lambda: asked["times"] > 2)
    assert not answering.done()
    _settle(service, row)
    answer = await answering
    assert answer.status_code == 200, answer.text
    assert answer.json().get("phase") == phase


async def test_who_asks_of_a_call_that_is_being_placed_is_told_so(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that takes longer than any settling; whoever would end it is told to ask again."""
    monkeypatch.setattr("shared.events.change._SETTLING_S", 0.05)
    service = await start(REQUEST_TIMEOUT_S=1)
    call_id = (await service.call("154", TALKS_ON)).json()["call_id"]
    _unsettle(service, call_id)
    assert (await state(service, call_id))["phase"] == "placing"
    ended = await service.http.delete(f"/api/calls/{call_id}")
    assert (ended.status_code, ended.json()["code"]) == (409, "call-not-ready")

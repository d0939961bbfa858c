"""Calls and monitorings through the composed service: placed once, recorded, answered in full."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from shared.settings import VERSION
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    Service,
    Services,
    environment,
    make_pbx,
    run_process,
    seed,
    until,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

AGENTS = ("150", "151", "1501", "152", "153", "154", "155", "156")


async def test_the_specification_s_call_has_the_specification_s_answer(service: Service) -> None:
    """`GET /api/makecallexternal` answers every field of the specification, and both phones ring.

    The address is the specification's own, its `+` written as %2B.
    """
    address = f"/api/makecallexternal?code=150&phone=%2B375296254070&clientId={SECRET}"
    answer = await service.http.get(address, headers={"Authorization": ""})
    body: dict[str, Any] = answer.json()
    assert body.pop("response_time_ms") > 0
    (call,) = service.calls()
    assert (answer.status_code, body) == (
        200,
        {
            "success": True,
            "message": "Call initiated successfully: 150 -> +375296254070",
            "enterprise": "june",
            "enterprise_number": "0367",
            "from_ext": "150",
            "to_phone": "+375296254070",
            "host_ip": "127.0.0.1",
            "call_id": str(call["call_id"]),
            "call_status_url": f"/api/calls/{call['call_id']}",
            "phase": "accepted",
            "repeated": False,
        },
    )
    assert service.originates() == [
        "channel originate LOCAL/150@inoffice application Dial LOCAL/+375296254070@inoffice"
    ]
    assert (await service.rung("150"), await service.rung(PHONE)) == (1, 1)


async def test_the_specification_s_health_and_status(service: Service) -> None:
    """`GET /health` and `GET /api/status` answer the specification's bodies, without a secret."""
    health = await service.http.get("/health", headers={"Authorization": ""})
    status = await service.http.get("/api/status", headers={"Authorization": ""})
    assert health.json() == {
        "status": "healthy",
        "service": "asterisk-call-management",
        "port": 8018,
    }
    assert status.json() == {
        "service": "asterisk-call-management",
        "version": VERSION,
        "database": "connected",
        "asterisk_config": {
            "method": "SSH CLI",
            "ssh_port": service.pbx.port,
            "ssh_user": "root",
        },
    }


async def test_a_wrong_secret_is_401_and_nobody_is_asked(service: Service) -> None:
    """Without a valid secret the answer is the specification's, and no PBX hears of it."""
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        answer = await service.http.get(
            "/api/makecallexternal", params={"code": "150", "phone": PHONE}, headers=headers
        )
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid clientId")
        assert answer.json()["dialled"] == "no"
    assert (service.pbx.connections, service.calls()) == (0, [])


async def test_post_calls_creates_once(service: Service) -> None:
    """`POST /api/calls` is 201 for a new call and 200 for its repeat: one call, one ring."""
    order = {"from": "150", "to": PHONE}
    first = await service.http.post("/api/calls", json=order)
    again = await service.http.post("/api/calls", json=order)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["call_id"] == again.json()["call_id"]
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_call_that_is_still_being_placed_is_a_repeats_own(start: Services) -> None:
    """However short windows and holds are: one command, one ring."""
    service = await start(UNKNOWN_HOLD_S=0.01, REPEAT_WINDOW_S=0.01)
    service.pbx.freeze()
    first = asyncio.create_task(service.call())
    await until(lambda: bool(service.calls()))
    repeat = asyncio.create_task(service.call())
    await asyncio.sleep(0.1)
    assert not repeat.done(), "it waits for what becomes of the first"
    service.pbx.thaw()
    placed, again = (await first).json(), (await repeat).json()
    assert (again["call_id"], again["repeated"]) == (placed["call_id"], True)
    assert (placed["repeated"], again["phase"]) == (False, "accepted")
    assert len(service.originates()) == await service.rung("150") == 1


async def test_the_call_s_row_names_the_pbx_s_own_channel(service: Service) -> None:
    """A placed call's row is executed, and its root is the very channel that the PBX opened."""
    call_id = (await service.call()).json()["call_id"]
    roots = [
        (name, uniqueid)
        for name, uniqueid in service.pbx.uniqueids.items()
        if name.startswith("Local/150@inoffice-") and name.endswith(";1")
    ]
    (row,) = service.calls()
    assert roots == [(row["root_channel"], row["root_uniqueid"])]
    assert (str(row["call_id"]), row["state"], row["error_code"]) == (call_id, "executed", None)
    assert (row["enterprise"], row["host"], row["kind"]) == ("0367", "127.0.0.1", "call")
    assert (row["code"], row["phone"]) == ("150", PHONE)
    assert await service.rung("150") == 1


async def test_roots_of_calls_under_way_are_told_apart(service: Service) -> None:
    """A second call of the same extension finds its own root beside the first one's."""
    for phone in (PHONE, OTHER_PHONE):
        await service.call(phone=phone)
        await service.rung(phone)
    first, second = service.calls()
    assert first["root_uniqueid"] != second["root_uniqueid"]
    assert None not in (first["root_uniqueid"], second["root_uniqueid"])
    assert len(service.originates()) == await service.rung("150", 2) == 2


async def test_a_repeat_is_the_same_call(service: Service) -> None:
    """The same click again within the window gets the first call's id and rings nobody."""
    first, again = await service.call(), await service.call()
    assert (again.status_code, again.json()["phase"]) == (200, "accepted")
    assert first.json()["call_id"] == again.json()["call_id"]
    assert again.json()["repeated"]
    assert len(service.originates()) == await service.rung("150") == 1


async def test_after_the_window_it_is_a_new_call(start: Services) -> None:
    """Once REPEAT_WINDOW_S is over, the same request is a second call and rings again."""
    service = await start(REPEAT_WINDOW_S=0.3)
    first = await service.call()
    await until(lambda: service.claims() == 0)
    second = await service.call()
    assert not second.json()["repeated"]
    assert first.json()["call_id"] != second.json()["call_id"]
    assert len(service.originates()) == await service.rung("150", 2) == 2


async def test_another_phone_is_another_call(service: Service) -> None:
    """The same extension and another phone is no repeat."""
    first, second = await service.call(), await service.call(phone=OTHER_PHONE)
    assert first.json()["call_id"] != second.json()["call_id"]
    assert not second.json()["repeated"]
    assert await service.rung(PHONE) == await service.rung(OTHER_PHONE) == 1
    assert len(service.originates()) == await service.rung("150", 2) == 2


async def test_an_idempotency_key_outlives_the_window(start: Services) -> None:
    """With the same Idempotency-Key a click after the window is still the first call."""
    service = await start(REPEAT_WINDOW_S=0.2)
    first = await service.call(key="order-17")
    await until(lambda: service.claims() == 1)  # the key's own
    again = await service.call(key="order-17")
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert first.json()["call_id"] == again.json()["call_id"]
    assert len(service.originates()) == await service.rung("150") == 1


async def test_an_idempotency_key_belongs_to_one_order(service: Service) -> None:
    """The same Idempotency-Key with another phone is 422 and rings nobody."""
    await service.call(key="order-17")
    other = await service.call(phone=OTHER_PHONE, key="order-17")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert other.json()["dialled"] == "no"
    assert len(service.originates()) == await service.rung("150") == 1


async def test_twenty_equal_clicks_at_once_ring_once(service: Service) -> None:
    """Twenty equal clicks at once are one call: one id for all, one ring."""
    answers = await asyncio.gather(*(service.call() for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.json()["call_id"] for answer in answers}) == 1
    assert sum(not answer.json()["repeated"] for answer in answers) == 1
    assert len(service.originates()) == await service.rung("150") == 1


async def test_equal_clicks_at_two_processes_ring_once(postgres: Postgres, tmp_path: Path) -> None:
    """Two processes of the service share no memory, and still twenty equal clicks ring once."""
    seed(postgres)
    async with contextlib.AsyncExitStack() as stack:
        pbx = await stack.enter_async_context(make_pbx())
        settings = environment(postgres, pbx.port, "")
        urls: list[str] = []

        async def enter(name: str) -> None:
            process = run_process(tmp_path, settings, name=name)
            urls.append((await stack.enter_async_context(process)).url)

        await asyncio.gather(enter("one"), enter("two"))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        answers = await asyncio.gather(
            *(
                http.post(
                    f"{urls[n % 2]}/api/calls",
                    json={"from": "150", "to": PHONE},
                    headers={"X-Client-Id": SECRET},
                )
                for n in range(20)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
        assert len({answer.json()["call_id"] for answer in answers}) == 1
        await until(lambda: pbx.invites["150"] > 0)
        originates = [c for c in pbx.commands if c.startswith("channel originate")]
        assert len(originates) == pbx.invites["150"] == 1


async def test_a_burst_of_different_calls_shares_one_connection(start: Services) -> None:
    """32 different calls at once are all accepted, ring once each, over one SSH connection."""
    service = await start(SSH_HOST_KEYS="off")
    orders = [(agent, f"+37529625407{n}") for agent in AGENTS for n in range(4)]
    answers = await asyncio.gather(*(service.call(*order) for order in orders))
    assert [answer.status_code for answer in answers] == [200] * 32
    assert len({answer.json()["call_id"] for answer in answers}) == 32
    assert [await service.rung(agent, 4) for agent in AGENTS] == [4] * 8
    assert len(service.originates()) == sum(service.pbx.invites[agent] for agent in AGENTS) == 32
    assert service.pbx.connections == 1
    roots = [row["root_uniqueid"] for row in service.calls()]
    assert len(set(roots)) == 32
    assert None not in roots


@pytest.mark.parametrize(
    ("action", "name", "options"),
    [
        ("09", "подслушивание", "bqE"),
        ("01", "суфлирование", "bqwE"),
        ("02", "вмешательство", "BbqwE"),
    ],
)
async def test_the_three_ways_of_monitoring(
    service: Service, action: str, name: str, options: str
) -> None:
    """Each mode answers the specification's body, taps exactly 150, and rings the supervisor."""
    answer = await service.monitor(action)
    body = answer.json()
    assert body.pop("response_time_ms") > 0
    (row,) = service.calls()
    assert (answer.status_code, body) == (
        200,
        {
            "success": True,
            "message": f"Monitoring initiated successfully: {name} for SIP/150",
            "action": action,
            "action_name": name,
            "target": "150",
            "monitor_from": "151",
            "target_channel": "SIP/150",
            "enterprise": "june",
            "enterprise_number": "0367",
            "host_ip": "127.0.0.1",
            "call_id": str(row["call_id"]),
            "call_status_url": f"/api/calls/{row['call_id']}",
            "phase": "accepted",
            "repeated": False,
        },
    )
    assert service.originates() == [
        f"channel originate LOCAL/151@inoffice application ChanSpy SIP/150-0,{options}"
    ]
    assert await service.rung("151") == 1
    assert (row["kind"], row["action"], row["state"]) == ("monitor", action, "executed")


async def test_prefix_matching_is_the_specification_s_literal_command(start: Services) -> None:
    """MONITOR_MATCH=prefix sends the specification's own text, which taps 1501 too."""
    service = await start(MONITOR_MATCH="prefix")
    await service.monitor()
    assert service.originates() == [
        "channel originate LOCAL/151@inoffice application ChanSpy SIP/150,bq"
    ]
    assert await service.rung("151") == 1


async def test_monitoring_taps_the_call_of_its_target_alone(service: Service) -> None:
    """With 1501 and 150 both talking, the supervisor hears 150's channel, not 1501's."""
    service.pbx.time_scale = 1  # or both calls would soon be over
    other_phone = "+375296254071"
    await service.call("1501", other_phone)
    await service.call("150", PHONE)
    await service.rung(other_phone)
    await service.rung(PHONE)
    await service.monitor()
    await until(lambda: bool(service.pbx.spied))
    tapped = {channel.partition("-")[0] for _, channel in service.pbx.spied}
    assert tapped == {"SIP/150"}
    assert await service.rung("151") == 1


async def test_a_second_click_on_monitor_does_not_ring_the_supervisor_twice(
    service: Service,
) -> None:
    """A repeated monitoring is the first one; another mode is another monitoring."""
    first, again = await service.monitor(), await service.monitor()
    assert first.json()["call_id"] == again.json()["call_id"]
    assert again.json()["repeated"]
    assert again.json()["target_channel"] == "SIP/150"
    assert len(service.originates()) == await service.rung("151") == 1
    whisper = await service.monitor("01")
    assert not whisper.json()["repeated"]
    assert len(service.originates()) == await service.rung("151", 2) == 2


async def test_nobody_monitors_himself(service: Service) -> None:
    """`monitor_from` equal to `target` is 422 and rings nobody."""
    answer = await service.monitor(target="150", monitor_from="150")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "monitor_from")
    assert service.pbx.connections == 0


async def test_an_unknown_extension_is_refused_before_dialling(service: Service) -> None:
    """An extension that the dialplan lacks is 422 by name, dials nothing, and is not claimed."""
    answer = await service.call("9")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-extension")
    assert answer.json()["dialled"] == "no"
    assert [error["field"] for error in answer.json()["errors"]] == ["code"]
    assert (service.originates(), service.claims()) == ([], 0)
    (row,) = service.calls()
    assert (row["state"], row["error_code"]) == ("not_executed", "unknown-extension")
    assert (await service.call("9")).status_code == 422
    posted = await service.http.post("/api/calls", json={"from": "9", "to": PHONE})
    assert [error["field"] for error in posted.json()["errors"]] == ["from"]
    assert service.pbx.invites.total() == 0


async def test_without_the_precheck_asterisk_takes_any_extension(start: Services) -> None:
    """PRECHECK=off dials what Asterisk accepts; an unknown extension then rings nobody."""
    service = await start(PRECHECK="off")
    assert (await service.call("9")).status_code == 200
    assert len(service.originates()) == 1
    assert not any(command.startswith("dialplan") for command in service.pbx.commands)
    assert (await service.call("150")).status_code == 200
    assert await service.rung("150") == 1
    assert service.pbx.invites["9"] == 0


@pytest.mark.parametrize(
    ("context", "code", "rings"),
    [
        ("inoffice", "1501", 1),  # literally
        ("inoffice", "150", 1),  # a hint by name, answered by the pattern _1XX
        ("office", "150", 1),  # through an include
        ("switched", "150", 1),  # through a switch, which `dialplan show` does not look into
    ],
)
async def test_patterns_includes_and_switches_are_dialled(
    start: Services, context: str, code: str, rings: int
) -> None:
    """What a pattern, an include or a switch may answer is never refused."""
    service = await start(DIALPLAN_CONTEXT=context)
    answer = await service.call(code)
    assert answer.status_code == 200
    assert service.originates() == [
        f"channel originate LOCAL/{code}@{context} application Dial LOCAL/{PHONE}@{context}"
    ]
    assert await service.rung(code, rings) == rings


async def test_a_missing_context_is_the_operator_s_mistake(start: Services) -> None:
    """A DIALPLAN_CONTEXT that the PBX lacks is a clear 500 that dials nothing."""
    service = await start(DIALPLAN_CONTEXT="nosuch")
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "dialplan-context-missing")
    assert answer.json()["dialled"] == "no"
    assert "set DIALPLAN_CONTEXT" in answer.json()["detail"]
    assert (service.originates(), service.claims()) == ([], 0)


async def test_a_known_extension_is_asked_for_once(service: Service) -> None:
    """The dialplan is asked once for an extension, not before each of its calls."""
    for phone in (PHONE, OTHER_PHONE):
        assert (await service.call(phone=phone)).status_code == 200
    assert service.pbx.commands.count("dialplan show 150@inoffice") == 1
    assert await service.rung("150", 2) == 2


async def test_a_limited_extension_is_told_when_to_try_again(start: Services) -> None:
    """Over the rate: 429 with Retry-After, nothing dialled; a repeat costs no token."""
    service = await start(RATE_LIMIT_EXTENSION="1/3600")
    assert (await service.call()).status_code == 200
    assert (await service.call()).json()["repeated"]
    limited = await service.call(phone=OTHER_PHONE)
    assert (limited.status_code, limited.json()["code"]) == (429, "rate-limited")
    assert limited.json()["dialled"] == "no"
    assert int(limited.headers["Retry-After"]) > 0
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_prefetch_rings_nobody(service: Service) -> None:
    """A browser that asks ahead of the click is refused, and so is HEAD."""
    params = {"code": "150", "phone": PHONE}
    prefetch = await service.http.get(
        "/api/makecallexternal", params=params, headers={"Sec-Purpose": "prefetch"}
    )
    head = await service.http.head("/api/makecallexternal", params=params)
    assert (prefetch.status_code, head.status_code) == (403, 405)
    assert (service.pbx.connections, service.calls()) == (0, [])


async def test_a_caller_who_gives_up_leaves_no_doubt(start: Services) -> None:
    """A caller whose request is cancelled half-way gets the same call when he asks again."""
    service = await start(REQUEST_TIMEOUT_S=5)  # as long waits who asks again, for nobody settles
    service.pbx.reply_delay_s = 0.3
    service.pbx.commands.clear()
    with anyio.move_on_after(60) as scope:

        async def give_up() -> None:
            await until(lambda: bool(service.originates()))
            scope.cancel()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(give_up())
            await service.call()
    service.pbx.reply_delay_s = 0.0
    again = await service.call()
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert len(service.originates()) == await service.rung("150") == 1

"""Three doors to one feed: long polls, server-sent events, WebSockets; and tickets for pages."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import InvalidStatus

from functions.events.handler import router as events
from shared.auth.under_way import the_waits
from shared.http.app import create_app
from shared.settings import the_settings
from tests.integration.doors import (
    BEARER,
    DOORS,
    Heard,
    Served,
    blocks_of,
    end_of,
    look_after_streams_often,
    message_of,
    serving,
)
from tests.integration.followed import BUSY, follow, place
from tests.integration.service import SECRET, Services, until
from tests.integration.test_feed import OTHER_SECRET, tell

pytestmark = pytest.mark.anyio

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def served(start: Services) -> AsyncIterator[Served]:
    """A service that follows nothing, on a port."""
    async with serving(await start()) as served:
        yield served


async def nobody_waits() -> None:
    """Wait until no place of a listener is taken."""

    def is_so() -> bool:
        gc.collect()  # an error that was told keeps the place that it was about
        return "{}" in repr(the_waits())

    await until(is_so)


async def test_three_doors_tell_the_same(start: Services) -> None:
    """Whoever listens while calls are placed has the same list, from his number on and live."""
    service = await follow(start)
    tell(service.postgres, "0367", 3)

    def enough(heard: Heard) -> bool:
        ended = [event for event in heard.events if event["call"]["phase"] == "ended"]
        return len(ended) == 2

    async with serving(service) as served:
        heard = {name: Heard() for name in DOORS}
        with anyio.fail_after(60):
            async with asyncio.TaskGroup() as group:
                for name, listen in DOORS.items():
                    group.create_task(listen(served, heard[name], enough))
                await place(service, "150", BUSY)
                await place(service, "151", BUSY)
        await nobody_waits()
    assert heard["poll"].numbers == list(range(1, len(heard["poll"].events) + 1))
    assert heard["stream"].events == heard["poll"].events
    assert heard["socket"].events == heard["poll"].events


# Tickets


async def test_a_ticket_opens_one_stream(served: Served) -> None:
    """By a WebSocket or server-sent events; used again it is refused by either."""
    tell(served.service.postgres, "0367", 2)
    ticket = await served.ticket(after=1)
    async with served.socket(f"?ticket={ticket}") as socket:
        assert (await message_of(socket))["seq"] == 2
    async with served.socket() as socket:
        await socket.send(json.dumps({"ticket": ticket}))
        code, (told,) = await end_of(socket)
        assert (code, told["type"], told["code"]) == (4003, "error", "ticket-expired")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as page:
        again = await page.get("/api/events", params={"ticket": ticket}, headers=STREAM)
        assert (again.status_code, again.json()["code"]) == (401, "ticket-expired")
        other = {"ticket": await served.ticket(after=0)}
        async with page.stream("GET", "/api/events", params=other, headers=STREAM) as answer:
            async for block in blocks_of(answer):
                if "data" in block:
                    assert json.loads(block["data"])["seq"] == 1
                    break
        whole = await page.get("/api/events", params={"ticket": await served.ticket()})
        assert (whole.status_code, whole.json()["errors"][0]["field"]) == (422, "ticket")


async def test_a_ticket_ends(served: Served) -> None:
    """Late, or with its enterprise, it opens nothing; what is kept of it is no ticket."""
    postgres = served.service.postgres
    late, ended = await served.ticket(), await served.ticket()
    rows = postgres.execute(
        "SELECT digest::text AS digest, wanted::text FROM callapi.tickets ORDER BY digest"
    )
    assert not any(ticket in str(rows) for ticket in (late, ended, SECRET))
    postgres.execute("UPDATE callapi.tickets SET until = clock_timestamp() - interval '1 s'")
    async with served.socket(f"?ticket={late}") as socket:
        assert (await end_of(socket))[0] == 4003
    ended = await served.ticket()
    postgres.execute("UPDATE enterprises SET active = false")
    async with served.socket(f"?ticket={ended}") as socket:
        assert (await end_of(socket))[0] == 4003


async def test_a_ticket_is_its_enterprises_and_its_filters(served: Served) -> None:
    """It tells nothing of another's, and no parameter widens it."""
    postgres = served.service.postgres
    postgres.seed_enterprise("0368", "july", "127.0.0.2", OTHER_SECRET)
    tell(postgres, "0367", 1)
    tell(postgres, "0368", 2)
    async with served.socket(f"?ticket={await served.ticket(after=0)}") as socket:
        assert (await message_of(socket))["seq"] == 1
        tell(postgres, "0367", 1)
        assert (await message_of(socket))["seq"] == 2
    ticket = await served.ticket(extension="151", after=0)
    async with served.socket(f"?ticket={ticket}&extension=150") as socket:
        assert (await end_of(socket))[0] == 4004
    async with served.socket(f"?ticket={ticket}") as socket:
        assert await message_of(socket) == {"type": "heartbeat", "newest": 2}


async def test_a_ticket_says_what_is_wrong(served: Served) -> None:
    """What it is for is checked when it is asked for, and nobody asks without a secret."""
    async with served.http as http:
        wrong = await http.post("/api/events/ticket", json={"extension": "x", "more": 1})
        assert wrong.status_code == 422
        assert {e["field"] for e in wrong.json()["errors"]} == {"extension", "more"}
        nobody = await http.post("/api/events/ticket", headers={"Authorization": ""})
        assert nobody.status_code == 401


# Who may come in


async def test_nobody_comes_in_with_a_secret_in_the_url(served: Served) -> None:
    """Not even the right one; and neither it nor a ticket is in the log."""
    ticket = await served.ticket()
    async with served.socket(f"?clientId={SECRET}") as socket:
        code, (told,) = await end_of(socket)
        assert (code, told["errors"][0]["field"]) == (4004, "clientId")
    async with served.http as http:
        answer = await http.get(f"/api/events?clientId={SECRET}", headers=STREAM)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "clientId")
    async with served.socket(f"?ticket={ticket}") as socket:
        await message_of(socket)
    log = served.service.log()
    assert SECRET not in log
    assert ticket not in log


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ("{", 4004),
        ("[" * 4000, 4004),
        (b"\0\1", 4004),
        ("[]", 4004),
        ("{}", 4001),
        ('{"secret": "wrong-8d1f04c7a96b4e52"}', 4002),
        (json.dumps({"secret": SECRET, "after": "1"}), 4004),
        (json.dumps({"secret": SECRET, "after": 99}), 4010),
        (json.dumps({"secret": SECRET, "extension": "x", "more": 1}), 4004),
        ('{"ticket": "x"}', 4003),
        ('{"ticket": 1}', 4004),
        ("x" * 5000, 1009),
    ],
)
async def test_a_first_message_that_is_none(served: Served, first: str | bytes, code: int) -> None:
    """The socket is closed with the code that says why."""
    async with served.socket() as socket:
        await socket.send(first)
        assert (await end_of(socket))[0] == code
    await nobody_waits()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x81\x81\0\0\0\0\xff",  # a text that is no UTF-8
        b"\x89\x80\0\0\0\0" * 80 + b"\x88\x82\0\0\0\0\x03\xe8",  # too many pings, and the end
    ],
)
async def test_frames_that_are_none_leave_no_traceback(
    served: Served, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """Whatever a stranger sends is his mistake: the socket ends, and no line of the log does."""
    async with served.socket() as socket:
        socket.transport.write(sent)
        await end_of(socket)
    await until(lambda: not served.state.tasks)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_what_is_sent_while_it_closes_is_no_defect(served: Served) -> None:
    """An event that comes in the moment of a client's broken frame finds a client that has gone."""
    async with served.socket(additional_headers=BEARER) as socket:
        await message_of(socket)
        (link,) = (c._socket for c in served.state.connections if c._socket)  # type: ignore[union-attr] # ours
        link.conn.fail(1002)
        link.handle_parser_exception()
        with pytest.raises(ClientDisconnected):
            await link.send({"type": "websocket.send", "text": "{}"})


async def test_who_says_nothing_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor may anything be said after the log-in."""
    monkeypatch.setattr("functions.events.socket._LOG_IN_S", 0.3)
    async with served.socket() as socket:
        assert await end_of(socket) == (4001, [])
    async with served.socket(additional_headers=BEARER) as socket:
        await message_of(socket)
        await socket.send("{}")
        assert (await end_of(socket))[0] == 4004


async def test_pages_of_other_origins_are_refused_before_the_upgrade(start: Services) -> None:
    """As any request of theirs is: with the one error body; ours and those that are named go on."""
    service = await start(CORS_ORIGINS="https://crm.example.test")
    async with serving(service, create_app(events, settings=the_settings())) as served:
        with pytest.raises(InvalidStatus) as caught:
            async with served.socket(origin="https://evil.example.test"):
                pass
        problem = json.loads(caught.value.response.body)
        assert (caught.value.response.status_code, problem["code"]) == (403, "origin-not-allowed")
        for origin in ("https://crm.example.test", f"http://127.0.0.1:{served.port}", None):
            async with served.socket(origin=origin, additional_headers=BEARER) as socket:
                assert (await message_of(socket))["type"] == "heartbeat"


async def test_streams_have_their_limit(start: Services) -> None:
    """WAITS_AT_ONCE of an enterprise, whichever door they came through; who leaves makes room."""
    async with serving(await start(WAITS_AT_ONCE=2)) as served, served.http as http:
        async with (
            served.socket(additional_headers=BEARER) as first,
            http.stream("GET", "/api/events", headers=STREAM) as second,
        ):
            await message_of(first)
            assert second.status_code == 200
            refused = await http.get("/api/events", headers=STREAM)
            assert refused.status_code == 429
            async with served.socket(additional_headers=BEARER) as third:
                assert (await end_of(third))[0] == 1013
        await nobody_waits()


async def test_a_long_poll_that_is_given_up_frees_its_place(served: Served) -> None:
    """At once, not when its time is over."""
    tell(served.service.postgres, "0367", 1)
    async with served.http as http:
        with anyio.move_on_after(2):
            await http.get("/api/events?after=1&wait=25", timeout=60)
    with anyio.fail_after(15):
        await nobody_waits()


# While a stream is open


async def test_a_deactivated_enterprise_loses_its_streams(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its right is looked at again and again."""
    look_after_streams_often(monkeypatch)
    async with (
        served.socket(additional_headers=BEARER) as socket,
        served.http as http,
        http.stream("GET", "/api/events", headers=STREAM) as answer,
    ):
        await message_of(socket)
        served.service.postgres.execute("UPDATE enterprises SET active = false")
        code, told = await end_of(socket)
        assert (code, told[-1]["code"]) == (4003, "invalid-client-id")
        blocks = [block async for block in blocks_of(answer)]
        assert blocks[-1]["event"] == "error"
        assert json.loads(blocks[-1]["data"])["code"] == "invalid-client-id"


async def test_heartbeats_carry_a_number_to_go_on_with(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows by what the filter leaves out; a browser takes it for the last event's id."""
    monkeypatch.setattr("shared.events.listening.HEARTBEAT_S", 0.2)
    async with (
        served.socket("?extension=151&after=0", additional_headers=BEARER) as socket,
        served.http as http,
        http.stream("GET", "/api/events?extension=151", headers=STREAM) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == (
            "no",
            "no-store",
        )
        tell(served.service.postgres, "0367", 3)
        with anyio.fail_after(30):
            while (await message_of(socket))["newest"] < 3:
                pass
            async for block in blocks_of(answer):
                if block.get("id") == "3":
                    assert block == {":": "3", "id": "3"}
                    break


@pytest.mark.parametrize("given", ["x", "-1", "9" * 30, "\u00b2"])
async def test_a_last_event_id_that_is_none(served: Served, given: str) -> None:
    """It is named; one that is overrides `after`, and one that is gone is an ordinary 410."""
    async with served.http as http:
        headers = httpx.Headers({**STREAM, "Last-Event-ID": given}, encoding="latin-1")
        wrong = await http.get("/api/events?after=0", headers=headers)
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "Last-Event-ID")
        gone = await http.get("/api/events?after=0", headers={**STREAM, "Last-Event-ID": "7"})
        assert (gone.status_code, gone.json()["code"]) == (410, "events-gone")


async def test_events_are_not_streamed_on_aws(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers are sent whole: it is said so, and what to do instead."""
    monkeypatch.setattr("functions.events.handler.on_lambda", lambda: True)
    async with served.http as http:
        answer = await http.get("/api/events", headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (406, "stream-unavailable")
    assert "wait=" in answer.json()["detail"]

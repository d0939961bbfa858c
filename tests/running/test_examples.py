"""docs/examples against a real process of the service: each runs as it stands there.

Bitrix24, amoCRM and Telegram are stand-ins here, held to lists of their fields: what only a real
portal can prove (its installation, its limits, what its cards show) is not proved.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import pytest
import uvicorn
from asterisk_calls import AsyncCalls

from tests.integration.followed import allow_webhooks
from tests.integration.playing import AGENT, IS_BUSY, TALKS, Play, playing
from tests.integration.service import LIMIT_S, PHONE, SECRET, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CONTRACTS = json.loads(Path(__file__).with_name("crm_contracts.json").read_text("utf-8"))
CALLER = "+375290000007"
Load = Callable[..., Any]


@pytest.fixture(scope="module")
async def running(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Play]:
    """One process for all tests here; it may send webhooks to this machine."""
    folder = tmp_path_factory.mktemp("examples")
    async with playing(postgres, folder, WEBHOOKS_ALLOW_PRIVATE="127.0.0.1/32") as play:
        yield play


@pytest.fixture
def load(play: Play, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load an example as `python NAME.py` does, with the environment that it asks for."""

    def load(name: str, **environment: str) -> ModuleType:
        own = {"CALLS_URL": play.url, "CALLS_SECRET": SECRET} | environment
        for variable, value in own.items():
            monkeypatch.setenv(variable, value)
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an app until the block ends; where it is."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def test_the_specifications_function_works_to_the_letter(play: Play) -> None:
    """Only the host is another; success and error are told as it expects."""
    text = (EXAMPLES / "specification.py").read_text("utf-8").replace("https://<HOST>", play.url)
    names: dict[str, Any] = {}
    exec(compile(text, "specification.py", "exec"), names)
    call = names["make_call_from_bot"]
    told = await call("150", PHONE, SECRET)
    assert (told["success"], told["from_ext"], told["to_phone"]) == (True, "150", PHONE)
    assert (await call("150", PHONE, "nobody"))["detail"] == "Invalid clientId"
    await until(lambda: play.pbx.invites[PHONE] == 1)


# Telegram


class BotApi:
    """What `https://api.telegram.org/bot<TOKEN>/` does, as far as the bot asks for it."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails = 0
        self.refuses = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer, or want to be asked later."""
        method, what = request.url.path.rsplit("/", 1)[1], json.loads(request.content)
        if method == "getUpdates" and self.refuses:
            self.refuses -= 1
            told = {"ok": False, "error_code": 409, "description": "terminated by another one"}
            return httpx.Response(409, json=told)
        if method == "getUpdates":
            self.updates = [one for one in self.updates if one["update_id"] >= what["offset"]]
            if not self.updates:
                await asyncio.sleep(0.05)
            return httpx.Response(200, text=json.dumps({"ok": True, "result": self.updates}))
        if self.fails:
            self.fails -= 1
            later = {"ok": False, "error_code": 429, "parameters": {"retry_after": 0}}
            return httpx.Response(429, json=later)
        self.asked.append((method, what))
        return httpx.Response(200, json={"ok": True, "result": {"message_id": 7}})

    def of(self, method: str) -> list[dict[str, Any]]:
        """What was asked of a method."""
        return [what for name, what in self.asked if name == method]

    def press(self, update_id: int, data: str, user: int = 1001) -> None:
        """Somebody presses a button."""
        message = {"message_id": 7, "chat": {"id": 55}}
        pressed = {"id": str(update_id), "from": {"id": user}, "message": message, "data": data}
        self.updates.append({"update_id": update_id, "callback_query": pressed})

    @contextlib.asynccontextmanager
    async def bot(self, module: ModuleType, play: Play) -> AsyncIterator[None]:
        """Run the bot until the block ends, as suddenly as if it were killed."""
        transport = httpx.MockTransport(self.answer)
        async with (
            httpx.AsyncClient(transport=transport, base_url="https://telegram/botT/") as http,
            AsyncCalls(play.url, SECRET) as calls,
        ):
            bot = module.Bot(http, calls, {1001: AGENT})
            task = asyncio.create_task(bot.run())
            try:
                yield
            finally:
                for one in (task, *bot._watching):
                    one.cancel()
                await asyncio.gather(task, *bot._watching, return_exceptions=True)


async def test_a_bot_calls_and_its_message_follows_the_call(play: Play, load: Load) -> None:
    """A number becomes a button, the button a call; the message tells each phase, then the end."""
    api, module = BotApi(), load("telegram_bot")
    asks = {"from": {"id": 1001}, "chat": {"id": 55}, "text": "Позвони +375 29 000-00-01"}
    api.updates = [{"update_id": 1, "message": asks}, {"update_id": 2, "poll": {}}]
    async with api.bot(module, play):
        await until(lambda: bool(api.of("sendMessage")))
        ((button,),) = api.of("sendMessage")[0]["reply_markup"]["inline_keyboard"]
        assert button["callback_data"] == f"call:{TALKS}"
        api.fails = 2
        api.press(3, button["callback_data"])
        api.press(4, button["callback_data"], user=666)
        await until(lambda: "☎️" in str(api.of("editMessageText")[-1:]))
    texts = [what["text"] for what in api.of("editMessageText")]
    assert "поговорили" in texts[-1]
    assert 1 < len(texts) == len(set(texts))
    assert api.of("answerCallbackQuery") == [{"callback_query_id": "3", "text": "Звоним"}]
    assert play.pbx.invites[TALKS] == 1


async def test_an_update_that_comes_again_rings_once(play: Play, load: Load) -> None:
    """So does one that a bot which died had not confirmed: the next one is sent it again."""
    api, module = BotApi(), load("telegram_bot")
    api.press(8, f"call:{IS_BUSY}")
    (update,) = api.updates
    for _ in range(2):
        api.updates = [update]
        api.asked.clear()
        async with api.bot(module, play):
            await until(lambda: "занято" in str(api.of("editMessageText")))
    assert api.of("answerCallbackQuery")[0]["text"] == "Уже звоним"
    assert len(play.postgres.execute("SELECT FROM callapi.calls")) == 1
    keyboard = api.of("editMessageText")[-1]["reply_markup"]["inline_keyboard"]
    assert keyboard == []


async def test_a_bot_hangs_up(play: Play, load: Load) -> None:
    """By the button that its message has while the call goes on."""
    api, module = BotApi(), load("telegram_bot")
    async with api.bot(module, play):
        api.press(1, "call:+375290000005")
        await until(lambda: "Разговор" in str(api.of("editMessageText")[-1:]))
        ((button,),) = api.of("editMessageText")[-1]["reply_markup"]["inline_keyboard"]
        assert len(button["callback_data"].encode()) <= 64
        api.press(2, button["callback_data"])
        await until(lambda: "☎️" in str(api.of("editMessageText")[-1:]))
    async with AsyncCalls(play.url, SECRET) as calls:
        (call,) = [call async for call in calls.list_calls()]
    assert dict(call)["ended_by"] == "api"


async def test_an_update_that_nobody_can_take_is_left_out(play: Play, load: Load) -> None:
    """Or it would end the bot, come again once that is started anew, and end it again."""
    api, module = BotApi(), load("telegram_bot")
    number = {"from": {"id": 1001}, "chat": {"id": 55}, "text": "\ud800 150"}
    async with api.bot(module, play):
        api.press(1, "hangup:\ud800")
        api.press(2, "call:\ud800")
        api.press(3, "hangup:../webhooks")
        api.press(4, "")
        api.updates.append({"update_id": 5, "callback_query": {"from": {"id": 1001}, "data": None}})
        api.updates.append({"update_id": 6, "message": {**number, "text": "Привет"}})
        api.updates.append({"update_id": 7, "message": {"from": {"id": 1001}, "photo": []}})
        api.updates.append({"update_id": 8, "message": number})
        await until(lambda: bool(api.of("sendMessage")))
        await until(lambda: not api.updates)
    ((button,),) = api.of("sendMessage")[0]["reply_markup"]["inline_keyboard"]
    assert (button["callback_data"], len(api.of("sendMessage"))) == ("call:150", 1)
    assert play.pbx.invites == {}


async def test_a_bot_that_is_refused_asks_again_later(
    play: Play, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bot with its token, say: it does not ask as fast as it can."""
    api, module = BotApi(), load("telegram_bot")
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(
        module, "asyncio", SimpleNamespace(sleep=note, create_task=asyncio.create_task)
    )
    api.refuses = 2
    asks = {"from": {"id": 1001}, "chat": {"id": 55}, "text": "150"}
    api.updates = [{"update_id": 1, "message": asks}]
    async with api.bot(module, play):
        await until(lambda: bool(api.of("sendMessage")))
    assert pauses == [5, 5]


# Bitrix24


class Portal:
    """Bitrix24's side: what it refuses by its contract fails the test."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.token = "access-1"
        self.instead: list[httpx.Response] = []
        self.under_way = 0
        self.is_slow = False

    async def serve(self, request: httpx.Request) -> httpx.Response:
        """Answer, when the test lets it."""
        self.under_way += 1
        await until(lambda: not self.is_slow)
        return self.instead.pop(0) if self.instead else await self.answer(request)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a method, or a request for another access token."""
        if request.url.host == "oauth.bitrix.info":
            given = httpx.QueryParams(request.content.decode())
            assert given["grant_type"] == "refresh_token"
            assert (given["client_id"], given["refresh_token"]) == ("local.1", "refresh-1")
            self.token = "access-2"
            return httpx.Response(200, json={"access_token": self.token})
        method, what = request.url.path.removeprefix("/rest/"), json.loads(request.content)
        if what.pop("auth") != self.token:
            return httpx.Response(401, json={"error": "expired_token"})
        contract = CONTRACTS["bitrix24"][method]
        assert set(what) <= set(contract["fields"])
        assert set(contract["required"]) <= set(what)
        assert set(contract["one_of"]) & set(what)
        if "STATUS_CODE" in what:
            assert what["STATUS_CODE"] in contract["status_codes"]
        self.asked.append((method.rsplit(".", 1)[1], what))
        return httpx.Response(200, json={"result": {"CALL_ID": f"theirs-{len(self.asked)}"}})


def event_of(name: str, token: str = "app-token", **data: str) -> dict[str, str]:
    """An event as Bitrix24 writes it, with every field of its contract."""
    fields = CONTRACTS["bitrix24"]["ONEXTERNALCALLSTART"]
    auth = dict.fromkeys(fields["auth"], "") | {
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "client_endpoint": "https://demo.bitrix24.test/rest/",
        "application_token": token,
    }
    filled = dict.fromkeys(fields["data"], "") | data if data else {}
    return (
        {"event": name, "ts": "1795683602"}
        | {f"data[{field}]": text for field, text in filled.items()}
        | {f"auth[{field}]": text for field, text in auth.items()}
    )


@contextlib.asynccontextmanager
async def installed(
    play: Play, load: Load, folder: Path
) -> AsyncIterator[tuple[Portal, Any, httpx.AsyncClient]]:
    """Run the application, told of by a webhook; what sends it the portal's events, or anything."""
    allow_webhooks(play)
    portal = Portal()
    module = load(
        "bitrix24",
        CALLS_WEBHOOK_SECRET="whsec_" + "A" * 32,
        EXTENSIONS=f"7:{AGENT},8:151",
        BITRIX_CLIENT_ID="local.1",
        BITRIX_CLIENT_SECRET="made-up",
        BITRIX_FILE=str(folder / "bitrix24.sqlite"),
    )
    module.bitrix = httpx.AsyncClient(transport=httpx.MockTransport(portal.serve))
    async with (
        served(module.app) as url,
        AsyncCalls(play.url, SECRET) as calls,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
    ):
        wanted = {"url": f"{url}/calls", "scope": "all"}
        made = await calls.request("POST", "/api/webhooks", json=wanted)
        module.webhook = module.Webhook(made["secret"])

        async def send(form: dict[str, str]) -> int:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return (await http.post("/bitrix24", content=urlencode(form), headers=kind)).status_code

        nobodys = {"USER_ID": "7", "CALL_ID": "x", "PHONE_NUMBER": TALKS}
        assert await send(event_of("ONEXTERNALCALLSTART", "", **nobodys)) == 403
        assert await send(event_of("ONAPPINSTALL")) == 200
        yield portal, send, http
        await calls.request("DELETE", f"/api/webhooks/{made['webhook']['webhook_id']}")


async def test_a_click_in_bitrix24_calls_and_becomes_a_record(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """Once for the same click twice, never for a stranger, installed or not; tokens are renewed."""
    number = {"PHONE_NUMBER": "80290000001", "PHONE_NUMBER_INTERNATIONAL": TALKS}
    click = event_of("ONEXTERNALCALLSTART", USER_ID="7", CALL_ID="externalCall.a1", **number)
    async with installed(play, load, tmp_path) as (portal, send, _):
        portal.token = "access-0"
        stranger = event_of("ONEXTERNALCALLSTART", "guessed", USER_ID="7", CALL_ID="x", **number)
        assert await send(stranger) == 403
        assert [await send(click), await send(click)] == [200, 200]
        await until(lambda: bool(portal.asked))
    ((method, record),) = portal.asked
    assert (method, record.pop("DURATION") > 0) == ("finish", True)
    assert record == {"CALL_ID": "externalCall.a1", "USER_ID": "7", "STATUS_CODE": "200"}
    assert play.pbx.invites[TALKS] == 1


async def test_a_click_that_is_over_is_finished_once(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """Whenever its second event comes: while the portal is told of the end, or later."""
    click = event_of("ONEXTERNALCALLSTART", USER_ID="7", CALL_ID="a3", PHONE_NUMBER=IS_BUSY)
    failed = event_of("ONEXTERNALCALLSTART", USER_ID="9", CALL_ID="a4", PHONE_NUMBER=IS_BUSY)
    async with installed(play, load, tmp_path) as (portal, send, _):
        portal.is_slow = True
        first = asyncio.create_task(send(click))
        await until(lambda: portal.under_way == 1)
        second = asyncio.create_task(send(click))
        await until(lambda: second.done() or portal.under_way == 2)
        portal.is_slow = False
        assert [await first, await second, await send(click)] == [200] * 3
        assert [await send(failed), await send(failed)] == [200] * 2
    assert [(name, record["CALL_ID"]) for name, record in portal.asked] == [
        ("finish", "a3"),
        ("finish", "a4"),
    ]
    assert play.pbx.invites[IS_BUSY] == 1


def incoming(phase: str, call_id: str = "0b8f5a50") -> dict[str, Any]:
    """What the API tells of a call that came in to AGENT."""
    call = {"pbx_call_id": call_id, "direction": "incoming", "phase": phase, "from": CALLER}
    more = {"extensions": [AGENT], "talk_s": 0, "times": {"began": "2026-11-26T09:07:11Z"}}
    return {"seq": 1, "type": "pbx.call", "pbx_call": call | more}


def signed(module: Any, event: dict[str, Any], **headers: str) -> dict[str, Any]:
    """A webhook's message, as the API sends it."""
    now, text = datetime.now(UTC), json.dumps(event)
    own = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp()))}
    own["webhook-signature"] = module.webhook.sign("msg_1", now, text)
    return {"content": text, "headers": own | headers}


async def test_a_webhook_that_comes_again_opens_no_second_card(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """Though its call is over: a message is sent again until it is accepted, or by `resend`."""
    async with installed(play, load, tmp_path) as (portal, _, http):
        for phase in ("ringing", "ended", "ringing", "ended"):
            message = signed(sys.modules["bitrix24"], incoming(phase))
            assert (await http.post("/calls", **message)).status_code == 200
    assert [name for name, _ in portal.asked] == ["register", "finish"]


async def test_clicks_that_are_one_call_are_all_finished(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """Two clicks are two records in the portal, also where the API takes them as one order."""
    call = {"call_id": "7f1c0f6e", "phase": "ended", "reason": "busy", "talk_s": None}
    async with installed(play, load, tmp_path) as (portal, _, http):
        module = sys.modules["bitrix24"]
        for theirs in ("a5", "a6"):
            module.remember(theirs, "7f1c0f6e", "7")
        message = signed(module, {"seq": 1, "type": "call.phase", "call": call})
        assert (await http.post("/calls", **message)).status_code == 200
    assert sorted(record["CALL_ID"] for _, record in portal.asked) == ["a5", "a6"]


@pytest.mark.parametrize(
    ("instead", "status"),
    [
        (httpx.Response(400, json={"error": "ERROR_CORE", "error_description": "no user"}), 200),
        (httpx.Response(503, json={"error": "QUERY_LIMIT_EXCEEDED"}), 500),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example.test/"}), 500),
        (httpx.Response(200, text="<html>We are back soon"), 500),
    ],
)
async def test_what_the_portal_refuses_holds_up_nothing(
    instead: httpx.Response, status: int, play: Play, load: Load, tmp_path: Path
) -> None:
    """A refusal of one call is accepted of the API; all else comes again, and is done then."""
    async with installed(play, load, tmp_path) as (portal, _, http):
        portal.instead = [instead]
        message = signed(sys.modules["bitrix24"], incoming("ringing"))
        assert (await http.post("/calls", **message)).status_code == status
        assert portal.under_way == 1
        assert (await http.post("/calls", **message)).status_code == 200
    assert [name for name, _ in portal.asked] == ["register"]


async def test_bitrix24s_addresses_are_open_to_anybody_and_do_nothing(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """Without a signature of now, or the portal's token; nor is more read than anybody needs."""
    async with installed(play, load, tmp_path) as (portal, send, http):
        module, event = sys.modules["bitrix24"], incoming("ringing")
        for headers in (
            {"webhook-signature": "v1,a"},
            {"webhook-signature": "v1"},
            {"webhook-timestamp": "0"},
            {"webhook-timestamp": "1e400"},
            {"webhook-id": "msg_2"},
        ):
            refused = await http.post("/calls", **signed(module, event, **headers))
            assert refused.status_code == 401
        for path in ("/calls", "/bitrix24"):
            assert (await http.post(path, content=b"a" * 2_000_000)).status_code == 413
            assert (await http.post(path, json=[])).status_code in {401, 403}
        assert await send(event_of("ONAPPINSTALL", "another")) == 403
        assert portal.asked == []
        renewed = event_of("ONAPPINSTALL") | {"auth[access_token]": "access-3"}
        portal.token = "access-3"
        assert await send(renewed) == 200
        assert (await http.post("/calls", **signed(module, event))).status_code == 200
    assert [name for name, _ in portal.asked] == ["register"]


async def test_a_click_that_cannot_be_is_finished_at_once(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """A user without an extension: the portal is told why, instead of a call that never ends."""
    click = event_of("ONEXTERNALCALLSTART", USER_ID="9", CALL_ID="a2", PHONE_NUMBER=TALKS)
    async with installed(play, load, tmp_path) as (portal, send, _):
        assert await send(click) == 200
    ((_, record),) = portal.asked
    assert (record["STATUS_CODE"], record["DURATION"]) == ("503", 0)
    assert "from" in record["FAILED_REASON"]


async def test_an_incoming_call_opens_its_card_in_bitrix24(
    play: Play, load: Load, tmp_path: Path
) -> None:
    """It is registered once, while the phone rings, and finished at its end."""
    async with installed(play, load, tmp_path) as (portal, _, _):
        async with AsyncCalls(play.url, SECRET) as calls:
            async for event in calls.follow(after=0, scope="all"):
                if event["type"] == "pbx.watched":
                    break
        play.pbx.time_scale = 1  # it must last until it was looked at
        play.pbx.call_in(CALLER, AGENT)
        await until(lambda: bool(portal.asked))
        play.pbx.hang_up_all()
        await until(lambda: len(portal.asked) == 2)
    (first, card), (last, record) = portal.asked
    assert (first, last) == ("register", "finish")
    assert (card["USER_ID"], card["PHONE_NUMBER"], card["TYPE"]) == ("7", CALLER, 2)
    assert card["CALL_START_DATE"].endswith("Z")
    assert record["CALL_ID"] == "theirs-1"


# amoCRM


def script_of(answer: httpx.Response) -> Any:
    """What the widget's script is called with."""
    found = re.fullmatch(r"asterisk_cb\((.*)\);", answer.text)
    assert found is not None
    assert answer.headers["Content-Type"].startswith("text/javascript")
    return json.loads(found[1])


async def test_the_stock_widget_of_amocrm_is_answered(play: Play, load: Load) -> None:
    """It places a call, sees whose phone rings by whom, and reads what became of all calls."""
    module = load("amocrm_widget", WIDGET_LOGIN="amo", WIDGET_SECRET="widget-0a1b2c3d4e5f")
    ours = {"_login": "amo", "_secret": "widget-0a1b2c3d4e5f"}
    async with (
        served(module.app) as url,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
    ):

        async def ask(action: str, **what: str) -> httpx.Response:
            return await http.get("/amo", params={**ours, "_action": action, **what})

        wrong = await http.get("/amo", params={**ours, "_secret": "x", "_action": "call"})
        assert script_of(wrong)["status"] == "error"
        assert script_of(await ask("status")) == {"status": "ok", "action": "status", "data": []}
        async with AsyncCalls(play.url, SECRET) as calls:
            async for event in calls.follow(after=0, scope="all"):
                if event["type"] == "pbx.watched":
                    break
        placed = script_of(await ask("call", **{"from": "150", "to": IS_BUSY, "as": "Юля"}))
        assert (placed["status"], placed["data"]["response"]) == ("ok", "Success")
        assert script_of(await ask("call", **{"from": "x", "to": "y"}))["status"] == "error"
        play.pbx.call_in(CALLER, "153")
        with anyio.fail_after(LIMIT_S):
            data: list[dict[str, str]] = []
            while not data:
                await asyncio.sleep(0.05)
                data = script_of(await ask("status"))["data"]
        assert set(data[0]) == set(CONTRACTS["amocrm"]["status"])
        assert (data[0]["calleridnum"], data[0]["connectedlinenum"]) == ("153", CALLER)
        with anyio.fail_after(LIMIT_S):
            rows: list[dict[str, Any]] = []
            while len(rows) < 2:
                await asyncio.sleep(0.2)
                rows = (await ask("cdr", date_from="1", date_to="0")).json()["data"]
        assert (await ask("cdr", date_from="9" * 20)).status_code == 422
    assert all(list(row) == CONTRACTS["amocrm"]["cdr"] for row in rows)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0]["calldate"])


# A CRM's own server; its page is tests/browser's


@contextlib.asynccontextmanager
async def crm(load: Load, **environment: str) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """Run the server, and ask as its own page does."""
    module = load("crm", **environment)
    own = {"Sec-Fetch-Site": "same-origin"}
    async with (
        served(module.app) as url,
        httpx.AsyncClient(base_url=f"{url}/calls-api", headers=own, timeout=LIMIT_S) as http,
    ):
        yield module, http


async def test_a_crms_server_refuses_what_is_broken(play: Play, load: Load) -> None:
    """By a 4xx, whatever it is: a 5xx would be asked again, and told as if something may ring."""
    bodies = (b"", b"{", b"[]", b"null", b'"to"', b"{}", b"\xff", b"[" * 9000)
    async with crm(load) as (_, http):
        for body in bodies:
            assert (await http.post("/api/calls", content=body)).status_code == 400
        assert (await http.post("/api/calls", content=b"a" * 20_000)).status_code == 413
        for to in (b'"\\ud800"', b"null", b"NaN", b"[1]", '"Анна"'.encode()):
            refused = await http.post("/api/calls", content=b'{"to": ' + to + b"}")
            assert (refused.status_code, refused.json()["dialled"]) == (422, "no")
        assert (await http.post("/api/events/ticket", content=b"{")).status_code == 422
        refused = await http.post("/api/calls", content=b"{", headers={"Sec-Fetch-Site": "none"})
        assert refused.status_code == 403
    assert play.pbx.invites == {}


async def test_a_crms_server_takes_names_of_any_letters(play: Play, load: Load) -> None:
    """Of whoever calls, from whom alone the call is; a click's own is the API's to refuse."""
    async with crm(load) as (module, http):
        module.USERS["julia"] = module.User("Юля", "154")
        for repeated in (False, True):
            headers = {"Idempotency-Key": "click-1"}
            body = {"from": "151", "to": "8 (029) 000-00-02"}
            placed = await http.post("/api/calls", json=body, headers=headers)
            assert (placed.status_code // 100, placed.json()["repeated"]) == (2, repeated)
        odd = {b"Idempotency-Key": "щелчок".encode()}
        refused = await http.post("/api/calls", json=body, headers=odd)
        assert (refused.status_code, refused.json()["dialled"]) == (422, "no")
    (row,) = play.postgres.execute("SELECT actor FROM callapi.audit WHERE actor IS NOT NULL")
    assert row == {"actor": "Юля"}
    assert placed.json()["from_ext"] == "154"


async def test_a_crms_server_says_that_nobody_answers(load: Load) -> None:
    """As a gateway does, whose click may be asked for again by its key."""
    async with crm(load, CALLS_URL="http://127.0.0.1:9") as (_, http):
        assert (await http.post("/api/calls", json={"to": "150"})).status_code == 502

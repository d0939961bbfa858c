"""docs/examples' pages in a real browser, on another origin than the API."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest
import uvicorn
from asterisk_calls import AsyncCalls
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, Page, Route, WebSocket, async_playwright, expect

from demo.postgres import free_port
from tests.browser.conftest import chromium
from tests.integration.installed import ROOT
from tests.integration.playing import AGENT, IS_BUSY, TALKS_ON, Play, playing
from tests.integration.service import PHONE, SECRET, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

EXAMPLES = ROOT / "docs" / "examples"
CALLER = "+375290000007"
BOSS = "151"
Answering: TypeAlias = Callable[[Route], Awaitable[None]]

expect.set_options(timeout=60_000)


@dataclass
class Crm:
    """The service, a page's own server beside it, and a browser."""

    play: Play
    url: str
    app: FastAPI
    browser: Browser

    @contextlib.asynccontextmanager
    async def opened(
        self, path: str = "/", *, instead: Mapping[str, Answering] = MappingProxyType({})
    ) -> AsyncIterator[Page]:
        """Open a page as somebody of his own; `instead` answers requests in the server's place."""
        context = await self.browser.new_context(base_url=self.url)
        page = await context.new_page()
        for asked, answer in instead.items():
            await page.route(f"**/calls-api{asked}", answer)
        page.set_default_timeout(60_000)
        try:
            await page.goto(path)
            yield page
        finally:
            await context.close()


@pytest.fixture(scope="module")
async def running(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Crm]:
    """One of each for all tests here."""
    folder, port = tmp_path_factory.mktemp("crm"), free_port()
    url = f"http://localhost:{port}"
    async with contextlib.AsyncExitStack() as stack:
        play = await stack.enter_async_context(playing(postgres, folder, CORS_ORIGINS=url))
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("CALLS_URL", play.url)
            monkeypatch.setenv("CALLS_SECRET", SECRET)
            spec = importlib.util.spec_from_file_location("crm", EXAMPLES / "crm.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, "crm", module)
            spec.loader.exec_module(module)
        server = uvicorn.Server(uvicorn.Config(module.app, port=port, log_config=None))
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        playwright = await stack.enter_async_context(async_playwright())
        # As root there is no sandbox; it opens our own pages alone.
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        yield Crm(play, url, module.app, browser)
        await browser.close()
        server.should_exit = True
        await task


@pytest.fixture
async def crm(running: Crm) -> Crm:
    """The same, with an empty database and a PBX that has rung nobody."""
    await running.play.anew()
    return running


async def test_a_click_calls_and_the_page_follows(crm: Crm) -> None:
    """Impatient clicks ring once; the secret never comes to the page, events come from the API."""
    seen: list[str] = []
    async with crm.opened() as page:
        page.on("response", lambda answer: seen.append(answer.url))
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        button = page.locator(f'[data-phone="{IS_BUSY}"]')
        await button.dblclick()
        await expect(page.locator("#told")).to_contain_text("busy")
        await expect(button).to_have_attribute("data-phase", "ended")
        await expect(button).to_be_enabled()
        assert SECRET not in await page.content()
        await until(lambda: bool(sockets))
    assert sockets[0].startswith(crm.play.url.replace("http", "ws") + "/api/events?ticket=")
    assert not any(SECRET in url for url in (*seen, *sockets))
    assert crm.play.pbx.invites[IS_BUSY] == 1
    (row,) = crm.play.postgres.execute("SELECT actor FROM callapi.audit WHERE actor IS NOT NULL")
    assert row == {"actor": "Julia"}


async def test_a_supervisor_listens_and_an_agent_may_not(crm: Crm) -> None:
    """The talk that the agent began has three buttons on the supervisor's page, none on his own."""
    async with crm.opened() as agents, crm.opened("/?user=boss") as bosss:
        await agents.locator(f'[data-phone="{TALKS_ON}"]').click()
        talk = bosss.locator("#calls tr").filter(has_text="разговор").filter(has_text=TALKS_ON)
        for text in ("Слушать", "Подсказать", "Вмешаться"):
            await expect(talk.get_by_role("button", name=text)).to_be_visible()
        await talk.get_by_role("button", name="Слушать").click()
        await expect(bosss.locator("#told")).to_contain_text("подслушивание")
        await until(lambda: crm.play.pbx.invites[BOSS] == 1)
        own = agents.locator("#calls tr").filter(has_text=TALKS_ON)
        await expect(own.get_by_role("button")).to_have_text(["Завершить"])
        forbidden = await agents.evaluate(
            "async () => (await fetch('/calls-api/api/monitor?action=09&target=154')).status"
        )
        assert forbidden == 403
        await own.get_by_role("button").first.click()
        await expect(own).to_have_count(0)


async def talking(crm: Crm, *extensions: str) -> list[str]:
    """Let them talk, each with somebody; their calls."""
    async with AsyncCalls(crm.play.url, SECRET) as calls:
        placed = [await calls.create_call(one, TALKS_ON) for one in extensions]
        for one in placed:
            async for call in calls.watch(one["call_id"]):
                if call["phase"] == "talking":
                    break
    return [one["call_id"] for one in placed]


async def test_a_call_that_ends_while_the_page_begins_is_not_on_it(crm: Crm) -> None:
    """Though the list, asked for before, has it and comes after the event of its end."""
    ended, goes_on = await talking(crm, "150", AGENT)
    sent, is_over, told = asyncio.Event(), asyncio.Event(), list[bool]()

    async def late(route: Route) -> None:
        headers = {**await route.request.all_headers(), "sec-fetch-site": "same-origin"}
        answer = await route.fetch(headers=headers)  # as the browser, which would not wait
        sent.set()
        await is_over.wait()
        await route.fulfill(response=answer)

    def listen(socket: WebSocket) -> None:
        told.append(False)
        socket.on("framereceived", lambda text: told.append(ended in text and '"ended"' in text))

    async with crm.opened("about:blank", instead={"/api/calls?open=true": late}) as page:
        page.on("websocket", listen)
        await page.goto("/")
        await sent.wait()
        async with AsyncCalls(crm.play.url, SECRET) as calls:
            await calls.hang_up_call(ended)
            _ = [call async for call in calls.watch(ended)]
        await until(lambda: any(told) or not told)
        is_over.set()
        await expect(page.locator(f"#call-{goes_on}")).to_be_visible()
        await expect(page.locator(f"#call-{ended}")).to_have_count(0)
        crm.play.pbx.hang_up_all()
        await expect(page.locator("#calls tr")).to_have_count(0)


async def test_a_page_begins_anew_where_it_has_missed_something(crm: Crm) -> None:
    """Its server did not answer, then events are not kept any more: the list is read again."""
    (goes_on,) = await talking(crm, "150")
    answers: list[dict[str, Any]] = [
        {"status": 401, "json": {"detail": "Кто вы?"}},
        {"json": {"events": [], "next": 99}},
    ]

    async def begin(route: Route) -> None:
        await (route.fulfill(**answers.pop(0)) if answers else route.continue_())

    async with crm.opened(instead={"/api/events": begin}) as page:
        await expect(page.locator(f"#call-{goes_on}")).to_be_visible()
        await until(lambda: not answers)
        crm.play.pbx.hang_up_all()
        await expect(page.locator("#calls tr")).to_have_count(0)


async def test_an_incoming_call_pops_up_while_it_rings(crm: Crm) -> None:
    """On the page of whose phone rings, and on no other; answered or over, it goes away."""
    async with crm.opened() as agents, crm.opened("/?user=boss") as bosss:
        await expect(agents.locator("body")).to_have_attribute("data-watched", "yes")
        crm.play.pbx.time_scale = 20.0  # nobody answers before it is seen
        crm.play.pbx.call_in(CALLER, "153")
        crm.play.pbx.call_in(CALLER, AGENT)
        dialog = agents.get_by_role("dialog")
        await expect(dialog).to_contain_text(CALLER)
        await expect(bosss.get_by_role("dialog")).to_have_count(0)
        crm.play.pbx.hang_up_all()
        await expect(dialog).to_have_count(0)


async def test_the_specifications_javascript_works_to_the_letter(crm: Crm) -> None:
    """On a page of another origin, which CORS_ORIGINS names; only the host is another.

    It has the secret in the page, as it was written: for a page that nobody else can open.
    """
    text = (EXAMPLES / "specification.js").read_text("utf-8")
    text = text.replace("https://<HOST>", crm.play.url)
    page_text = f"<script>const CLIENT_SECRET = {json.dumps(SECRET)};\n{text}</script>"

    async def specification() -> HTMLResponse:
        return HTMLResponse(page_text)

    crm.app.get("/specification")(specification)
    told: list[str] = []
    async with crm.opened("/specification") as page:
        page.on("console", lambda line: told.append(line.text))
        await page.evaluate(f"initiateCall('150', '{PHONE}')")
        await page.evaluate("monitorCall('09', '150', '151')")
        await page.evaluate("initiateCall('99x', '1')")
    assert told[0] == f"Звонок инициирован: Call initiated successfully: 150 -> {PHONE}"
    assert told[1] == "Мониторинг запущен: подслушивание для номера 150"
    assert told[-1].startswith("Ошибка: ")
    await until(lambda: crm.play.pbx.invites[PHONE] == 1)

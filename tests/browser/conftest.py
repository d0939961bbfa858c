"""A browser at the panel of a service that was started as an operator starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread
from playwright.async_api import Browser, Page, async_playwright, expect

from demo.postgres import free_port
from demo.standin import StandIn
from tests.integration.conftest import postgres
from tests.integration.installed import install
from tests.integration.service import SSH_PASSWORD, environment, seed
from tests.postgres import Postgres
from tests.running.test_script import Script

__all__ = ["postgres"]

TOKEN = "panel-4a1f9c0d77be"
# What a page must not show of a database that means harm.
HOSTILE = "<script>document.title='taken'</script>"
# Phones ring for long enough that it is seen, by a browser that has little of a processor too.
_TIME_SCALE = 5.0


@dataclass
class Site:
    """A running service with a panel, and the browser."""

    script: Script
    browser: Browser
    postgres: Postgres
    pbx: StandIn
    shots: Path | None

    @contextlib.asynccontextmanager
    async def opened(
        self, *, width: int = 1280, scheme: str = "light", language: str = "ru", js: bool = True
    ) -> AsyncIterator[Page]:
        """Open a page of the browser's, of which no error may be told."""
        context = await self.browser.new_context(
            base_url=f"http://127.0.0.1:{self.script.port}",
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=language,
            java_script_enabled=js,
            reduced_motion="reduce",
        )
        page = await context.new_page()
        page.set_default_timeout(60_000)
        told: list[str] = []
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda line: told.append(line.text) if line.type == "error" else None)
        try:
            yield page
        finally:
            await context.close()
        # A log-in page is answered by 401, and a restart cuts what was asked just then.
        harmless = ("Failed to load resource", "ERR_")
        assert [line for line in told if not any(word in line for word in harmless)] == []

    async def log_in(self, page: Page) -> None:
        """Log in, by the keyboard alone."""
        await page.goto("/admin")
        await expect(page.locator("#token")).to_be_focused()
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("nav")

    async def look(self, page: Page, name: str) -> None:
        """Make sure that nothing is wider than the screen; keep a picture, if SHOTS names where."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(wide) <= 0, f"{name} is wider than the screen"
        if self.shots:
            await page.screenshot(path=self.shots / f"{name}.png", full_page=True)


def chromium() -> str:
    """Find the browser."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is missing: apt-get install chromium")
    return program


@pytest.fixture(scope="module")
async def running(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A service, its PBX, and a browser; all of it is ended."""
    program = chromium()
    folder = tmp_path_factory.mktemp("panel")
    install(folder)
    port = free_port()
    shots = Path(os.environ["SHOTS"]) if "SHOTS" in os.environ else None
    async with contextlib.AsyncExitStack() as stack:
        pbx = await stack.enter_async_context(
            StandIn(password=SSH_PASSWORD, time_scale=_TIME_SCALE)
        )
        own = environment(postgres, pbx.port, str(folder / "service.log"))
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        more = {"SERVICE_PORT": str(port), "ADMIN_TOKEN": TOKEN, "SERVICE_WORKERS": "2"}
        script = Script(folder, port, inherited | own | more)
        stack.push_async_callback(to_thread.run_sync, script, "stop")
        status, said = await to_thread.run_sync(script, "start")
        assert status == 0, said
        playwright = await stack.enter_async_context(async_playwright())
        # As root there is no sandbox; it opens our own pages alone.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        yield Site(script, browser, postgres, pbx, shots)


@pytest.fixture
async def site(running: Site) -> Site:
    """The same for each test, with one enterprise and no call in its database."""
    seed(running.postgres)
    running.pbx.password = SSH_PASSWORD
    return running

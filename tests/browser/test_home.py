"""The first page and its place to play: in a real browser, of a real enterprise and a sandbox."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from anyio import to_thread
from playwright.async_api import expect

from demo.numbers import AGENTS, CUSTOMERS
from tests.browser.conftest import Site
from tests.integration.service import SECRET

pytestmark = pytest.mark.anyio

expect.set_options(timeout=60_000)
PLAYS = "secret-of-0001-dd"


@contextlib.asynccontextmanager
async def sandbox(site: Site, number: str) -> AsyncIterator[None]:
    """Have an enterprise with a sandbox, where somebody calls in all the time.

    Each has a host of its own: one that was away just now is not tried again at once.
    """
    site.postgres.seed_enterprise(number, "try", f"127.0.0.{int(number)}", PLAYS)
    more = ("--incoming", "4")
    status, said = await to_thread.run_sync(site.script, "sandbox", number, "start", *more)
    assert status == 0, said
    try:
        yield
    finally:
        await to_thread.run_sync(site.script, "sandbox", number, "remove")


@pytest.mark.parametrize(
    ("width", "scheme", "language"), [(1280, "light", "en"), (390, "dark", "ru")]
)
async def test_a_call_is_played_before_ones_eyes(
    site: Site, width: int, scheme: str, language: str
) -> None:
    """Its phases, a supervisor who listens, the end; and somebody calls in meanwhile."""
    is_russian = language == "ru"
    async with (
        sandbox(site, "0031" if is_russian else "0032"),
        site.opened(width=width, scheme=scheme, language=language) as page,
    ):
        await page.goto(f"/#{PLAYS}")
        assert PLAYS not in page.url
        await expect(page.locator("#told")).to_have_class("good")
        await page.get_by_label("150", exact=True).check()
        await page.get_by_label(CUSTOMERS[4].number).check()
        await page.locator("#call").click()
        call = page.locator("#calls li").filter(has_text=f"150 → {CUSTOMERS[4].number}")
        await expect(call.locator(".phase")).to_have_text("разговор" if is_russian else "they talk")
        await expect(page.locator("#answer")).to_contain_text('"sandbox": true')
        await call.get_by_role("button", name="Слушать" if is_russian else "Listen").click()
        listener = page.locator("#calls li").filter(has_text="151 → 150")
        answered = "сотрудник ответил" if is_russian else "the agent has answered"
        await expect(listener.locator(".phase")).to_have_text(answered)
        await expect(page.locator("#calls li.incoming").first).to_be_visible()
        await site.look(page, f"{width}-{scheme}-home")
        hang_up = "Положить трубку" if is_russian else "Hang up"
        await call.get_by_role("button", name=hang_up).click()
        await expect(call.locator(".phase")).to_have_text(re.compile("answered"))
        rows = page.locator("#order tbody tr")
        does = [n.does_ru if is_russian else n.does for n in (*AGENTS, *CUSTOMERS)]
        await expect(rows.locator("td:nth-child(2)")).to_have_text(does)


async def test_a_real_enterprise_s_secret_calls_nobody(site: Site) -> None:
    """The page finds out by the service's word, and asks for no call; nor does a wrong secret."""
    async with site.opened(language="en") as page:
        for secret, said in ((SECRET, "a real enterprise's"), ("nobody-s", "No enterprise")):
            await page.goto("/")
            await page.locator("#secret").fill(secret)
            await page.get_by_role("button", name="Play").click()
            await expect(page.locator("#told")).to_contain_text(said)
            await expect(page.locator("#call")).to_be_disabled()
    assert site.postgres.execute("SELECT call_id FROM callapi.calls") == []

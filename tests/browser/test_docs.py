"""The page that shows the API: in a real browser, from the service's own files."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.conftest import Site
from tests.integration.installed import ROOT
from tests.integration.service import PHONE, SECRET

pytestmark = pytest.mark.anyio

expect.set_options(timeout=60_000)


async def authorize(page: Page, secret: str) -> None:
    """Give the secret once, as whoever reads the page does."""
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    bearer = dialog.locator(".auth-container").filter(has_text="Bearer (http, Bearer)")
    await bearer.locator("input").fill(secret)
    await bearer.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close").last.click()


async def test_a_call_is_placed_from_the_page(site: Site) -> None:
    """With the secret that was given by Authorize; without it the answer is the API's own 401."""
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    async with site.opened() as page:
        page.on("request", note)
        await page.goto("/docs")
        operation = page.locator("#operations-calls-create_call")
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        body = operation.locator("textarea.body-param__text")
        await body.fill(f'{{"from": "150", "to": "{PHONE}"}}')
        execute = operation.get_by_role("button", name="Execute")
        told = operation.locator(".live-responses-table")
        await execute.click()
        await expect(told).to_contain_text("invalid-client-id")
        await authorize(page, SECRET)
        await execute.click()
        await expect(told).to_contain_text("Call initiated successfully")
        await expect(told).to_contain_text("ratelimit-policy")
        await site.look(page, "docs")
    assert site.postgres.execute("SELECT code, phone FROM callapi.calls") == [
        {"code": "150", "phone": PHONE}
    ]
    addresses = {urlsplit(request.url).netloc for request in asked if "data:" not in request.url}
    assert addresses == {f"127.0.0.1:{site.script.port}"}
    assert [r.method for r in asked if urlsplit(r.url).path == "/api/calls"] == ["POST"] * 2


async def test_every_operation_is_shown_and_described(site: Site) -> None:
    """In the reader's order of tags; opened, it shows parameters, answers and failures' codes."""
    async with site.opened(width=390) as page:
        await page.goto("/docs")
        tags = page.locator(".opblock-tag")
        await expect(tags).to_have_text(
            [re.compile(f"^{name}") for name in ("calls", "following", "records", "service")]
        )
        paths = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))["paths"]
        await expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
        await page.locator("#operations-following-get_call .opblock-summary-control").click()
        shown = page.locator("#operations-following-get_call")
        await expect(shown).to_contain_text("seconds to wait for another phase")
        await expect(shown).to_contain_text("no-such-call")
        await expect(shown).to_contain_text("x-codes")


async def test_the_page_may_load_nothing_from_elsewhere(site: Site) -> None:
    """Nor run a script that stands in it: its policy forbids both, and it breaks it nowhere."""
    async with site.opened() as page:
        answer = await page.goto("/docs")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        # A breach would be an error of the console, of which none may be told.
        await expect(page.locator(".opblock").first).to_be_visible()

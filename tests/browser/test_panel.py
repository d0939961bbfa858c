"""The panel as people on duty use it: in a real browser, on a phone and on a wide screen."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import HOSTILE, Site
from tests.integration.followed import TALKS_ON
from tests.integration.service import LIMIT_S, PHONE, SECRET

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
PAGES = ["/admin", "/admin/hosts", "/admin/enterprises", "/admin/requests", "/admin/services"]

expect.set_options(timeout=60_000)


async def ask(site: Site, path: str, **params: str) -> dict[str, object]:
    """Ask the API, as a business system does."""
    url = f"http://127.0.0.1:{site.script.port}/api/{path}"
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        answer = await http.get(url, params=params, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
async def test_each_page_fits_the_screen(site: Site, width: int, scheme: str) -> None:
    """On a phone as on a wide screen, by day and by night, nothing is cut off at the side.

    A name that somebody has put into the database to be run is a name.
    """
    site.postgres.seed_enterprise("0400", HOSTILE, "192.0.2.10", "short")
    site.postgres.execute("UPDATE enterprises SET active = false WHERE number = '0400'")
    await ask(site, "makecallexternal", code="150", phone=PHONE)
    await ask(site, "monitor", action="09", target="150", monitor_from="151")
    async with site.opened(width=width, scheme=scheme) as page:
        name = f"{width}-{scheme}"
        await page.goto("/admin")
        await site.look(page, f"{name}-log-in")
        await site.log_in(page)
        await expect(page.locator(".phase").first).to_be_visible()
        for path in (*PAGES, "/admin/enterprise?number=0400", "/admin/enterprise?number=0367"):
            await page.goto(path)
            await site.look(page, f"{name}-{re.sub('[^a-z0-9]+', '-', path).strip('-')}")
            assert "taken" not in await page.title()
        await page.locator("#open-services").click()
        await expect(page.get_by_role("dialog", name="Сервисы")).to_be_visible()
        await site.look(page, f"{name}-dialog")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await page.locator("#dialling").click()
        await site.look(page, f"{name}-dialling")


async def test_a_call_moves_through_its_phases_without_a_reload(site: Site) -> None:
    """Whoever watches sees it ring, talk and end; then it is gone from the page."""
    async with site.opened() as page:
        await site.log_in(page)
        await expect(page.get_by_text("Сейчас звонков нет.")).to_be_visible()
        await page.evaluate("window.loaded = 'once'")
        told = await ask(site, "makecallexternal", code="150", phone=TALKS_ON)
        row = page.locator(f"#call-{told['call_id']}")
        # Which of both rings by the first look is a matter of the machine's load.
        await expect(row.locator(".phase")).to_have_text(
            re.compile("звонит у (сотрудника|клиента)")
        )
        await expect(row.locator(".phase")).to_have_text("разговор")
        await row.get_by_role("link", name="Положить трубку").click()
        dialog = page.get_by_role("dialog", name="Завершить этот звонок?")
        await expect(dialog).to_contain_text(f"150 → {TALKS_ON}")
        # The page below goes on moving, and the dialog stays.
        seconds = await row.locator("td").nth(4).inner_text()
        await expect(row.locator("td").nth(4)).not_to_have_text(seconds)
        await expect(dialog).to_be_visible()
        assert await page.evaluate("window.loaded") == "once"
        await dialog.get_by_role("button", name="Положить трубку").click()
        await expect(page.get_by_role("status")).to_have_text("Звонок завершён.")
        await expect(row.locator(".phase")).to_have_text("завершён")
        await expect(row).to_be_hidden()


async def test_dialling_is_stopped_and_a_mistake_is_shown(site: Site) -> None:
    """Another number than the enterprise's is told as an error; the right one stops its calls."""
    async with site.opened(width=390) as page:
        await site.log_in(page)
        await page.goto("/admin/enterprises")
        await page.get_by_role("link", name="0367").click()
        for typed, is_right in (("0368", False), ("0367", True)):
            await page.locator("#dialling").click()
            await expect(page.get_by_label("Введите номер предприятия: 0367")).to_be_focused()
            await page.keyboard.type(typed)
            await page.keyboard.press("Enter")
            if not is_right:
                alert = page.get_by_role("alert")
                await expect(alert).to_have_text("Номер введён не тот: ничего не изменено.")
                await site.look(page, "390-error")
                await page.go_back()
        await expect(page.get_by_role("status")).to_have_text("Звонки остановлены.")
        url = f"http://127.0.0.1:{site.script.port}/api/makecallexternal"
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            answer = await http.get(url, params={"code": "150", "phone": PHONE}, headers=HEADERS)
        assert answer.json()["code"] == "dialling-stopped"


async def test_the_service_is_restarted_before_ones_eyes(site: Site) -> None:
    """The dialog tells that it restarts and that it is back; nobody is logged out."""
    async with site.opened() as page:
        await site.log_in(page)
        await page.locator("#open-services").click()
        dialog = page.get_by_role("dialog", name="Сервисы")
        await expect(dialog).to_contain_text("Звонки можно размещать")
        before = await dialog.locator("#pid").inner_text()
        await dialog.locator("#restart").click()
        sure = page.get_by_role("dialog", name="Перезапустить сервис?")
        await sure.get_by_role("button", name="Перезапустить").click()
        status = page.get_by_role("status")
        await expect(status).not_to_contain_text("Перезапускается")
        await expect(status, site.script.console()).to_contain_text("Перезапущен: отвечает PID")
        await expect(page.locator("#pid")).not_to_have_text(before)
        await site.look(page, "1280-restarted")
        await page.goto("/admin")
        await expect(page.get_by_text("Сейчас звонков нет.")).to_be_visible()


async def test_a_check_is_told_line_by_line(site: Site) -> None:
    """Each finding as it is found; what cannot be is told with its remedy."""
    async with site.opened(width=390) as page:
        await site.log_in(page)
        await page.goto("/admin/hosts")
        await page.get_by_role("button", name="Проверить").click()
        lines = page.locator(".lines")
        await expect(lines).to_contain_text("✅ вход: АТС нас впускает")
        await expect(lines).to_contain_text("Проверка окончена.")
        await site.look(page, "390-check")
        site.pbx.password = "another-0a1b2c3d"
        await page.get_by_role("button", name="Проверить").click()
        await expect(lines).to_contain_text("❌ вход: АТС не принимает наш логин, пароль или ключ")
        await expect(lines).to_contain_text("Проверка окончена.")


async def test_what_is_held_is_not_taken_away(site: Site) -> None:
    """A check or a click that begins while the page fetches itself anew is not lost by that."""
    fetched, may_come = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        if "x-fragment" in route.request.headers:
            fetched.set()
            await may_come.wait()
        await route.continue_()

    async def let_come() -> None:
        async with page.expect_event("requestfinished", lambda made: made.url.endswith("/hosts")):
            may_come.set()
        await page.evaluate("() => new Promise((done) => setTimeout(done))")  # it is shown now
        may_come.clear()
        fetched.clear()

    async with site.opened() as page:
        await site.log_in(page)
        await page.route("**/admin/hosts", late)
        await page.goto("/admin/hosts")
        await fetched.wait()
        await page.locator("#key-1").hover()
        await page.mouse.down()
        await let_come()
        await page.mouse.up()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await fetched.wait()
        await page.get_by_role("button", name="Проверить").click()
        await expect(page.locator(".lines li").first).to_be_visible()
        await let_come()
        await expect(page.locator(".lines")).to_contain_text("Проверка окончена.")


@pytest.mark.parametrize(
    ("language", "width", "scheme"), [("ru", 1280, "light"), ("en", 390, "dark")]
)
async def test_whichever_process_answers_the_same_is_known(
    site: Site, language: str, width: int, scheme: str
) -> None:
    """Of two workers one has asked the PBX; the page tells of it, and moves by itself.

    What a check has found stays there. A PBX that is away has its remedy, and an enterprise that
    sends its secret in the URL is named.
    """
    away = SECRET[::-1]
    site.postgres.seed_enterprise("0401", "away", "127.0.0.2", away)
    url = f"http://127.0.0.1:{site.script.port}/api/makecallexternal"
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        for secret in (SECRET, away):
            params = {"code": "150", "phone": PHONE, "clientId": secret}
            await http.get(url, params=params)
    is_russian = language == "ru"
    async with site.opened(width=width, scheme=scheme, language=language) as page:
        await site.log_in(page)
        await page.goto("/admin/hosts")
        cards = page.locator("section.card")
        up, down = cards.nth(0), cards.nth(1)
        await expect(up).to_contain_text("Доступна с" if is_russian else "Reachable since")
        await expect(up).to_contain_text("самый быстрый" if is_russian else "the quickest")
        await expect(up).to_contain_text("16.28.0")
        await expect(down).to_contain_text("Недоступна с" if is_russian else "Away since")
        remedy = "запустите sshd на 127.0.0.2" if is_russian else "start sshd on 127.0.0.2"
        await expect(down).to_contain_text(remedy)
        await up.get_by_role("button", name="Проверить" if is_russian else "Check").click()
        end = "Проверка окончена." if is_russian else "The check is over."
        await expect(up.locator(".lines")).to_contain_text(end)
        await site.look(page, f"{width}-{scheme}-{language}-known")
        async with page.expect_response(lambda answer: answer.url.endswith("/admin/hosts")):
            await page.reload()
        await expect(up.locator(".lines li")).to_have_count(0)
        await page.goto("/admin/enterprise?number=0367")
        in_url = "шлют в URL" if is_russian else "sent in the URL"
        await expect(page.locator(".lights")).to_contain_text(in_url)
        await site.look(page, f"{width}-{scheme}-{language}-noticed")
        await page.goto("/admin/enterprise?number=0376")
        nearest = "Ближайшие: 0367" if is_russian else "The nearest are 0367"
        await expect(page.get_by_role("alert")).to_contain_text(nearest)
        await site.look(page, f"{width}-{scheme}-{language}-nearest")


async def test_without_the_script_all_of_it_works(site: Site) -> None:
    """Each link and button leads to a page of its own."""
    async with site.opened(js=False, language="en") as page:
        await site.log_in(page)
        await page.get_by_role("link", name="Services").click()
        await expect(page.get_by_text("Calls can be placed")).to_be_visible()
        await page.goto("/admin/enterprise?number=0367")
        await page.get_by_role("link", name="Stop dialling").click()
        await page.get_by_label("Type the enterprise's number").fill("0367")
        await page.get_by_role("button", name="Stop dialling").click()
        await expect(page.get_by_role("status")).to_have_text("Dialling was stopped.")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_whoever_is_logged_out_elsewhere_sees_the_log_in_page(site: Site) -> None:
    """A page that moves does not show for hours what was when its session ended."""
    async with site.opened() as page:
        await site.log_in(page)
        await page.context.clear_cookies()
        await expect(page.get_by_label("Токен")).to_be_visible()

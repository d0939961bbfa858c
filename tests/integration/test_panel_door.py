"""The panel's way in: off without a token, and nothing of it for who is not logged in."""

from __future__ import annotations

import httpx
import pytest

from shared.panel.door import HEADERS
from shared.panel.sessions import COOKIE
from tests.integration.panel import ORIGIN, TOKEN, Visitor, browser, log_in, visit
from tests.integration.service import SECRET, Service, Services

pytestmark = pytest.mark.anyio

PAGES = ("", "/hosts", "/enterprises", "/requests", "/audit", "/services", "/restart")
QUERIES = ("/enterprise?number=0367", "/dialling?number=0367", "/key?host=127.0.0.1")
CHANGES = (
    *("/do/restart", "/do/hang-up", "/do/stop-dialling", "/do/let-dial", "/do/add-key"),
    *("/do/end-key", "/do/accept-key", "/check", "/log-out"),
)


def rules(service: Service) -> list[dict[str, object]]:
    """What operators have said of enterprises."""
    return service.postgres.execute("SELECT * FROM callapi.enterprise_rules ORDER BY 1")


async def test_without_a_token_there_is_no_panel(service: Service) -> None:
    """Each of its paths answers as one that nobody has ever heard of."""
    unknown = await service.http.get("/nowhere")
    for path in ("/admin", "/admin/log-in", "/admin/static/panel.js", "/admin/do/restart"):
        for method in ("GET", "POST", "HEAD"):
            answer = await service.http.request(method, path)
            assert answer.status_code == 404
            assert "content-security-policy" not in answer.headers
        assert (await service.http.get(path)).json()["code"] == unknown.json()["code"]


async def test_the_api_goes_on_beside_the_panel(panel: Service) -> None:
    """A panel changes no answer of the API, nor what it says of itself."""
    assert (await panel.http.get("/health")).status_code == 200
    described = (await panel.http.get("/openapi.json")).json()
    assert not [path for path in described["paths"] if path.startswith("/admin")]
    assert "content-security-policy" not in (await panel.http.get("/health")).headers


@pytest.mark.parametrize("path", [*PAGES, *QUERIES])
async def test_page_without_a_log_in_is_the_log_in_page(http: httpx.AsyncClient, path: str) -> None:
    """It asks for the token, and tells nothing of enterprises, hosts or calls."""
    answer = await http.get(f"/admin{path}")
    assert answer.status_code == 401
    assert 'action="/admin/log-in"' in answer.text
    for told in ("june", "127.0.0.1", "8018", SECRET, TOKEN):
        assert told not in answer.text


@pytest.mark.parametrize("path", CHANGES)
async def test_change_without_a_log_in_is_the_log_in_page(
    panel: Service, http: httpx.AsyncClient, path: str
) -> None:
    """Whoever knows no token changes nothing, whatever he sends."""
    form = {"number": "0367", "typed": "0367", "csrf": "x", "name": "crm"}
    answer = await http.post(f"/admin{path}", data=form, headers={"Origin": ORIGIN})
    assert answer.status_code == 401
    assert 'action="/admin/log-in"' in answer.text
    assert rules(panel) == []
    assert panel.postgres.execute("SELECT * FROM callapi.keys ORDER BY 1") == []


@pytest.mark.parametrize("path", [*PAGES, *QUERIES])
async def test_page_is_there_for_who_is_logged_in(visitor: Visitor, path: str) -> None:
    """Each page, in both languages, whole or as the part that the script asks for."""
    for language, title in (("en", "Log out"), ("ru", "Выйти")):
        visitor.http.headers["Accept-Language"] = language
        text = await visitor.see(path)
        assert title in text
        assert text.startswith("<!doctype html>")
        part = await visitor.http.get(f"/admin{path}", headers={"X-Fragment": "1"})
        assert "<html" not in part.text
        assert part.text.strip()
        assert part.text.strip().split("\n", 1)[0] in text


async def test_cookie_is_the_browsers_alone(http: httpx.AsyncClient) -> None:
    """No script reads it, no other site sends it, and it goes to the panel for 8 hours only."""
    answer = await log_in(http)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    flags = {flag.strip().lower() for flag in rest.split(";")[1:]}
    assert name == COOKIE
    assert {"httponly", "samesite=strict", "path=/admin", "max-age=28800"} <= flags
    assert "secure" not in flags
    assert TOKEN not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://service"},
        {"X-Forwarded-Proto": "https"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},  # a browser's, by https
    ],
)
async def test_cookie_of_https_is_sent_by_https_alone(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """Whether the browser says so, or the proxy before us."""
    answer = await log_in(http, **headers)
    assert answer.status_code == 303
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_cookie_works_on_this_machine_without_tls(http: httpx.AsyncClient) -> None:
    """A browser trusts the way to localhost, and says so; no cookie there needs https."""
    for host in ("127.0.0.1:8018", "localhost", "[::1]:8018"):
        headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Host": host}
        answer = await log_in(http, **headers)
        assert answer.status_code == 303
        assert "secure" not in answer.headers["set-cookie"].lower()


async def test_wrong_token_opens_nothing_and_is_told_once(start: Services) -> None:
    """It is refused, and the log says from where, in Russian, but not which it was."""
    panel = await start(ADMIN_TOKEN=TOKEN, RATE_LIMIT_ADDRESS="30/3600")
    async with browser(panel) as http:
        for wrong in ("wrong-token-0123456789", "", TOKEN[:-1], f"{TOKEN}x", "токен" * 5, "\udcff"):
            answer = await http.post(
                "/admin/log-in",
                content=b"token=%ff" if wrong == "\udcff" else None,
                data=None if wrong == "\udcff" else {"token": wrong},
                headers={"Origin": ORIGIN},
            )
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert "Wrong token" in answer.text
    lines = [line for line in panel.log().splitlines() if "ADMIN_TOKEN" in line]
    assert len(lines) == 1
    assert "❌ Неверный ADMIN_TOKEN с адреса 192.0.2.7" in lines[0]
    assert "wrong-token" not in panel.log()
    assert TOKEN not in panel.log()


async def test_wrong_tokens_are_limited_by_address(start: Services) -> None:
    """Beyond RATE_LIMIT_ADDRESS an address is told to wait, another one is not.

    The count is the database's, which all processes share; the right token goes on opening.
    """
    panel = await start(ADMIN_TOKEN=TOKEN, RATE_LIMIT_ADDRESS="3/60")
    async with browser(panel) as http, browser(panel, "192.0.2.8") as other:
        wrong = [(await log_in(http, "wrong-token-0123456789")).status_code for _ in range(3)]
        assert wrong == [401, 401, 401]
        refused = await log_in(http, "wrong-token-0123456789")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        assert [row["key"] for row in panel.tokens()] == ["a:192.0.2.7"]
        assert (await log_in(other, "wrong-token-0123456789")).status_code == 401
        assert (await log_in(http)).status_code == 303


async def test_another_process_accepts_the_session(
    start: Services, http: httpx.AsyncClient
) -> None:
    """It is signed, not stored: a second worker, or one after a restart, knows it at once."""
    visitor = await visit(http)
    cookie = {COOKIE: http.cookies[COOKIE]}
    csrf = await visitor.csrf()
    later = await start(ADMIN_TOKEN=TOKEN)
    async with browser(later) as second:
        second.cookies.update(cookie)
        assert (await second.get("/admin")).status_code == 200
        assert await Visitor(second).csrf() == csrf


async def test_another_token_ends_all_sessions(start: Services, http: httpx.AsyncClient) -> None:
    """Whoever changes ADMIN_TOKEN logs everybody out."""
    await visit(http)
    cookie = {COOKIE: http.cookies[COOKIE]}
    later = await start(ADMIN_TOKEN=f"{TOKEN}-2")
    async with browser(later) as second:
        second.cookies.update(cookie)
        assert (await second.get("/admin")).status_code == 401


async def test_log_out_ends_the_browsers_session(visitor: Visitor) -> None:
    """The cookie is gone, and the next page is the log-in page."""
    answer = await visitor.send("/log-out")
    assert answer.status_code == 303
    assert 'asterisk_panel=""' in answer.headers["set-cookie"]
    assert (await visitor.http.get("/admin")).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://service.evil.example"},
        {"Origin": "http://["},  # of which urllib says that it is no URL
        {"Origin": "http://service]", "Sec-Fetch-Site": "same-origin"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_form_of_another_page_changes_nothing(
    panel: Service, visitor: Visitor, headers: dict[str, str]
) -> None:
    """Without an origin, or with another, even the right CSRF token and cookie do not help."""
    form = {"csrf": await visitor.csrf(), "number": "0367", "typed": "0367"}
    answer = await visitor.http.post("/admin/do/stop-dialling", data=form, headers=headers)
    assert answer.status_code == 403
    assert "did not come from a page of the panel" in answer.text
    assert rules(panel) == []
    assert (await visitor.http.post("/admin/log-in", data={"token": TOKEN})).status_code == 403


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "токен"])
async def test_form_of_another_session_changes_nothing(
    panel: Service, visitor: Visitor, csrf: str | None
) -> None:
    """A form without this session's own CSRF token is refused, by another's as well."""
    form = {"number": "0367", "typed": "0367"} | ({} if csrf is None else {"csrf": csrf})
    answer = await visitor.http.post(
        "/admin/do/stop-dialling", data=form, headers={"Origin": ORIGIN}
    )
    assert answer.status_code == 403
    assert rules(panel) == []
    async with browser(panel) as another:
        form["csrf"] = await (await visit(another)).csrf()
    answer = await visitor.http.post(
        "/admin/do/stop-dialling", data=form, headers={"Origin": ORIGIN}
    )
    assert answer.status_code == 403
    assert rules(panel) == []


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_reading_changes_anything(
    panel: Service, visitor: Visitor, method: str, path: str
) -> None:
    """What changes is a POST: no link, image or prefetch does."""
    query = {"number": "0367", "typed": "0367", "csrf": await visitor.csrf(), "name": "crm"}
    answer = await visitor.http.request(method, f"/admin{path}", params=query)
    assert answer.status_code == 405
    assert rules(panel) == []
    assert panel.postgres.execute("SELECT * FROM callapi.keys ORDER BY 1") == []


async def test_every_answer_has_the_headers(visitor: Visitor) -> None:
    """Pages, files, refusals and what does not exist: no foreign script, no frame, no cache."""
    http = visitor.http
    answers = [
        *[await http.get(f"/admin{path}") for path in (*PAGES, *QUERIES)],
        *[await http.get(f"/admin/static/{name}") for name in ("panel.js", "panel.css", "x.js")],
        *[
            await http.get("/admin/nowhere"),
            await http.put("/admin"),
            await http.post("/admin/check"),
        ],
        await http.get("/admin/enterprise"),
        await http.get("/admin?q=" + "x" * 9_000),
        await http.get("/admin/requests", headers={"Origin": "https://evil.example"}),
        await http.post("/admin/do/nothing", content=b"x" * 20_000, headers={"Origin": ORIGIN}),
        await http.head("/admin"),
        await visitor.send("/do/nothing"),
        await visitor.send("/log-out"),
        await http.get("/admin"),
    ]
    assert {answer.status_code for answer in answers} >= {200, 303, 401, 403, 404, 405, 413, 414}
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value], (answer.url, name)


async def test_pages_need_nothing_that_the_policy_forbids(visitor: Visitor) -> None:
    """No page has a script or style of its own, an event attribute or anything from elsewhere."""
    for path in (*PAGES, *QUERIES):
        text = (await visitor.see(path)).lower()
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick" not in text
        assert text.count("<script") == text.count('<script src="/admin/static/panel.js"')
        assert "http://" not in text
        assert "https://" not in text

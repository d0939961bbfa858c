"""What the panel shows and changes, between a real PostgreSQL and a stand-in PBX."""

from __future__ import annotations

import html
import re

import asyncssh
import pytest

from demo.postgres import free_port
from shared.operate.hostkeys import fingerprint
from shared.panel import checking
from shared.settings import VERSION
from shared.telemetry import LOG
from tests.integration.followed import TALKS_ON
from tests.integration.panel import TOKEN, Visitor, browser, log_in, visit
from tests.integration.service import PHONE, SECRET, Service, Services, make_pbx, until
from tests.postgres import PASSWORD

pytestmark = pytest.mark.anyio

MARKUP = """<script>alert('x')</script>"><img src=x onerror=y>"""
PAGES = ("", "/hosts", "/enterprises", "/requests", "/audit", "/services")


def keys(service: Service) -> list[dict[str, object]]:
    """The further secrets."""
    return service.postgres.execute("SELECT * FROM callapi.keys ORDER BY created_at")


async def test_names_of_the_database_are_text(panel: Service, visitor: Visitor) -> None:
    """A name, a number, an address or a call's own fields that hold markup run nothing."""
    panel.postgres.seed_enterprise("<b>'\"&", MARKUP, "<i>host</i>", SECRET[::-1])
    panel.postgres.execute(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, phase, state)"
        " VALUES (gen_random_uuid(), :number, '<i>', 'call', '<u>1', '<u>2', 'talking', 'unknown')",
        number="<b>'\"&",
    )
    LOG.info("🏁 <script>alert('log')</script> \x1b[31m \u202e")
    number = "/enterprise?number=%3Cb%3E%27%22%26"
    texts = [await visitor.see(path) for path in (*PAGES, number, "/requests?q=%3Cscript%3E")]
    for text in texts:
        assert "<script>" not in text
        assert not re.search(r"<(b>'|i>|u>|img)", text)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert html.escape(MARKUP, quote=False).split("'")[0] in texts[2]
    assert "WHERE number = &#39;&lt;b&gt;&#39;&#39;&#34;&amp;&#39;;" in texts[len(PAGES)]
    assert "&lt;script&gt;alert(&#39;log&#39;)" in texts[3]


async def test_no_secret_is_on_any_page(start: Services) -> None:
    """Neither the enterprises', nor the token, nor what logs in to hosts and the database."""
    panel = await start(ADMIN_TOKEN=TOKEN)
    await panel.call()
    async with browser(panel) as http:
        visitor = await visit(http)
        for path in (*PAGES, "/enterprise?number=0367", "/key?host=127.0.0.1", "/requests?q=a"):
            text = await visitor.see(path)
            for secret in (SECRET, TOKEN, PASSWORD, "pbx-3f9c51d2"):
                assert secret not in text


async def test_dialling_is_stopped_by_whoever_types_the_number(
    panel: Service, visitor: Visitor
) -> None:
    """Another number changes nothing; the right one refuses calls until it is let go again."""
    for typed in ("", "0368", "0367 x", "367"):
        answer = await visitor.send("/do/stop-dialling", number="0367", typed=typed)
        assert answer.status_code == 422
        assert "nothing was changed" in answer.text
        assert (await panel.call()).status_code == 200
    done = await visitor.send("/do/stop-dialling", number="0367", typed="0367")
    assert done.headers["location"] == "/admin/enterprise?number=0367&done=dialling_stopped"
    assert (await panel.call(phone="+375290000002")).json()["code"] == "dialling-stopped"
    page = await visitor.see("/enterprise?number=0367&done=dialling_stopped")
    assert "Dialling was stopped." in page
    assert "Let it dial again" in page
    await visitor.send("/do/let-dial", number="0367", typed="0367")
    assert (await panel.call(phone="+375290000002")).status_code == 200
    assert "🛠️ Панель: остановка звонков предприятия 0367 (сеанс " in panel.log()
    assert "⚠️ Панель: не остановка звонков предприятия 0367 (сеанс " in panel.log()


async def test_an_enterprise_that_is_not_there_is_no_enterprise(visitor: Visitor) -> None:
    """A number that nobody has, or that cannot be one, is said so and never a defect."""
    for number in ("9999", "", "\x00", "x" * 5_000):
        for path in ("/enterprise", "/dialling", "/end-key"):
            query = {"number": number, "key": "crm"}
            answer = await visitor.http.get(f"/admin{path}", params=query)
            assert answer.status_code == 404
        for action in ("stop-dialling", "add-key", "end-key"):
            answer = await visitor.send(f"/do/{action}", number=number, typed=number, key="crm")
            assert answer.status_code in {404, 409, 422}
    assert (await visitor.http.get("/admin/key", params={"host": "192.0.2.1"})).status_code == 404
    assert (await visitor.send("/do/accept-key", host="192.0.2.1")).status_code == 404
    assert (await visitor.send("/do/nothing")).status_code == 404


async def test_a_new_secret_is_shown_once_and_holds_until_it_is_ended(
    panel: Service, visitor: Visitor
) -> None:
    """The answer has it, no later page does; it opens the API, and once ended it does not."""
    answer = await visitor.send("/do/add-key", number="0367", name="crm", until="2099-12-31")
    assert answer.status_code == 200
    match = re.search(r'<code class="secret">([\w-]{43})</code>', answer.text)
    assert match
    secret = match[1]
    page = await visitor.see("/enterprise?number=0367")
    assert secret not in page
    assert "crm" in page
    assert "2100-01-01 00:00:00 UTC" in page
    assert secret not in panel.log()
    assert (await panel.call(secret=secret)).status_code == 200
    again = await visitor.send("/do/add-key", number="0367", name="crm")
    assert (again.status_code, len(keys(panel))) == (409, 1)
    assert "has a secret of the name crm already" in again.text
    done = await visitor.send("/do/end-key", number="0367", key="crm")
    assert done.status_code == 303
    assert (await panel.call(secret=secret)).status_code == 401
    assert (await panel.call()).status_code == 200
    assert "ended" in await visitor.see("/enterprise?number=0367")


@pytest.mark.parametrize(
    ("name", "until"), [("a b", ""), ("enterprises", ""), ("crm", "soon"), ("crm", "2020-01-01")]
)
async def test_a_secret_that_cannot_be_is_not_made(
    panel: Service, visitor: Visitor, name: str, until: str
) -> None:
    """As the command line refuses it, in one sentence."""
    answer = await visitor.send("/do/add-key", number="0367", name=name, until=until)
    assert answer.status_code in {409, 422}
    assert keys(panel) == []


async def test_weaknesses_are_told(panel: Service, visitor: Visitor) -> None:
    """A short secret, and one that two enterprises have."""
    panel.postgres.seed_enterprise("0400", "twin", "192.0.2.10", "short")
    panel.postgres.seed_enterprise("0401", "twin", "192.0.2.11", "short")
    page = await visitor.see("/enterprise?number=0400")
    assert "2 active enterprises have it" in page
    assert "UPDATE public.enterprises SET secret = replace(gen_random_uuid()" in page
    before = panel.postgres.execute("SELECT * FROM enterprises ORDER BY number")
    printed = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert len(printed) == 3
    assert before == panel.postgres.execute("SELECT * FROM enterprises ORDER BY number")
    for statement in printed:  # each is one that PostgreSQL takes
        panel.postgres.execute(html.unescape(statement))
    (row,) = panel.postgres.execute("SELECT * FROM enterprises WHERE number = '0400'")
    assert (row["ip"], row["active"], len(row["secret"])) == ("192.0.2.10", False, 64)


async def test_calls_of_all_enterprises_are_shown(panel: Service, visitor: Visitor) -> None:
    """Each with its phase, beside them who listens to whom; the script fetches the same."""
    panel.postgres.seed_enterprise("0400", "other", "127.0.0.1", SECRET[::-1])
    call = (await panel.call()).json()
    await panel.call(phone="+375290000002", secret=SECRET[::-1])
    panel.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions) VALUES ('0367', '{150,151}')"
    )
    assert (await panel.monitor()).status_code == 200
    part = await visitor.http.get("/admin", headers={"X-Fragment": "1"})
    for text in (await visitor.see(""), part.text):
        assert f'id="call-{call["call_id"]}"' in text
        assert text.count('class="phase accepted"') == 3
        assert text.count("listens</td>") == 1
        assert "0400 other" in text
    panel.postgres.execute(
        "UPDATE callapi.calls SET phase = 'talking' WHERE phone = :phone", phone=PHONE
    )
    assert 'class="phase talking"' in await visitor.see("")
    panel.postgres.execute("UPDATE callapi.calls SET phase = 'ended', ended_at = clock_timestamp()")
    assert "There is no call now." in await visitor.see("")


async def test_a_call_is_hung_up_once(panel: Service, visitor: Visitor) -> None:
    """Whichever enterprise's it is; one that is over, or nobody's, cannot be."""
    call_id = (await panel.call(phone=TALKS_ON)).json()["call_id"]
    await panel.rung("150")
    page = await visitor.see(f"/call?call_id={call_id}")
    assert "End this call?" in page
    assert not [command for command in panel.pbx.commands if "hangup" in command]
    done = await visitor.send("/do/hang-up", call_id=call_id)
    assert done.status_code == 303, done.text
    assert done.headers["location"] == "/admin?done=hung_up"
    await until(lambda: any("hangup" in command for command in panel.pbx.commands))
    assert panel.row(call_id)["cancelled_at"]
    panel.postgres.execute("UPDATE callapi.calls SET phase = 'ended', ended_at = clock_timestamp()")
    (note,) = panel.postgres.execute(
        "SELECT done_by, outcome FROM callapi.audit WHERE action = 'hang-up'"
    )
    assert note == {"done_by": "panel", "outcome": "executed"}
    assert (await visitor.send("/do/hang-up", call_id=call_id)).status_code == 409
    for unknown in ("", "x", "00000000-0000-0000-0000-000000000000", "\x00"):
        assert (await visitor.send("/do/hang-up", call_id=unknown)).status_code == 404
        answer = await visitor.http.get("/admin/call", params={"call_id": unknown})
        assert answer.status_code == 404


async def test_a_host_is_shown_with_how_it_is_reached(panel: Service, visitor: Visitor) -> None:
    """Before its first connection, while it is connected, and once it cannot be."""
    assert "never connected to yet" in await visitor.see("/hosts")
    await panel.call()
    page = await visitor.see("/hosts")
    assert '<span class="light good">' in page
    assert "socket" in page
    assert fingerprint(panel.pbx.host_key.export_public_key().decode()) in html.unescape(page)
    panel.postgres.seed_enterprise("0500", "odd", "no address", SECRET[::-1])
    page = await visitor.see("/hosts")
    assert "ssh-connect-failed" in page
    assert "Correct enterprises.ip or SSH_PORT" in page


async def test_a_changed_key_is_accepted_after_a_look_at_both(start: Services) -> None:
    """It says why the host is refused; who confirms another fingerprint accepts nothing."""
    before = await start(ADMIN_TOKEN=TOKEN)
    await before.call("151")
    await start.end()
    pbx = await start.stack.enter_async_context(make_pbx(port=before.pbx.port))
    panel = await start.on(pbx, ADMIN_TOKEN=TOKEN, PBX_RETRY_S=1e-9)
    old, new = (
        fingerprint(key.export_public_key().decode()) for key in (before.pbx.host_key, pbx.host_key)
    )
    assert (await panel.call()).json()["code"] == "ssh-host-key-changed"
    async with browser(panel) as http:
        visitor = await visit(http)
        page = html.unescape(await visitor.see("/key?host=127.0.0.1"))
        assert old in page
        assert new in page
        wrong = await visitor.send("/do/accept-key", host="127.0.0.1", fingerprint=old)
        assert wrong.status_code == 409
        assert (await panel.call()).json()["code"] == "ssh-host-key-changed"
        await visitor.send("/do/accept-key", host="127.0.0.1", fingerprint=new)
        assert (await panel.call()).status_code == 200
        assert "The key is the same" in await visitor.see("/key?host=127.0.0.1")
    assert "🛠️ Панель: новый ключ АТС 127.0.0.1 (сеанс " in panel.log()


async def test_a_key_of_another_kind_can_be_accepted(start: Services) -> None:
    """A PBX that was re-installed may have no key of the pinned one's kind."""
    before = await start(ADMIN_TOKEN=TOKEN)
    await before.call("151")
    await start.end()
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    pbx = await start.stack.enter_async_context(make_pbx(port=before.pbx.port, host_key=key))
    panel = await start.on(pbx, ADMIN_TOKEN=TOKEN, PBX_RETRY_S=1e-9)
    async with browser(panel) as http:
        new = fingerprint(key.export_public_key().decode())
        answer = await (await visit(http)).send("/do/accept-key", host="127.0.0.1", fingerprint=new)
        assert answer.status_code == 303, answer.text
    answer = await panel.call()
    assert answer.status_code == 200, answer.text


async def test_a_sandbox_s_key_is_accepted_for_its_own_port(start: Services) -> None:
    """It is on no SSH_PORT; a key that is pinned there would change nothing."""
    old = await start.stack.enter_async_context(make_pbx(password=None, is_open=True))
    before = await start.on(old, ADMIN_TOKEN=TOKEN)
    before.postgres.execute(
        "INSERT INTO callapi.sandboxes (enterprise, host, port)"
        " VALUES ('0367', '127.0.0.1', :port)",
        port=old.port,
    )
    assert (await before.call("151")).status_code == 200
    await start.end()
    new = make_pbx(port=old.port, password=None, is_open=True)
    pbx = await start.stack.enter_async_context(new)
    panel = await start.on(pbx, ADMIN_TOKEN=TOKEN, PBX_RETRY_S=1e-9, SSH_PORT=free_port())
    assert (await panel.call()).json()["code"] == "ssh-host-key-changed"
    async with browser(panel) as http:
        visitor = await visit(http)
        shown = fingerprint(pbx.host_key.export_public_key().decode())
        await visitor.send("/do/accept-key", host="127.0.0.1", fingerprint=shown)
        assert "The key is the same" in await visitor.see("/key?host=127.0.0.1")
    assert (await panel.call()).status_code == 200


async def test_check_tells_line_by_line(panel: Service, visitor: Visitor) -> None:
    """Each finding is a line of text; nobody is rung."""
    answer = await visitor.send("/check", number="0367")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert "✅ log-in: the PBX lets us in" in lines
    assert any(line.startswith("✅ console: ") for line in lines)
    assert lines[-1] == "The check is over."
    assert panel.originates() == []
    assert (
        "❌ enterprise: there is no number 9999"
        in (await visitor.send("/check", number="9999")).text
    )


async def test_a_russian_page_is_russian(panel: Service, visitor: Visitor) -> None:
    """The findings of a check, an enterprise's weaknesses, and who is meant by a wrong number."""
    visitor.http.headers["Accept-Language"] = "ru"
    panel.postgres.seed_enterprise("0400", "short", "192.0.2.10", "short")
    lines = (await visitor.send("/check", number="0367")).text.splitlines()
    assert "✅ вход: АТС нас впускает" in lines
    assert lines[-1] == "Проверка окончена."
    english = [line for line in lines if re.fullmatch("[^а-яё]+", line, re.IGNORECASE)]
    assert english == []
    page = await visitor.see("/enterprise?number=0400")
    assert "<b>секрет</b>: символов: 5: его можно подобрать" in page
    assert "секрет" in await visitor.see("/enterprises")
    answer = await visitor.http.get("/admin/enterprise", params={"number": "0366"})
    assert answer.status_code == 404
    assert "Предприятия 0366 нет. Ближайшие: 0367, 0400" in answer.text


@pytest.mark.parametrize("path", ["/enterprise", "/dialling", "/end-key"])
async def test_a_wrong_number_is_refused_with_the_nearest(
    panel: Service, visitor: Visitor, path: str
) -> None:
    """A typing error is told as the commands tell it."""
    panel.postgres.seed_enterprise("0400", "other", "192.0.2.10", SECRET[::-1])
    answer = await visitor.http.get(f"/admin{path}", params={"number": "0376", "key": "crm"})
    assert answer.status_code == 404
    assert "There is no enterprise 0376. The nearest are 0367, 0400" in answer.text


async def test_a_check_has_an_end(
    panel: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that says nothing is given up; meanwhile so many checks run and no more."""
    monkeypatch.setattr(checking, "LIMIT_S", 0.0)
    assert "Given up" in (await visitor.send("/check", number="0367")).text
    places = checking.the_places()
    async with places, places:
        busy = await visitor.send("/check", number="0367")
        assert busy.status_code == 409
        assert "Other checks are under way" in busy.text
    assert (await visitor.send("/check", number="0367")).status_code == 200
    assert not places.locked()


async def test_requests_are_found(panel: Service, visitor: Visitor) -> None:
    """By the request's id, the call's, a phone or an enterprise's number."""
    answer = await panel.call()
    await panel.http.get("/api/calls", headers={"X-Request-Id": "mine-1"})
    call_id, request_id = answer.json()["call_id"], answer.headers["x-request-id"]
    assert "mine-1" in await visitor.see("/requests")
    for wanted in (call_id, request_id, PHONE, "375296254070"):
        page = (await visitor.http.get("/admin/requests", params={"q": wanted})).text
        assert "makecallexternal" in page
        assert "mine-1" not in page
    page = (await visitor.http.get("/admin/requests", params={"q": "0367"})).text
    assert "mine-1" in page
    assert "Nothing was found" in await visitor.see("/requests?q=nobody")


async def test_what_the_panel_changes_is_in_its_audit(panel: Service, visitor: Visitor) -> None:
    """With the session and its address; what clients do, too, found by whom or by the call."""
    answer = await panel.http.get(
        "/api/makecallexternal",
        params={"code": "150", "phone": PHONE},
        headers={"X-Actor": "<b>Maria</b>"},
    )
    call_id = answer.json()["call_id"]
    await visitor.send("/do/stop-dialling", number="0367", typed="0367")
    await visitor.send("/do/add-key", number="0367", name="crm")
    rows = panel.postgres.execute(
        "SELECT action, done_by, actor, address FROM callapi.audit ORDER BY id"
    )
    assert [(row["action"], row["done_by"]) for row in rows] == [
        ("call", "client"),
        ("rules", "panel"),
        ("keys", "panel"),
    ]
    assert {row["address"] for row in rows[1:]} == {"192.0.2.7"}
    assert all(row["actor"].startswith("session ") for row in rows[1:])
    page = await visitor.see("/audit")
    assert "rules --dialling off" in page
    assert "&lt;b&gt;Maria&lt;/b&gt;" in page
    for wanted in (call_id, PHONE, "<b>Maria</b>"):
        found = (await visitor.http.get("/admin/audit", params={"q": wanted})).text
        assert call_id in found
        assert "--dialling off" not in found
    assert "Nothing was found" in await visitor.see("/audit?q=nobody")


async def test_services_tell_of_the_process(panel: Service, visitor: Visitor) -> None:
    """The port, that calls can be placed, and this process; it was started by hand."""
    page = await visitor.see("/services")
    for told in ("Port", "8018", "Calls can be placed", VERSION, "MiB", "cannot be restarted"):
        assert told in page
    answer = await visitor.send("/do/restart")
    assert answer.status_code == 409
    assert "not started by ./asterisk.sh or systemd" in answer.text


async def test_without_the_database_the_panel_says_so(start: Services) -> None:
    """The token opens it all the same, and Services tell what is wrong; no page is a defect."""
    panel = await start(ADMIN_TOKEN=TOKEN, POSTGRES_PORT=1)
    async with browser(panel) as http:
        visitor = await visit(http)
        page = await visitor.see("/services")
        wrong = await log_in(http, "wrong-token-0123456789")  # which cannot be counted
        assert wrong.status_code == 503
        assert "set-cookie" not in wrong.headers
        assert "Calls cannot be placed" in page
        assert "127.0.0.1:1/" in page
        for path in ("", "/hosts", "/enterprises", "/enterprise?number=0367"):
            answer = await http.get(f"/admin{path}")
            assert answer.status_code == 503
            assert "The database is unavailable" in answer.text
        # A session without a page whose form it could read: its csrf is on Services.
        match = re.search(r'name="csrf" value="(\w+)"', page)
        assert match
        form = {"csrf": match[1], "number": "0367", "typed": "0367"}
        headers = {"Origin": "http://service"}
        answer = await http.post("/admin/do/stop-dialling", data=form, headers=headers)
        assert answer.status_code == 503
    assert "Traceback" not in panel.log()

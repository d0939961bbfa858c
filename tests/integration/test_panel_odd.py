"""What operators type into the panel, and what an enterprise's number may be made of."""

from __future__ import annotations

import html
import re

import pytest

from shared.panel.live import _CALLS
from tests.integration.operating import Operate
from tests.integration.panel import Visitor
from tests.integration.service import PHONE, Service
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

ODD = ("\t77", "77\u00a0", "7\u200b7", "77\r", "7\x1b7", "7'\"<7")


@pytest.mark.parametrize("number", ODD)
async def test_dialling_is_stopped_whatever_the_number_is_made_of(
    panel: Service, visitor: Visitor, number: str
) -> None:
    """By its links and forms alone, typing what the page shows."""
    panel.postgres.seed_enterprise(number, "odd", "192.0.2.9", "z" * 32)
    links = re.findall(
        r'href="/admin(/enterprise[?]number=[^"]*)"', await visitor.see("/enterprises")
    )
    (link,) = (link for link in links if "0367" not in link)
    page = await visitor.see(html.unescape(link))
    (asks,) = re.findall(r'href="/admin(/dialling[?][^"]*)"', page)
    page = await visitor.see(html.unescape(asks))
    (hidden,) = re.findall(r'name="number" value="([^"]*)"', page)
    (typed,) = re.findall(r'<label for="typed">[^<]*: ([^<]*)</label>', page)
    form = {"number": html.unescape(hidden), "typed": html.unescape(typed)}
    assert (await visitor.send("/do/stop-dialling", **form)).status_code == 303
    rules = panel.postgres.execute("SELECT enterprise, dialling FROM callapi.enterprise_rules")
    assert rules == [{"enterprise": number, "dialling": False}]


@pytest.mark.parametrize("number", ODD)
def test_a_command_takes_the_number_as_it_stands(
    postgres: Postgres, operate: Operate, number: str
) -> None:
    """Spaces around it are left out, as every request reads it; nothing else is."""
    postgres.seed_enterprise(number, "odd", "192.0.2.9", "z" * 32)
    assert operate("rules", f" {number} ", "--dialling", "off")[0] == 0
    assert operate("keys", f" {number} ", "add", "--name", "crm")[0] == 0
    assert operate("webhooks", f" {number} ")[0] == 0
    _, said, _ = operate("audit", f" {number} ")
    assert len(said.splitlines()) == 2


NOTHING = "There is no such thing"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/audit?q=a%00", NOTHING),
        ("/key?host=%00", NOTHING),
        ("/enterprise?number=%00", "There is no enterprise"),
    ],
)
async def test_what_no_database_can_hold_is_not_there(
    visitor: Visitor, path: str, said: str
) -> None:
    """A page says so; it is no defect of the service."""
    answer = await visitor.http.get(f"/admin{path}")
    assert answer.status_code == 404
    assert said in answer.text


ACTOR = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"


@pytest.mark.parametrize("wanted", ["150", "4217", ACTOR, "whom"])
async def test_a_deed_is_found_by_whatever_its_word_is(
    panel: Service, visitor: Visitor, wanted: str
) -> None:
    """The extension that rang first, and a user whose name in his own system is an id."""
    for phone, actor in ((PHONE, "4217"), ("+375290000002", ACTOR)):
        query = {"code": "150", "phone": phone}
        headers = {"X-Actor": actor}
        answer = await panel.http.get("/api/makecallexternal", params=query, headers=headers)
        assert answer.status_code == 200
    page = await visitor.see(f"/audit?q={PHONE.lstrip('+') if wanted == 'whom' else wanted}")
    found = [actor for actor in ("4217", ACTOR) if f"client: {actor}" in page]
    right = {"150": ["4217", ACTOR], "4217": ["4217"], ACTOR: [ACTOR], "whom": []}
    assert found == right[wanted]


async def test_the_live_calls_are_found_by_indexes(panel: Service) -> None:
    """Each open page asks each second: no table of many years is read through."""
    panel.postgres.execute(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, ended_at)"
        " SELECT gen_random_uuid(), n % 50 || '', '192.0.2.' || n % 199, 'call', '150', '+3752',"
        " CASE WHEN n % 100 > 0 THEN clock_timestamp() END FROM generate_series(1, 30000) n"
    )
    panel.postgres.execute("ANALYZE callapi.calls")
    query = _CALLS.replace(":ended_s", "12").replace(":most", "200")
    lines = panel.postgres.execute(f"EXPLAIN {query}")
    plan = "\n".join(str(line["QUERY PLAN"]) for line in lines)
    assert "Seq Scan on calls" not in plan, plan

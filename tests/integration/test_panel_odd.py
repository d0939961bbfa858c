"""What operators type into the panel, and what an enterprise's number may be made of."""

from __future__ import annotations

import pytest

from shared.panel.live import _CALLS
from tests.integration.panel import Visitor
from tests.integration.service import PHONE, Service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/audit?q=a%00", "/key?host=%00", "/enterprise?number=%00"])
async def test_what_no_database_can_hold_is_not_there(visitor: Visitor, path: str) -> None:
    """A page says so; it is no defect of the service."""
    answer = await visitor.http.get(f"/admin{path}")
    assert answer.status_code == 404
    assert "There is no such thing" in answer.text


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

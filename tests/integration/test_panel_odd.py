"""What operators type into the panel, and what an enterprise's number may be made of."""

from __future__ import annotations

import pytest

from shared.panel.live import _CALLS
from tests.integration.panel import Visitor
from tests.integration.service import Service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/audit?q=a%00", "/key?host=%00", "/enterprise?number=%00"])
async def test_what_no_database_can_hold_is_not_there(visitor: Visitor, path: str) -> None:
    """A page says so; it is no defect of the service."""
    answer = await visitor.http.get(f"/admin{path}")
    assert answer.status_code == 404
    assert "There is no such thing" in answer.text


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

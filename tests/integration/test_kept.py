"""What a stand-in keeps, of which a sandbox that runs for months must not have ever more."""

from __future__ import annotations

import pytest

from demo.pbx import kept
from demo.standin import StandIn
from tests.integration.service import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    monkeypatch.setattr(kept, "MOST_BYTES", 500)


async def test_the_latest_commands_are_kept() -> None:
    """In their order; what is refused likewise."""
    async with StandIn() as pbx:
        for number in range(100):
            await pbx.run(f"nonsense {number}")
            assert len(pbx.commands) <= 6
        assert pbx.commands == pbx.refused
        assert pbx.commands[-3:] == [f"nonsense {number}" for number in (97, 98, 99)]


async def test_calls_leave_as_much_behind_as_is_kept() -> None:
    """Of whom was called, and of the file of records, which begins with a whole row."""
    async with StandIn(time_scale=0.0001) as pbx:
        for number in range(20):
            phone = f"+3752900001{number:02}"
            await pbx.run(
                f"channel originate LOCAL/150@inoffice application Dial LOCAL/{phone}@inoffice"
            )
            await until(lambda: not pbx.channels)
            assert len(pbx.invites) <= 6
            assert len(pbx.cdr) <= 500
        rows = pbx.cdr.splitlines()
        assert rows
        assert all(row.startswith('"",') and row.endswith('"') for row in rows), rows

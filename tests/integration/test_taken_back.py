"""An attempt that was certainly not sent leaves a call as it was, whatever others did meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID, uuid4

import pytest

from shared.auth.admission import admit_transfer
from shared.store.audit import Doer
from shared.store.calls import Call, get_call
from shared.store.control import cancel, cancel_not, settle_transfer, transfer_not
from shared.store.database import Database
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

ENTERPRISE = "0367"
HOST = "192.0.2.10"
DOER = Doer("client")
BEGIN = datetime(2026, 11, 26, 10, 0, 0, 250_001, tzinfo=UTC)
RATES = dict.fromkeys(("rate_limit_extension", "rate_limit_enterprise"), "100000/1")
Outcome: TypeAlias = Literal["executed", "unknown", "not sent"]
# By the extension that they lead to: each begins a second after the one before.
TARGETS = ("151", "152", "153")


def moment(target: str) -> datetime:
    """When a transfer began."""
    return BEGIN + timedelta(seconds=TARGETS.index(target))


class Row:
    """One call that is under way, on a real PostgreSQL."""

    def __init__(self, database: Database, postgres: Postgres) -> None:
        self.database = database
        self.postgres = postgres
        self.call_id = UUID(int=0)

    async def begin(self) -> None:
        """Make it anew."""
        self.call_id = uuid4()
        await self.database.run(
            "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase)"
            " VALUES (:id, :enterprise, :host, 'call', '150', '+375291234567', 'executed',"
            " 'talking')",
            id=self.call_id,
            enterprise=ENTERPRISE,
            host=HOST,
        )

    async def read(self) -> Call:
        """Read it as the API does."""
        return await get_call(self.database, ENTERPRISE, self.call_id)

    async def claim(self, target: str) -> bool:
        """Begin a transfer; whether it may be sent."""
        admitted = await admit_transfer(
            self.database,
            self.postgres.settings(**RATES),
            enterprise=ENTERPRISE,
            host=HOST,
            call_id=self.call_id,
            target=target,
            at=moment(target),
            doer=DOER,
        )
        return not admitted.repeated

    async def settle(self, target: str, outcome: Outcome) -> None:
        """Say what became of a transfer."""
        which = (self.database, self.call_id, target, moment(target))
        if outcome == "not sent":
            await transfer_not(*which)
        else:
            await settle_transfer(*which, state=outcome, hold_s=10)


@pytest.fixture
def row(database: Database, postgres: Postgres) -> Row:
    """A call's row; nobody has its PBX."""
    postgres.seed_enterprise(ENTERPRISE, "june", HOST, "june-secret-51c2")
    return Row(database, postgres)


def interleaved(steps: int) -> Iterator[tuple[str, ...]]:
    """Yield every order in which transfers begin one after the other, and are settled then."""
    for order in sorted(set(itertools.permutations(TARGETS[:steps] * 2))):
        begun = [name for at, name in enumerate(order) if name not in order[:at]]
        if begun == list(TARGETS[:steps]):
            yield order


@pytest.mark.parametrize("order", tuple(interleaved(3)), ids=" ".join)
async def test_a_call_is_handed_over_to_the_newest_that_was_not_taken_back(
    row: Row, order: tuple[str, ...]
) -> None:
    """In any order of three transfers and of what becomes of them."""
    each: tuple[Outcome, ...] = ("executed", "not sent")
    for outcomes in itertools.product(each, repeat=3):
        await row.begin()
        became = dict(zip(TARGETS, outcomes, strict=True))
        begun = set[str]()
        for target in order:
            if target in begun:
                await row.settle(target, became[target])
                await row.settle(target, became[target])  # its first reply was lost
            else:
                begun.add(target)
                assert await row.claim(target)
        left = [target for target in TARGETS if became[target] != "not sent"]
        call = await row.read()
        newest = left[-1] if left else None
        assert call.transferred_to == newest, outcomes
        assert call.transferred_at == (moment(newest) if newest else None), outcomes
        assert call.transfer_state == (became[newest] if newest else None), outcomes


async def test_what_is_kept_does_not_grow(row: Row) -> None:
    """Of a customer who is handed on all day nothing but the one before is kept."""
    await row.begin()
    kept = set[int]()
    for _ in range(3):
        for target in TARGETS:
            assert await row.claim(target)
            row.postgres.execute("UPDATE callapi.calls SET transfer_until = clock_timestamp()")
            (told,) = row.postgres.execute(
                "SELECT coalesce(jsonb_array_length(transfer_before), 0) AS n FROM callapi.calls"
            )
            kept.add(told["n"])
            await row.settle(target, "executed")
    assert kept == {0, 1}


async def test_a_transfer_whose_admission_was_not_heard_is_admitted_again(row: Row) -> None:
    """Also where another one has taken its place meanwhile: its right to be sent once holds."""
    await row.begin()
    assert await row.claim("151")
    assert await row.claim("152")
    assert await row.claim("151")
    assert (await row.read()).transferred_to == "152"
    await row.settle("152", "not sent")
    assert (await row.read()).transferred_to == "151"


async def test_an_end_is_nobodys_wish_once_every_hang_up_was_taken_back(row: Row) -> None:
    """Of two requests at once each takes back its own alone, in any order."""
    first, second = BEGIN, BEGIN + timedelta(seconds=1)
    for not_sent in ((first,), (second,), (first, second), (second, first), ()):
        await row.begin()
        for at in (first, second, first):  # the first one's reply was lost
            await cancel(row.database, row.call_id, at, DOER)
        for at in not_sent:
            await cancel_not(row.database, row.call_id, at)
        left = {first, second} - set(not_sent)
        assert (await row.read()).cancelled_at == min(left, default=None), not_sent


async def test_a_call_keeps_a_few_hang_ups_alone(row: Row) -> None:
    """However often somebody asks for its end."""
    await row.begin()
    for n in range(25):
        await cancel(row.database, row.call_id, BEGIN + timedelta(seconds=n), DOER)
    (kept,) = row.postgres.execute("SELECT cardinality(hang_ups) AS n FROM callapi.calls")
    assert kept == {"n": 20}
    for n in range(1, 25):
        await cancel_not(row.database, row.call_id, BEGIN + timedelta(seconds=n))
    assert (await row.read()).cancelled_at == BEGIN


# What the release before sends, which knows nothing of what is taken back
TRANSFER_NOT_BEFORE = """
UPDATE callapi.calls
   SET transferred_to = NULL, transferred_at = NULL, transfer_state = NULL, transfer_until = NULL
 WHERE call_id = :call_id AND transferred_to = :target AND transferred_at = :now
"""
SETTLE_TRANSFER_BEFORE = """
UPDATE callapi.calls
   SET transfer_state = :state,
       transfer_until = clock_timestamp() + make_interval(secs => :hold_s)
 WHERE call_id = :call_id AND transferred_to = :target AND transferred_at = :now
"""
CANCEL_BEFORE = """
UPDATE callapi.calls SET cancelled_at = coalesce(cancelled_at, :now)
 WHERE call_id = :call_id AND ended_at IS NULL
"""
CANCEL_NOT_BEFORE = """
UPDATE callapi.calls SET cancelled_at = NULL
 WHERE call_id = :call_id AND cancelled_at = :now AND ended_at IS NULL
"""


@pytest.mark.parametrize("settles", [True, False])
async def test_the_release_before_hands_over_beside_this_one(row: Row, *, settles: bool) -> None:
    """What it settles or takes back by its own statements is never fallen back behind."""
    await row.begin()
    assert await row.claim("151")
    await row.settle("151", "executed")
    assert await row.claim("152")
    which = {"call_id": row.call_id, "target": "152", "now": moment("152")}
    if settles:
        await row.database.run(SETTLE_TRANSFER_BEFORE, **which, state="executed", hold_s=10.0)
    else:
        await row.database.run(TRANSFER_NOT_BEFORE, **which)
    assert await row.claim("153")
    await row.settle("153", "not sent")
    call = await row.read()
    assert (call.transferred_to, call.transfer_state) == (
        ("152", "executed") if settles else (None, None)
    )


async def test_the_release_before_hangs_up_beside_this_one(row: Row) -> None:
    """Its wish stays when this one's is taken back, and the other way round."""
    first, second = BEGIN, BEGIN + timedelta(seconds=1)
    await row.begin()
    await row.database.run(CANCEL_BEFORE, call_id=row.call_id, now=first)
    await cancel(row.database, row.call_id, second, DOER)
    await cancel_not(row.database, row.call_id, second)
    assert (await row.read()).cancelled_at == first
    await row.begin()
    await cancel(row.database, row.call_id, first, DOER)
    await row.database.run(CANCEL_BEFORE, call_id=row.call_id, now=second)
    await row.database.run(CANCEL_NOT_BEFORE, call_id=row.call_id, now=second)
    assert (await row.read()).cancelled_at == first

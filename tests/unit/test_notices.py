"""What is counted of enterprises until it is told: so much, and no more than there is room for."""

from __future__ import annotations

import pytest

from shared import notices
from shared.notices import Notice, Notices


def test_each_is_counted_and_taken_once() -> None:
    """With how long ago it was first and last."""
    now = 100.0
    counted = Notices(clock=lambda: now)
    counted.note("0367", "reads")
    now += 4
    counted.note("0367", "reads")
    counted.note("0400", "reads")
    now += 1
    assert counted.take() == (Notice("0367", "reads", 2, 5, 1), Notice("0400", "reads", 1, 1, 1))
    assert counted.take() == ()


def test_what_could_not_be_told_is_added_to_what_came_since() -> None:
    """Nothing is lost while the database is away, and the times stay true."""
    now = 100.0
    counted = Notices(clock=lambda: now)
    counted.note("0367", "reads")
    now += 5
    untold = counted.take()
    counted.note("0367", "reads")
    counted.put_back(untold)
    now += 5
    assert counted.take() == (Notice("0367", "reads", 2, 10, 5),)


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are known go on counting; another one has to wait until they are told."""
    monkeypatch.setattr(notices, "_MOST", 2)
    counted = Notices()
    for enterprise in ("1", "2", "3", "1"):
        counted.note(enterprise, "reads")
    assert [(one.enterprise, one.times) for one in counted.take()] == [("1", 2), ("2", 1)]

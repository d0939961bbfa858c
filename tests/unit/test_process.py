"""What exists once a process: made once, let go of in the reverse order, made anew."""

from __future__ import annotations

import pytest

from shared.process import (
    Once,
    at_the_end,
    begin_to_end,
    closed_by,
    forget_all,
    let_go_of_all,
    once,
)

pytestmark = pytest.mark.anyio


class World:
    """Things that note when they are made and let go of."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def thing(self, name: str, *parts: Once[str]) -> Once[str]:
        """Declare one that is made of others; the last letter of its name says how it is closed."""

        def make() -> str:
            for part in parts:
                part()
            self.seen.append(f"+{name}")
            return name

        async def close(it: str) -> None:
            self.seen.append(f"-{it}")

        def close_at_once(it: str) -> None:
            self.seen.append(f"-{it}")

        return closed_by(close if name.endswith("s") else close_at_once)(make)


async def test_a_thing_is_made_once() -> None:
    """The first call makes it, every other returns the same."""
    made: list[object] = []
    thing = once(lambda: made.append(object()) or made[-1])  # type: ignore[func-returns-value] # append's None
    assert not thing.exists()
    assert thing() is thing()
    assert (len(made), thing.exists()) == (1, True)


async def test_the_last_one_made_goes_first() -> None:
    """It may use those before it until then: of whatever kind the closing is."""
    world = World()
    database = world.thing("database")
    hosts = world.thing("hosts", database)
    trackers = world.thing("trackers", hosts, database)
    trackers()
    await let_go_of_all()
    expected = ["+database", "+hosts", "+trackers", "-trackers", "-hosts", "-database"]
    assert world.seen == expected


async def test_what_was_let_go_of_is_made_anew() -> None:
    """After a snapshot, or by the next test; what nobody asks for again is not."""
    world = World()
    database, hosts = world.thing("database"), world.thing("hosts")
    database()
    hosts()
    await let_go_of_all()
    assert not database.exists()
    assert database() == "database"
    assert world.seen[-1] == "+database"
    assert not hosts.exists()


async def test_one_that_fails_to_close_keeps_no_other_open() -> None:
    """All are closed; then the failure is told."""
    world = World()
    database = world.thing("database")

    def fail(_it: str) -> None:
        raise OSError("still busy")

    closed_by(fail)(database)()
    with pytest.raises(ExceptionGroup, match="not everything") as caught:
        await let_go_of_all()
    assert world.seen == ["+database", "-database"]
    assert [str(error) for error in caught.value.exceptions] == ["still busy"]


async def test_forgetting_closes_nothing() -> None:
    """A test has closed its own, or there was nothing open."""
    world = World()
    database = world.thing("database")
    database()
    forget_all()
    await let_go_of_all()
    assert world.seen == ["+database"]


async def test_whatever_waits_ends_with_the_process() -> None:
    """Also what a request under way makes only then: it would wait for good."""
    ended: list[str] = []
    at_the_end(lambda: ended.append("before"))
    assert ended == []
    begin_to_end()
    at_the_end(lambda: ended.append("after"))
    assert ended == ["before", "after"]
    await let_go_of_all()
    at_the_end(lambda: ended.append("of the next process"))
    assert ended == ["before", "after"]
    forget_all()

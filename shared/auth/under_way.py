"""How much of one kind an enterprise, or one host, may have under way at once, in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, LimitExceeded, PbxBusy
from shared.process import once
from shared.settings import on_lambda, the_settings
from shared.store.database import the_database
from shared.store.waits import give_back_wait, take_wait
from shared.turns import Turns

_RETRY_AFTER_S = 1.0
# There an environment that waits serves nobody else, and is paid for.
_LONGEST_WAIT_ON_LAMBDA_S = 5.0
# How long after a request's deadline its execution is not there any more.
_KILLED_AFTER_S = 3.0


def granted_wait_s(asked_s: float) -> float:
    """Tell for how long a request may wait that asks to wait for so long, in seconds."""
    return min(asked_s, _LONGEST_WAIT_ON_LAMBDA_S) if on_lambda() else asked_s


@asynccontextmanager
async def execution_to_wait(enterprise: str) -> AsyncGenerator[bool]:
    """Tell whether a request of an enterprise may wait within the block.

    On Lambda it takes an execution, of which an enterprise may have WAITS_IN_ALL wait, and all
    enterprises WAITS_TOGETHER, counted in the database; a place whose execution dies is free by the
    time that would have been killed.
    Where the database does not say so none may; elsewhere than on Lambda each may, which keeps
    nobody from being served.
    """
    if not on_lambda():
        yield True
        return
    settings, database, holder = the_settings(), the_database().reads, uuid4()
    lease_s = settings.request_timeout_s + _KILLED_AFTER_S
    may_wait = False
    with suppress(DatabaseUnavailable):
        may_wait = await take_wait(
            database,
            enterprise,
            holder,
            most=settings.waits_in_all,
            together=settings.waits_together,
            lease_s=lease_s,
        )
    try:
        yield may_wait
    finally:
        if may_wait:
            with suppress(DatabaseUnavailable):  # it ends by itself
                await give_back_wait(database, enterprise, holder)


class Holder(Protocol):
    """Whose places they are: an enterprise, by its number and its PBX."""

    @property
    def number(self) -> str:
        """The enterprise's."""

    @property
    def host(self) -> str:
        """Its PBX."""


class _Places:
    """A limit of its own for each of some names."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Whoever holds or awaits a place keeps it alive.
        self._places: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    async def take(self, name: str, deadline: Deadline) -> Turns:
        """Take a place, to be given back to what this returns. Raises TimeoutError."""
        places = self._places.get(name)
        if places is None:  # made only then: thousands of listeners would hold one each
            places = Turns(self._most, most_reads=self._most, kept_for_calls=0)
            self._places[name] = places
        await places.take("read", deadline)
        return places

    def __repr__(self) -> str:
        return repr(dict(self._places))


class UnderWay:
    """A limit of its own for each enterprise; for each host, and for all, where one is given.

    `refusal` is what an enterprise is told that is beyond it.
    """

    def __init__(
        self,
        most: int,
        refusal: str,
        *,
        most_of_host: int | None = None,
        most_in_all: int | None = None,
    ) -> None:
        self._refusal = refusal
        self._all = None if most_in_all is None else _Places(most_in_all)
        self._enterprises = _Places(most)
        self._hosts = None if most_of_host is None else _Places(most_of_host)

    @asynccontextmanager
    async def one_more(self, enterprise: Holder, wait_s: float = 0.0) -> AsyncGenerator[None]:
        """Have a place, which is free again however the block ends.

        Whoever waits for the host holds the enterprise's place, so that each of the host's
        enterprises waits for it once, and they take turns.

        Raises:
            LimitExceeded: none was free, nor within `wait_s`; or all enterprises have all.
            PbxBusy: others' enterprises have the host's.
        """
        deadline = Deadline.after(wait_s)
        taken: list[Turns] = []
        try:
            try:
                taken.append(await self._enterprises.take(enterprise.number, deadline))
            except TimeoutError:
                raise LimitExceeded(self._refusal, retry_after_s=_RETRY_AFTER_S) from None
            if self._all is not None:
                try:
                    taken.append(await self._all.take("", deadline))
                except TimeoutError:
                    raise LimitExceeded(
                        "As many requests wait for a change as may in all; ask without waiting",
                        retry_after_s=_RETRY_AFTER_S,
                    ) from None
            if self._hosts is not None:
                try:
                    taken.append(await self._hosts.take(enterprise.host, deadline))
                except TimeoutError:
                    raise PbxBusy(
                        "Other enterprises read as much of this PBX as may be at once",
                        retry_after_s=_RETRY_AFTER_S,
                    ) from None
            yield
        finally:
            for places in reversed(taken):
                places.give_back("read")

    def __repr__(self) -> str:
        return f"<UnderWay {self._enterprises!r}>"


@once
def the_histories() -> UnderWay:
    """Pages of the PBX's records: each may take megabytes, and seconds of a thread."""
    return UnderWay(
        1,
        "Another page of this enterprise's history is being read; one is at a time",
        most_of_host=2,
    )


@once
def the_waits() -> UnderWay:
    """Requests that wait for something to happen to calls.

    They have half of all connections at most: a call that comes finds one.
    """
    settings = the_settings()
    most = settings.waits_at_once
    return UnderWay(
        most,
        f"{most} requests of this enterprise wait for a change already",
        most_in_all=max(1, settings.max_connections // 2),
    )


@asynccontextmanager
async def waiting(enterprise: Holder) -> AsyncGenerator[None]:
    """Have a place to wait for a change within the block.

    Raises LimitExceeded: there is none.
    """
    async with (
        the_waits().one_more(enterprise),
        execution_to_wait(enterprise.number) as may_wait,
    ):
        if not may_wait:
            raise LimitExceeded(
                "As many requests wait already as may, of this enterprise or of all; ask without"
                " waiting",
                retry_after_s=_RETRY_AFTER_S,
            )
        yield

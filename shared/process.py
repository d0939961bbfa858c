"""What exists once a process: made when it is first asked for, let go of in the reverse order.

The handlers and asterisk.py ask for these things and hand them on; what is made of others asks for
those itself. One registry serves the end of a process, the snapshot of a Lambda environment, which
must hold nothing that is open or secret, and the tests, which begin anew.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
LetGo: TypeAlias = Callable[[T], Awaitable[None] | None]

# In the order in which they were made: each may use those before it.
_made: dict[Once[Any], Any] = {}
_at_the_end: list[Callable[[], None]] = []
_has_begun_to_end = threading.Event()
_makes_way = threading.Event()
_guard = threading.RLock()  # AWS's clients are asked for in threads


class Once(Generic[T]):
    """Something that exists once a process; call it to have it."""

    def __init__(self, make: Callable[[], T], let_go: LetGo[T] | None) -> None:
        self._make = make
        self._let_go = let_go
        self.__doc__ = make.__doc__
        self.__name__ = make.__name__

    def __call__(self) -> T:
        """Return it, made at the first call."""
        with _guard:
            if self not in _made:
                it = self._make()  # first: what it is made of stands before it
                _made[self] = it
            found: T = _made[self]
            return found

    def put(self, it: T) -> None:
        """Have this one from now on: a test's, in the place of what would be made."""
        with _guard:
            _made[self] = it

    def exists(self) -> bool:
        """Tell whether it was made."""
        return self in _made

    async def let_go(self, it: T) -> None:
        """Close what it has open."""
        done = self._let_go(it) if self._let_go is not None else None
        if inspect.isawaitable(done):
            await done


def once(make: Callable[[], T]) -> Once[T]:
    """Declare a thing by the function that makes it."""
    return Once(make, None)


def closed_by(let_go: LetGo[T]) -> Callable[[Callable[[], T]], Once[T]]:
    """Declare likewise one that opens something, and how to let go of that."""

    def declare(make: Callable[[], T]) -> Once[T]:
        return Once(make, let_go)

    return declare


def at_the_end(end: Callable[[], None]) -> None:
    """Have this done once the process begins to end: it ends what waits, and awaits nothing.

    At once, where that has begun: what is under way then may be the first to wait.
    """
    _at_the_end.append(end)
    if _has_begun_to_end.is_set():
        end()


def begin_to_end() -> None:
    """End what only waits: nothing new comes, and what is under way is finished."""
    _has_begun_to_end.set()
    for end in _at_the_end:
        end()


def has_begun_to_end() -> bool:
    """Tell whether nothing new is to be begun here."""
    return _has_begun_to_end.is_set()


def begin_to_make_way() -> None:
    """Have it known that another process serves in the place of this one, which is about to end."""
    _makes_way.set()


def makes_way() -> bool:
    """Tell whether whoever comes anew is served by another process."""
    return _makes_way.is_set()


@contextmanager
def ending_with_signals() -> Iterator[None]:
    """Begin to end with the signal that ends the server, whichever protocol that speaks HTTP by.

    uvicorn waits for every answer before it ends the app, and a stream of events has no end.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():  # it is told of no signal
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin_to_end)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


async def let_go_of_all() -> None:
    """Close everything, the last made first; whoever asks for it later gets it anew.

    Raises:
        ExceptionGroup: what could not be closed; everything else is.
    """
    failures = []
    _at_the_end.clear()
    _has_begun_to_end.clear()
    _makes_way.clear()
    while _made:
        thing, it = _made.popitem()
        try:
            await thing.let_go(it)
        except Exception as error:  # noqa: BLE001 - told once all are closed
            failures.append(error)
    if failures:
        raise ExceptionGroup("not everything could be closed", failures)


def forget_all() -> None:
    """Forget everything without closing it: the next test begins as a new process does."""
    _made.clear()
    _at_the_end.clear()
    _has_begun_to_end.clear()
    _makes_way.clear()

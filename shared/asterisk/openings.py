"""Control sockets that are open, each with its banner read: the proof that Asterisk lives.

One may be opened beside a question that another will follow, or ahead of the next call, which then
waits for nothing but its own answer. What was opened ahead proves that much of a moment some
seconds ago: who writes to it and hears nothing does not know what became of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from shared.asterisk.models import Banner
from shared.asterisk.parsers import parse_banner, text_of
from shared.deadline import Deadline
from shared.errors import NoAnswer, SocketRefused

_MAX_BANNER_BYTES = 256
# What was opened beside is wanted as soon as the question is answered.
_BESIDE_S = 3.0
_AHEAD_TIMEOUT_S = 3.0
# So long after the last question the next one is still likely enough to be made ready for.
_WANTED_S = 300.0
# Calls are looked at more often than that while any is followed.
_LOOKED_AT_S = 10.0
_SILENT = "Asterisk does not answer on its control socket"


class Stream(Protocol):
    """An open control socket."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ConnectionLost, TooMuchSent."""

    def write(self, data: bytes) -> None:
        """Send in one piece. Raises ConnectionLost, and sends nothing, if it is closed already."""

    def close(self) -> None:
        """Let go, without waiting."""


class Socket(Stream, Protocol):
    """One that may wait for its use."""

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that was not read."""


@dataclass(frozen=True, slots=True, eq=False)
class Greeted:
    """An open socket, its banner, and when that came on the openings' clock."""

    stream: Socket
    banner: Banner
    at: float


class Openings:
    """Opens the control socket of one Asterisk.

    Args:
        open_stream: opens it; what it raises, `take` raises.
        at_once: how many may wait for their banner at once; Asterisk's backlog holds two.
        ahead_s: how old a socket may be that was opened ahead; 0: none is.

    `ended` counts those that waited for their use and did not last: their Asterisk may have ended.
    """

    def __init__(
        self,
        open_stream: Callable[[Deadline], Awaitable[Socket]],
        *,
        at_once: int,
        ahead_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_stream = open_stream
        self._places = asyncio.Semaphore(at_once)
        self._ahead_s = ahead_s
        self._clock = clock
        self._ready: deque[Greeted] = deque()
        self._coming: set[asyncio.Task[Greeted]] = set()
        self._waiting: deque[asyncio.Future[Greeted | None]] = deque()
        self._timers: dict[Greeted, asyncio.TimerHandle] = {}
        self._banner: Banner | None = None
        self.ended = 0
        self._taken_at = clock()
        self._looked_at = -math.inf
        self._is_closed = False

    async def take(self, deadline: Deadline, *, is_look: bool = False) -> Greeted:
        """Take the oldest that is ready, or the next that comes, or open one; who takes it owns it.

        A look, for which nobody waits, leaves the last one to who does.

        Raises:
            NotExecuted: nothing was written.
        """
        self._taken_at = self._clock()
        if is_look:
            self._looked_at = self._taken_at
        self._drop_stale()
        if len(self._ready) > is_look:
            return self._unkept(self._ready.popleft())
        if len(self._coming) > len(self._waiting) and not is_look:
            greeted = await self._next(deadline)
            if greeted is not None:
                return greeted
        return await self._open(deadline)

    def expect(self, count: int, deadline: Deadline) -> None:
        """See to it that so many are ready or come."""
        self._drop_stale()
        missing = count - len(self._ready) - len(self._coming) + len(self._waiting)
        for _ in range(missing):
            self._begin(deadline)

    def open_ahead(self) -> None:
        """See to it that one is ready, if that is wanted, and one for a look; and no more."""
        if self._ahead_s and not self._is_closed:
            wanted = 1 + (self._clock() - self._looked_at < _LOOKED_AT_S)
            while len(self._ready) > wanted:
                self._unkept(self._ready.popleft()).stream.close()
            self.expect(wanted, Deadline.after(_AHEAD_TIMEOUT_S))

    def close(self) -> None:
        """Let go of all that nobody has taken, also of what comes yet."""
        self._is_closed = True
        while self._ready:
            self._unkept(self._ready.popleft()).stream.close()

    async def _next(self, deadline: Deadline) -> Greeted | None:
        """Wait for one that is coming; None: it does not."""
        given = asyncio.get_running_loop().create_future()
        self._waiting.append(given)
        try:
            async with deadline.enforce():
                greeted: Greeted | None = await given
        except BaseException as error:
            if given in self._waiting:
                self._waiting.remove(given)
            elif not given.cancelled() and (late := given.result()) is not None:
                self._give(late)
            if isinstance(error, TimeoutError):
                raise NoAnswer(_SILENT) from None
            raise
        return greeted

    def _begin(self, deadline: Deadline) -> None:
        # Never cancelled: SSH would open it all the same, and nobody would close it.
        opening = asyncio.ensure_future(self._open(deadline))
        self._coming.add(opening)
        opening.add_done_callback(self._came)

    def _came(self, opening: asyncio.Task[Greeted]) -> None:
        self._coming.discard(opening)
        if not opening.cancelled() and opening.exception() is None:
            self._give(opening.result())
        while len(self._waiting) > len(self._coming):  # he opens one himself, and learns why
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def _give(self, greeted: Greeted) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(greeted)
                return
        if self._is_closed:
            greeted.stream.close()
            return
        self._ready.append(greeted)
        loop = asyncio.get_running_loop()
        self._timers[greeted] = loop.call_later(self._longest_s, self._expire, greeted)

    @property
    def _longest_s(self) -> float:
        return self._ahead_s or _BESIDE_S

    def _expire(self, greeted: Greeted) -> None:
        self._drop(greeted)
        if greeted.stream.is_quiet and self._clock() - self._taken_at < _WANTED_S:
            self.open_ahead()

    def _unkept(self, greeted: Greeted) -> Greeted:
        self._timers.pop(greeted).cancel()
        return greeted

    def _drop_stale(self) -> None:
        """Let go of what is too old, has ended or is another Asterisk's: the timer may be late."""
        youngest = self._clock() - self._longest_s
        for greeted in tuple(self._ready):
            is_usable = greeted.stream.is_quiet and greeted.banner == self._banner
            if not is_usable or greeted.at < youngest:
                self._drop(greeted)

    def _drop(self, greeted: Greeted) -> None:
        self.ended += not greeted.stream.is_quiet
        self._ready.remove(greeted)
        self._unkept(greeted).stream.close()

    async def _open(self, deadline: Deadline) -> Greeted:
        try:
            async with deadline.enforce():
                await self._places.acquire()
        except TimeoutError:
            raise NoAnswer(_SILENT) from None
        try:
            stream = await self._open_stream(deadline)
            try:
                banner = await _read_banner(stream, deadline)
            except BaseException:
                stream.close()
                raise
        finally:
            self._places.release()
        self._banner = banner
        return Greeted(stream, banner, self._clock())


async def _read_banner(stream: Stream, deadline: Deadline) -> Banner:
    """Read the first line. Closing after a failure here is proven to execute nothing."""
    received = bytearray()
    try:
        async with deadline.enforce():
            while b"\n" not in received and len(received) <= _MAX_BANNER_BYTES:
                chunk = await stream.read()
                if not chunk:
                    raise SocketRefused("Asterisk closed its control socket")
                received += chunk
    except TimeoutError:
        raise NoAnswer(_SILENT) from None
    line = text_of(received[: _MAX_BANNER_BYTES + 1])
    banner = parse_banner(line) if len(received) <= _MAX_BANNER_BYTES else None
    if banner is None:
        raise SocketRefused(f"Asterisk's control socket answered {line.splitlines()[0][:60]!r}")
    return banner

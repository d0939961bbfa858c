"""Several originates in one exchange: each to an extension of its own, acknowledged by itself.

A sentinel behind each tells which were executed, and its extension whose a root is. Where the
exchange breaks off, whatever is not acknowledged may have been executed: all were one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from shared.asterisk.asking import rejected
from shared.asterisk.commands import SHOW_CHANNELS, Originate
from shared.asterisk.console import Console, Exchange, Unacknowledged
from shared.asterisk.originating import Originated, OriginateUnknown, roots_of
from shared.asterisk.parsers import find_rejection
from shared.asterisk.releases import may_block
from shared.deadline import Deadline
from shared.errors import PbxError

Outcome: TypeAlias = Originated | PbxError


def fit_together(console: Console, commands: Sequence[Originate]) -> bool:
    """Tell whether these may share an exchange; up to Asterisk 11 each blocks its console.

    One write has room for three, so that is how many one break leaves unknown.
    """
    return not may_block(console.version) and console.takes(*_lines(commands))


async def originate_together(
    console: Console, commands: Sequence[Originate], deadline: Deadline
) -> tuple[Outcome, ...]:
    """Send originates to different extensions once, and tell what became of each.

    Raises:
        Exception: whatever it is, certainly none was executed.
    """
    exchange = await console.send(*_lines(commands), deadline=deadline)
    try:
        before, *replies, after = await exchange.replies(deadline)
        outcomes = tuple(
            _outcome(command, (before, reply, after))
            for command, reply in zip(commands, replies, strict=True)
        )
    except TimeoutError:
        return _broken(exchange, exchange.timed_out(), len(commands))
    except Unacknowledged as error:
        return _broken(exchange, error, len(commands))
    except PbxError:
        exchange.close()
        raise
    except Exception:  # noqa: BLE001 - a defect; yet the commands were written
        exchange.close()
        unread = "The reply could not be read"
        return tuple(OriginateUnknown(unread, None) for _ in commands)
    except BaseException:
        exchange.close()
        raise
    exchange.close()
    return outcomes


def _lines(commands: Sequence[Originate]) -> tuple[str, ...]:
    return (SHOW_CHANNELS, *(command.render() for command in commands), SHOW_CHANNELS)


def _outcome(command: Originate, replies: tuple[str, str, str]) -> Outcome:
    """Tell what became of one, by the channels before all, its own reply, the channels after."""
    if refusal := find_rejection(replies[1]):
        return rejected(refusal)
    # Without a root it was over before the others were begun, as of an extension that is busy.
    return Originated(roots_of(command, replies))


def _broken(exchange: Exchange, error: Unacknowledged, count: int) -> tuple[Outcome, ...]:
    """Tell what is known of each. Raises where the channels before were all that had begun.

    The socket stays open where the first is unknown, whose sender owns the connection.
    """
    if error.begun <= 1:
        exchange.close()
        raise error.not_executed() from error
    is_first_known = len(error.replies) > 1 and find_rejection(error.replies[1])
    whole = None if error.pending is None or is_first_known else _Whole(error.pending)
    outcomes: list[Outcome] = []
    for place in range(1, count + 1):
        refusal = find_rejection(error.replies[place]) if len(error.replies) > place else None
        if refusal:
            outcomes.append(rejected(refusal))
        elif place >= error.begun:
            outcomes.append(error.not_executed())
        elif error.is_too_long and len(error.replies) > place:
            outcomes.append(Originated(()))  # acknowledged, and only its root cannot be found
        else:
            pending = None if whole is None else Part(whole, place)
            outcomes.append(OriginateUnknown(error.reason, pending))
    if whole is None:
        exchange.close()
    return tuple(outcomes)


class _Whole:
    """An exchange of several originates that is still open, for those who listen on it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.parts = 0
        self._reading = asyncio.Lock()

    async def replies(self, deadline: Deadline) -> tuple[str, ...]:
        """Wait for all, one reader at a time. Raises as `Exchange.replies` does."""
        async with deadline.enforce():
            await self._reading.acquire()
        try:
            return await self.exchange.replies(deadline)
        finally:
            self._reading.release()


class Part(Exchange):
    """What concerns one originate of an exchange that several share: closed with the last of them.

    `on_close` is that of the exchange.
    """

    def __init__(self, whole: _Whole, place: int) -> None:
        self._whole = whole
        self._place = place
        self._is_closed = False
        whole.parts += 1
        super().__init__()

    @property
    def on_close(self) -> Callable[[], None] | None:
        """What is called once the exchange is closed."""
        return None

    @on_close.setter
    def on_close(self, call: Callable[[], None] | None) -> None:
        if call is not None:
            self._whole.exchange.on_close = call

    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """Tell the channels before, its own reply, the channels after; or the first of these."""
        replies = await self._whole.replies(deadline)
        return (replies[0], replies[self._place], replies[-1])[:count]

    def timed_out(self) -> Unacknowledged:
        """See `Exchange.timed_out`."""
        return self._whole.exchange.timed_out()

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._whole.parts -= 1
            if not self._whole.parts:
                self._whole.exchange.close()

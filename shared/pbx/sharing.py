"""Originates that wait for their turn at a host share the exchange of whoever has his.

Each waits for a turn of its own as well, whichever comes first, and until its own deadline. Nothing
is taken along by an exchange that would end later than that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from shared.asterisk import originating
from shared.asterisk.commands import Originate
from shared.asterisk.console import Console
from shared.asterisk.originating import Originated, OriginateUnknown
from shared.asterisk.together import Outcome, fit_together, originate_together
from shared.deadline import Deadline

Send: TypeAlias = Callable[[Console, Deadline], Awaitable[Originated]]

_GIVEN_UP = "Whoever sent the command was given up before Asterisk acknowledged it"


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class Waiting:
    """An originate that was not sent yet.

    `taken` is done once another's exchange carries it; then `outcome` is what became of it, None
    where that was not sent.
    """

    command: Originate
    deadline: Deadline
    taken: asyncio.Future[None] = field(default_factory=_future)
    outcome: asyncio.Future[Outcome | None] = field(default_factory=_future)


class Sharing:
    """The originates that wait, by host; of one extension there is one at most."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Waiting]] = defaultdict(list)

    async def originate(
        self,
        host: str,
        command: Originate,
        deadline: Deadline,
        use: Callable[[Send], Awaitable[Originated]],
        *,
        is_turn_free: bool = False,
    ) -> Originated:
        """Send an originate by `use`, which waits for a turn, or by whoever has his before.

        Where a turn is free, nobody has it before. Raises what `use` does; what became of it.
        """
        if is_turn_free:
            return await use(self._sender(host, Waiting(command, deadline)))
        while True:
            own = Waiting(command, deadline)
            self._waiting[host].append(own)
            turn = asyncio.ensure_future(use(self._sender(host, own)))
            try:
                first: set[asyncio.Future[Any]] = {turn, own.taken}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if not own.taken.done():
                    return await turn
                outcome = await own.outcome
            except BaseException:
                _let_go(own)
                raise
            finally:
                self._forget(host, own)
                if not turn.done():
                    turn.cancel()
                    await asyncio.gather(turn, return_exceptions=True)
            if isinstance(outcome, Originated):
                return outcome
            if outcome is not None:
                raise outcome

    def _sender(self, host: str, own: Waiting) -> Send:
        async def send(console: Console, until: Deadline) -> Originated:
            if own.taken.done():
                raise asyncio.CancelledError  # nobody waits for this any more
            self._forget(host, own)
            others = self._companions(host, own, console, until)
            if not others:
                return await originating.originate(console, own.command, until)
            return await _send_together(own, others, console, until)

        return send

    def _companions(
        self, host: str, own: Waiting, console: Console, until: Deadline
    ) -> Sequence[Waiting]:
        """Take those along who fit; nothing is awaited, so nobody takes one twice."""
        commands, others = [own.command], list[Waiting]()
        for one in self._waiting.get(host, ()):
            if one.deadline.at >= until.at and fit_together(console, [*commands, one.command]):
                commands.append(one.command)
                others.append(one)
        for one in others:
            self._forget(host, one)
            one.taken.set_result(None)
        return others

    def _forget(self, host: str, one: Waiting) -> None:
        if one in self._waiting.get(host, ()):
            self._waiting[host].remove(one)
            if not self._waiting[host]:
                del self._waiting[host]


async def _send_together(
    own: Waiting, others: Sequence[Waiting], console: Console, until: Deadline
) -> Originated:
    """Send all, and tell the others what became of theirs; of this one's it returns or raises."""
    commands = [own.command, *(one.command for one in others)]
    try:
        outcome, *theirs = await originate_together(console, commands, until)
    except BaseException as error:
        for one in others:
            is_unknown = not isinstance(error, Exception)  # cancelled, perhaps in the middle
            _tell(one, OriginateUnknown(_GIVEN_UP, None) if is_unknown else None)
        raise
    for one, its in zip(others, theirs, strict=True):
        _tell(one, its)
    if isinstance(outcome, Originated):
        return outcome
    raise outcome


def _let_go(one: Waiting) -> None:
    """Nobody waits for its outcome any more: close what came just now; `_tell` does what comes."""
    if not one.outcome.done():
        one.outcome.cancel()
    elif not one.outcome.cancelled() and one.outcome.exception() is None:
        _close(one.outcome.result())


def _tell(one: Waiting, outcome: Outcome | None) -> None:
    if not one.outcome.done():
        one.outcome.set_result(outcome)
    else:
        _close(outcome)  # whoever waited has gone


def _close(outcome: Outcome | None) -> None:
    if isinstance(outcome, OriginateUnknown) and outcome.pending is not None:
        outcome.pending.close()

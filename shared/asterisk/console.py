"""Asking Asterisk's command line: one contract, whatever the way there.

Commands are sent, once, and every reply is acknowledged: a sentinel after each command, whose
output proves that the command before it was executed. An empty reply alone proves nothing, since
success, a dead Asterisk and an over-long command look the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from shared.deadline import Deadline
from shared.errors import ConnectionLost, NotExecuted, OutcomeUnknown, PbxError, TooMuchSent

# Three hundred channels are 23 kB, and the longest dialplan of one context some hundred kB.
MAX_REPLY_BYTES, MAX_REPLY_LINES = 2**20, 20_000
TOO_LONG = "Asterisk's answer is longer than any that is known, and was not read to its end"


class Unacknowledged(OutcomeUnknown):
    """The exchange broke off; of the commands asked, the first `begun` may have been executed.

    After a time-out it may be left open, `pending`: a frozen Asterisk answers there when it thaws,
    and only that answer tells for certain which call came up late. `is_too_long`: it was broken off
    since no end of its replies came.
    """

    def __init__(
        self,
        reason: str,
        *,
        replies: tuple[str, ...],
        begun: int,
        pending: Exchange | None = None,
        is_too_long: bool = False,
    ) -> None:
        super().__init__(reason)
        self.replies = replies
        self.begun = begun
        self.pending = pending
        self.is_too_long = is_too_long

    def not_executed(self) -> NotExecuted:
        """Return the error where nothing was asked that changes anything."""
        kind = TooMuchSent if self.is_too_long else ConnectionLost
        return kind(self.reason)


def unreadable(commands: Sequence[str]) -> Unacknowledged:
    """Make the error of a defect in reading the replies: the commands were sent all the same."""
    return Unacknowledged("The reply could not be read", replies=(), begun=len(commands))


class Exchange(ABC):
    """Commands that were sent, and their replies as they come; whoever has it closes it.

    `on_close` is called once it is closed.
    """

    def __init__(self) -> None:
        self.on_close: Callable[[], None] | None = None

    @abstractmethod
    async def replies(self, deadline: Deadline, count: int | None = None) -> tuple[str, ...]:
        """Wait for the first `count` replies, or for all of them.

        Raises:
            TimeoutError: not yet; it may be called again.
            NotExecuted: certainly none of the commands was executed.
            Unacknowledged: it broke off before; some may have been.
        """

    @abstractmethod
    def timed_out(self) -> Unacknowledged:
        """Return the error of an exchange for which no time is left."""

    @abstractmethod
    def _end(self) -> None:
        """Let go of what carries it, without waiting."""

    def close(self) -> None:
        """Let go of it; what was sent may still be executed."""
        self._end()
        if self.on_close is not None:
            self.on_close()
            self.on_close = None


class Console(ABC):
    """Asks Asterisk.

    `is_gapless` tells that commands of one exchange follow each other so closely that no channel
    comes and goes unseen in between; `version` is Asterisk's, None while it has not told it.
    `identity` is who Asterisk says it is, its entity id and host name; None where it does not.
    """

    is_gapless: bool
    version: str | None = None
    identity: str | None = None

    @abstractmethod
    async def send(self, *commands: str, deadline: Deadline) -> Exchange:
        """Send commands that are to run in order.

        Raises:
            Exception: whatever it is, certainly none of them was executed.
        """

    def takes(self, *commands: str) -> bool:
        """Tell whether so many commands, of different callers, are one exchange here."""
        del commands
        return False

    async def ask(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Run the commands in order and return the reply of each.

        Raises:
            Unacknowledged: some may have been executed.
            Exception: any other; certainly none of them was.
        """
        exchange = await self.send(*commands, deadline=deadline)
        try:
            replies = await exchange.replies(deadline)
        except TimeoutError:
            raise exchange.timed_out() from None
        except BaseException as error:
            exchange.close()
            if isinstance(error, Exception) and not isinstance(error, PbxError):
                raise unreadable(commands) from error
            raise
        exchange.close()
        return replies

    async def read(self, *commands: str, deadline: Deadline) -> tuple[str, ...]:
        """Do the same with commands that change nothing."""
        return await self.ask(*commands, deadline=deadline)

    def for_looks(self) -> Console:
        """Return the same for looks at calls, which leave to people the way that is ready."""
        return self

    def expect(self, count: int, deadline: Deadline) -> None:
        """Be told that so many exchanges follow, so that none of them waits for its way there."""
        del count, deadline

    def open_ahead(self) -> None:  # noqa: B027 - a way that costs nothing is always ready
        """Make the way ready for the next exchange, whenever that is; nothing waits for it."""

    def close(self) -> None:  # noqa: B027 - likewise
        """Let go of what was made ready."""

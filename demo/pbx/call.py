"""One call inside the stand-in: its channels, and in which order they end."""

import asyncio
from dataclasses import dataclass, field

from demo.pbx.cdr import Record, Records
from demo.pbx.channels import Channel
from demo.pbx.dialplan import Phone

PREFIX = "local/"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """`LOCAL/154@inoffice` or, never to be optimised away, `LOCAL/154@inoffice/n`."""

    exten: str
    context: str
    optimise: bool = True


def parse_local(text: str) -> LocalAddress | None:
    """The address in `text`; None if it is not a Local channel's."""
    if not text.lower().startswith(PREFIX) or "@" not in text:
        return None
    exten, _, rest = text[len(PREFIX) :].partition("@")
    context, _, options = rest.partition("/")
    return LocalAddress(exten, context, "n" not in options)


@dataclass(slots=True, eq=False)
class Link:
    """A channel and the one that it calls; they end together.

    `phone` is the called one's, if it is a real phone, and `rung_at` when it began to ring.
    """

    caller: Channel | None
    callee: Channel | None = None
    phone: Phone | None = None
    rung_at: float = 0.0

    @property
    def channels(self) -> list[Channel]:
        """Those that are there."""
        return [each for each in (self.caller, self.callee) if each is not None]

    def release(self, channel: Channel) -> None:
        """Let one of the two go its own way."""
        if self.caller is channel:
            self.caller = None
        else:
            self.callee = None


@dataclass(slots=True, eq=False)
class Call:
    """One originated call; every leg hangs up with it.

    Attributes:
        links: From the agent's phone to the customer's: `;2` of the root's Local channel and the
            agent's phone, the root and `;1` of the customer's, `;2` of that and his phone.
        dialled: Set once the agent has answered or will not.
        ending: Whether its channels are hanging up already.
        parts: What its task waits for, of which one may end it.
    """

    root: Channel
    records: Records
    links: list[Link]
    legs: list[Channel]
    dialled: asyncio.Event = field(default_factory=asyncio.Event)
    ending: bool = False
    task: "asyncio.Task[None] | None" = None
    parts: "list[asyncio.Task[Link]]" = field(default_factory=list)

    def cut_short(self) -> None:
        """Cancel its task and each part at once: through the task a part would learn a turn later.

        One whose time has just come would take that turn, and change what is being torn down.
        """
        for task in (*self.parts, self.task):
            if task is not None:
                task.cancel()

    def link_of(self, channel: Channel) -> Link | None:
        """The link that a channel is part of."""
        return next((link for link in self.links if channel in link.channels), None)

    @property
    def own(self) -> Link:
        """The link of the root channel, or what is left of it."""
        return self.link_of(self.root) or self.links[0]

    def order(self, cause: Link) -> list[Link]:
        """The links in the order they end: the cause first, the farther ones after the nearer."""
        middle = self.links.index(cause)
        indices = sorted(range(len(self.links)), key=lambda index: (abs(index - middle), -index))
        return [self.links[index] for index in indices]


@dataclass(frozen=True, slots=True)
class Answered:
    """A phone that answered, what it will do from then on, and its row in the making."""

    leg: Channel | None
    phone: Phone
    record: Record

"""Live channels, and how Asterisk's CLI prints them."""

import uuid
import zlib
from dataclasses import dataclass, replace
from typing import Optional

from demo.pbx.clock import Clock
from demo.pbx.profiles import Profile

STATES = {"Down": 0, "Ring": 4, "Ringing": 5, "Up": 6, "Busy": 7}
OUTGOING = "(Outgoing Line)"
LOCAL = "Local/"
ZOMBIE = "<ZOMBIE>"


@dataclass(slots=True, eq=False)
class Channel:
    """One leg; it changes as its call goes on, hence not frozen.

    `record_id` is the uniqueid that its records carry: it stays with the phone when another
    channel takes the phone's place, and `phone_born` tells then when the phone was
    created. `bridge` is the id of the bridge it shares with `peer`.
    """

    name: str
    context: str
    exten: str
    uniqueid: str
    linkedid: str
    born: float
    state: str = "Down"
    app: str = ""
    data: str = ""
    caller: str = ""
    connected: str = ""
    bridge: str = ""
    peer: Optional["Channel"] = None
    priority: int = 1
    record_id: str = ""
    phone_born: float | None = None

    def __post_init__(self) -> None:
        """Its records carry its own uniqueid."""
        self.record_id = self.uniqueid

    @property
    def is_local(self) -> bool:
        """Whether it is a half of a Local channel, no phone's leg."""
        return self.name.startswith(LOCAL)


def join_bridge(one: Channel, other: Channel) -> None:
    """Put two channels into a new bridge."""
    one.bridge = other.bridge = str(uuid.uuid4())
    one.peer, other.peer = other, one


def leave_bridge(channel: Channel) -> None:
    """Take a channel out of its bridge, which its peer leaves as well."""
    for each in (channel.peer, channel):
        if each is not None:
            each.bridge, each.peer = "", None


class ChannelTable:
    """Every live channel; hands out names and uniqueids as Asterisk numbers them."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        """Start empty."""
        self._profile = profile
        self._clock = clock
        self._live: dict[str, Channel] = {}
        self._locals = 0
        self._legs = 0
        self._ids = 0

    def __len__(self) -> int:
        """How many channels are live."""
        return len(self._live)

    def add_local(self, exten: str, context: str, linkedid: str | None = None) -> Channel:
        """Create the half `;1` of a Local channel; without `linkedid`, a root."""
        name = f"{LOCAL}{exten}@{context}-{self._locals:08x};1"
        self._locals += 1
        uniqueid = self._next_id()
        first = Channel(name, context, exten, uniqueid, linkedid or uniqueid, self._clock.now())
        return self._add(first)

    def add_half(self, first: Channel) -> Channel:
        """Create the half `;2`, which runs the dialplan."""
        second = replace(first, name=f"{first.name[:-1]}2", uniqueid=self._next_id(), state="Ring")
        return self._add(second)

    def add_leg(self, peer: str, context: str, linkedid: str) -> Channel:
        """Create the channel that will ring a real phone."""
        name = f"{self._profile.technology}/{peer}-{self._legs:08x}"
        self._legs += 1
        return self._add(Channel(name, context, "s", self._next_id(), linkedid, self._clock.now()))

    def take_place(self, local: Channel, phone: Channel) -> None:
        """Let a phone take a Local channel's place, as up to Asterisk 11 ("masquerade").

        What runs on the Local channel goes on, on what has the phone's name and state now; the
        other object, which was the phone's, is left as a zombie of the Local channel's name.
        """
        del self._live[local.name.lower()], self._live[phone.name.lower()]
        local.name, phone.name = phone.name, local.name + ZOMBIE
        local.state, phone.state = phone.state, local.state
        local.record_id, phone.record_id = phone.record_id, local.record_id
        local.phone_born = phone.born
        if not local.caller:
            local.caller, phone.caller = phone.caller, ""
        leave_bridge(phone)
        self._add(local), self._add(phone)

    def renew(self, channel: Channel) -> None:
        """Give a phone that is sent into the dialplan a channel of its own name and another id."""
        channel.uniqueid, channel.born = self._next_id(), self._clock.now()

    def find(self, name: str) -> Channel | None:
        """The live channel of this name, in whatever letter case."""
        return self._live.get(name.lower())

    def remove(self, channel: Channel) -> None:
        """Forget a channel that has hung up; twice does no harm."""
        self._live.pop(channel.name.lower(), None)

    def snapshot(self) -> list[Channel]:
        """Every channel, in the arbitrary but stable order of a hash table."""
        return sorted(self._live.values(), key=lambda live: zlib.crc32(live.name.encode()))

    def add_foreign(self, name: str) -> Channel:
        """Create the channel of a call that is nobody's here, whatever its driver calls it."""
        uniqueid = self._next_id()
        return self._add(
            Channel(name, "elsewhere", "s", uniqueid, uniqueid, self._clock.now(), state="Up")
        )

    def add_caller(self, name: str, exten: str, context: str, caller: str) -> Channel:
        """Create the channel of somebody who calls in, which runs the dialplan."""
        uniqueid, born = self._next_id(), self._clock.now()
        number = f"{self._legs:08x}"
        self._legs += 1
        channel = Channel(f"{name}-{number}", context, exten, uniqueid, uniqueid, born)
        channel.state, channel.caller = "Ring", caller
        return self._add(channel)

    def rename(self, name: str, new_name: str) -> None:
        """Call a channel otherwise, as a peer of another name would have."""
        channel = self._live.pop(name.lower())
        channel.name = new_name
        self._add(channel)

    def _add(self, channel: Channel) -> Channel:
        self._live[channel.name.lower()] = channel
        return channel

    def _next_id(self) -> str:
        self._ids += 1
        return f"{int(self._clock.now())}.{self._ids}"

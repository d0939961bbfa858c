"""Live channels, and how Asterisk's CLI prints them."""

import time
import uuid
import zlib
from dataclasses import dataclass, field

STATES = {"Down": 0, "Ring": 4, "Ringing": 5, "Up": 6}
OUTGOING = "(Outgoing Line)"


@dataclass(slots=True)
class Channel:
    """One leg; it changes as its call goes on, hence not frozen."""

    name: str
    context: str
    exten: str
    uniqueid: str
    linkedid: str
    state: str = "Down"
    app: str = ""
    data: str = ""
    caller: str = ""
    connected: str = ""
    bridge: str = ""
    priority: int = 1
    born: float = field(default_factory=time.time)

    def concise(self) -> str:
        """Its line of `core show channels concise`: 14 fields, nothing escaped."""
        fields = (
            self.name,
            self.context,
            self.exten,
            str(self.priority),
            self.state,
            self.app or "(None)",
            self.data,
            self.caller,
            "",
            "",
            "3",
            str(int(time.time() - self.born)),
            self.bridge,
            self.uniqueid,
        )
        return "!".join(fields) + "\n"

    def describe(self, *, identifier: str) -> str:
        """What `core show channel NAME` prints, without its variables and CDR fields."""
        native = "slin" if self.name.startswith("Local/") else "ulaw"
        other = "ulaw@8000"
        transcode = ("No ", "No ")
        if native == "ulaw":
            transcode = (f"Yes (slin@8000)->({other})", f"Yes ({other})->(slin@8000)")
        elapsed = int(time.time() - self.born)
        hours, minutes, seconds = elapsed // 3600, elapsed // 60 % 60, elapsed % 60
        return f""" -- General --
           Name: {self.name}
           Type: {self.name.partition("/")[0]}
       UniqueID: {self.uniqueid}
       LinkedID: {self.linkedid}
      Caller ID: {self.caller or "(N/A)"}
 Caller ID Name: (N/A)
Connected Line ID: {self.connected or "(N/A)"}
Connected Line ID Name: (N/A)
Eff. Connected Line ID: {self.connected or "(N/A)"}
Eff. Connected Line ID Name: (N/A)
    DNID Digits: (N/A)
       Language: en
          State: {self.state} ({STATES[self.state]})
  NativeFormats: ({native})
    WriteFormat: slin
     ReadFormat: slin
 WriteTranscode: {transcode[0]}
  ReadTranscode: {transcode[1]}
 Time to Hangup: 0
   Elapsed Time: {hours}h{minutes}m{seconds}s
      Bridge ID: {self.bridge or "(Not bridged)"}
 --   PBX   --
        Context: {self.context}
      Extension: {self.exten}
       Priority: {self.priority}
     Call Group: 0
   Pickup Group: 0
    Application: {self.app or "(None)"}
           Data: {self.data or "(None)"}
 {identifier}: (None)
      Variables:
  CDR Variables:

 -- Streams --
Name: audio-0
    Type: audio
    State: sendrecv
    Group: -1
    Formats: ({native})
    Metadata:

"""


class ChannelTable:
    """Every live channel; hands out names and uniqueids as Asterisk numbers them."""

    def __init__(self, technology: str) -> None:
        """Start empty; `technology` is SIP or PJSIP."""
        self.technology = technology
        self._live: dict[str, Channel] = {}
        self._locals = 0
        self._legs = 0
        self._ids = 0

    def __len__(self) -> int:
        """How many channels are live."""
        return len(self._live)

    def add_pair(
        self, exten: str, context: str, linkedid: str | None = None
    ) -> tuple[Channel, Channel]:
        """Create a Local channel's two halves, `;1` and `;2`; without `linkedid`, a root."""
        name = f"Local/{exten}@{context}-{self._locals:08x}"
        self._locals += 1
        first_id, second_id = self._next_id(), self._next_id()
        linked = linkedid or first_id
        first = Channel(f"{name};1", context, exten, first_id, linked, data=OUTGOING)
        second = Channel(f"{name};2", context, exten, second_id, linked, state="Ring")
        first.app = "AppDial" if linkedid else "AppDial2"
        return self._add(first), self._add(second)

    def add_leg(self, peer: str, exten: str, context: str, linkedid: str) -> Channel:
        """Create the channel that rings a real phone."""
        name = f"{self.technology}/{peer}-{self._legs:08x}"
        self._legs += 1
        leg = Channel(name, context, exten, self._next_id(), linkedid, data=OUTGOING)
        leg.app, leg.caller = "AppDial", exten
        return self._add(leg)

    def find(self, name: str) -> Channel | None:
        """The live channel of this name, in whatever letter case."""
        return self._live.get(name.lower())

    def remove(self, channel: Channel) -> None:
        """Forget a channel that has hung up; twice does no harm."""
        self._live.pop(channel.name.lower(), None)

    def snapshot(self) -> list[Channel]:
        """Every channel, in the arbitrary but stable order of a hash table."""
        return sorted(self._live.values(), key=lambda live: zlib.crc32(live.name.encode()))

    def _add(self, channel: Channel) -> Channel:
        self._live[channel.name.lower()] = channel
        return channel

    def _next_id(self) -> str:
        self._ids += 1
        return f"{int(time.time())}.{self._ids}"


def join_bridge(*channels: Channel) -> None:
    """Put the channels into one new bridge."""
    bridge = str(uuid.uuid4())
    for channel in channels:
        channel.bridge = bridge

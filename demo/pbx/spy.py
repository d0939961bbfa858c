"""ChanSpy as the stand-in imitates it: whom it taps, when it moves on, when it leaves.

Its first argument is a prefix of channel names, in any letter case: `SIP/150` taps 1501 too; from
13 on, with the option `u`, it is one whole name, or a uniqueid.
"""

from demo.pbx.channels import Channel, ChannelTable
from demo.pbx.clock import Clock

LOOK_S = 0.05
WAIT_S = 0.1
"""Between two looks for a channel to tap."""


class Spying:
    """One ChanSpy. Every tap is appended to `spied` as (spying channel, tapped channel)."""

    def __init__(self, channels: ChannelTable, clock: Clock, spied: list[tuple[str, str]]) -> None:
        self._channels = channels
        self._clock = clock
        self._spied = spied

    async def run(self, spy: Channel, data: str) -> None:
        """Tap what matches, one channel after the other; return when the options say so.

        b: bridged channels only. E: leave when the tapped channel hangs up.
        S: leave when nothing is left to tap. Without E and S it stays for ever.
        u: a whole name or a uniqueid, and leave when there is no such channel.
        """
        spied, _, options = data.partition(",")
        while True:
            if "u" in options and not self._named(spied):
                return
            target = self._find_target(spy, spied.lower(), options)
            if target is None:
                await self._clock.sleep(WAIT_S)
                if "S" in options:
                    return
                continue
            name = target.name  # another channel may have it later, where a phone takes its place
            self._spied.append((spy.name, name))
            while self._channels.find(name):
                await self._clock.sleep(LOOK_S)
            if "E" in options:
                return

    def _named(self, spied: str) -> list[Channel]:
        names = ((c, {c.name.lower(), c.uniqueid}) for c in self._channels.snapshot())
        return [channel for channel, known in names if spied.lower() in known]

    def _find_target(self, spy: Channel, spied: str, options: str) -> Channel | None:
        matching = (
            self._named(spied)
            if "u" in options
            else [c for c in self._channels.snapshot() if c.name.lower().startswith(spied)]
        )
        for channel in matching:
            if channel.linkedid != spy.linkedid and (channel.bridge or "b" not in options):
                return channel
        return None

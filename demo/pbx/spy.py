"""ChanSpy as the stand-in imitates it: whom it taps, when it moves on, when it leaves.

Its first argument is a prefix of channel names, in any letter case: `SIP/150` taps 1501 too.
"""

from demo.pbx.channels import Channel, ChannelTable
from demo.pbx.clock import Clock

LOOK_S = 0.05


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
        """
        prefix, _, options = data.partition(",")
        while True:
            target = self._find_target(spy, prefix.lower(), bridged_only="b" in options)
            if target is None:
                if "S" in options:
                    return
                await self._clock.sleep(LOOK_S)
                continue
            self._spied.append((spy.name, target.name))
            while self._channels.find(target.name) is target:
                await self._clock.sleep(LOOK_S)
            if "E" in options:
                return

    def _find_target(self, spy: Channel, prefix: str, *, bridged_only: bool) -> Channel | None:
        for channel in self._channels.snapshot():
            if channel.linkedid == spy.linkedid or not channel.name.lower().startswith(prefix):
                continue
            if channel.bridge or not bridged_only:
                return channel
        return None

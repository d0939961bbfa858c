"""One list of the live channels, looked up by what is asked of it; made once for all. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from shared.asterisk.models import Channel


def find_channel(uniqueid: str, channels: Iterable[Channel]) -> Channel | None:
    """Find the channel of a uniqueid."""
    return next((channel for channel in channels if channel.uniqueid == uniqueid), None)


class Listing:
    """The channels of one look, and whose call each one belongs to.

    `linkedids` are by uniqueid. `by_bridge` leaves out what is in none.
    """

    def __init__(self, channels: Iterable[Channel], linkedids: Mapping[str, str]) -> None:
        self.channels = tuple(channels)
        self._linkedids = linkedids
        self.by_name: dict[str, Channel] = {}
        self.by_bridge: dict[str, list[Channel]] = {}
        self._by_root: dict[str, list[int]] = {}
        self._by_uniqueid: dict[str, list[int]] = {}
        for index, channel in enumerate(self.channels):
            self.by_name[channel.name] = channel
            if channel.bridge:
                self.by_bridge.setdefault(channel.bridge, []).append(channel)
            root = linkedids.get(channel.uniqueid, channel.uniqueid)
            self._by_root.setdefault(root, []).append(index)
            self._by_uniqueid.setdefault(channel.uniqueid, []).append(index)

    def of_call(self, root_uniqueid: str, known: Collection[str]) -> tuple[Channel, ...]:
        """List a call's channels as they were listed: its root's, and those `known` by uniqueid."""
        found = set(self._by_root.get(root_uniqueid, ()))
        found.update(i for uniqueid in known for i in self._by_uniqueid.get(uniqueid, ()))
        return tuple(self.channels[index] for index in sorted(found))

    def by_root(self) -> Iterator[tuple[str, tuple[Channel, ...]]]:
        """Yield each call: its root's uniqueid and its channels; one not asked about is its own."""
        for root, indices in self._by_root.items():
            yield root, tuple(self.channels[index] for index in indices)

    def is_told(self, channel: Channel) -> bool:
        """Tell whether Asterisk has said whose call a channel belongs to."""
        return channel.uniqueid in self._linkedids

    def is_called(self, channel: Channel) -> bool:
        """Tell whether a channel was called by another one, which is its call's first."""
        return self._linkedids.get(channel.uniqueid, channel.uniqueid) != channel.uniqueid

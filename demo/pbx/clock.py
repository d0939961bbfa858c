"""The stand-in's sense of time: it can be scaled, and it stops while Asterisk is frozen."""

import asyncio
import time


class Clock:
    """Sleeps `time_scale` seconds for each second asked, and never returns while frozen."""

    def __init__(self, time_scale: float) -> None:
        """Run at once; `time_scale` 0.05 makes a two-second ring last a tenth of a second."""
        self.time_scale = time_scale
        self._epoch = time.time() - time.monotonic()
        self._running = asyncio.Event()
        self._running.set()

    def now(self) -> float:
        """Seconds of the epoch by the event loop's clock, so that both always agree."""
        return self._epoch + asyncio.get_running_loop().time()

    def since(self, moment: float) -> float:
        """Unscaled seconds that passed since a moment."""
        return (self.now() - moment) / self.time_scale

    def freeze(self) -> None:
        """Stop, as Asterisk does on SIGSTOP."""
        self._running.clear()

    def thaw(self) -> None:
        """Go on, as Asterisk does on SIGCONT."""
        self._running.set()

    @property
    def frozen(self) -> bool:
        """Whether time stands still."""
        return not self._running.is_set()

    async def while_frozen(self) -> None:
        """Return at once unless frozen; then wait for the thaw."""
        await self._running.wait()

    async def sleep(self, seconds: float) -> None:
        """Let scaled time pass."""
        await asyncio.sleep(seconds * self.time_scale)
        await self._running.wait()

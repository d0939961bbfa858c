"""One deadline per request, passed down instead of time-outs that add up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the running loop's clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment `seconds` from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    def remaining_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - asyncio.get_running_loop().time())

    def sooner(self, seconds: float) -> Deadline:
        """The nearer of this deadline and `seconds` from now."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)

    def enforce(self) -> asyncio.Timeout:
        """A context that raises TimeoutError when the moment comes."""
        return asyncio.timeout_at(self.at)

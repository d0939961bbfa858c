"""Two things at once, where neither needs the other's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def together(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Wait for both, also where one fails. Raises the first's error, or the second's."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other

"""Tones as G.711 mu-law, and which tones are in what was received: plain Python."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

RATE_HZ = 8000
# A quarter of full scale: two tones in one ear still fit.
_LOUDNESS = 8000


def _expanded(byte: int) -> int:
    """Give the sample that a byte stands for (G.711)."""
    byte = ~byte & 0xFF
    size = (((byte & 0x0F) << 3) + 0x84 << ((byte & 0x70) >> 4)) - 0x84
    return -size if byte & 0x80 else size


_SAMPLES = tuple(_expanded(byte) for byte in range(256))
_ORDERED = sorted((sample, byte) for byte, sample in enumerate(_SAMPLES))
_LEVELS = [sample for sample, _ in _ORDERED]


def decode(sound: bytes) -> list[int]:
    """Make samples of bytes."""
    return [_SAMPLES[byte] for byte in sound]


@cache
def tone(frequency_hz: int) -> bytes:
    """Give a second of a tone, which may be repeated without a seam: whole periods fit in it."""
    step = 2 * math.pi * frequency_hz / RATE_HZ
    waves = (_LOUDNESS * math.sin(step * number) for number in range(RATE_HZ))
    return bytes(_ORDERED[min(bisect_left(_LEVELS, wave), 255)][1] for wave in waves)


def share(samples: Sequence[int], frequency_hz: int) -> float:
    """Tell how much of the sound's power is in a tone (0 to 1), by Goertzel's algorithm.

    Silence has none of any.
    """
    power = sum(sample * sample for sample in samples)
    if not power:
        return 0.0
    factor = 2 * math.cos(2 * math.pi * frequency_hz / RATE_HZ)
    last = before = 0.0
    for sample in samples:
        last, before = sample + factor * last - before, last
    found = last * last + before * before - factor * last * before
    return 2 * found / (len(samples) * power)

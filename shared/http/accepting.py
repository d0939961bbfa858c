"""Which of two kinds of answer a client prefers (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re

EVENT_STREAM = "text/event-stream"
_JSON = "application/json"
# Browsers name a handful.
_MOST_CHARACTERS = 1_000
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def prefers_stream(accept: str) -> bool:
    """Whether events are wanted as they come: only where that kind is named, and JSON not more."""
    wanted = {_JSON: 0.0, EVENT_STREAM: 0.0}
    for element in accept[:_MOST_CHARACTERS].lower().split(","):
        kind, *parameters = (part.strip() for part in element.split(";"))
        if kind in wanted:
            matches = map(_QUALITY.fullmatch, parameters)
            quality = next((float(match[1]) for match in matches if match), 1.0)
            wanted[kind] = max(wanted[kind], quality)
    return wanted[EVENT_STREAM] > 0 and wanted[EVENT_STREAM] >= wanted[_JSON]

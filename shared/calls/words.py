"""What became of a call, in plain English."""

from __future__ import annotations

from typing import Literal, TypeAlias

from shared.asterisk.models import Phase, Reason

What: TypeAlias = Literal["Call", "Monitoring"]

_ENDS: dict[Reason | None, str] = {
    None: "ended before the extension answered",  # all that is known to who waits for the ring
    "answered": "ended, it was answered",
    "busy": "ended, the number was busy",
    "no_answer": "ended, the number did not answer",
    "agent_busy": "ended, the extension was busy",
    "agent_no_answer": "ended, the extension did not answer",
    "cancelled": "ended, it was cancelled",
    "rejected": "was refused before anything rang",
    "failed": "ended, nobody could be rung",
    "nothing_heard": "ended, the supervisor was let in and heard nobody",
    "unknown": "ended, nobody can know how",
}


def summary(what: What, phase: Phase, reason: Reason | None) -> str:
    """Tell in one sentence how far a call is, or how it ended."""
    match phase:
        case "ended":
            return f"{what} {_ENDS[reason]}"
        case "unknown":
            return f"{what} was sent before, whether it rings is unknown"
        case "placing":
            return f"{what} is already being placed, whether it will ring is not known yet"
    return f"{what} initiated successfully"

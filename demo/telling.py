"""An event of `GET /api/events` as a line for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

_PHASES = {
    "placing": "is being placed",
    "accepted": "Asterisk has it",
    "agent_ringing": "{from}'s phone rings",
    "agent_answered": "{from} has answered",
    "customer_ringing": "{to} rings",
    "talking": "{from} and {to} talk",
    "unknown": "nobody knows whether Asterisk has it",
}
_ELSEWHERE = {"waiting": "waits", "ringing": "{phones} rings", "talking": "{answered} talks"}


def describe(event: dict[str, Any]) -> str | None:
    """Tell when it was, seconds after the call began, and what; None: of a type unknown here."""
    match event:
        case {"type": "call.phase" | "call.corrected", "at": at, "call": call}:
            since, words, phase = call["times"]["placed"], _of_ours(call), call["phase"]
            if event["type"] == "call.corrected":
                phase = "corrected"
        case {"type": "pbx.call", "at": at, "pbx_call": call}:
            since, words, phase = call["times"]["began"], _elsewhere(call), call["phase"]
        case _:
            return None
    seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(since)).total_seconds()
    return f"{seconds:6.1f} s  {phase:<16}  {words}"


def _of_ours(call: dict[str, Any]) -> str:
    if call["phase"] != "ended":
        return _PHASES.get(call["phase"], "").format_map(call)
    parties = ((call["from"], call["agent"]), (call["to"], call["customer"]))
    rang = [f"{who} rang {side['ring_s']} s" for who, side in parties if side["ring_s"] is not None]
    talked = [f"they talked {call['talk_s']} s"] if call["talk_s"] else []
    return ", ".join([str(call["reason"]), *rang, *talked])


def _elsewhere(call: dict[str, Any]) -> str:
    who = f"{call['direction']} call of {call['from'] or 'somebody'} to {call['to'] or 'nobody'}"
    if call["phase"] == "ended":
        what = f"talked {call['talk_s']} s" if call["talk_s"] else "nobody has answered"
    else:
        what = _ELSEWHERE.get(call["phase"], "").format(
            phones=", ".join(call["extensions"]) or "a phone",
            answered=call["answered_by"] or "somebody",
        )
    return f"{who}: {what}"

"""What the API answers, and how it fails; answers may have more fields than are named here."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import httpx

VERSION = "1.0.0"
"""Of the API that this was made for."""
TOO_MANY, UNAVAILABLE = 429, 503
_From = TypedDict("_From", {"from": str})  # a word of Python's own


class Side(TypedDict):
    """One party of a call."""

    answered_by: str | None
    ring_s: int | None
    talk_s: int | None


class Call(_From):
    """A call of ours, as it is at a moment."""

    call_id: str
    kind: str
    to: str
    phase: str
    reason: str | None
    ring_s: int | None
    talk_s: int | None
    agent: Side
    customer: Side


class Placed(TypedDict):
    """A call or monitoring that was accepted, or the one that it repeats."""

    success: bool
    message: str
    call_id: str
    phase: str
    repeated: bool
    detail: NotRequired[str | None]


class Click(TypedDict, total=False):
    """Who clicks, and which click it is.

    `key`, 1 to 255 characters, is its own name, e.g. of a message that may come twice: the same key
    rings once. Without it each request is another click; its attempts are one all the same.
    """

    key: str
    actor: str


class Event(TypedDict):
    """What happened. `events.gone`: all after `gone["after"]` up to `seq` is missing."""

    seq: int
    type: str
    at: str
    call: NotRequired[Call]
    pbx_call: NotRequired[dict[str, Any]]
    gone: NotRequired[dict[str, int]]


class CallsError(Exception):
    """A request failed; `code` says how, None where it was not the API that answered.

    `dialled` is "no" where certainly nothing rings, "unknown" where something may, None where it is
    not about ringing. `request_id` finds it in the service's log. `status` is 0 without an answer.
    """

    def __init__(self, status: int, told: dict[str, Any], retry_after: str = "") -> None:
        self.status = status
        self.told = told
        self.code: str | None = told.get("code")
        self.detail = str(told.get("detail") or told.get("message") or f"HTTP {status}")
        self.dialled: str | None = told.get("dialled")
        self.request_id: str | None = told.get("request_id")
        self.call_id: str | None = told.get("call_id")
        self.retry_after_s = float(retry_after) if retry_after.isdecimal() else None
        super().__init__(f"{self.code or status}: {self.detail}")

    @property
    def may_pass(self) -> bool:
        """Whether a later request may be answered."""
        return self.status in {0, TOO_MANY} or httpx.codes.is_server_error(self.status)


class OutcomeUnknown(CallsError):
    """A phone may be ringing, so it was not tried again; `call_id`, if there is one, will tell."""


class EventsGone(CallsError):
    """What follows that number is not kept any more, or was never told."""

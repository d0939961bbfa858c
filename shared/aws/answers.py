"""What AWS answered: what of it a caller has to know, without boto3's own errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["done", "gone", "later", "refused"]
"""Done; there is no such thing any more; it may be done later; it never will be, as it is."""

_BAD, _GONE, _TOO_LARGE = 400, 410, 413


def outcome_of(ask: Callable[[], Any]) -> Outcome:
    """Ask, and judge by HTTP's status alone: of the same failure AWS has several names.

    What the caller's own role may not do it may later, once that is mended.
    """
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever boto3 raises: no answer is no answer
        return _judged(status_of(error))
    return "done"


def status_of(error: Exception) -> int:
    """Tell the status of an answer that boto3 made an error of; 0: there was none."""
    answer = getattr(error, "response", None)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if answer else 0
    return int(status)


def _judged(status: int) -> Outcome:
    if status == _GONE:
        return "gone"
    return "refused" if status in {_BAD, _TOO_LARGE} else "later"


def is_condition_failed(error: Exception) -> bool:
    """Tell whether DynamoDB has refused a write by its condition."""
    answer = getattr(error, "response", None)
    code = answer.get("Error", {}).get("Code") if answer else None
    return bool(code == "ConditionalCheckFailedException")

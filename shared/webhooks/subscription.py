"""Which events a webhook is sent: the filters of the other doors, and the types."""

from __future__ import annotations

import json
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from shared.errors import InvalidParameter
from shared.events.feed import Event
from shared.events.filters import Filters, field_errors

EventType: TypeAlias = Literal[
    "call.phase",
    "call.corrected",
    "pbx.call",
    "pbx.watched",
    "pbx.unwatched",
    "pbx.down",
    "pbx.up",
    "webhook.disabled",
]


class Subscription(Filters):
    """Which events are sent, and from where on; without `after` those from now on."""

    types: list[EventType] | None = Field(
        None, min_length=1, description="only these types", examples=[["call.phase"]]
    )

    @model_validator(mode="after")
    def _check_scope(self) -> Self:
        if not self.sees_host and any(name.startswith("pbx.") for name in self.types or ()):
            raise ValueError("types pbx... are told with scope=all only")
        return self

    def takes(self, event: Event) -> bool:
        """Tell whether an event is sent."""
        return (self.types is None or event.type in self.types) and self.wanted.takes(event)

    def render(self) -> str:
        """Write the filters to be kept; all else is kept elsewhere."""
        return self.model_dump_json(include=_FILTERS, exclude_none=True)

    def told(self) -> dict[str, Any]:
        """Tell it as the API does."""
        told: dict[str, Any] = json.loads(self.render())
        return told


_FILTERS = set(Subscription.model_fields) - {"after"}


def parse_subscription(given: Any) -> Subscription:
    """Read what was kept, or an operator has said.

    Raises:
        InvalidParameter: something is wrong, or unknown.
    """
    try:
        return Subscription.model_validate(given)
    except ValidationError as error:
        raise InvalidParameter(*field_errors(error)) from None

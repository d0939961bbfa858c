"""What a listener wants, as whoever opens a stream or asks for a ticket writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from shared.errors import FieldError, InvalidParameter
from shared.events.feed import Scope, Wanted
from shared.http.fields import CallId, ExtensionText

AFTER_BELOW = 2**63


class Filters(BaseModel):
    """From where on, and which events; without `after` the stream begins now."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, lt=AFTER_BELOW, strict=True, examples=[0])] | None = Field(
        None, description="the number of an event, after which to begin; without it: now"
    )
    scope: Scope | None = Field(
        None,
        description="`all`: also calls on the PBX that were not started here; else `mine`",
        examples=["all"],
    )
    extension: ExtensionText | None = Field(None, description="that took part")
    call_id: CallId | None = Field(None, description="of this call alone")

    @property
    def wanted(self) -> Wanted:
        """Which events."""
        return Wanted(self.extension, self.call_id, self.scope or "mine")

    @property
    def sees_host(self) -> bool:
        """Whether the whole PBX is watched for it."""
        return self.scope == "all"


def parse_filters(given: Any) -> Filters:
    """Read what came by another way than FastAPI's.

    Raises:
        InvalidParameter: something is wrong, or unknown.
    """
    try:
        return Filters.model_validate(given)
    except ValidationError as error:
        raise InvalidParameter(*field_errors(error)) from None


def field_errors(error: ValidationError) -> Iterator[FieldError]:
    """Tell what is wrong, field by field."""
    return map(_field_error, error.errors(include_url=False, include_input=False))


def _field_error(item: ErrorDetails) -> FieldError:
    field = str(next(iter(item["loc"]), "body"))
    cause = item.get("ctx", {}).get("error")
    return FieldError(field, str(cause) if cause else item["msg"])

"""Tell WebSockets on AWS what was put for them, outside the VPC; the outbox's stream starts it.

It answers from which record on the stream is to come again, because of connections that owe it.
"""

from __future__ import annotations

from typing import Any

from shared.aws.environment import begin_environment
from shared.push.pushing import the_pusher
from shared.settings import on_lambda, the_settings
from shared.telemetry import configure_logging, in_request

# So long others wait at most for those that fail; and what is left for a last post and its removal.
_WITHIN_S, _RESERVE_S = 8.0, 10.0

if on_lambda():
    begin_environment()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Push what these records of the stream tell."""
    configure_logging(the_settings())
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    with in_request(str(getattr(context, "aws_request_id", "-"))):
        again = the_pusher().push(event["Records"], min(_WITHIN_S, left_s))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in sorted(again, key=int)]}

"""What clients of WebSockets on AWS say: they come, by a ticket, they ping, and they go.

API Gateway keeps the sockets, and nothing is kept here. It sends what is answered to a ping; all
else `functions/push` sends, which also closes them, since from within the VPC nobody can.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from functions.sockets.said import come, go, hear, may_open
from shared.aws.environment import begin_environment, run_pinned
from shared.errors import InternalError, ServiceError
from shared.http.problems import on_service_error
from shared.settings import on_lambda, the_settings
from shared.telemetry import LOG, configure_logging, in_request

if on_lambda():
    begin_environment()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer API Gateway: a handshake by a status, a message by a message."""
    configure_logging(the_settings())
    return run_pinned(serve(event))


async def serve(event: dict[str, Any]) -> dict[str, Any]:
    """Serve one event of a socket; whatever crashes is the one error body."""
    with in_request(str(event["requestContext"]["requestId"])):
        try:
            return await _serve(event)
        except ServiceError as error:
            return await _refused(event, error)
        except Exception as error:  # noqa: BLE001 - told to the log, and that it is ours to the client
            defect = InternalError()
            defect.__cause__ = error
            return await _refused(event, defect)


async def _serve(event: dict[str, Any]) -> dict[str, Any]:
    connection = str(event["requestContext"]["connectionId"])
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            if not may_open(event.get("headers") or {}):
                return {"statusCode": 403}
            await come(connection, event.get("queryStringParameters") or {})
        case "DISCONNECT":
            await go(connection)
        case _:
            told = await hear(connection, str(event.get("body") or ""))
            return {"statusCode": 200, "body": told}
    return {"statusCode": 200}


async def _refused(event: dict[str, Any], error: ServiceError) -> dict[str, Any]:
    """Tell an error: of a handshake the status alone is seen, to a message it is the answer."""
    problem = await on_service_error(Request({"type": "http", "headers": []}), error)
    told = json.loads(bytes(problem.body))
    is_handshake = event["requestContext"]["eventType"] == "CONNECT"
    if is_handshake:
        LOG.warning("⚠️ WebSocket не открыт: %s", error.code)
    return {
        "statusCode": error.status if is_handshake else 200,
        "body": json.dumps({"type": "error", **told}),
    }

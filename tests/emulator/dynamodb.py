"""DynamoDB for a function in a process of its own: moto's, which lives in the test's, over HTTP.

boto3 comes here by `AWS_ENDPOINT_URL_DYNAMODB`; what it asks for is asked of moto one by one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.emulator.http import serving

_TYPE = "application/x-amz-json-1.0"


@contextlib.asynccontextmanager
async def listening(client: Any) -> AsyncIterator[str]:
    """Serve what a client of moto knows until the block ends; where."""

    async def ask(request: Request) -> Response:
        operation = request.headers["x-amz-target"].partition(".")[2]
        try:
            told = getattr(client, xform_name(operation))(**await request.json())
        except ClientError as error:
            refused = {
                "__type": f"com.amazonaws.dynamodb.v20120810#{error.response['Error']['Code']}"
            }
            if "Item" in error.response:
                refused["Item"] = error.response["Item"]
            return JSONResponse(refused, 400, media_type=_TYPE)
        del told["ResponseMetadata"]
        return Response(json.dumps(told, default=str), media_type=_TYPE)

    async with serving(Starlette(routes=[Route("/", ask, methods=["POST"])])) as address:
        yield f"http://{address}"

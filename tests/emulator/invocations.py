"""A stand-in for AWS Lambda's Invoke API: it invokes nothing and keeps what it was asked for.

boto3 comes here by `AWS_ENDPOINT_URL_LAMBDA`; the real service cannot be reached from a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.emulator.http import serving


@dataclass(frozen=True)
class Invocation:
    """What boto3 asked for; `kind` is `Event` where the caller does not wait for the function."""

    function: str
    kind: str
    event: Any


@dataclass
class Invocations:
    """All that was asked for, in order."""

    url: str = ""
    asked: list[Invocation] = field(default_factory=list)

    def settings(self, function: str) -> dict[str, str]:
        """What makes a function ask here for that one."""
        return {"AWS_ENDPOINT_URL_LAMBDA": self.url, "TRACKER_FUNCTION": function}

    async def _invoke(self, request: Request) -> Response:
        kind = request.headers["x-amz-invocation-type"]
        name = request.path_params["name"]
        self.asked.append(Invocation(name, kind, await request.json()))
        return Response(status_code=202)

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator[Invocations]:
        """Listen until the block ends."""
        invocations = cls()
        path = "/2015-03-31/functions/{name}/invocations"
        app = Starlette(routes=[Route(path, invocations._invoke, methods=["POST"])])
        async with serving(app) as address:
            invocations.url = f"http://{address}"
            yield invocations

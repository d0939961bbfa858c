"""A tiny HTTP server in the test's own loop, for what stands in for AWS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import anyio
import uvicorn
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app on loopback until the block ends; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve([listening]))
        try:
            with anyio.fail_after(60):
                while not server.started:  # noqa: ASYNC110 - it tells nobody
                    await anyio.sleep(0.005)
            yield f"127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving

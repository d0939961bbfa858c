"""An execution environment that is frozen between invocations, which the emulator's is not.

It serves the Runtime API, version 2018-06-01, to the genuine runtime interface client. When the
client asks for the next event its process is stopped by SIGSTOP; it goes on when there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.emulator.http import serving
from tests.emulator.runtime import Runtime
from tests.processes import is_stopped

_LIMIT_S = 60.0
_API = "/2018-06-01/runtime"


@dataclass
class Environment:
    """One environment: a process that is frozen unless it has an event."""

    timeout_s: float = 30.0
    _events: asyncio.Queue[tuple[str, Any] | None] = field(default_factory=asyncio.Queue)
    _answers: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _init_error: str | None = None
    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    async def invoke(self, event: Any) -> Any:
        """Thaw the process for an event; its answer, once the process is frozen again."""
        await self.frozen()
        self._asked.clear()
        request_id = str(uuid.uuid4())
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        await self._events.put((request_id, event))
        with anyio.fail_after(_LIMIT_S):
            answered = await answer
        await self.frozen()
        return answered

    async def frozen(self) -> None:
        """Wait until the process stands still, to the last thread.

        Raises:
            RuntimeError: the function could not be imported.
        """
        with anyio.fail_after(_LIMIT_S):
            await self._asked.wait()
            if self._init_error is not None:
                raise RuntimeError(self._init_error)
            while not is_stopped(self.pid):  # noqa: ASYNC110 - the kernel tells nobody
                await anyio.sleep(0.005)

    async def run_idle(self, seconds: float) -> None:
        """Let the process run that long with no event, then freeze it again."""
        os.kill(self.pid, signal.SIGCONT)
        await anyio.sleep(seconds)
        os.kill(self.pid, signal.SIGSTOP)
        await self.frozen()

    def app(self) -> Starlette:
        """The Runtime API."""
        invocation = f"{_API}/invocation"
        return Starlette(
            routes=[
                Route(f"{invocation}/next", self._next),
                Route(f"{invocation}/{{request_id}}/{{kind}}", self._end, methods=["POST"]),
                Route(f"{_API}/init/error", self._init_failed, methods=["POST"]),
            ]
        )

    async def start(self, command: list[str], **options: Any) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(*command, **options)

    async def end(self) -> None:
        """End the process, frozen or not, and the answer that it waits for."""
        self._events.put_nowait(None)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _next(self, request: Request) -> Response:
        os.kill(self.pid, signal.SIGSTOP)
        self._asked.set()
        next_event = await self._events.get()
        if next_event is None:
            return Response(status_code=500)
        request_id, event = next_event
        os.kill(self.pid, signal.SIGCONT)
        deadline_ms = int((time.time() + self.timeout_s) * 1000)
        return JSONResponse(
            event,
            headers={
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:0:function:f",
            },
        )

    async def _end(self, request: Request) -> Response:
        """Take an answer, or the error that the handler raised instead."""
        answer = self._answers.pop(request.path_params["request_id"])
        if request.path_params["kind"] == "response":
            answer.set_result(json.loads(await request.body()))
        else:
            answer.set_exception(RuntimeError((await request.body()).decode()))
        return JSONResponse({"status": "OK"}, status_code=202)

    async def _init_failed(self, request: Request) -> Response:
        """Take the error instead of the first question for an event."""
        self._init_error = (await request.body()).decode()
        self._asked.set()
        return JSONResponse({"status": "OK"}, status_code=202)


@contextlib.asynccontextmanager
async def freezing(
    runtime: Runtime, handler: str, task: Path, variables: dict[str, str], output: Path
) -> AsyncIterator[Environment]:
    """Run a function until the block ends; it is initialised and frozen when the block begins."""
    environment = Environment()
    async with serving(environment.app()) as address:
        with output.open("wb") as file:
            await environment.start(
                runtime.client(handler),
                cwd=task,
                env=variables | {"AWS_LAMBDA_RUNTIME_API": address},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            await environment.frozen()
            yield environment
        finally:
            await environment.end()

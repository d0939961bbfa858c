"""One function of the artifact under the genuine runtime interface emulator and client.

The emulator starts the client with the first invocation, kills it at a time-out and starts another
with the next; it does not freeze it in between. Two invocations at once would crash it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.emulator.runtime import Runtime, free_address
from tests.processes import descendants

_INVOCATIONS = "/2015-03-31/functions/function/invocations"
_LIMIT_S = 180.0


@dataclass
class Function:
    """A function that can be invoked."""

    _url: str
    _emulator: asyncio.subprocess.Process
    output: Path
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def invoke(self, event: dict[str, Any]) -> Any:
        """Invoke it and return what it answered; a time-out's text likewise."""
        async with self._lock, httpx.AsyncClient(timeout=_LIMIT_S) as http:
            answer = await http.post(self._url + _INVOCATIONS, json=event)
        try:
            return json.loads(answer.text)
        except json.JSONDecodeError:
            return answer.text

    def clients(self) -> list[int]:
        """List the processes of the runtime interface client: one, or none before and after."""
        return descendants(self._emulator.pid)

    def log(self) -> str:
        """What the function and the emulator printed."""
        return self.output.read_text("utf-8", errors="replace")


@contextlib.asynccontextmanager
async def emulated(
    runtime: Runtime, handler: str, task: Path, environment: dict[str, str], output: Path
) -> AsyncIterator[Function]:
    """Run a function until the block ends; it is ready to be invoked when the block begins."""
    # It would listen on every interface by default.
    address, api = free_address(), free_address()
    with output.open("wb") as file:
        emulator = await asyncio.create_subprocess_exec(
            *(runtime.emulator, "--runtime-interface-emulator-address", address),
            *("--runtime-api-address", api),
            *runtime.client(handler),
            cwd=task,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        await _listening(address, emulator)
        yield Function(f"http://{address}", emulator, output)
    finally:
        await _end(emulator)


async def _listening(address: str, emulator: asyncio.subprocess.Process) -> None:
    host, _, port = address.partition(":")
    with anyio.fail_after(_LIMIT_S):
        while True:
            assert emulator.returncode is None
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                await writer.wait_closed()
                return
            await anyio.sleep(0.02)


async def _end(emulator: asyncio.subprocess.Process) -> None:
    """End the emulator and the client, which has a process group of its own."""
    clients = descendants(emulator.pid)
    if emulator.returncode is None:
        emulator.kill()
    await emulator.wait()
    for pid in clients:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

"""A real service process that can be killed and started again on its port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from demo.postgres import free_port

ROOT = Path(__file__).parents[2]
_START_S = 60.0


class Process:
    """`python asterisk.py`, or another script of ours, with these settings.

    `folder` is its working folder and keeps its output.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        *arguments: str,
        script: Path = ROOT / "asterisk.py",
    ) -> None:
        self.port = free_port()
        self.output = folder / f"service-{self.port}.log"
        self._folder = folder
        self._settings = settings
        self._command = (sys.executable, str(script), *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended instead; the text is what it printed.
        """
        self._launch()
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                if self.has_ended():
                    raise RuntimeError(self.output.read_text()[-3000:])
                await asyncio.sleep(0.05)

    def _launch(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        settings = self._settings | {"SERVICE_PORT": str(self.port), "PYTHONUTF8": "1"}
        with self.output.open("ab") as file:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=inherited | settings,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    async def _answers(self) -> bool:
        async with httpx.AsyncClient(base_url=self.url, timeout=2) as http:
            with contextlib.suppress(httpx.TransportError):
                return (await http.get("/health")).is_success
        return False

    def has_ended(self) -> bool:
        """Tell whether it runs no more."""
        return self._process is None or self._process.poll() is not None

    def wait_ended(self) -> None:
        """Wait until it has ended by itself."""
        if self._process is not None:
            self._process.wait(_START_S)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """End it in good order, or kill it after a while."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

"""The cold start of the built functions, beside a bare FastAPI + Mangum function.

The artifact is built as SAM does and runs under the genuine runtime interface emulator and client,
each function in turn, so that a slow moment of the machine hits all of them; then the same without
the layer's bytecode. INIT is what the emulator reports, until the handler is imported; the first
answer is the whole first invocation, whose event needs neither database nor PBX. Told is the
minimum of several runs, since whatever disturbs a start only adds to it, and ratios.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anyio

from bench import bare_function
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Table
from bench.stage import LeftOut
from tests.emulator.artifact import Artifact, build
from tests.emulator.platform import Platform
from tests.emulator.runtime import load_runtime
from tests.integration.gateway import load

SUMMARY = "the cold start of the built functions beside a bare one"
PARAMETERS = {"runs": Parameter(7, 1, "starts of each function")}
BARE = "bare"
EVENTS = {BARE: "health", "health": "health", "makecallexternal": "makecallexternal-bad-phone"}


class Start(NamedTuple):
    """How long a cold start took."""

    init_ms: float
    first_ms: float


Least: TypeAlias = dict[str, Start]


@dataclass(frozen=True)
class WithBare(Artifact):
    """The artifact, and the bare function beside the others."""

    def function(self, name: str) -> Path:
        """Return a function's package."""
        return self.folder / "Bare" if name == BARE else super().function(name)

    def add_bare(self) -> None:
        """Pack it like any function."""
        package = self.function(BARE) / "functions" / BARE
        package.mkdir(parents=True)
        shutil.copy(bare_function.__file__, package / "handler.py")

    def without_bytecode(self, folder: Path) -> WithBare:
        """Copy it as it would be if nobody had compiled it."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return WithBare(folder)


async def start(platform: Platform, name: str) -> Start:
    """Start a function once."""
    async with platform.emulated(name, {}) as function:
        began = time.perf_counter()
        answer = await function.invoke(load(EVENTS[name]))
        first_ms = (time.perf_counter() - began) * 1000
        if "statusCode" not in answer:
            raise RuntimeError(f"{name}: {answer}")
        (init_ms,) = re.findall(r"INIT REPORT\(durationMs: ([\d.]+)\)", function.log())
    return Start(float(init_ms), first_ms)


async def measure(
    artifacts: dict[str, WithBare], folder: Path, runs: int, progress: Progress
) -> dict[str, Least]:
    """Start every function of every artifact several times, in turn; the least of each."""
    taken: dict[str, dict[str, list[Start]]] = {
        title: {name: [] for name in EVENTS} for title in artifacts
    }
    for _ in progress.over(range(runs), "starts"):
        for title, artifact in artifacts.items():
            platform = Platform(load_runtime(), artifact, folder)
            for name in EVENTS:
                taken[title][name].append(await start(platform, name))
    return {
        title: {
            name: Start(min(s.init_ms for s in starts), min(s.first_ms for s in starts))
            for name, starts in by_name.items()
        }
        for title, by_name in taken.items()
    }


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Build and measure."""
    if shutil.which("make") is None:
        raise LeftOut("The functions are built by make: apt-get install make")
    interpreter = load_runtime().interpreter
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        compiled = WithBare(build(folder, interpreter).folder)
        compiled.add_bare()
        plain = compiled.without_bytecode(folder / "plain")
        artifacts = {"with bytecode": compiled, "without": plain}
        least = anyio.run(measure, artifacts, folder, asked.runs, progress)
    table = Table(
        f"The least of {asked.runs} starts",
        ("function", "INIT ms", "/ bare", "first answer ms", "/ bare", "INIT without / with"),
        [
            (
                name,
                it.init_ms,
                it.init_ms / least["with bytecode"][BARE].init_ms,
                it.first_ms,
                it.first_ms / least["with bytecode"][BARE].first_ms,
                least["without"][name].init_ms / it.init_ms,
            )
            for name, it in least["with bytecode"].items()
        ],
        "The last column compares an artifact without the bytecode that is built into it.",
    )
    return Found([table], versions(f"the functions' Python {interpreter.version}"))
